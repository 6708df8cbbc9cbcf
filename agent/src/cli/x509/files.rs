//! The files of one SVID: their names and what is in them.

use std::path::PathBuf;

use countersign_common::secret::SecretBytes;
use countersign_common::svid::x509::pem::{write_certificates, write_private_key};

use super::message::{Identities, Svid};

/// The names that programs use. Bundles of other trust domains are in `federated`.
pub(super) const NAMES: [&str; 5] = ["svid.pem", "key.pem", "svid_and_key.pem", "bundle.pem", "federated"];

/// The longest name of a file (limits.h, `NAME_MAX`).
const MAX_NAME_BYTES: usize = 255;

/// A file to be written.
pub(super) struct NamedFile {
    /// Within the directory.
    pub(super) name: PathBuf,
    pub(super) content: Content,
}

/// What is in a file, and so who may read it.
pub(super) enum Content {
    /// Certificates.
    Public(String),
    /// A key, maybe with certificates.
    Key(SecretBytes),
}

/// The files of the first SVID, and the trust domains whose names are too long for a file.
pub(super) fn files(identities: &Identities) -> (Vec<NamedFile>, Vec<String>) {
    let mut files = Vec::new();
    let mut add = |name: PathBuf, content| files.push(NamedFile { name, content });
    if let Some(svid) = identities.svids.first() {
        add("svid.pem".into(), Content::Public(write_certificates(&svid.chain)));
        add("key.pem".into(), Content::Key(write_private_key(&svid.key)));
        add("svid_and_key.pem".into(), Content::Key(chain_and_key(svid)));
        add("bundle.pem".into(), Content::Public(write_certificates(&svid.bundle)));
    }
    let mut left_out = Vec::new();
    for (trust_domain, bundle) in &identities.federated {
        let name = format!("{trust_domain}.pem");
        if name.len() > MAX_NAME_BYTES {
            left_out.push(trust_domain.to_string());
        } else if !bundle.is_empty() {
            // Of an empty bundle there is no file: many programs take an empty one for a fault of theirs.
            add(PathBuf::from("federated").join(name), Content::Public(write_certificates(bundle)));
        }
    }
    (files, left_out)
}

/// The chain and then its key, for programs that take both from one file.
pub(super) fn chain_and_key(svid: &Svid) -> SecretBytes {
    let (chain, key) = (write_certificates(&svid.chain), write_private_key(&svid.key));
    // Room for both at once: what grows leaves copies behind.
    let mut both = Vec::with_capacity(chain.len() + key.expose().len());
    both.extend_from_slice(chain.as_bytes());
    both.extend_from_slice(key.expose());
    SecretBytes::new(both)
}
