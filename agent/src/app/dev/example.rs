//! The example entry of `dev`: this very binary, run by this very user.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use countersign_common::entry::parse_entries;
use countersign_common::selector::SelectorKind;
use countersign_common::spiffe_id::TrustDomain;
use nix::unistd::geteuid;

use crate::app::AppError;

/// An audience that the example allows.
pub(super) const AUDIENCE: &str = "hello";

/// Its name in the folder of `dev`.
const FILE: &str = "entries.yaml";

/// The example as a file, and whether it is still the example.
#[derive(Debug)]
pub(super) struct ExampleFile {
    /// Where it is.
    pub(super) path: PathBuf,
    /// Whether somebody made it their own; then it was left as it is.
    pub(super) edited: bool,
}

/// Writes the example into `dir`. It is made anew at each start, since the path of the binary
/// is part of it; one that was edited stays.
pub(super) fn write(dir: &Path, trust_domain: &TrustDomain, program: &Path) -> Result<ExampleFile, AppError> {
    let path = dir.join(FILE);
    let edited = match std::fs::read_to_string(&path) {
        Ok(found) => !is_unedited(&found),
        Err(error) if error.kind() == ErrorKind::NotFound => false,
        Err(source) => return Err(AppError::System { doing: format!("cannot read {}", path.display()), source }),
    };
    if !edited {
        std::fs::write(&path, text(trust_domain, program)).map_err(|error| {
            AppError::Folder(format!(
                "cannot write {}: {error}; name a folder that you can write with --dir",
                path.display()
            ))
        })?;
    }
    Ok(ExampleFile { path, edited })
}

fn text(trust_domain: &TrustDomain, program: &Path) -> String {
    format!(
        "# Made by `countersign dev`. Once you have changed it, it stays as you leave it; remove it to\n\
         # get the example back.\n\
         id: example\n\
         spiffe_id: spiffe://{trust_domain}/example\n\
         selectors:                     # all must hold\n\
         \x20 - unix:uid:{uid}\n\
         \x20 - {path}\n\
         jwt:\n\
         \x20 audiences: [{AUDIENCE}]\n\
         \x20 ttl: 5m\n",
        uid = geteuid().as_raw(),
        // A JSON string is a YAML string: whatever the path holds is quoted.
        path = serde_json::Value::from(format!("unix:path:{}", program.display())),
    )
}

/// Whether `found` is what [`text`] makes, for whichever binary and trust domain.
fn is_unedited(found: &str) -> bool {
    let Ok(entries) = parse_entries(FILE, found, None) else {
        return false;
    };
    entries.first().is_some_and(|entry| {
        let program = entry.selectors.iter().find(|selector| selector.kind() == SelectorKind::UnixPath);
        program.is_some_and(|program| found == text(&entry.spiffe_id.trust_domain(), Path::new(program.value())))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn domain() -> TrustDomain {
        TrustDomain::parse("dev.example").unwrap()
    }

    #[test]
    fn the_example_is_a_valid_entry_whatever_the_path_of_the_binary() {
        for program in ["/usr/bin/countersign", "/tmp/a b/\"c\": #d"] {
            let text = text(&domain(), Path::new(program));
            let entries = parse_entries("example", &text, Some(&domain())).unwrap();
            assert!(entries[0].selectors.iter().any(|selector| selector.value() == program), "{text}");
        }
    }

    #[test]
    fn the_example_follows_the_binary_until_somebody_edits_it() {
        let folder = tempfile::tempdir().unwrap();
        let start = |program: &str| write(folder.path(), &domain(), Path::new(program)).unwrap();
        let path = start("/one").path;
        let second = start("/two");
        let made = std::fs::read_to_string(&path).unwrap();
        assert!(!second.edited && made.contains("/two") && !made.contains("/one"), "{made}");

        for edit in [made.replace("[hello]", "[hello, other]"), made.replace("id: ", "id = "), String::new()] {
            std::fs::write(&path, &edit).unwrap();
            assert!(start("/three").edited);
            assert_eq!(std::fs::read_to_string(&path).unwrap(), edit, "an edit is never overwritten");
        }
        std::fs::remove_file(&path).unwrap();
        assert!(!start("/three").edited);
    }
}
