//! Whether an entry is content with the image of the attested process.

use std::collections::BTreeSet;

use countersign_common::entry::{Entry, ImageRule};

use super::PolicyRefusal;
use crate::attest::{Attestation, Verdict};
use crate::weakened::Protection;

/// Checks the process against the rules about the image that neither the entry nor `lifted`
/// lifts. The rule about foreign code is for entries that say which image they mean.
///
/// # Errors
/// The first rule that is broken, or that could not be judged: what nobody judged was not kept.
pub fn check_image(
    attestation: &Attestation,
    entry: &Entry,
    lifted: &BTreeSet<ImageRule>,
) -> Result<(), PolicyRefusal> {
    for rule in ImageRule::ALL {
        let asked = rule != ImageRule::ForeignCode || entry.names_image();
        if !asked || entry.allow.contains(&rule) || lifted.contains(&rule) || protection(rule).is_out() {
            continue;
        }
        let entry = entry.id.clone();
        match attestation.image(rule) {
            Some(Verdict::Kept) => {}
            Some(Verdict::Broken(why)) => {
                return Err(PolicyRefusal::Image { entry, rule, why: why.clone(), remedy: remedy(rule) });
            }
            Some(Verdict::Unjudged(why)) => {
                return Err(PolicyRefusal::ImageUnjudged { entry, rule, why: why.clone() });
            }
            None => {
                let why = "it was not asked about".to_owned();
                return Err(PolicyRefusal::ImageUnjudged { entry, rule, why });
            }
        }
    }
    Ok(())
}

/// What to do about the process, for who does not want to lift the rule.
fn remedy(rule: ImageRule) -> &'static str {
    match rule {
        ImageRule::Traced => "detach the tracer",
        ImageRule::Memfd => "start the program from a file",
        ImageRule::Deleted => "start it again from the file that is there now",
        ImageRule::WritableExecutable => {
            "give the program and its directories to another user than the one that runs it"
        }
        ImageRule::ForeignCode => "have root own what it loads",
        ImageRule::UserNamespace => "run its container as root does, without a user namespace of its own",
    }
}

fn protection(rule: ImageRule) -> Protection {
    match rule {
        ImageRule::Traced => Protection::Traced,
        ImageRule::Memfd | ImageRule::Deleted => Protection::Nameless,
        ImageRule::WritableExecutable => Protection::Writable,
        ImageRule::ForeignCode => Protection::ForeignCode,
        ImageRule::UserNamespace => Protection::ForgedSender,
    }
}
