//! One round: processes and a connection, steps by chance, and the rule at each answer.

mod steps;

use std::path::PathBuf;

use super::actor::{Actor, Fault};
use super::dice::Dice;
use super::model::{Image, Model, Process, Verdict};
use super::wire::{Word, Words, request};

/// Most steps of a round, but for those that bring it to its end.
const MOST_STEPS: usize = 6;

/// Where the rounds take place.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) socket: PathBuf,
    /// Each with the SPIFFE ID that it is entitled to.
    pub(crate) programs: Vec<(PathBuf, Option<String>)>,
}

/// How many answers of each kind there were.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    /// SVIDs that were owed.
    pub(crate) owed: usize,
    /// SVIDs that were allowed.
    pub(crate) allowed: usize,
    /// Answers without an SVID, to who was owed none.
    pub(crate) refused: usize,
}

impl Tally {
    pub(crate) fn add(&mut self, other: Self) {
        self.owed += other.owed;
        self.allowed += other.allowed;
        self.refused += other.refused;
    }
}

/// A round under way.
pub(crate) struct Round<'a> {
    stage: &'a Stage,
    dice: Dice,
    model: Model,
    actors: Vec<Actor>,
    words: Words,
    /// The stream of the request under way, and what of its bytes is still to be sent.
    stream: u32,
    unsent: Vec<u8>,
    /// What the agent wants to hear, to be said between two requests.
    replies: Vec<u8>,
    is_answered: bool,
    /// Whether nothing happens but what any workload does.
    is_honest: bool,
    is_over: bool,
    tally: Tally,
    /// What was done, for people.
    story: Vec<String>,
}

impl<'a> Round<'a> {
    /// Plays a round. The fault, if there is one, comes with the story that led to it.
    pub(crate) fn play(stage: &'a Stage, dice: Dice) -> Result<Tally, Fault> {
        let mut round = Self {
            stage,
            dice,
            model: Model::default(),
            actors: vec![],
            words: Words::default(),
            stream: 1,
            unsent: request(1),
            replies: vec![],
            is_answered: false,
            is_honest: false,
            is_over: false,
            tally: Tally::default(),
            story: vec![],
        };
        round.run().map_err(|fault| format!("{fault}\n    {}", round.story.join("\n    ")))?;
        Ok(round.tally)
    }

    fn run(&mut self) -> Result<(), Fault> {
        for _ in 0..2 {
            let image = self.image();
            self.story.push(format!("{} starts as program {image}", self.actors.len()));
            self.actors.push(Actor::start(&self.stage.programs[image].0));
            self.model.started(image);
        }
        // Before the connection there is one thing that can change.
        if self.dice.is_one_in(8) {
            self.exec()?;
        }
        self.connect()?;
        self.is_honest = self.dice.is_one_in(3);
        for _ in 0..self.dice.below(MOST_STEPS + 1) {
            if self.is_over || self.model.holders().is_empty() {
                break;
            }
            if self.is_honest { self.honest_step()? } else { self.step()? }
        }
        self.end()
    }

    /// What any workload does, in one piece or in several.
    fn honest_step(&mut self) -> Result<(), Fault> {
        let Some(connector) = self.model.connector() else { return Ok(()) };
        match self.dice.below(4) {
            0 => self.read(connector, 'd'),
            1 if self.unsent.is_empty() => self.answer(),
            _ => self.send(connector),
        }
    }

    fn step(&mut self) -> Result<(), Fault> {
        let Some(holder) = self.holder() else { return Ok(()) };
        match self.dice.below(12) {
            0..=3 => self.send(holder),
            4 => self.read(holder, 'd'),
            5 if self.unsent.is_empty() => self.answer(),
            _ => self.change(),
        }
    }

    /// Reads the answer, or says that there will be no more of the request, and reads to the end.
    fn end(&mut self) -> Result<(), Fault> {
        while !self.unsent.is_empty() && !self.dice.is_one_in(4) {
            let Some(holder) = self.holder().filter(|_| !self.is_over) else { break };
            self.send(holder)?;
        }
        let Some(holder) = self.holder().filter(|_| !self.is_over) else { return self.settle_all() };
        if self.unsent.is_empty() && !self.is_answered {
            return self.answer();
        }
        self.tell(holder, 'h', &[])?;
        while !self.is_over {
            self.read(holder, 'r')?;
        }
        Ok(())
    }

    /// Who holds the connection: most often who connected.
    fn holder(&mut self) -> Option<Process> {
        let holders = self.model.holders();
        let connector = self.model.connector().filter(|connector| holders.contains(connector));
        connector.filter(|_| self.is_honest || !self.dice.is_one_in(3)).or_else(|| self.dice.one_of(&holders))
    }

    fn image(&mut self) -> Image {
        self.dice.below(self.stage.programs.len())
    }

    /// Gives a command; what others were told before is done by then.
    fn tell(&mut self, to: Process, letter: char, argument: &[u8]) -> Result<(), Fault> {
        self.settle_but(to)?;
        self.actors[to].tell(letter, argument, None);
        Ok(())
    }

    fn settle_all(&mut self) -> Result<(), Fault> {
        self.actors.iter_mut().try_for_each(Actor::settle)
    }

    /// So that things happen in the order in which the model is told, and one process can still
    /// do one thing right after the other.
    fn settle_but(&mut self, one: Process) -> Result<(), Fault> {
        self.actors.iter_mut().enumerate().filter(|(actor, _)| *actor != one).try_for_each(|(_, actor)| actor.settle())
    }

    /// Reads to the end of the answer, or of the connection. Between two readings there is time
    /// for another step.
    fn answer(&mut self) -> Result<(), Fault> {
        while !self.is_answered && !self.is_over {
            let Some(reader) = self.holder() else { break };
            self.read(reader, 'r')?;
            if !self.is_honest && !self.is_over && self.dice.is_one_in(3) {
                self.change()?;
            }
        }
        Ok(())
    }

    /// Reads once. What the agent wants to hear is said before the next reading, so that much can
    /// happen between the two.
    fn read(&mut self, reader: Process, how: char) -> Result<(), Fault> {
        self.reply(reader)?;
        self.settle_but(reader)?;
        let (length, bytes) = self.actors[reader].ask(how, &[])?;
        self.story.push(format!("{reader} reads: {length}"));
        self.words.add(&bytes);
        for word in self.words.take() {
            match word {
                Word::AnswerWith(bytes) => self.replies.extend(bytes),
                Word::Countersign(bytes) => {
                    self.model.heard();
                    self.replies.extend(bytes);
                }
                Word::Svids(owners) => self.judge(&owners)?,
                Word::End(stream) if stream == self.stream && !self.is_answered => self.judge(&[])?,
                Word::End(_) => {}
            }
        }
        let nothing_yet = how == 'd' && length == -nix::libc::EAGAIN;
        self.is_over = length <= 0 && !nothing_yet;
        if self.is_over && self.unsent.is_empty() && !self.is_answered { self.judge(&[]) } else { Ok(()) }
    }

    /// Says what the agent wants to hear: the reader does, or who connected. In the middle of a
    /// request nothing can be said.
    fn reply(&mut self, reader: Process) -> Result<(), Fault> {
        if self.replies.is_empty() || !self.unsent.is_empty() {
            return Ok(());
        }
        let replies = std::mem::take(&mut self.replies);
        let connector = self.model.connector().filter(|connector| self.model.holders().contains(connector));
        let replier = connector.filter(|_| self.is_honest || !self.dice.is_one_in(4)).unwrap_or(reader);
        self.story.push(format!("{replier} replies with {} bytes", replies.len()));
        self.tell(replier, 's', &replies)?;
        self.model.sent(replier);
        Ok(())
    }

    /// Holds what came of a request against the rule.
    fn judge(&mut self, owners: &[String]) -> Result<(), Fault> {
        self.is_answered = true;
        let verdict = self.model.verdict();
        self.model.heard();
        let due = match verdict {
            Verdict::Must(image) | Verdict::May(image) => self.stage.programs[image].1.as_ref(),
            Verdict::Never => None,
        };
        let given = match owners {
            [] => None,
            [owner] => Some(owner),
            several => return Err(format!("one SVID is due at most, and came: {several:?}")),
        };
        let is_owed = matches!(verdict, Verdict::Must(_));
        match (given, due) {
            (Some(given), due) if Some(given) != due => Err(format!("an SVID of {given}; due is: {due:?}")),
            (None, Some(due)) if is_owed => Err(format!("no SVID; owed is one of {due}")),
            (given, _) => {
                self.tally.owed += usize::from(given.is_some() && is_owed);
                self.tally.allowed += usize::from(given.is_some() && !is_owed);
                self.tally.refused += usize::from(given.is_none());
                Ok(())
            }
        }
    }
}
