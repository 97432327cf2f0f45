//! `yard model get`: a version, its files and where it came from.

use clap::Args;

use super::model::{self, ModelRef};
use crate::{app::App, error::CliError, exit::Exit, view::model::VersionView};

/// Which version.
#[derive(Debug, Args)]
pub(crate) struct ModelGetArgs {
    /// MODEL for the newest version, MODEL:N or MODEL@N
    model: ModelRef,
}

/// Shows a version.
pub(crate) async fn run(app: &App, args: &ModelGetArgs) -> Result<Exit, CliError> {
    let cluster = app.cluster()?;
    app.show(async || {
        let version = model::fetch(&cluster, &args.model).await?;
        app.out.card(&VersionView::from(version), app.out.look())
    })
    .await
}
