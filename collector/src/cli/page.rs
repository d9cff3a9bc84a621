//! How an answer that is a page is printed.

use clap::ValueEnum;

use super::output::Output;
use crate::report::Page;

/// For people, or for programs.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum Format {
    Table,
    Json,
    Markdown,
}

impl Output<'_> {
    /// The document itself, or its page.
    pub(super) fn page(&mut self, format: Format, json: String, page: &Page) -> anyhow::Result<()> {
        let text = match format {
            Format::Json => json,
            Format::Table => page.text(),
            Format::Markdown => page.markdown(),
        };
        Ok(self.print(&text)?)
    }
}
