//! What is wrong with a spec file, ready to be shown: each error with its place in the text,
//! what was expected there, and what to write instead.

use std::fmt;

use miette::{Diagnostic, LabeledSpan, NamedSource, SourceCode};

/// One thing that is wrong with a spec file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpecError {
    pub(super) message: String,
    pub(super) labels: Vec<LabeledSpan>,
    pub(super) help: Option<String>,
}

impl SpecError {
    /// Where it begins in the text, in bytes; `None` if something is missing altogether.
    #[must_use]
    pub fn offset(&self) -> Option<usize> {
        self.labels.iter().map(LabeledSpan::offset).next()
    }
}

impl fmt::Display for SpecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for SpecError {}

impl Diagnostic for SpecError {
    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        if self.labels.is_empty() {
            return None;
        }
        Some(Box::new(self.labels.iter().cloned()))
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        let help = self.help.as_ref()?;
        Some(Box::new(help))
    }
}

/// All that is wrong with a spec file; at least one error.
#[derive(Debug)]
pub struct SpecErrors {
    source: NamedSource<String>,
    errors: Vec<SpecError>,
}

impl SpecErrors {
    pub(super) fn new(name: &str, text: &str, errors: Vec<SpecError>) -> Self {
        Self { source: NamedSource::new(name, text.to_owned()), errors }
    }

    /// The errors, in the order of the text.
    #[must_use]
    pub fn errors(&self) -> &[SpecError] {
        &self.errors
    }

    /// The file's name, as it was given.
    #[must_use]
    pub fn file(&self) -> &str {
        self.source.name()
    }

    /// One line an error, as compilers write them: ``job.toml:3:1: unknown key `gpuz` ``.
    pub fn lines(&self) -> impl Iterator<Item = String> + '_ {
        self.errors.iter().map(|error| {
            let place = self
                .position(error)
                .map_or_else(String::new, |(line, column)| format!(":{line}:{column}"));
            format!("{}{place}: {error}", self.file())
        })
    }

    fn only(&self) -> Option<&SpecError> {
        match self.errors.as_slice() {
            [error] => Some(error),
            _ => None,
        }
    }

    /// Line and column of an error, both from 1, in characters.
    fn position(&self, error: &SpecError) -> Option<(usize, usize)> {
        let before = self.source.inner().get(..error.offset()?)?;
        let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        Some((line, column))
    }
}

impl fmt::Display for SpecErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.only() {
            Some(error) => error.fmt(f),
            None => write!(f, "{} mistakes in {}", self.errors.len(), self.file()),
        }
    }
}

impl std::error::Error for SpecErrors {}

/// A single error shows as itself; several show under one headline.
impl Diagnostic for SpecErrors {
    fn source_code(&self) -> Option<&dyn SourceCode> {
        Some(&self.source)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        self.only().and_then(SpecError::labels)
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.only().and_then(SpecError::help)
    }

    fn related<'a>(&'a self) -> Option<Box<dyn Iterator<Item = &'a dyn Diagnostic> + 'a>> {
        if self.only().is_some() {
            return None;
        }
        Some(Box::new(self.errors.iter().map(|error| -> &dyn Diagnostic { error })))
    }
}
