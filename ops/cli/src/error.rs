//! What can go wrong in a command, said so that somebody can act on it: what failed, on what,
//! what to try. The exit code of each case is decided here by naming an [`Exit`]; the numbers
//! stand in `exit.rs` alone.

use std::{fmt, io, path::Path};

use miette::{Diagnostic, GraphicalReportHandler, GraphicalTheme, Report};
use tonic::Status;
use trainyard_pki::PkiError;

use crate::exit::Exit;

/// Why a command ends early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CliError {
    /// One sentence, perhaps with a hint.
    #[error(transparent)]
    Plain(#[from] Plain),
    /// A file that a person wrote is wrong; carries spans into it.
    #[error("{0}")]
    Source(Report),
    /// Nobody reads our output any more: no error to the user.
    #[error("standard output was closed")]
    Closed,
}

/// A sentence, what to try, and how the command ends.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Plain {
    exit: Exit,
    message: String,
    help: Option<String>,
}

impl Diagnostic for Plain {
    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        let help: Box<dyn fmt::Display> = Box::new(self.help.as_ref()?);
        Some(help)
    }
}

impl CliError {
    /// A failure that ends with `exit`.
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self::Plain(Plain { exit, message: message.into(), help: None })
    }

    /// The command line or a configuration is wrong.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }

    /// What was named does not exist.
    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self::new(Exit::NotFound, message)
    }

    /// Something of our own, or of this machine, went wrong.
    pub(crate) fn internal(message: impl Into<String>) -> Self {
        Self::new(Exit::Internal, message)
    }

    /// A file or directory could not be read or written.
    pub(crate) fn io(doing: &str, path: &Path, error: &io::Error) -> Self {
        Self::internal(format!("cannot {doing} `{}`: {error}", path.display()))
    }

    /// A scheduler's refusal, in its own words.
    pub(crate) fn refused(doing: &str, status: &Status) -> Self {
        let message = match status.message() {
            "" => format!("cannot {doing}: the scheduler answered {:?}", status.code()),
            text => format!("cannot {doing}: {text}"),
        };
        Self::new(Exit::of_status(status.code()), message)
    }

    /// Adds what to try. An earlier hint stays.
    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        if let Self::Plain(plain) = &mut self {
            plain.help.get_or_insert_with(|| help.into());
        }
        self
    }

    /// How the command ends.
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Plain(plain) => plain.exit,
            Self::Source(_) => Exit::Usage,
            Self::Closed => Exit::Done,
        }
    }

    /// The text for a person, as wide as `width`.
    pub(crate) fn render(self, colour: bool, width: usize) -> String {
        let report: Report = match self {
            Self::Plain(plain) => plain.into(),
            Self::Source(report) => report,
            Self::Closed => return String::new(),
        };
        let theme =
            if colour { GraphicalTheme::unicode() } else { GraphicalTheme::unicode_nocolor() };
        let mut text = String::new();
        let handler = GraphicalReportHandler::new_themed(theme).with_width(width);
        match handler.with_links(false).render_report(&mut text, report.as_ref()) {
            Ok(()) => text,
            Err(fmt::Error) => format!("{report}\n"),
        }
    }
}

impl From<PkiError> for CliError {
    fn from(error: PkiError) -> Self {
        let exit = match error {
            PkiError::File { .. } | PkiError::Authority(_) | PkiError::Tls(_) => Exit::Internal,
            _ => Exit::Auth,
        };
        let text = error.to_string();
        match text.rsplit_once("; ") {
            Some((what, hint)) => Self::new(exit, what).help(hint),
            None => Self::new(exit, text),
        }
    }
}

impl From<io::Error> for CliError {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            Self::Closed
        } else {
            Self::internal(format!("cannot write the output: {error}"))
        }
    }
}

#[cfg(test)]
mod tests;
