//! What the agent answers with, checked before it is used: a whole message or none
//! (`SPIFFE_Workload_API.md`, sections 4.5 and 5.2.1).

use countersign_common::proto::workload::{X509svid, X509svidResponse};
use countersign_common::secret::SecretBytes;
use countersign_common::spiffe_id::{SpiffeId, TrustDomain};
use countersign_common::svid::x509::{Certificate, CertificateFacts, MAX_CHAIN_CERTIFICATES, facts, split};

use super::key;
use crate::cli::outcome::CliError;

/// The most certificates of one bundle.
pub(super) const MAX_BUNDLE_CERTIFICATES: usize = 1000;

/// One answer: the identities of this process, in the agent's order, the default one first.
pub(super) struct Identities {
    /// At least one.
    pub(super) svids: Vec<Svid>,
    /// The bundles of other trust domains, in the order of their names.
    pub(super) federated: Vec<(TrustDomain, Vec<Certificate>)>,
    /// Bundles of other trust domains that cannot be read, by the names that came with them.
    pub(super) unreadable: Vec<String>,
}

/// One identity, with its key and the bundle of its own trust domain.
pub(super) struct Svid {
    pub(super) spiffe_id: SpiffeId,
    pub(super) hint: String,
    /// The leaf first.
    pub(super) chain: Vec<Certificate>,
    /// What the leaf says.
    pub(super) leaf: CertificateFacts,
    /// The leaf's, PKCS#8 in DER.
    pub(super) key: SecretBytes,
    pub(super) bundle: Vec<Certificate>,
}

/// Which of several identities.
#[derive(Debug, Default, clap::Args)]
pub(super) struct Choice {
    /// Which identity, for a process that has several: the one with this hint. By default all are
    /// listed, and -o pem and --write take the first.
    #[arg(long, conflicts_with = "spiffe_id")]
    hint: Option<String>,
    /// Which identity: the one with this SPIFFE ID.
    #[arg(long)]
    spiffe_id: Option<String>,
}

impl Identities {
    /// Reads an answer. A foreign bundle that cannot be read is left out, as if it had been taken
    /// back: it must not keep this process from its own identity.
    ///
    /// # Errors
    /// A mandatory field is empty, or what is in it does not fit together.
    pub(super) fn read(answer: X509svidResponse) -> Result<Self, CliError> {
        if answer.svids.is_empty() {
            return Err(refused("without an SVID"));
        }
        let svids = answer.svids.into_iter().map(read_svid).collect::<Result<_, _>>()?;
        let mut identities = Self { svids, federated: vec![], unreadable: vec![] };
        for (id, bundle) in answer.federated_bundles {
            match (trust_domain(&id), split(&bundle, MAX_BUNDLE_CERTIFICATES)) {
                (Some(trust_domain), Ok(bundle)) => identities.federated.push((trust_domain, bundle)),
                _ => identities.unreadable.push(id),
            }
        }
        identities.federated.sort_by(|(one, _), (other, _)| one.as_str().cmp(other.as_str()));
        identities.unreadable.sort();
        Ok(identities)
    }

    /// The same with those identities only that were asked for. Of several with one hint the first
    /// counts.
    ///
    /// # Errors
    /// There is none; what there is, is told.
    pub(super) fn choose(mut self, choice: &Choice) -> Result<Self, CliError> {
        let held: Vec<String> = self.svids.iter().map(Svid::name).collect();
        let named = match choice {
            Choice { spiffe_id: Some(id), .. } => {
                self.svids.retain(|svid| svid.spiffe_id.as_str() == id);
                format!("the SPIFFE ID {id}")
            }
            Choice { hint: Some(hint), .. } => {
                self.svids.retain(|svid| svid.hint == *hint);
                self.svids.truncate(1);
                format!("the hint {hint:?}")
            }
            _ => return Ok(self),
        };
        if self.svids.is_empty() {
            return Err(CliError::refused(format!(
                "refused: this process has no SVID with {named}; it has {}",
                held.join(", ")
            )));
        }
        Ok(self)
    }

    /// Whether the files of `other` would be the same. A key is the same if its certificate is.
    pub(super) fn has_files_of(&self, other: &Self) -> bool {
        let first = |identities: &Self| identities.svids.first().map(|svid| (svid.chain.clone(), svid.bundle.clone()));
        self.federated == other.federated && first(self) == first(other)
    }
}

impl Svid {
    fn name(&self) -> String {
        match self.hint.as_str() {
            "" => self.spiffe_id.to_string(),
            hint => format!("{} ({hint:?})", self.spiffe_id),
        }
    }
}

/// The trust domain that `id` is the SPIFFE ID of: no path follows its name.
pub(super) fn trust_domain(id: &str) -> Option<TrustDomain> {
    let id = SpiffeId::parse(id).ok()?;
    id.path().is_empty().then(|| id.trust_domain())
}

fn read_svid(sent: X509svid) -> Result<Svid, CliError> {
    let X509svid { spiffe_id, x509_svid, x509_svid_key, bundle, hint } = sent;
    // Before anything else, so that it is wiped whatever comes.
    let key = SecretBytes::new(x509_svid_key);
    let spiffe_id = SpiffeId::parse(&spiffe_id).map_err(|_| refused("with an SVID that has no SPIFFE ID"))?;
    let in_chain = |error| refused(&format!("with a chain that cannot be used: {error}"));
    let chain = split(&x509_svid, MAX_CHAIN_CERTIFICATES).map_err(in_chain)?;
    let first = chain.first().ok_or_else(|| refused("with an SVID that has no certificate"))?;
    let leaf = facts(first).map_err(in_chain)?;
    if leaf.spiffe_id.as_ref() != Some(&spiffe_id) {
        return Err(refused("with the certificate of another SPIFFE ID than it says"));
    }
    if !key::belongs_to(&key, first) {
        return Err(refused("with a certificate and a key that do not belong together"));
    }
    let bundle = split(&bundle, MAX_BUNDLE_CERTIFICATES)
        .map_err(|error| refused(&format!("with a bundle that cannot be used: {error}")))?;
    if bundle.is_empty() {
        return Err(refused("with an empty bundle"));
    }
    Ok(Svid { spiffe_id, hint, chain, leaf, key, bundle })
}

fn refused(what: &str) -> CliError {
    CliError::refused(format!("the agent answered {what}"))
}

#[cfg(test)]
mod tests {
    use super::super::samples;
    use super::*;

    fn told(answer: X509svidResponse) -> String {
        Identities::read(answer).err().map(|error| error.to_string()).unwrap_or_default()
    }

    #[test]
    fn a_whole_message_is_read_in_its_order() {
        let sent = [samples::svid("b", ""), samples::svid("a", "inside")];
        let read = Identities::read(samples::answer(&sent)).unwrap();
        let names: Vec<_> = read.svids.iter().map(Svid::name).collect();
        assert_eq!(names, ["spiffe://example.org/b", "spiffe://example.org/a (\"inside\")"]);
        assert_eq!(read.svids[0].chain[0].der(), sent[0].x509_svid);
        assert_eq!(read.svids[0].key.expose(), sent[0].x509_svid_key);
        assert_eq!(read.svids[0].bundle[0].der(), sent[0].bundle);
    }

    /// `SPIFFE_Workload_API.md`, section 4.5: a mandatory field is empty, and more than that.
    #[test]
    fn a_message_that_does_not_hold_together_is_dropped_whole() {
        let good = samples::svid("a", "");
        let other = samples::svid("other", "");
        type Change = fn(&mut X509svid, &X509svid);
        let changes: [(&str, Change); 10] = [
            ("no SPIFFE ID", |svid, _| svid.spiffe_id.clear()),
            ("no certificate", |svid, _| svid.x509_svid.clear()),
            ("do not belong together", |svid, _| svid.x509_svid_key.clear()),
            ("empty bundle", |svid, _| svid.bundle.clear()),
            ("another SPIFFE ID", |svid, other| svid.spiffe_id.clone_from(&other.spiffe_id)),
            ("another SPIFFE ID", |svid, other| svid.x509_svid.clone_from(&other.x509_svid)),
            ("do not belong together", |svid, other| svid.x509_svid_key.clone_from(&other.x509_svid_key)),
            ("chain that cannot be used", |svid, _| svid.x509_svid.push(0)),
            ("chain that cannot be used", |svid, _| svid.x509_svid = svid.x509_svid.repeat(MAX_CHAIN_CERTIFICATES + 1)),
            ("bundle that cannot be used", |svid, _| svid.bundle.push(0)),
        ];
        for (why, change) in changes {
            let mut bad = good.clone();
            change(&mut bad, &other);
            let told = told(samples::answer(&[other.clone(), bad]));
            assert!(told.contains(why), "{why}: {told}");
        }
        assert!(told(samples::answer(&[])).contains("without an SVID"));
        assert!(told(samples::answer(&[other, good])).is_empty());
    }

    #[test]
    fn a_foreign_bundle_that_cannot_be_read_is_left_out_and_the_rest_stays() {
        let svid = samples::svid("a", "");
        let mut answer = samples::answer(std::slice::from_ref(&svid));
        let sent = [
            ("spiffe://z.org", svid.bundle.clone()),
            ("spiffe://b.org", vec![]),
            ("spiffe://bad.org", vec![1, 2, 3]),
            ("spiffe://c.org/path", svid.bundle.clone()),
            ("../d", svid.bundle),
        ];
        answer.federated_bundles = sent.map(|(id, bundle)| (id.to_owned(), bundle)).into();
        let read = Identities::read(answer).unwrap();
        let names: Vec<_> = read.federated.iter().map(|(domain, bundle)| (domain.as_str(), bundle.len())).collect();
        assert_eq!(names, [("b.org", 0), ("z.org", 1)]);
        assert_eq!(read.unreadable, ["../d", "spiffe://bad.org", "spiffe://c.org/path"]);
    }

    #[test]
    fn one_identity_is_chosen_by_its_hint_or_its_id_and_none_is_made_up() {
        let sent = [samples::svid("a", ""), samples::svid("b", "x"), samples::svid("c", "x")];
        let chosen = |hint: Option<&str>, id: Option<&str>| {
            let choice = Choice { hint: hint.map(str::to_owned), spiffe_id: id.map(str::to_owned) };
            let chosen = Identities::read(samples::answer(&sent)).unwrap().choose(&choice);
            chosen.map(|chosen| chosen.svids.iter().map(|svid| svid.spiffe_id.path().to_owned()).collect::<String>())
        };
        assert_eq!(chosen(None, None).unwrap(), "/a/b/c");
        assert_eq!(chosen(Some("x"), None).unwrap(), "/b", "of several with one hint the first");
        assert_eq!(chosen(None, Some("spiffe://example.org/c")).unwrap(), "/c");
        let told = chosen(Some("y"), None).unwrap_err().to_string();
        assert!(told.contains("spiffe://example.org/b (\"x\")"), "{told}");
        assert!(chosen(None, Some("spiffe://example.org/d")).is_err());
    }
}
