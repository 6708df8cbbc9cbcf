//! `countersign x509 validate`.

use std::fs::File;
use std::io::{Read, Write, stdin, stdout};
use std::path::{Path, PathBuf};
use std::time::Duration;

use countersign_common::bundle::Bundle;
use countersign_common::clock::Clock;
use countersign_common::proto::workload::X509BundlesRequest;
use countersign_common::secret::SecretBytes;
use countersign_common::spiffe_id::{SpiffeId, TrustDomain};
use countersign_common::svid::x509::{
    Certificate, CertificateFacts, MAX_CHAIN_CERTIFICATES, ValidatedX509Svid, X509SvidError, facts, pem, split,
    validate,
};
use countersign_common::untrusted::inert_lines;
use serde_json::{Value, json};
use tokio::time::timeout;
use tonic::{Code, Status};

use super::message::{MAX_BUNDLE_CERTIFICATES, trust_domain};
use crate::app::SystemClock;
use crate::cli::outcome::{CliError, Outcome};
use crate::cli::output::Output;
use crate::cli::table;
use crate::cli::workload_socket::{ANSWER_LIMIT, WorkloadSocket};

pub(super) const EXAMPLES: &str = "\
Examples:
  countersign x509 validate /run/orders/svid.pem       with the bundles that the agent trusts
  countersign x509 validate peer.der -o json
  countersign x509 validate svid.pem --bundle bundle.pem --trust-domain example.org

What the leaf says goes to standard output, valid or not; why it is not, to standard error.

Exit codes: 0 valid, 1 not valid, 2 wrong usage, 3 no agent or not now";

/// The longest file that is read, in bytes.
const MAX_FILE_BYTES: u64 = 4 << 20;

#[derive(Debug, clap::Args)]
pub(crate) struct Validate {
    #[command(flatten)]
    socket: WorkloadSocket,
    /// The chain, leaf first, in PEM or DER; - is standard input. A key in the file is passed over.
    #[arg(value_name = "FILE|-")]
    file: PathBuf,
    /// Whom to trust: certificates in PEM or DER, or a SPIFFE bundle document. Without this the agent is asked.
    #[arg(long, requires = "trust_domain", value_name = "FILE")]
    bundle: Option<PathBuf>,
    /// Whose bundle that is.
    #[arg(long, requires = "bundle", value_parser = parse_trust_domain, value_name = "NAME")]
    trust_domain: Option<TrustDomain>,
    #[command(flatten)]
    output: Output,
}

/// What was found out about a chain.
struct Found {
    leaf: CertificateFacts,
    certificates: usize,
    verdict: Result<ValidatedX509Svid, X509SvidError>,
}

impl Validate {
    pub(super) async fn run(self) -> Result<Outcome, CliError> {
        let chain = read_certificates(&self.file, MAX_CHAIN_CERTIFICATES)?;
        let first = chain.first().ok_or_else(|| not_valid(&X509SvidError::NoCertificate))?;
        let leaf = facts(first).map_err(|error| not_valid(&error))?;
        let bundles = match (&self.bundle, &self.trust_domain) {
            (Some(path), Some(domain)) => vec![read_bundle(path, domain)?],
            _ => self.trusted_by_agent().await?,
        };
        let verdict =
            validate(&chain, SystemClock.now(), |domain| bundles.iter().find(|bundle| bundle.trust_domain == *domain));
        let found = Found { leaf, certificates: chain.len(), verdict };
        let text = self.output.render(|| found.as_table(), || Ok(found.as_value()))?;
        writeln!(stdout(), "{}", inert_lines(&text)).map_err(CliError::output)?;
        found.verdict.map(|_| Outcome::Done).map_err(|error| not_valid(&error))
    }

    /// The bundles that the agent has for this process: its own trust domain's, and foreign ones.
    async fn trusted_by_agent(&self) -> Result<Vec<Bundle>, CliError> {
        let mut client = self.socket.connect().await?;
        let of_status = |status: Status| match status.code() {
            Code::PermissionDenied => {
                CliError::refused("refused: this process is entitled to no identity, so to no bundle; give --bundle")
            }
            _ => CliError::from_status(&status),
        };
        let mut stream = client.fetch_x509_bundles(X509BundlesRequest {}).await.map_err(of_status)?.into_inner();
        let silent = |_| CliError::unreachable("the agent does not answer; is it running?");
        let first = timeout(ANSWER_LIMIT, stream.message()).await.map_err(silent)?.map_err(of_status)?;
        let bundles = first.unwrap_or_default().bundles.into_iter();
        // One that cannot be read is nobody's to trust; what it would have been for is not valid then.
        let read =
            |(id, der): (String, Vec<u8>)| Some(bundle(trust_domain(&id)?, split(&der, MAX_BUNDLE_CERTIFICATES).ok()?));
        Ok(bundles.filter_map(read).collect())
    }
}

impl Found {
    /// The verdict first, then what the leaf says.
    fn fields(&self) -> [(&'static str, Value); 13] {
        let leaf = &self.leaf;
        [
            ("spiffe_id", json!(leaf.spiffe_id.as_ref().map(SpiffeId::as_str))),
            ("valid", json!(self.verdict.is_ok())),
            ("valid_until", json!(self.verdict.as_ref().ok().map(|valid| valid.not_after.to_string()))),
            ("reason", json!(self.verdict.as_ref().err().map(ToString::to_string))),
            ("serial", json!(leaf.serial)),
            ("not_before", json!(leaf.not_before.to_string())),
            ("not_after", json!(leaf.not_after.to_string())),
            ("dns_names", json!(leaf.dns_names)),
            ("key_algorithm", json!(leaf.key_algorithm)),
            ("is_authority", json!(leaf.is_authority)),
            ("authority_key_id", json!(leaf.authority_key_id)),
            ("subject_key_id", json!(leaf.subject_key_id)),
            ("certificates", json!(self.certificates)),
        ]
    }

    fn as_table(&self) -> Result<String, CliError> {
        let shown = |value: &Value| match value {
            Value::String(text) => text.clone(),
            Value::Null => "-".to_owned(),
            Value::Array(items) if items.is_empty() => "-".to_owned(),
            Value::Array(items) => items.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", "),
            other => other.to_string(),
        };
        table::columns(&self.fields().map(|(name, value)| [name.replace('_', " "), shown(&value)]))
    }

    fn as_value(&self) -> Value {
        Value::Object(self.fields().into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
    }
}

fn not_valid(error: &X509SvidError) -> CliError {
    CliError::refused(format!("not valid: {error}"))
}

fn parse_trust_domain(name: &str) -> Result<TrustDomain, String> {
    TrustDomain::parse(name).map_err(|error| format!("a trust domain {error}"))
}

fn bundle(trust_domain: TrustDomain, x509_authorities: Vec<Certificate>) -> Bundle {
    Bundle { trust_domain, sequence: 0, refresh_hint: Duration::ZERO, jwt_authorities: vec![], x509_authorities }
}

/// Certificates in PEM, in DER one after the other, or in a SPIFFE bundle document.
fn read_bundle(path: &Path, trust_domain: &TrustDomain) -> Result<Bundle, CliError> {
    let content = read(path)?;
    let refused = |error: &dyn std::fmt::Display| CliError::refused(format!("{}: {error}", path.display()));
    let text = std::str::from_utf8(content.expose()).unwrap_or_default();
    if text.trim_start().starts_with('{') {
        return Bundle::parse(trust_domain.clone(), text).map_err(|error| refused(&error));
    }
    let certificates = certificates(&content, MAX_BUNDLE_CERTIFICATES).map_err(|error| refused(&error))?;
    Ok(bundle(trust_domain.clone(), certificates))
}

fn read_certificates(path: &Path, at_most: usize) -> Result<Vec<Certificate>, CliError> {
    certificates(&read(path)?, at_most).map_err(|error| not_valid(&error))
}

fn certificates(content: &SecretBytes, at_most: usize) -> Result<Vec<Certificate>, X509SvidError> {
    match std::str::from_utf8(content.expose()) {
        Ok(text) if text.contains("-----BEGIN ") => pem::read_certificates(text, at_most),
        _ => split(content.expose(), at_most),
    }
}

/// The whole file, which may hold a key too.
fn read(path: &Path) -> Result<SecretBytes, CliError> {
    let refused = |error: &dyn std::fmt::Display| CliError::refused(format!("cannot read {}: {error}", path.display()));
    // What grows leaves copies behind; this is room for a chain with its key.
    let mut content = Vec::with_capacity(64 << 10);
    let read = if path == Path::new("-") {
        stdin().take(MAX_FILE_BYTES + 1).read_to_end(&mut content)
    } else {
        File::open(path).and_then(|file| file.take(MAX_FILE_BYTES + 1).read_to_end(&mut content))
    };
    let content = SecretBytes::new(content);
    match read {
        Err(error) => Err(refused(&error)),
        Ok(bytes) if bytes as u64 > MAX_FILE_BYTES => Err(refused(&"it is longer than 4 MiB")),
        Ok(_) => Ok(content),
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples;
    use super::*;

    #[test]
    fn chains_are_read_from_pem_and_der_and_what_is_neither_is_refused() {
        let svid = samples::svid("a", "");
        let chain = vec![Certificate::from_der(svid.x509_svid.clone())];
        let folder = tempfile::tempdir().unwrap();
        let file = |content: &[u8]| {
            let path = folder.path().join("file");
            std::fs::write(&path, content).unwrap();
            path
        };
        let key = pem::write_private_key(&SecretBytes::new(svid.x509_svid_key));
        let text = pem::write_certificates(&chain);
        for content in [svid.x509_svid.as_slice(), text.as_bytes(), &[key.expose(), text.as_bytes()].concat()] {
            assert_eq!(read_certificates(&file(content), 16).unwrap(), chain);
        }
        for content in [b"hello".as_slice(), key.expose(), &text.as_bytes()[..200]] {
            assert!(read_certificates(&file(content), 16).is_err());
        }
        let long = file(&vec![0; usize::try_from(MAX_FILE_BYTES).unwrap() + 1]);
        assert!(read(&long).err().unwrap().to_string().contains("longer than 4 MiB"));
        assert!(read(&folder.path().join("absent")).is_err());
    }

    #[test]
    fn a_bundle_is_certificates_or_a_document() {
        let svid = samples::svid("a", "");
        let domain = TrustDomain::parse("example.org").unwrap();
        let authorities = split(&svid.bundle, 1).unwrap();
        let whole = bundle(domain.clone(), authorities.clone());
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bundle");
        let forms = [whole.to_spiffe_document(), pem::write_certificates(&authorities)];
        for content in forms.iter().map(String::as_bytes).chain([svid.bundle.as_slice()]) {
            std::fs::write(&path, content).unwrap();
            assert_eq!(read_bundle(&path, &domain).unwrap().x509_authorities, authorities);
        }
        std::fs::write(&path, "{}").unwrap();
        assert!(read_bundle(&path, &domain).is_err());
    }

    #[test]
    fn the_verdict_is_shown_beside_what_the_leaf_says() {
        let svid = samples::svid("a", "");
        let chain = split(&svid.x509_svid, 1).unwrap();
        let trusted = bundle(TrustDomain::parse("example.org").unwrap(), split(&svid.bundle, 1).unwrap());
        let found = |bundle: Option<&Bundle>| {
            let verdict = validate(&chain, SystemClock.now(), |_| bundle);
            Found { leaf: facts(&chain[0]).unwrap(), certificates: 1, verdict }
        };
        let (valid, not) = (found(Some(&trusted)), found(None));
        assert_eq!((&valid.as_value()["valid"], &not.as_value()["valid"]), (&true.into(), &false.into()));
        assert!(not.as_value()["reason"].as_str().unwrap().contains("trust domain"));
        let table = valid.as_table().unwrap();
        assert!(table.starts_with("spiffe id         spiffe://example.org/a\nvalid             true\n"), "{table}");
    }
}
