//! How results reach the user: one place decides between table, wide, JSON, JSON lines, YAML,
//! CSV and ids alone. Results go to standard output, all else to standard error. A command says what it
//! has to show, never how it is drawn.

use std::io::{self, IsTerminal as _, Write as _};

use clap::ValueEnum;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

use crate::error::CliError;

pub(crate) mod document;
pub(crate) mod human;
pub(crate) mod table;
pub(crate) mod tone;
mod yaml;

pub(crate) use document::{Card, List, Row};
pub(crate) use table::Cell;
pub(crate) use tone::Tone;

/// How results are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Format {
    /// Columns that fit 80 characters.
    #[default]
    Table,
    /// All columns.
    Wide,
    /// One JSON document.
    Json,
    /// One JSON document a line.
    Jsonl,
    /// YAML.
    Yaml,
    /// Comma-separated values under a header; for listings of plain values.
    Csv,
}

/// When colours are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Colour {
    /// On a terminal, unless `NO_COLOR` is set.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

impl Colour {
    fn on(self, terminal: bool) -> bool {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        match self {
            Self::Auto => terminal && !refused,
            Self::Always => true,
            Self::Never => false,
        }
    }
}

/// What drawing depends on besides the data; fixed in tests.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Look {
    /// Milliseconds since the Unix epoch.
    pub(crate) now_ms: u64,
    /// Whether standard output takes colours.
    pub(crate) colour: bool,
    /// Whether all columns are wanted.
    pub(crate) wide: bool,
    /// How many characters of an id name it among those shown.
    pub(crate) id_chars: usize,
}

/// What a command has to show: the text, and what is said beside it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Page {
    /// For standard output.
    pub(crate) body: String,
    /// For standard error, one line each.
    pub(crate) notes: Vec<String>,
}

/// The user's wishes about output.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    /// How results are written.
    pub(crate) format: Format,
    /// Ids alone, no notes.
    pub(crate) quiet: bool,
    /// Whether standard output takes colours.
    pub(crate) colour: bool,
    /// Whether standard error takes colours.
    pub(crate) colour_err: bool,
}

impl Output {
    /// Looks at the terminal.
    pub(crate) fn new(format: Format, quiet: bool, colour: Colour) -> Self {
        Self {
            format,
            quiet,
            colour: colour.on(io::stdout().is_terminal()),
            colour_err: colour.on(io::stderr().is_terminal()),
        }
    }

    /// Whether a person reads, not a program.
    pub(crate) const fn is_human(&self) -> bool {
        matches!(self.format, Format::Table | Format::Wide) && !self.quiet
    }

    /// What drawing depends on, at this moment.
    pub(crate) fn look(&self) -> Look {
        Look {
            now_ms: human::now_ms(),
            colour: self.colour,
            wide: self.format == Format::Wide,
            id_chars: 8,
        }
    }

    /// Draws a listing.
    pub(crate) fn list<T: Row>(&self, list: &List<T>, look: Look) -> Result<Page, CliError> {
        let body = match self.format {
            _ if self.quiet => lines(list.items.iter().map(T::key)),
            Format::Table | Format::Wide => table::draw(&list.items, look),
            Format::Json => document::json(&list.document())?,
            Format::Jsonl => {
                let each = list.items.iter().map(|item| document::jsonl(T::KIND, item));
                each.collect::<Result<String, _>>()?
            }
            Format::Yaml => yaml::text(&list.document())?,
            Format::Csv => document::csv(&list.items)?,
        };
        let notes = if self.is_human() { list.notes() } else { Vec::new() };
        Ok(Page { body, notes })
    }

    /// Draws one thing.
    pub(crate) fn card<T: Card>(&self, card: &T, look: Look) -> Result<Page, CliError> {
        let body = match self.format {
            _ if self.quiet => lines(std::iter::once(card.key())),
            Format::Table | Format::Wide => card.draw(look),
            Format::Json => document::json(&document::single(T::KIND, card))?,
            Format::Jsonl => document::jsonl(T::KIND, card)?,
            Format::Yaml => yaml::text(&document::single(T::KIND, card))?,
            Format::Csv => document::csv(&[card])?,
        };
        Ok(Page { body, notes: Vec::new() })
    }

    /// Writes a page: results, then notes.
    pub(crate) fn print(&self, page: &Page) -> Result<(), CliError> {
        self.result(&page.body)?;
        for note in &page.notes {
            self.note(note);
        }
        Ok(())
    }

    /// Writes text to standard output as it is.
    pub(crate) fn result(&self, text: &str) -> Result<(), CliError> {
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes())?;
        out.flush()?;
        Ok(())
    }

    /// Says something beside the result. Nobody reading it is no error.
    pub(crate) fn note(&self, text: &str) {
        if !self.quiet {
            let _ = writeln!(io::stderr().lock(), "{text}");
        }
    }

    /// A bar for bytes, where a person watches; else it draws nothing.
    pub(crate) fn bytes_bar(&self, bytes: u64, title: &str) -> ProgressBar {
        if self.quiet || !stderr_is_terminal() {
            return ProgressBar::hidden();
        }
        let bar = ProgressBar::with_draw_target(Some(bytes), ProgressDrawTarget::stderr());
        let template = "{msg}  {bar:24} {binary_bytes}/{binary_total_bytes}  {eta} left";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("━╸ "));
        }
        bar.with_message(title.to_owned())
    }

    /// A document of its own kind, for what is neither a list nor a card.
    pub(crate) fn document<T: Serialize>(
        &self,
        kind: &'static str,
        body: &T,
    ) -> Result<String, CliError> {
        match self.format {
            Format::Jsonl => document::jsonl(kind, body),
            Format::Yaml => yaml::text(&document::single(kind, body)),
            Format::Csv => document::csv(&[body]),
            Format::Table | Format::Wide | Format::Json => {
                document::json(&document::single(kind, body))
            }
        }
    }
}

/// Whether a person sees standard output.
pub(crate) fn stdout_is_terminal() -> bool {
    io::stdout().is_terminal()
}

/// Whether a person sees standard error.
pub(crate) fn stderr_is_terminal() -> bool {
    io::stderr().is_terminal()
}

fn lines(keys: impl Iterator<Item = String>) -> String {
    keys.map(|key| key + "\n").collect()
}
