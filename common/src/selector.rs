//! Selectors: facts about a process that a registration entry can demand.
//!
//! Written `type:key:value`, with the strings that SPIRE's users know. The list of
//! kinds is closed: a selector that no attestor can produce would never match, so an
//! unknown kind is refused when an entry is loaded, not met in silence.

mod capability;
mod set;

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;

use crate::unit_name;

pub use capability::CAPABILITIES;
pub use set::{SelectorRef, SelectorSet};

/// What kind of fact a selector states.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SelectorKind {
    /// Effective user id, decimal.
    UnixUid,
    /// Name of the effective user id in the user database.
    UnixUser,
    /// Effective group id, decimal.
    UnixGid,
    /// Name of the effective group id in the group database.
    UnixGroup,
    /// One of the supplementary group ids, decimal.
    UnixSupplementaryGid,
    /// Name of one of the supplementary group ids.
    UnixSupplementaryGroup,
    /// Path of the executable, where it means the same file to agent and process.
    UnixPath,
    /// SHA-256 of the running executable, 64 lower-case hexadecimal digits.
    UnixSha256,
    /// Path of the process's cgroup, from the root of the hierarchy.
    CgroupPath,
    /// Id of the outermost container that the process is in, 64 lower-case hexadecimal digits.
    ContainerId,
    /// Which runtime made that container: `docker`, `containerd`, `cri-o` or `podman`.
    ContainerRuntime,
    /// Uid of the Kubernetes pod of that container.
    K8sPodUid,
    /// The unit of the system's service manager that the process belongs to.
    SystemdId,
    /// The slice of that unit.
    SystemdSlice,
    /// The unit of a user's own service manager, which that user names.
    SystemdUserUnit,
    /// Invocation id of the system unit: one value for each start of it.
    SystemdInvocationId,
    /// Path of the executable as the link of `/proc` reads, in whichever mount namespace: the
    /// process's own saying, since it mounts there what it likes.
    ProcessPathInNamespace,
    /// Whether a tracer is attached.
    ProcessTraced,
    /// Whether the file of the executable has no name any more.
    ProcessExeDeleted,
    /// `trusted`: every file that is mapped as code belongs to root and is nobody else's to write.
    ProcessLibraries,
    /// Whether the process gave up gaining privileges by `exec` (prctl(2), PR_SET_NO_NEW_PRIVS).
    ProcessNoNewPrivs,
    /// Its seccomp mode: `disabled`, `strict` or `filter` (seccomp(2)).
    ProcessSeccomp,
    /// One of its effective capabilities, by the name of capabilities(7). None is told of a process
    /// in a user namespace of its own, where everybody has all of them.
    ProcessCap,
    /// Path of the executable of its parent.
    ProcessParentPath,
    /// SHA-256 of the executable of its parent.
    ProcessParentSha256,
    /// A label of its Docker container, `key:value`.
    DockerLabel,
    /// Name of an environment variable of its Docker container's configuration.
    DockerEnv,
    /// Id of the image that its Docker container runs, `sha256:` and 64 hexadecimal digits.
    DockerImageId,
    /// Digest of that image's configuration, `sha256:` and 64 hexadecimal digits.
    DockerImageConfigDigest,
}

impl SelectorKind {
    /// Every kind, in the order of the documentation.
    pub const ALL: [Self; 29] = [
        Self::UnixUid,
        Self::UnixUser,
        Self::UnixGid,
        Self::UnixGroup,
        Self::UnixSupplementaryGid,
        Self::UnixSupplementaryGroup,
        Self::UnixPath,
        Self::UnixSha256,
        Self::CgroupPath,
        Self::ContainerId,
        Self::ContainerRuntime,
        Self::K8sPodUid,
        Self::SystemdId,
        Self::SystemdSlice,
        Self::SystemdUserUnit,
        Self::SystemdInvocationId,
        Self::ProcessPathInNamespace,
        Self::ProcessTraced,
        Self::ProcessExeDeleted,
        Self::ProcessLibraries,
        Self::ProcessNoNewPrivs,
        Self::ProcessSeccomp,
        Self::ProcessCap,
        Self::ProcessParentPath,
        Self::ProcessParentSha256,
        Self::DockerLabel,
        Self::DockerEnv,
        Self::DockerImageId,
        Self::DockerImageConfigDigest,
    ];

    /// Type and key as written in front of the value, such as `unix:uid`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::UnixUid => "unix:uid",
            Self::UnixUser => "unix:user",
            Self::UnixGid => "unix:gid",
            Self::UnixGroup => "unix:group",
            Self::UnixSupplementaryGid => "unix:supplementary_gid",
            Self::UnixSupplementaryGroup => "unix:supplementary_group",
            Self::UnixPath => "unix:path",
            Self::UnixSha256 => "unix:sha256",
            Self::CgroupPath => "cgroup:path",
            Self::ContainerId => "container:id",
            Self::ContainerRuntime => "container:runtime",
            Self::K8sPodUid => "k8s:pod-uid",
            Self::SystemdId => "systemd:id",
            Self::SystemdSlice => "systemd:slice",
            Self::SystemdUserUnit => "systemd:user_unit",
            Self::SystemdInvocationId => "systemd:invocation_id",
            Self::ProcessPathInNamespace => "process:path_in_namespace",
            Self::ProcessTraced => "process:traced",
            Self::ProcessExeDeleted => "process:exe_deleted",
            Self::ProcessLibraries => "process:libraries",
            Self::ProcessNoNewPrivs => "process:no_new_privs",
            Self::ProcessSeccomp => "process:seccomp",
            Self::ProcessCap => "process:cap",
            Self::ProcessParentPath => "process:parent:path",
            Self::ProcessParentSha256 => "process:parent:sha256",
            Self::DockerLabel => "docker:label",
            Self::DockerEnv => "docker:env",
            Self::DockerImageId => "docker:image_id",
            Self::DockerImageConfigDigest => "docker:image_config_digest",
        }
    }

    /// What stands for it in a [`Selector`]: letters are in the order of kinds.
    const fn letter(self) -> char {
        (FIRST_LETTER + self as u8) as char
    }

    /// Why `value` cannot be a value of this kind; `None` if it can.
    fn objection(self, value: &str) -> Option<&'static str> {
        let (fine, objection) = match self {
            // One spelling a number: +1, 01 and 1 would be three selectors for one fact.
            Self::UnixUid | Self::UnixGid | Self::UnixSupplementaryGid => (
                value.parse::<u32>().map(|n| n.to_string()).as_deref() == Ok(value),
                "is not a decimal number from 0 to 4294967295",
            ),
            Self::UnixSha256 | Self::ContainerId | Self::ProcessParentSha256 => {
                (is_hexadecimal(value, 64), "is not 64 lower-case hexadecimal digits")
            }
            Self::SystemdInvocationId => (is_hexadecimal(value, 32), "is not 32 lower-case hexadecimal digits"),
            Self::UnixPath | Self::CgroupPath | Self::ProcessPathInNamespace | Self::ProcessParentPath => {
                (value.starts_with('/'), "is not an absolute path")
            }
            Self::ContainerRuntime => (
                matches!(value, "docker" | "containerd" | "cri-o" | "podman"),
                "is not one of docker, containerd, cri-o, podman",
            ),
            Self::K8sPodUid => (is_pod_uid(value), "is not a uid of a pod: a UUID or 32 digits, in lower case"),
            Self::SystemdId | Self::SystemdUserUnit => (
                unit_name::is_unit(value),
                "is not the name of a service, scope, mount, socket or swap unit, such as orders.service",
            ),
            Self::SystemdSlice => (unit_name::is_slice(value), "is not the name of a slice, such as system.slice"),
            Self::ProcessTraced | Self::ProcessExeDeleted | Self::ProcessNoNewPrivs => {
                (matches!(value, "true" | "false"), "is neither true nor false")
            }
            Self::ProcessLibraries => (value == "trusted", "is not the word trusted"),
            Self::ProcessSeccomp => {
                (matches!(value, "disabled" | "strict" | "filter"), "is not one of disabled, strict, filter")
            }
            Self::ProcessCap => {
                (CAPABILITIES.contains(&value), "is not the name of a capability, such as CAP_NET_BIND_SERVICE")
            }
            Self::DockerLabel => {
                (value.split_once(':').is_some_and(|(key, _)| !key.is_empty()), "is not of the form key:value")
            }
            Self::DockerEnv => (
                !value.is_empty() && !value.contains('='),
                "is not the name of a variable alone; values, which may be secret, are no selectors",
            ),
            // A tag means one image today and another tomorrow.
            Self::DockerImageId | Self::DockerImageConfigDigest => (
                value.strip_prefix("sha256:").is_some_and(|digest| is_hexadecimal(digest, 64)),
                "is not sha256: and 64 lower-case hexadecimal digits; names and tags of images are no selectors",
            ),
            Self::UnixUser | Self::UnixGroup | Self::UnixSupplementaryGroup => (!value.is_empty(), "is empty"),
        };
        (!fine).then_some(objection)
    }
}

/// The letter of the first kind; the others have those that follow.
const FIRST_LETTER: u8 = b'A';

/// Whether `text` can be the uid of a Kubernetes pod: a UUID, or the 32 digits that the kubelet
/// gives to a pod that it runs from a file.
pub fn is_pod_uid(text: &str) -> bool {
    let groups: Vec<&str> = text.split('-').collect();
    let uuid = groups.len() == 5 && groups.iter().zip([8, 4, 4, 4, 12]).all(|(group, n)| is_hexadecimal(group, n));
    uuid || is_hexadecimal(text, 32)
}

fn is_hexadecimal(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

impl fmt::Display for SelectorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What one would write for the script that an interpreter runs.
const SCRIPT: &str = "process:script:sha256";

/// For `#!` the kernel runs the interpreter and hands it the script's name as an argument, in memory
/// that the process may write (execve(2), proc(5): `cmdline`, `auxv`); the script is a file that
/// the interpreter opens by itself, later, if it does.
const NO_SCRIPT: &str = "the kernel does not say which script an interpreter runs, only the process itself does; \
    start it from a compiled program, or as a unit or user of its own, and name that (systemd:id, unix:user)";

/// The longest selector value in bytes: a path of the kernel's `PATH_MAX`.
pub const MAX_SELECTOR_VALUE_BYTES: usize = 4096;

/// A fact about a process: its kind and its value.
///
/// One text: a letter for the kind, then the value. So the selectors of an entry can be one text as well
/// ([`SelectorSet`]), and be looked up among those of a process.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Selector(Box<str>);

/// Why a text is not a selector.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SelectorError {
    /// Not of the form `type:key:value`.
    #[error("selector \"{text}\" is not of the form type:key:value, such as unix:uid:1001")]
    Form {
        /// What was written.
        text: String,
    },
    /// No attestor produces this kind.
    #[error("no attestor provides selectors \"{name}\"{}", suggestion.map(|kind| format!(", did you mean \"{kind}\"?")).unwrap_or_default())]
    UnknownKind {
        /// Type and key as written.
        name: String,
        /// A known kind that is spelt almost the same.
        suggestion: Option<SelectorKind>,
    },
    /// Words that are understood, for a fact that nobody can find out.
    #[error("selector {name} is not served: {reason}")]
    NotServed {
        /// Type and key.
        name: &'static str,
        /// Why, and what to do instead.
        reason: &'static str,
    },
    /// The value cannot be one of this kind.
    #[error("selector {kind}: value \"{value}\" {objection}")]
    Value {
        /// The kind, which is known.
        kind: SelectorKind,
        /// The value as written.
        value: String,
        /// What is wrong with it.
        objection: &'static str,
    },
}

impl Selector {
    /// A fact of kind `kind`.
    ///
    /// # Errors
    /// The value cannot be one of this kind, or is longer than [`MAX_SELECTOR_VALUE_BYTES`].
    pub fn new(kind: SelectorKind, value: &str) -> Result<Self, SelectorError> {
        let objection = if value.len() > MAX_SELECTOR_VALUE_BYTES {
            Some("is longer than 4096 bytes")
        } else if value.contains(char::is_control) {
            Some("has a control character")
        } else {
            kind.objection(value)
        };
        match objection {
            Some(objection) => Err(SelectorError::Value { kind, value: value.chars().take(80).collect(), objection }),
            None => Ok(Self(format!("{}{value}", kind.letter()).into())),
        }
    }

    /// The same, borrowed.
    pub fn by_ref(&self) -> SelectorRef<'_> {
        SelectorRef(&self.0)
    }

    /// What kind of fact this is.
    pub fn kind(&self) -> SelectorKind {
        self.by_ref().kind()
    }

    /// The value, without type and key.
    pub fn value(&self) -> &str {
        self.by_ref().value()
    }
}

impl Borrow<str> for Selector {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.by_ref().fmt(f)
    }
}

impl fmt::Debug for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Selector {
    type Err = SelectorError;

    fn from_str(text: &str) -> Result<Self, SelectorError> {
        // No name of a kind is the beginning of another's.
        let known = SelectorKind::ALL
            .into_iter()
            .find_map(|kind| Some((kind, text.strip_prefix(kind.name())?.strip_prefix(':')?)));
        if let Some((kind, value)) = known {
            return Self::new(kind, value);
        }
        let names = |name: &str| text.strip_prefix(name).is_some_and(|rest| rest.starts_with(':'));
        if names(SCRIPT) {
            return Err(SelectorError::NotServed { name: SCRIPT, reason: NO_SCRIPT });
        }
        match text.split(':').collect::<Vec<_>>().as_slice() {
            [type_name, key, _, ..] => {
                let name = format!("{type_name}:{key}");
                Err(SelectorError::UnknownKind { suggestion: near_miss(&name), name })
            }
            _ => Err(SelectorError::Form { text: text.chars().take(80).collect() }),
        }
    }
}

/// The known kind that is spelt most like `name`, if one is near enough to be meant.
fn near_miss(name: &str) -> Option<SelectorKind> {
    let likeness = |kind: &SelectorKind| strsim::jaro_winkler(kind.name(), &name.to_ascii_lowercase());
    SelectorKind::ALL
        .into_iter()
        .map(|kind| (likeness(&kind), kind))
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .filter(|(likeness, _)| *likeness > 0.88)
        .map(|(_, kind)| kind)
}

#[cfg(test)]
mod tests;
