//! `yard schema job`: the JSON Schema of a job spec, for editors and for programs.

use crate::{app::App, error::CliError, exit::Exit};

/// Prints the schema.
pub(crate) fn run(app: &App) -> Result<Exit, CliError> {
    let schema = trainyard_jobs::spec::schema();
    let text = serde_json::to_string_pretty(&schema)
        .map_err(|error| CliError::internal(format!("cannot write the schema: {error}")))?;
    app.out.result(&(text + "\n"))?;
    Ok(Exit::Done)
}
