//! `yard gpu list`: device units, who holds them and how busy they are.

use clap::Args;
use trainyard_proto::v1;

use super::node;
use crate::{
    app::App,
    error::CliError,
    exit::Exit,
    output::{List, Page, human},
    view::gpu::DeviceView,
};

/// Which units.
#[derive(Debug, Args)]
pub(crate) struct GpuListArgs {
    /// CPU slots too
    #[arg(short, long)]
    all: bool,
}

/// Lists units.
pub(crate) async fn run(app: &App, args: &GpuListArgs) -> Result<Exit, CliError> {
    let cluster = app.cluster()?;
    app.show(async || page(app, args.all, node::fetch(&cluster, app.global.stale).await?)).await
}

fn page(app: &App, all: bool, mut answer: v1::ListNodesAnswer) -> Result<Page, CliError> {
    let name = |node: &v1::Node| node.inventory.as_ref().map(|i| i.name.clone());
    answer.nodes.sort_by_key(name);
    let mut items: Vec<DeviceView> = answer.nodes.iter().flat_map(DeviceView::all_of).collect();
    let slots = items.iter().filter(|device| device.kind == "cpu").count();
    if !all {
        items.retain(|device| device.kind == "gpu");
    }
    let empty = format!(
        "no GPU on any of {} nodes; they offer {slots} CPU slots: `yard gpu list --all`",
        answer.nodes.len()
    );
    let owners = items.iter().filter_map(|device| device.owner.as_ref());
    let mut look = app.out.look();
    look.id_chars = human::id_chars(owners.map(|owner| owner.job.as_str()));
    let list = List { items, more: false, stale: answer.stale, empty };
    app.out.list(&list, look)
}
