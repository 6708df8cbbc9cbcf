//! Who may be given what: the rules, without a process or a socket.
//!
//! One connection, and the processes around it. Every byte that is sent on it is told to the
//! model, with the process that sent it; so is every fork, exec, pass and exit, in the order in
//! which they were done.

/// Number of a process of the round.
pub(crate) type Process = usize;

/// Number of a program: what a process runs, and what its identity is bound to.
pub(crate) type Image = usize;

#[derive(Clone, Debug)]
struct State {
    image: Image,
    /// How often it became another program.
    execs: u32,
    is_alive: bool,
    holds: bool,
}

#[derive(Clone, Debug)]
struct Connection {
    connector: Process,
    /// Programs that the connector had become when it connected.
    execs: u32,
    /// A byte came from another process, or from another program than the one that the agent
    /// had spoken with.
    is_forfeit: bool,
    /// What the connector ran when it last sent something.
    sent_by: Option<Image>,
    /// What the connector ran when the agent was first heard to ask for a countersign or to
    /// answer: the agent has looked at it by then.
    spoken_with: Option<Image>,
}

/// What the answer to a request may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// An SVID, of this image's identity if it has one.
    Must(Image),
    /// An SVID of this image's identity, or none.
    May(Image),
    /// No SVID.
    Never,
}

/// The processes of a round and their connection.
#[derive(Clone, Debug, Default)]
pub(crate) struct Model {
    processes: Vec<State>,
    connection: Option<Connection>,
}

impl Model {
    /// A process that nobody here forked.
    pub(crate) fn started(&mut self, image: Image) -> Process {
        self.processes.push(State { image, execs: 0, is_alive: true, holds: false });
        self.processes.len() - 1
    }

    pub(crate) fn connected(&mut self, by: Process) {
        self.processes[by].holds = true;
        let execs = self.processes[by].execs;
        self.connection =
            Some(Connection { connector: by, execs, is_forfeit: false, sent_by: None, spoken_with: None });
    }

    /// A child that holds what its parent holds.
    pub(crate) fn forked(&mut self, parent: Process) -> Process {
        self.processes.push(self.processes[parent].clone());
        self.processes.len() - 1
    }

    pub(crate) fn became(&mut self, process: Process, image: Image) {
        self.processes[process].image = image;
        self.processes[process].execs += 1;
    }

    pub(crate) fn exited(&mut self, process: Process) {
        self.processes[process].is_alive = false;
        self.processes[process].holds = false;
    }

    pub(crate) fn took(&mut self, process: Process) {
        self.processes[process].holds = true;
    }

    pub(crate) fn dropped(&mut self, process: Process) {
        self.processes[process].holds = false;
    }

    pub(crate) fn sent(&mut self, by: Process) {
        let image = self.processes[by].image;
        let Some(connection) = &mut self.connection else { return };
        connection.is_forfeit |= by != connection.connector;
        connection.is_forfeit |= connection.spoken_with.is_some_and(|spoken_with| spoken_with != image);
        connection.sent_by = Some(image);
    }

    /// The agent asked for a countersign, or answered.
    pub(crate) fn heard(&mut self) {
        let Some(connection) = &mut self.connection else { return };
        connection.spoken_with.get_or_insert(self.processes[connection.connector].image);
    }

    /// The rule. An SVID is for the process that connected, if it sent every byte; for the image
    /// that it ran when it sent the last of them; and not if it ran another when the agent had
    /// looked at it. It is owed to a process that lives and is what it was when it connected.
    pub(crate) fn verdict(&self) -> Verdict {
        let Some(Connection { connector, execs, is_forfeit: false, sent_by: Some(image), .. }) = self.connection else {
            return Verdict::Never;
        };
        let State { execs: now, is_alive, .. } = self.processes[connector];
        if is_alive && now == execs { Verdict::Must(image) } else { Verdict::May(image) }
    }

    pub(crate) fn connector(&self) -> Option<Process> {
        self.connection.as_ref().map(|connection| connection.connector)
    }

    pub(crate) fn alive(&self) -> Vec<Process> {
        self.all(|process| process.is_alive)
    }

    /// Who holds the connection.
    pub(crate) fn holders(&self) -> Vec<Process> {
        self.all(|process| process.holds)
    }

    fn all(&self, such: impl Fn(&State) -> bool) -> Vec<Process> {
        (0..self.processes.len()).filter(|process| such(&self.processes[*process])).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Process 0 runs image 5, connected and sent a request.
    fn asked() -> Model {
        let mut model = Model::default();
        let process = model.started(5);
        model.connected(process);
        model.sent(process);
        model
    }

    #[test]
    fn the_process_that_connected_and_speaks_is_owed_its_own() {
        let mut model = asked();
        model.heard();
        model.sent(0);
        assert_eq!(model.verdict(), Verdict::Must(5));
    }

    #[test]
    fn bytes_of_anybody_else_forfeit_the_connection() {
        let mut model = asked();
        let child = model.forked(0);
        assert_eq!((model.verdict(), model.holders()), (Verdict::Must(5), vec![0, child]));
        model.sent(child);
        model.sent(0);
        assert_eq!(model.verdict(), Verdict::Never);
    }

    #[test]
    fn what_was_asked_by_one_image_is_not_anothers() {
        let mut model = asked();
        model.became(0, 6);
        assert_eq!(model.verdict(), Verdict::May(5), "the new image has said nothing");
        model.sent(0);
        assert_eq!(model.verdict(), Verdict::May(6), "and now it asks for itself");
        let mut model = asked();
        model.heard();
        model.became(0, 6);
        model.sent(0);
        assert_eq!(model.verdict(), Verdict::Never, "the countersign is the first image's to give");
    }

    #[test]
    fn nothing_is_owed_to_the_dead_and_to_the_silent() {
        let mut model = asked();
        model.exited(0);
        assert_eq!((model.verdict(), model.alive()), (Verdict::May(5), vec![]));
        let mut silent = Model::default();
        silent.started(1);
        silent.connected(0);
        assert_eq!(silent.verdict(), Verdict::Never);
    }
}
