//! Rules about the running image of a process, by the words with which an entry lifts them.

use std::fmt;

/// What is held against a process by default, whatever an entry's selectors say. An entry that
/// means to serve such a process lists the rule in `allow`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ImageRule {
    /// No tracer is attached (ptrace(2)): it could write the process and answer in its name.
    Traced,
    /// The image is no file of memory (memfd_create(2)).
    Memfd,
    /// The file of the image still has a name.
    Deleted,
    /// The user of the process can write neither the file of the image nor a directory on the
    /// way to it. Root is not held to this.
    WritableExecutable,
    /// Every file that is mapped as code is root's, and not the process's to write. Asked only
    /// where the entry says which image it means.
    ForeignCode,
    /// The process is in no pid namespace that belongs to a user namespace of a user: the root of
    /// that one may put its pid under messages of others (unix(7), SCM_CREDENTIALS).
    UserNamespace,
}

impl ImageRule {
    /// Every rule, in the order of the documentation.
    pub const ALL: [Self; 6] =
        [Self::Traced, Self::Memfd, Self::Deleted, Self::WritableExecutable, Self::ForeignCode, Self::UserNamespace];

    /// The word that lifts it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Traced => "traced",
            Self::Memfd => "memfd",
            Self::Deleted => "deleted",
            Self::WritableExecutable => "writable_executable",
            Self::ForeignCode => "foreign_code",
            Self::UserNamespace => "user_namespace",
        }
    }

    /// The rule of that word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|rule| rule.word() == word)
    }
}

impl fmt::Display for ImageRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}
