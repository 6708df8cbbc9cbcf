//! A writer of events that keeps each of them on one line and off the terminal's controls.

use std::io::{self, Write};

use countersign_common::untrusted::inert;
use tracing_subscriber::fmt::MakeWriter;

/// Wraps the writer that events go to.
pub(super) struct OneLine<W> {
    inner: W,
}

impl<W> OneLine<W> {
    pub(super) fn new(inner: W) -> Self {
        Self { inner }
    }
}

impl<'a, W: MakeWriter<'a>> MakeWriter<'a> for OneLine<W> {
    type Writer = Escaping<W::Writer>;

    fn make_writer(&'a self) -> Self::Writer {
        Escaping { inner: self.inner.make_writer() }
    }
}

/// Writes one event. The formatter hands over a whole event in one buffer that ends with a newline;
/// any other line break, and whatever else acts on a terminal, came with a value.
pub(super) struct Escaping<W> {
    inner: W,
}

impl<W: Write> Write for Escaping<W> {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(event.strip_suffix(b"\n").unwrap_or(event));
        let mut line = inert(&text).into_owned();
        line.push('\n');
        self.inner.write_all(line.as_bytes())?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
