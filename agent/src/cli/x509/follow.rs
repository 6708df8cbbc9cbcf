//! The stream of X509-SVIDs, followed through restarts of the agent: what each end of it means, and
//! when it is opened again (`SPIFFE_Workload_Endpoint.md`, appendix A).

use std::time::Duration;

use countersign_common::proto::workload::{X509svidRequest, X509svidResponse};
use tokio::time::{Instant, sleep_until, timeout};
use tonic::{Code, Status, Streaming};

use crate::cli::outcome::{CliError, Outcome};
use crate::cli::workload_socket::{ANSWER_LIMIT, WorkloadClient, WorkloadSocket};

/// Between two tries: at first, and at most.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(30));

/// What is to be done after a stream has ended, or could not be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Open it again: after a moment if it has served, later each time if not.
    Later,
    /// The same, and what was served so far is not to be used any more (`SPIFFE_Workload_API.md`,
    /// section 5.2.1).
    Withdraw,
    /// Nothing would be different the next time.
    Never,
}

/// An end of the stream.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) error: CliError,
    pub(super) next: Next,
}

impl Ended {
    /// The agent ended the stream, or the way to it did.
    fn with(status: &Status) -> Self {
        let next = match status.code() {
            Code::PermissionDenied => Next::Withdraw,
            Code::InvalidArgument | Code::Unimplemented => Next::Never,
            _ => Next::Later,
        };
        let error = match status.code() {
            Code::PermissionDenied => CliError::refused(
                "refused: the agent grants this process no X509-SVID. Its operator finds the reason in the audit log",
            ),
            Code::InvalidArgument => CliError::refused(format!("refused: {}", status.message())),
            _ => CliError::from_status(status),
        };
        Self { error, next }
    }

    fn unconnected(error: CliError) -> Self {
        let next = if error.outcome() == Outcome::Usage { Next::Never } else { Next::Later };
        Self { error, next }
    }

    fn silent() -> Self {
        Self { error: CliError::unreachable("the agent does not answer; is it running?"), next: Next::Later }
    }
}

/// How long to wait before each try.
#[derive(Debug)]
struct Backoff {
    next: Duration,
}

impl Backoff {
    fn new() -> Self {
        Self { next: BACKOFF.0 }
    }

    /// Between half of the next wait and all of it, as `dice` fall: of many that lost the same agent
    /// not all come back in the same moment. The wait after that is twice as long, up to the most.
    fn pause(&mut self, dice: u8) -> Duration {
        let half = self.next / 2;
        self.next = (self.next * 2).min(BACKOFF.1);
        half + half * u32::from(dice) / u32::from(u8::MAX)
    }
}

/// The stream, open or about to be opened.
pub(super) struct Source<'s> {
    socket: &'s WorkloadSocket,
    open: Option<Streaming<X509svidResponse>>,
    /// Whether the open stream has brought something.
    has_served: bool,
    /// Not before this it is opened again.
    not_before: Instant,
    backoff: Backoff,
}

impl<'s> Source<'s> {
    pub(super) fn new(socket: &'s WorkloadSocket) -> Self {
        Self { socket, open: None, has_served: false, not_before: Instant::now(), backoff: Backoff::new() }
    }

    /// The next message; opens the stream for it if it is not open, when the time for that has come.
    /// The first message of a stream has to come within [`ANSWER_LIMIT`], later ones within
    /// `patience`. After an end it can be asked again.
    ///
    /// # Errors
    /// The stream ended or could not be opened.
    pub(super) async fn next(&mut self, patience: Duration) -> Result<X509svidResponse, Ended> {
        let heard = self.hear(patience).await;
        match &heard {
            Ok(_) => self.has_served = true,
            Err(_) => self.leave(),
        }
        heard
    }

    /// The message was what it should be: if the stream ends, it is soon opened again.
    pub(super) fn served_well(&mut self) {
        self.backoff = Backoff::new();
    }

    /// Leaves the stream; the next one is opened after a pause.
    pub(super) fn leave(&mut self) {
        self.open = None;
        self.not_before = Instant::now() + self.backoff.pause(dice());
    }

    /// How long until the stream is opened again.
    pub(super) fn pause(&self) -> Duration {
        self.not_before.saturating_duration_since(Instant::now())
    }

    async fn hear(&mut self, patience: Duration) -> Result<X509svidResponse, Ended> {
        let stream = match &mut self.open {
            Some(stream) => stream,
            closed => {
                sleep_until(self.not_before).await;
                let client = self.socket.connect().await.map_err(Ended::unconnected)?;
                self.has_served = false;
                closed.insert(open(client).await?)
            }
        };
        let limit = if self.has_served { patience } else { ANSWER_LIMIT };
        let message = timeout(limit, stream.message()).await.map_err(|_| Ended::silent())?;
        let closed = || Ended { error: CliError::unreachable("the agent closed the stream"), next: Next::Later };
        message.map_err(|status| Ended::with(&status))?.ok_or_else(closed)
    }
}

async fn open(mut client: WorkloadClient) -> Result<Streaming<X509svidResponse>, Ended> {
    let answer = client.fetch_x509svid(X509svidRequest {}).await;
    answer.map(tonic::Response::into_inner).map_err(|status| Ended::with(&status))
}

/// Without randomness the longest wait is taken.
fn dice() -> u8 {
    let mut dice = [u8::MAX];
    let _ = aws_lc_rs::rand::fill(&mut dice);
    dice[0]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn each_code_is_met_as_the_standard_says() {
        let next = |code| Ended::with(&Status::new(code, "words")).next;
        assert_eq!(next(Code::InvalidArgument), Next::Never);
        assert_eq!(next(Code::Unimplemented), Next::Never);
        assert_eq!(next(Code::PermissionDenied), Next::Withdraw);
        for code in [Code::Unavailable, Code::Internal, Code::Unknown, Code::Cancelled, Code::ResourceExhausted] {
            assert_eq!(next(code), Next::Later, "{code:?}");
        }
    }

    #[test]
    fn a_command_without_an_address_is_not_tried_again_and_a_socket_without_an_agent_is() {
        assert_eq!(Ended::unconnected(CliError::usage("where?")).next, Next::Never);
        assert_eq!(Ended::unconnected(CliError::unreachable("nobody")).next, Next::Later);
    }

    proptest! {
        #[test]
        fn waits_grow_to_the_most_and_never_beyond(dice in proptest::collection::vec(any::<u8>(), 1..40)) {
            let mut backoff = Backoff::new();
            let mut most = BACKOFF.0;
            for dice in dice {
                let pause = backoff.pause(dice);
                prop_assert!(most / 2 <= pause && pause <= most, "{pause:?} of {most:?}");
                most = (most * 2).min(BACKOFF.1);
            }
        }
    }
}
