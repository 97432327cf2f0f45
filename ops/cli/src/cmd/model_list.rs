//! `yard model list`: the versions of models, the newest first.

use clap::Args;
use trainyard_jobs::ModelName;
use trainyard_proto::v1;

use crate::{
    app::App,
    error::CliError,
    exit::Exit,
    output::{List, Page, human},
    view::model::VersionView,
};

/// Which models.
#[derive(Debug, Args)]
pub(crate) struct ModelListArgs {
    /// Only this model
    model: Option<ModelName>,
}

/// Lists versions.
pub(crate) async fn run(app: &App, args: &ModelListArgs) -> Result<Exit, CliError> {
    let cluster = app.cluster()?;
    let request = v1::ListModelsRequest { stale: app.global.stale };
    app.show(async || {
        let answer = cluster
            .call("list the models", async |mut service| service.list_models(request).await)
            .await?;
        page(app, args, answer)
    })
    .await
}

fn page(app: &App, args: &ModelListArgs, answer: v1::ListModelsAnswer) -> Result<Page, CliError> {
    let wanted = |model: &v1::Model| {
        args.model.as_ref().is_none_or(|name| name.as_str() == model.name)
            && app.global.project.as_ref().is_none_or(|project| *project == model.project)
    };
    let models = answer.models.into_iter().filter(wanted);
    let mut items: Vec<VersionView> =
        models.flat_map(|model| model.versions).map(VersionView::from).collect();
    items.sort_by(VersionView::newest_first);
    let mut look = app.out.look();
    look.id_chars = human::id_chars(items.iter().map(VersionView::job));
    let empty =
        "no models yet: a job with `[register] model = \"NAME\"` makes one when it succeeds";
    let stale = app.global.stale;
    app.out.list(&List { items, more: false, stale, empty: empty.to_owned() }, look)
}
