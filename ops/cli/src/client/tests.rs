//! Calls and streams against fake schedulers that lead, do not lead, break or are not there.

use std::time::Duration;

use super::*;
use crate::testing::{Fake, Script, not_leader, somebody, stranger};
use trainyard_proto::v1;

fn job(phase: &str) -> v1::Job {
    v1::Job { phase: phase.into(), ..v1::Job::default() }
}

async fn get(cluster: &Cluster) -> Result<v1::JobAnswer, CliError> {
    let request = v1::GetJobRequest::default();
    cluster.call("show the job", async |mut s| s.get_job(request.clone()).await).await
}

/// An address at which nothing listens.
async fn nobody() -> Endpoint {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap().to_string().parse().unwrap()
}

#[tokio::test]
async fn the_named_leader_is_asked_next_and_remembered() {
    let (leader, follower) = (Fake::default(), Fake::default());
    leader.0.lock().unwrap().jobs.push_back(Ok(job("running")));
    let lead = leader.serve().await;
    follower.0.lock().unwrap().jobs.push_back(Err(not_leader(Some(&lead))));
    let cluster = Cluster::new(vec![nobody().await, follower.serve().await], &somebody()).unwrap();
    assert_eq!(get(&cluster).await.unwrap().job.unwrap().phase, "running");
    assert_eq!(get(&cluster).await.unwrap().job.unwrap().phase, "running");
    assert_eq!((follower.calls(), leader.calls()), (1, 2));
}

#[tokio::test]
async fn an_election_is_waited_for() {
    let fake = Fake::default();
    let answers = [Err(not_leader(None)), Err(not_leader(None)), Ok(job("queued"))];
    fake.0.lock().unwrap().jobs.extend(answers);
    let cluster = Cluster::new(vec![fake.serve().await], &somebody()).unwrap();
    assert_eq!(get(&cluster).await.unwrap().job.unwrap().phase, "queued");
    assert_eq!(fake.calls(), 3);
}

#[tokio::test]
async fn a_refusal_is_final() {
    let fake = Fake::default();
    fake.0.lock().unwrap().jobs.push_back(Err(Status::permission_denied("not yours")));
    let cluster = Cluster::new(vec![fake.serve().await, nobody().await], &somebody()).unwrap();
    let error = get(&cluster).await.unwrap_err();
    assert_eq!((error.exit(), fake.calls()), (Exit::Auth, 1));
}

#[tokio::test]
async fn without_trust_nothing_is_asked_and_nothing_is_repeated() {
    let fake = Fake::default();
    let endpoint = fake.serve().await;
    let cluster = Cluster::new(vec![endpoint.clone()], &stranger()).unwrap();
    let error = get(&cluster).await.unwrap_err();
    assert_eq!((error.exit(), fake.calls()), (Exit::Auth, 0));
    let text = error.render(false, 80).replace(&endpoint.to_string(), "127.0.0.1:7401");
    insta::assert_snapshot!(text);
}

#[tokio::test]
async fn when_nobody_answers_it_says_who_was_asked() {
    let endpoint = nobody().await;
    let cluster = Cluster::new(vec![endpoint.clone()], &somebody())
        .unwrap()
        .patient(Duration::from_millis(300));
    let error = get(&cluster).await.unwrap_err();
    assert_eq!(error.exit(), Exit::Unavailable);
    let text = error.render(false, 80).replace(&endpoint.to_string(), "127.0.0.1:7401");
    insta::assert_snapshot!(text);
}

#[tokio::test]
async fn a_watch_survives_the_loss_of_its_scheduler() {
    let (first, second) = (Fake::default(), Fake::default());
    let broken = Script { items: vec![job("queued")], end: Some(not_leader(None)) };
    first.0.lock().unwrap().watches.push_back(broken);
    second
        .0
        .lock()
        .unwrap()
        .watches
        .push_back(Script { items: vec![job("running"), job("succeeded")], end: None });
    let (one, two) = (first.serve().await, second.serve().await);
    let cluster = Cluster::new(vec![one], &somebody()).unwrap();
    let mut watch = JobWatch::new(&cluster, "a".into());
    assert_eq!(watch.next().await.unwrap().unwrap().phase, "queued");
    {
        let mut scripts = first.0.lock().unwrap();
        scripts.watches.clear();
        let away = Script { items: vec![], end: Some(not_leader(Some(&two))) };
        scripts.watches.push_back(away);
    }
    cluster.known(|known| known.leader = Some(two));
    assert_eq!(watch.next().await.unwrap().unwrap().phase, "running");
    assert_eq!(watch.next().await.unwrap().unwrap().phase, "succeeded");
    assert!(watch.next().await.unwrap().is_none());
}

#[tokio::test]
async fn logs_come_once_over_a_broken_stream() {
    let fake = Fake::default();
    let line = |unix_ns, text: &str| v1::LogLine {
        unix_ns,
        attempt: 1,
        text: text.into(),
        ..v1::LogLine::default()
    };
    let broken = Script { items: vec![line(1, "a"), line(1, "b")], end: Some(not_leader(None)) };
    let whole = Script { items: vec![line(1, "a"), line(1, "b"), line(2, "c")], end: None };
    fake.0.lock().unwrap().logs.extend([broken, whole]);
    let cluster = Cluster::new(vec![fake.serve().await], &somebody()).unwrap();
    let mut tail = LogTail::new(&cluster, v1::LogsRequest::default());
    let mut texts = Vec::new();
    while let Some(lines) = tail.next().await.unwrap() {
        texts.extend(lines.into_iter().map(|line| line.text));
    }
    assert_eq!(texts, ["a", "b", "c"]);
}
