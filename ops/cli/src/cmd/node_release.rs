//! `yard node release`: the operator's word that ends a held attempt.

use clap::Args;
use trainyard_jobs::{AttemptNo, AttemptRef, Generation};
use trainyard_proto::v1;

use super::node;
use crate::{app::App, client::Members, error::CliError, exit::Exit};

/// Which attempt of which node.
#[derive(Debug, Args)]
pub(crate) struct ReleaseArgs {
    /// The node's name or id
    node: String,
    /// The attempt, JOB.ATTEMPT.GENERATION, as `yard node list -o json` has it
    attempt: String,
    /// Stop its ranks; without a word it runs on to its end
    #[arg(long, required = true)]
    stop: bool,
}

/// Stops a held attempt.
pub(crate) async fn run(app: &App, args: &ReleaseArgs) -> Result<Exit, CliError> {
    let cluster = app.cluster()?;
    let attempt = parse(&args.attempt)?;
    let request =
        v1::ReleaseAttemptRequest { node: args.node.clone(), attempt: Some((&attempt).into()) };
    let ask = async |mut service: Members| service.release_attempt(request.clone()).await;
    cluster.call_members("release the attempt", ask).await?;
    let nodes = node::fetch(&cluster, false).await?.nodes;
    let held = nodes.iter().flat_map(|node| &node.held).count();
    app.out.note(&format!(
        "attempt {attempt} is being stopped; {held} held attempts were left when that was said"
    ));
    Ok(Exit::Done)
}

fn parse(text: &str) -> Result<AttemptRef, CliError> {
    let mut parts = text.split('.');
    let mut next = || parts.next().unwrap_or_default();
    let (job, attempt, generation) = (next(), next(), next());
    let read = || {
        Some(AttemptRef {
            job: job.parse().ok()?,
            attempt: AttemptNo(attempt.parse().ok()?),
            generation: Generation(generation.parse().ok()?),
        })
    };
    read().filter(|read| read.to_string() == text).ok_or_else(|| {
        CliError::usage(format!("`{text}` is no attempt"))
            .help("write JOB.ATTEMPT.GENERATION as `yard node list -o wide` shows it")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attempt_is_named_in_full() {
        assert_eq!(parse("0123456789ab.2.65537").unwrap().generation, Generation(65_537));
        for bad in ["", "0123456789ab", "0123456789ab.2", "0123456789ab.2.1.1", "x.1.1"] {
            assert_eq!(parse(bad).unwrap_err().exit(), Exit::Usage, "{bad}");
        }
    }
}
