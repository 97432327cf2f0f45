//! The `yard` command as a person or a script runs it: arguments in; exit code and texts out.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, bail};
use serde::de::DeserializeOwned;

use crate::programs;

/// How to run `yard` against one cluster, from one folder.
#[derive(Debug, Clone)]
pub struct Yard {
    endpoint: String,
    pki: PathBuf,
    folder: PathBuf,
    token: Option<String>,
}

/// What a run of `yard` gave.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The exit code; none when a signal ended it.
    pub code: Option<i32>,
    /// What it printed.
    pub stdout: String,
    /// What it said.
    pub stderr: String,
    asked: String,
}

impl Yard {
    /// Against the schedulers at `endpoint` (a list with commas), with the certificate in `pki`, run
    /// in `folder`.
    #[must_use]
    pub fn new(endpoint: &str, pki: &Path, folder: &Path) -> Self {
        let (endpoint, pki, folder) = (endpoint.to_owned(), pki.to_owned(), folder.to_owned());
        Self { endpoint, pki, folder, token: None }
    }

    /// The same for somebody who bears a token, and has only the certificates in `pki`.
    #[must_use]
    pub fn bearing(&self, pki: &Path, token: Option<&str>) -> Self {
        Self { pki: pki.to_owned(), token: token.map(str::to_owned), ..self.clone() }
    }

    /// The same person, asking other schedulers.
    #[must_use]
    pub fn at(&self, endpoint: &str) -> Self {
        Self { endpoint: endpoint.to_owned(), ..self.clone() }
    }

    /// The schedulers that it asks.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// The command, ready for further arguments, with an environment of its own.
    pub fn command(&self) -> anyhow::Result<Command> {
        let mut command = Command::new(programs::yard()?);
        without_settings(&mut command);
        command
            .env("YARD_ENDPOINT", &self.endpoint)
            .env("YARD_PKI", &self.pki)
            .env("HOME", &self.folder)
            .env("XDG_CONFIG_HOME", self.folder.join("config"))
            .env("XDG_STATE_HOME", self.folder.join("state"))
            .env("NO_COLOR", "1")
            .env("RUST_LOG", "off")
            .current_dir(&self.folder)
            .stdin(Stdio::null());
        if let Some(token) = &self.token {
            command.env("YARD_TOKEN", token);
        }
        Ok(command)
    }

    /// Runs it to its end.
    pub fn run<S: AsRef<OsStr>>(&self, arguments: &[S]) -> anyhow::Result<Answer> {
        let mut command = self.command()?;
        command.args(arguments);
        let output = command.output().context("could not run yard")?;
        let words: Vec<_> = arguments.iter().map(|word| word.as_ref().to_string_lossy()).collect();
        Ok(Answer {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            asked: words.join(" "),
        })
    }

    /// Runs it with `-o json` and reads what it printed.
    pub fn json<T: DeserializeOwned>(&self, arguments: &[&str]) -> anyhow::Result<T> {
        let answer = self.run(&[arguments, &["-o", "json"]].concat())?.ok()?;
        serde_json::from_str(&answer.stdout)
            .with_context(|| format!("`yard {}` printed: {}", answer.asked, answer.stdout))
    }
}

impl Answer {
    /// Itself, if it ended with `code`; an error that tells what it said otherwise.
    pub fn expect_code(self, code: i32) -> anyhow::Result<Self> {
        if self.code == Some(code) {
            return Ok(self);
        }
        let Self { asked, stdout, stderr, .. } = &self;
        bail!("`yard {asked}` gave {:?}, not {code}\n{stdout}\n{stderr}", self.code)
    }

    /// Itself, if it ended well.
    pub fn ok(self) -> anyhow::Result<Self> {
        self.expect_code(0)
    }
}

/// Takes out of a command's environment what would change a daemon's or the CLI's settings.
pub fn without_settings(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("YARD_") {
            command.env_remove(name);
        }
    }
}
