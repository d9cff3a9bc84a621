//! What a command prints.

use std::io::{self, Write};

/// Standard output, or a test's buffer.
pub(super) struct Output<'a> {
    to: Box<dyn Write + 'a>,
}

impl<'a> Output<'a> {
    pub(super) fn new(to: impl Write + 'a) -> Self {
        Self { to: Box::new(to) }
    }

    /// Writes bytes as they are, at once.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.to.write_all(bytes)?;
        self.to.flush()
    }

    /// Prints text that ends in a new line or gets one, at once.
    pub(super) fn print(&mut self, text: &str) -> io::Result<()> {
        self.to.write_all(text.as_bytes())?;
        if !text.ends_with('\n') {
            self.to.write_all(b"\n")?;
        }
        self.to.flush()
    }
}
