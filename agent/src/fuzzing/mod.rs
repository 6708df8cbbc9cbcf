//! The door for fuzzing: every parser that reads what others wrote, each as a function of any
//! bytes that panics where a property does not hold.
//!
//! In no build but those of `cargo test` and `cargo fuzz`. The programs in `fuzz/targets` call
//! these functions, and the test below replays what is kept in `fuzz/corpus`.

mod certificate;
mod vocabulary;

pub use crate::attest::properties::{cgroup_names, mountinfo};
pub use crate::endpoint::properties::{frames, header_block};
pub use crate::peer::properties::{cgroup, fdinfo, maps, stat, status};
pub use certificate::certificate;
pub use vocabulary::{bundle, entries, jwt, selector, spiffe_id};

/// A target's name, and what has to hold for it.
type Target = (&'static str, fn(&[u8]));

/// Every target.
pub const TARGETS: [Target; 15] = [
    ("frames", frames),
    ("header_block", header_block),
    ("stat", stat),
    ("status", status),
    ("maps", maps),
    ("cgroup", cgroup),
    ("cgroup_names", cgroup_names),
    ("fdinfo", fdinfo),
    ("mountinfo", mountinfo),
    ("entries", entries),
    ("selector", selector),
    ("spiffe_id", spiffe_id),
    ("bundle", bundle),
    ("jwt", jwt),
    ("certificate", certificate),
];

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let mut names: Vec<String> = names.map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned()).collect();
        names.sort();
        names
    }

    #[test]
    fn what_is_kept_of_each_target_holds() {
        let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz");
        let mut targets: Vec<_> = TARGETS.iter().map(|(name, _)| *name).collect();
        for (name, holds) in TARGETS {
            let kept = fuzz.join("corpus").join(name);
            for file in fs::read_dir(&kept).unwrap_or_else(|error| panic!("{}: {error}", kept.display())) {
                let path = file.unwrap().path();
                // Told when it panics.
                println!("{}", path.display());
                holds(&fs::read(path).unwrap());
            }
        }
        targets.sort_unstable();
        assert_eq!(names(&fuzz.join("corpus")), targets);
        assert_eq!(names(&fuzz.join("targets")), targets);
        let manifest = fs::read_to_string(fuzz.join("Cargo.toml")).unwrap();
        for name in targets {
            assert!(manifest.contains(&format!("[[bin]]\nname = \"{name}\"\n")), "{name}");
        }
    }
}
