//! The single steps: a command to a process, and the same to the model.

use std::os::fd::AsFd;

use super::super::actor::{Actor, Fault, pair};
use super::super::model::Process;
use super::super::wire::request;
use super::Round;

/// Most processes of a round.
const MOST_PROCESSES: usize = 4;

impl Round<'_> {
    /// What no byte is sent or read by.
    pub(super) fn change(&mut self) -> Result<(), Fault> {
        match self.dice.below(7) {
            0..=2 => self.exec(),
            3 => self.fork(),
            4 => self.pass(),
            5 => self.exit(),
            _ => self.close(),
        }
    }

    pub(super) fn connect(&mut self) -> Result<(), Fault> {
        let by = self.dice.below(self.actors.len());
        self.story.push(format!("{by} connects"));
        let path = self.stage.socket.clone();
        self.tell(by, 'c', path.as_os_str().as_encoded_bytes())?;
        self.model.connected(by);
        Ok(())
    }

    /// Sends what is left of the request, or a part of it; or begins the next one.
    pub(super) fn send(&mut self, by: Process) -> Result<(), Fault> {
        if self.unsent.is_empty() {
            if !self.is_answered {
                return Ok(());
            }
            self.stream += 2;
            self.is_answered = false;
            self.unsent = request(self.stream);
        }
        let length = self.unsent.len();
        let length = if self.dice.is_one_in(3) { 1 + self.dice.below(length) } else { length };
        let mut part: Vec<u8> = self.unsent.drain(..length).collect();
        if self.unsent.is_empty() {
            part.append(&mut self.replies);
        }
        self.story.push(format!(
            "{by} sends {length} bytes of request {}; {} are left",
            self.stream,
            self.unsent.len()
        ));
        self.tell(by, 's', &part)?;
        self.model.sent(by);
        Ok(())
    }

    fn fork(&mut self) -> Result<(), Fault> {
        let alive = self.model.alive();
        let Some(parent) = self.dice.one_of(&alive).filter(|_| alive.len() < MOST_PROCESSES) else { return Ok(()) };
        let (control, theirs) = pair();
        self.settle_but(parent)?;
        self.actors[parent].tell('f', &[], Some(theirs.as_fd()));
        self.actors.push(Actor::forked(control));
        let child = self.model.forked(parent);
        self.story.push(format!("{parent} forks {child}"));
        Ok(())
    }

    pub(super) fn exec(&mut self) -> Result<(), Fault> {
        let alive = self.model.alive();
        let connector = self.model.connector().filter(|connector| alive.contains(connector));
        let Some(process) = connector.filter(|_| self.dice.is_one_in(2)).or_else(|| self.dice.one_of(&alive)) else {
            return Ok(());
        };
        let image = self.image();
        self.story.push(format!("{process} becomes program {image}"));
        let program = self.stage.programs[image].0.clone();
        self.tell(process, 'e', program.as_os_str().as_encoded_bytes())?;
        self.model.became(process, image);
        Ok(())
    }

    fn pass(&mut self) -> Result<(), Fault> {
        let holders = self.model.holders();
        let others: Vec<_> = self.model.alive().into_iter().filter(|process| !holders.contains(process)).collect();
        let (Some(from), Some(to)) = (self.holder(), self.dice.one_of(&others)) else { return Ok(()) };
        self.story.push(format!("{from} passes the connection to {to}"));
        let (over, there) = pair();
        self.settle_all()?;
        self.actors[from].tell('p', &[], Some(over.as_fd()));
        self.actors[from].settle()?;
        self.actors[to].tell('t', &[], Some(there.as_fd()));
        self.model.took(to);
        Ok(())
    }

    fn exit(&mut self) -> Result<(), Fault> {
        let Some(process) = self.dice.one_of(&self.model.alive()) else { return Ok(()) };
        self.story.push(format!("{process} exits"));
        self.settle_all()?;
        self.actors[process].tell('x', &[], None);
        self.actors[process].gone()?;
        self.model.exited(process);
        Ok(())
    }

    fn close(&mut self) -> Result<(), Fault> {
        let Some(holder) = self.holder() else { return Ok(()) };
        self.story.push(format!("{holder} closes the connection"));
        self.tell(holder, 'k', &[])?;
        self.model.dropped(holder);
        Ok(())
    }
}
