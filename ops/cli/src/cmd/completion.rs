//! `yard completion SHELL`: a script for the shell to source.

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use crate::{app::App, args::Cli, error::CliError, exit::Exit};

/// Which shell.
#[derive(Debug, Args)]
pub(crate) struct CompletionArgs {
    /// bash, elvish, fish, powershell or zsh
    #[arg(value_enum, hide_possible_values = true)]
    shell: Shell,
}

/// Prints the script.
pub(crate) fn run(app: &App, args: &CompletionArgs) -> Result<Exit, CliError> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "yard", &mut script);
    app.out.result(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Done)
}
