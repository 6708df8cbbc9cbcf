//! Rules about the image: what holds against a process whatever its selectors are. Judged here;
//! which entry is content with what, policy decides.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

use countersign_common::entry::ImageRule;

use super::code;
use super::slots::Slots;
use super::unix::ANSWER_LIMIT;
use super::writer::Writer;
use crate::peer::{Evidence, Patience};

/// Up to how many threads are looked at without a thread of the agent's own for it.
const FEW_THREADS: u32 = 16;

/// What became of one rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The process keeps it.
    Kept,
    /// The process breaks it; why, for operators.
    Broken(String),
    /// The agent cannot tell; why, for operators. Not the same as kept.
    Unjudged(String),
}

/// A verdict for each rule that was asked about.
pub(super) type Verdicts = BTreeMap<ImageRule, Verdict>;

/// Judges every rule; the one about foreign code only if it is asked for, since it takes reading
/// all mappings of the process.
pub(super) async fn judge(slots: &Slots, evidence: &Arc<Evidence>, foreign_code: bool) -> Verdicts {
    let mut verdicts = nameless(evidence);
    verdicts.insert(ImageRule::UserNamespace, forgeable(evidence));
    if !foreign_code && evidence.threads() <= FEW_THREADS {
        // Most often the kernel remembers the way to the image, and there is nothing to wait for.
        if let Ok(writable) = writable(evidence, Patience::None) {
            verdicts.insert(ImageRule::Traced, traced(evidence));
            verdicts.insert(ImageRule::WritableExecutable, verdict(Ok::<_, io::Error>(writable)));
            return verdicts;
        }
    }
    let looked_at = Arc::clone(evidence);
    // The path is the process's choice and may lead across a file system that never answers.
    let look = move || {
        let mut verdicts = Verdicts::from([
            (ImageRule::Traced, traced(&looked_at)),
            (ImageRule::WritableExecutable, verdict(writable(&looked_at, Patience::Endless))),
        ]);
        if foreign_code {
            verdicts.insert(ImageRule::ForeignCode, verdict(code::foreign(&looked_at)));
        }
        Ok(verdicts)
    };
    match slots.run(evidence.credentials().uid, ANSWER_LIMIT, look).await {
        Ok(judged) => verdicts.extend(judged),
        Err(error) => {
            let asked = [ImageRule::Traced, ImageRule::WritableExecutable].into_iter();
            let asked = asked.chain(foreign_code.then_some(ImageRule::ForeignCode));
            verdicts.extend(asked.map(|rule| (rule, Verdict::Unjudged(error.to_string()))));
        }
    }
    verdicts
}

/// The rules of images without a name. One of memory breaks its own rule, and not also that of
/// removed files.
fn nameless(evidence: &Evidence) -> Verdicts {
    let executable = evidence.executable();
    let (memfd, deleted) = match (executable.is_in_memory(), executable.deleted()) {
        (true, _) => (Verdict::Broken("the executable is a file of memory".to_owned()), Verdict::Kept),
        (false, true) => (Verdict::Kept, Verdict::Broken("the file of the executable has no name any more".to_owned())),
        (false, false) => (Verdict::Kept, Verdict::Kept),
    };
    Verdicts::from([(ImageRule::Memfd, memfd), (ImageRule::Deleted, deleted)])
}

/// Whether the sender of its bytes is the kernel's word. Asks for the kernel's own files only.
fn forgeable(evidence: &Evidence) -> Verdict {
    const WHY: &str = "its pid namespace belongs to a user namespace, whose root may speak in its name";
    verdict(evidence.sender_can_be_forged().map(|forgeable| forgeable.then(|| WHY.to_owned())))
}

fn traced(evidence: &Evidence) -> Verdict {
    verdict(evidence.tracer_of_any_thread().map(|tracer| tracer.map(|pid| format!("process {pid} traces it"))))
}

/// Why the user of the process may write its image, or put another in its place.
fn writable(evidence: &Evidence, patience: Patience) -> io::Result<Option<String>> {
    let executable = evidence.executable();
    // Memory belongs to whoever made it and has no place: it has a rule of its own.
    if executable.is_in_memory() {
        return Ok(None);
    }
    let writer = Writer::of(evidence);
    let path = shown(executable.path());
    if let Some(why) = writer.may_write(executable.file(), patience)? {
        return Ok(Some(format!("the executable {path} {why}")));
    }
    if executable.deleted() {
        return Ok(None);
    }
    let way = evidence.way_to_image(patience, |directory, path| {
        let why = writer.may_write(directory, patience)?;
        Ok(why.map(|why| format!("the directory {} of the executable {why}", shown(path))))
    })?;
    let lost = || format!("the executable is not at {path} any more, so the agent cannot tell who may replace it");
    Ok(way.unwrap_or_else(|| Some(lost())))
}

fn verdict<E: std::fmt::Display>(broken: Result<Option<String>, E>) -> Verdict {
    match broken {
        Ok(None) => Verdict::Kept,
        Ok(Some(why)) => Verdict::Broken(why),
        Err(error) => Verdict::Unjudged(error.to_string()),
    }
}

/// A path as it may stand in a record: quoted, control characters escaped, cut to a line.
pub(super) fn shown(path: &Path) -> String {
    const SHOWN: usize = 200;
    let path = path.to_string_lossy();
    let cut: String = path.chars().take(SHOWN).collect();
    let dots = if cut.len() < path.len() { "..." } else { "" };
    format!("{cut:?}{dots}")
}
