//! `yard cluster status`: asks every scheduler that the endpoints or the schedulers themselves
//! name, each on its own, so that what is down or behind shows.

use std::{collections::BTreeMap, time::Duration};

use futures::future::join_all;
use trainyard_proto::v1;

use crate::{
    app::App,
    client::{self, Cluster},
    endpoint::Endpoint,
    error::CliError,
    exit::Exit,
    output::Page,
    view::cluster::{Asked, ClusterView},
};

/// How long one scheduler may take to answer.
const LIMIT: Duration = Duration::from_secs(2);

/// Shows the schedulers. Without a leader it ends with the exit code for that.
pub(crate) async fn run(app: &App) -> Result<Exit, CliError> {
    let cluster = app.cluster()?;
    if app.global.watch {
        return app.show(async || page(app, &view(&cluster).await)).await;
    }
    let view = view(&cluster).await;
    app.out.print(&page(app, &view)?)?;
    Ok(if view.has_leader() { Exit::Done } else { Exit::Unavailable })
}

fn page(app: &App, view: &ClusterView) -> Result<Page, CliError> {
    let mut page = app.out.card(view, app.out.look())?;
    page.notes.extend(view.divergence());
    page.notes.extend(view.alarms());
    Ok(page)
}

/// Asks the endpoints, then the members that the answers name.
async fn view(cluster: &Cluster) -> ClusterView {
    let (mut asked, members) = ask_everybody(cluster).await;
    for (address, id) in members {
        if let Some(asked) = asked.get_mut(&address) {
            asked.id = Some(id);
        }
    }
    ClusterView::new(asked.into_values().collect())
}

/// What each said, by address, and the members by address.
async fn ask_everybody(cluster: &Cluster) -> (BTreeMap<String, Asked>, BTreeMap<String, u64>) {
    let mut asked: BTreeMap<String, Asked> = BTreeMap::new();
    let first: Vec<String> = cluster.endpoints().iter().map(ToString::to_string).collect();
    ask_all(cluster, first, &mut asked).await;
    let members: BTreeMap<String, u64> = asked
        .values()
        .filter_map(|asked| asked.answer.as_ref().ok())
        .flat_map(|answer| answer.members.iter().map(|m| (m.address.clone(), m.id)))
        .collect();
    let more = members.keys().filter(|address| !asked.contains_key(*address)).cloned().collect();
    ask_all(cluster, more, &mut asked).await;
    (asked, members)
}

/// Where schedulers answer, and which do not.
pub(crate) async fn everybody(cluster: &Cluster) -> (Vec<Endpoint>, Vec<String>) {
    let (mut answer, mut silent) = (Vec::new(), Vec::new());
    for (address, asked) in ask_everybody(cluster).await.0 {
        match (asked.answer, address.parse()) {
            (Ok(_), Ok(endpoint)) => answer.push(endpoint),
            _ => silent.push(address),
        }
    }
    if answer.is_empty() {
        // Asked again, they say why.
        answer = cluster.endpoints().to_vec();
    }
    (answer, silent)
}

async fn ask_all(cluster: &Cluster, addresses: Vec<String>, asked: &mut BTreeMap<String, Asked>) {
    let all = join_all(addresses.into_iter().map(async |address| {
        let answer = ask(cluster, &address).await;
        (address.clone(), Asked { address, id: None, answer })
    }));
    asked.extend(all.await);
}

async fn ask(cluster: &Cluster, address: &str) -> Result<v1::ClusterStatusAnswer, String> {
    let endpoint: Endpoint = address.parse().map_err(|error: CliError| error.to_string())?;
    let call = async |mut service: client::Service| {
        service.cluster_status(v1::ClusterStatusRequest {}).await
    };
    cluster.ask(&endpoint, &call, LIMIT).await.map_err(|status| client::reason(&status))
}
