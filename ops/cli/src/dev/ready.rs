//! When a `yard dev` cluster is up, and what the user is told then.

use std::{collections::BTreeSet, time::Duration};

use tokio::time::{Instant, sleep};
use trainyard_pki::Credentials;

use super::Layout;
use crate::{
    client::Cluster, cmd::node, endpoint::Endpoint, error::CliError, exit::Exit, output::Tone,
    view::node::NodeView,
};

/// How long a cluster may take to come up.
const LIMIT: Duration = Duration::from_secs(60);

/// Waits until a leader answers and each worker is up; returns what they offer.
pub(crate) async fn wait(
    endpoints: &[String],
    workers: &[String],
    credentials: &Credentials,
) -> Result<Vec<NodeView>, CliError> {
    let list = endpoints.iter().map(|at| at.parse()).collect::<Result<Vec<Endpoint>, _>>()?;
    let cluster = Cluster::new(list, credentials)?.patient(LIMIT);
    let give_up = Instant::now() + LIMIT;
    let wanted: BTreeSet<&str> = workers.iter().map(String::as_str).collect();
    loop {
        let answer = node::fetch(&cluster, false).await?;
        let nodes = answer.nodes.into_iter().map(NodeView::from);
        let up: Vec<NodeView> = nodes.filter(|node| node.state == "up").collect();
        let missing: Vec<&str> =
            wanted.iter().filter(|name| up.iter().all(|n| n.name != **name)).copied().collect();
        if missing.is_empty() {
            return Ok(up);
        }
        if Instant::now() >= give_up {
            let what = format!("{} did not join within {} s", missing.join(", "), LIMIT.as_secs());
            return Err(CliError::new(Exit::Unavailable, what)
                .help("their logs lie in the directory's `log`"));
        }
        sleep(Duration::from_millis(100)).await;
    }
}

/// What runs, and what to try next.
pub(crate) fn banner(
    layout: &Layout,
    endpoints: &[String],
    nodes: &[NodeView],
    colour: bool,
) -> String {
    let count = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
    let units = |kind| nodes.iter().map(|node| node.units_of(kind)).sum::<usize>();
    let offers = [(units("gpu"), "GPU"), (units("cpu"), "CPU slot")]
        .into_iter()
        .filter(|(n, _)| *n > 0)
        .map(|(n, what)| count(n, what))
        .collect::<Vec<_>>();
    let head = format!(
        "Trainyard is up: {}, {} with {}",
        count(endpoints.len(), "scheduler"),
        count(nodes.len(), "worker"),
        if offers.is_empty() { "nothing to run on".to_owned() } else { offers.join(" and ") }
    );
    let label = |text: &str| Tone::Meta.paint(&format!("  {text:<10}"), colour);
    format!(
        "{}\n{}{}\n{}{}\n{}yard run JOB.toml   yard ps   yard node list   yard cluster status\n{}Ctrl-C stops all of it",
        Tone::Good.paint(&head, colour),
        label("endpoints"),
        endpoints.join(","),
        label("directory"),
        layout.dir().display(),
        label("next"),
        label(""),
    )
}
