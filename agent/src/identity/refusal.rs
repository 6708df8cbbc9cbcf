//! Why nothing was issued: told to operators, mapped to a bare code for callers.

use std::collections::BTreeSet;

use countersign_common::entry::EntryId;
use countersign_common::selector::SelectorKind;
use countersign_common::spiffe_id::SpiffeId;

use crate::attest::AttestError;
use crate::audit::AuditError;
use crate::authority::AuthorityError;
use crate::peer::PeerError;
use crate::policy::PolicyRefusal;

/// Why a request was refused.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The caller could not be attested.
    #[error(transparent)]
    Attest(#[from] AttestError),
    /// An attestor failed on which a matching entry depends. The set of selectors is
    /// never made smaller in silence.
    #[error(
        "cannot tell whether entries {entries} match, since an attestor failed to provide {kinds}; see the log for its error"
    )]
    Undecided {
        /// The entries that may or may not match.
        entries: String,
        /// What could not be told.
        kinds: String,
    },
    /// The request does not have the form of the standard.
    #[error("malformed request: {0}")]
    Malformed(String),
    /// No entry matches the caller.
    #[error("no entry matches the selectors of this process")]
    NoEntry,
    /// The caller asked for an identity that it does not have.
    #[error("the process is not entitled to the SPIFFE ID that it asked for, but to {}", join(held))]
    OtherIdentity {
        /// What it is entitled to.
        held: Vec<SpiffeId>,
    },
    /// Policy refuses what a matching entry would otherwise grant.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Policy(Vec<PolicyRefusal>),
    /// The process exited while it was being served.
    #[error("the process exited before it was answered")]
    Exited,
    /// The client left a message of a stream unread.
    #[error("the client does not read its stream")]
    NotRead,
    /// The agent stops; streams end so that clients connect to the next one.
    #[error("the agent is stopping")]
    Stopping,
    /// The authority did not sign.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// What cannot be recorded is not issued.
    #[error(transparent)]
    Audit(#[from] AuditError),
}

/// Whose turn it is after a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The caller is not entitled; only a change of entries can help.
    Caller,
    /// The agent cannot serve at present; the same request may succeed later.
    Agent,
}

impl Refusal {
    /// Whether the caller lacks something, or the agent does.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Attest(AttestError::Peer(error)) => match error {
                PeerError::Exited
                | PeerError::LeaderExited { .. }
                | PeerError::Changed { .. }
                | PeerError::OtherSender { .. }
                | PeerError::NoCountersign(_) => Fault::Caller,
                _ => Fault::Agent,
            },
            // What could not be told may be told the next time.
            Self::Policy(refused) if refused.iter().any(PolicyRefusal::is_undecided) => Fault::Agent,
            Self::Malformed(_) | Self::NoEntry | Self::OtherIdentity { .. } | Self::Policy(_) | Self::Exited => {
                Fault::Caller
            }
            Self::Undecided { .. } | Self::NotRead | Self::Stopping | Self::Authority(_) | Self::Audit(_) => {
                Fault::Agent
            }
        }
    }

    pub(super) fn undecided(entries: Vec<EntryId>, kinds: &BTreeSet<SelectorKind>) -> Self {
        Self::Undecided { entries: join(&entries), kinds: join(kinds) }
    }
}

fn join<T: ToString>(items: impl IntoIterator<Item = T>) -> String {
    items.into_iter().map(|item| item.to_string()).collect::<Vec<_>>().join(", ")
}
