//! `yard node list`: worker nodes and what of them is in use.

use trainyard_proto::v1;

use crate::{
    app::App,
    client::Cluster,
    error::CliError,
    exit::Exit,
    output::{List, Page, human},
    view::node::NodeView,
};

/// Nodes of which is said below the table why they are used last.
const EXPLAINED: usize = 10;

/// Lists nodes.
pub(crate) async fn run(app: &App) -> Result<Exit, CliError> {
    let cluster = app.cluster()?;
    app.show(async || page(app, fetch(&cluster, app.global.stale).await?)).await
}

/// Asks for all nodes.
pub(crate) async fn fetch(cluster: &Cluster, stale: bool) -> Result<v1::ListNodesAnswer, CliError> {
    let request = v1::ListNodesRequest { stale };
    cluster.call("list the nodes", async |mut service| service.list_nodes(request).await).await
}

fn page(app: &App, answer: v1::ListNodesAnswer) -> Result<Page, CliError> {
    let mut items: Vec<NodeView> = answer.nodes.into_iter().map(NodeView::from).collect();
    items.sort_by(|a, b| a.name.cmp(&b.name));
    let mut look = app.out.look();
    look.id_chars = human::id_chars(items.iter().flat_map(NodeView::jobs));
    let empty = "no nodes yet: `yard worker` joins one, `yard dev --workers 2` starts some here";
    let held: Vec<String> = items.iter().flat_map(NodeView::notes).collect();
    let last: Vec<String> = items.iter().filter_map(NodeView::why_last).collect();
    let list = List { items, more: false, stale: answer.stale, empty: empty.to_owned() };
    let mut page = app.out.list(&list, look)?;
    page.notes.extend(held);
    let more = last.len().saturating_sub(EXPLAINED);
    page.notes.extend(last.into_iter().take(EXPLAINED));
    if more > 0 {
        page.notes.push(format!("{more} more nodes are used last: `-o json` says why"));
    }
    Ok(page)
}
