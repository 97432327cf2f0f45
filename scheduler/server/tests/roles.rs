//! Who may call what: every RPC by every kind of caller, against a real scheduler over its port.
//! The tables are the snapshots; a change of one is a change of what somebody may do.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a test")]

mod support;

use std::{error::Error as _, fmt::Write as _, time::Duration};

use prost::Message;
use support::{Daemon, Someone, bearer, config, model_of, now_key, submit_in};
use tokio::time::timeout;
use tonic::{Code, Request, Status, transport::Channel};
use trainyard_jobs::{Role, Secret, Token};
use trainyard_proto::{
    RPCS,
    v1::{self, access_client::AccessClient},
};
use uuid::Uuid;

/// A column of the table.
struct Column {
    name: &'static str,
    channel: Option<Channel>,
    token: Option<String>,
}

/// Calls an RPC by its path with one message, and says how it was answered.
async fn call<M: Message + Default + 'static>(column: &Column, rpc: &str, message: M) -> Code {
    let Some(channel) = &column.channel else { return Code::Unavailable };
    let mut grpc = tonic::client::Grpc::new(channel.clone());
    let codec = tonic_prost::ProstCodec::<M, ()>::default();
    let mut request = Request::new(tokio_stream::once(message));
    if let Some(token) = &column.token {
        bearer(&mut request, token);
    }
    let path = rpc.parse().unwrap();
    let answer = timeout(Duration::from_secs(20), async {
        grpc.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
        let mut stream = grpc.streaming(request, path, codec).await?.into_inner();
        stream.message().await
    });
    // A status with a source was made on this side: the connection was cut.
    let code = |status: Status| {
        if status.source().is_some() { Code::Unavailable } else { status.code() }
    };
    answer.await.expect("an answer").map_or_else(code, |_| Code::Ok)
}

/// What the row says: let in, or turned away and how. What the service then thinks of an empty
/// message is another matter.
const fn word(code: Code) -> &'static str {
    match code {
        Code::Unauthenticated => "who?",
        Code::PermissionDenied => "no",
        Code::Unavailable => "cut",
        Code::Unimplemented => "none",
        _ => "yes",
    }
}

fn draw(columns: &[Column], rows: &[(String, Vec<&'static str>)]) -> String {
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap();
    let mut text = format!("{:width$}", "");
    for column in columns {
        write!(text, "  {}", column.name).unwrap();
    }
    for (name, cells) in rows {
        write!(text, "\n{name:width$}").unwrap();
        for (column, cell) in columns.iter().zip(cells) {
            write!(text, "  {cell:w$}", w = column.name.len()).unwrap();
        }
        text.truncate(text.trim_end().len());
    }
    text
}

async fn columns(daemon: &Daemon) -> Vec<Column> {
    let anonymous = daemon.channel(Someone::Nobody).await;
    let by_token = |name, token| Column { name, channel: Some(anonymous.clone()), token };
    let mut columns = vec![
        by_token("nobody", None),
        by_token("garbage", Some("yard_api_garbage".to_owned())),
        by_token("unknown", Some(unknown())),
        by_token("expired", Some(daemon.token("admin", &[], 1).await)),
        by_token("revoked", Some(daemon.revoked("admin").await)),
    ];
    for role in Role::ALL {
        columns.push(by_token(role.as_str(), Some(daemon.token(role.as_str(), &[], 60_000).await)));
    }
    for (name, role) in [("viewer@other", "viewer"), ("researcher@other", "researcher")] {
        columns.push(by_token(name, Some(daemon.token(role, &["other"], 60_000).await)));
    }
    for (name, who) in [
        ("admin-cert", Someone::Person(Role::Admin)),
        ("viewer-cert", Someone::Person(Role::Viewer)),
        ("worker", Someone::Worker),
        ("scheduler", Someone::Scheduler),
    ] {
        columns.push(Column { name, channel: Some(daemon.channel(who).await), token: None });
    }
    // Does not get as far as a request.
    let stranger = daemon.try_channel(Someone::OfAnotherCluster).await;
    columns.push(Column { name: "stranger", channel: stranger.ok(), token: None });
    let worker = Some(daemon.channel(Someone::Worker).await);
    let token = Some(daemon.token("viewer", &[], 60_000).await);
    columns.push(Column { name: "worker+viewer", channel: worker, token });
    columns
}

fn unknown() -> String {
    let id = trainyard_jobs::TokenId::from_random(1);
    Token::Api { id, secret: Secret::from_random([1; 32]) }.expose()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_rpc_asks_every_caller_for_what_the_table_says() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path());
    // The question here is who, not how often.
    config.limits.stranger.burst = 1_000_000;
    let daemon = Daemon::start(config).await;
    let columns = columns(&daemon).await;
    tokio::time::sleep(Duration::from_millis(5)).await;
    let mut rows = Vec::new();
    for rpc in RPCS.iter().chain(&["/trainyard.v1.Client/Invented"]) {
        let mut cells = Vec::new();
        for column in &columns {
            // A worker's report has to name the worker itself.
            let code = if rpc.contains("/Report") {
                let node = support::worker().to_string();
                let report = v1::StartedReport { node, ..Default::default() };
                call(column, rpc, report).await
            } else {
                call(column, rpc, ()).await
            };
            cells.push(word(code));
        }
        rows.push((rpc.trim_start_matches("/trainyard.v1.").to_owned(), cells));
    }
    insta::assert_snapshot!("rpcs", draw(&columns, &rows));
    daemon.stop().await;
}

/// What a caller gets of a thing that is there: `404` where it is as if it were not.
fn found(code: Code) -> &'static str {
    match code {
        Code::NotFound => "404",
        Code::Ok | Code::FailedPrecondition => "yes",
        other => word(other),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_belongs_to_another_project_does_not_exist() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(config(dir.path())).await;
    let job = model_of(&daemon, "research").await;
    let anonymous = daemon.channel(Someone::Nobody).await;
    let mut columns = Vec::new();
    for (name, role, projects) in [
        ("viewer", "viewer", &["research"][..]),
        ("viewer@other", "viewer", &["other"]),
        ("researcher", "researcher", &["other", "research"]),
        ("researcher@other", "researcher", &["other"]),
        ("operator", "operator", &[]),
        ("admin", "admin", &[]),
    ] {
        let token = Some(daemon.token(role, projects, 60_000).await);
        columns.push(Column { name, channel: Some(anonymous.clone()), token });
    }
    let get = |job: &str| v1::GetJobRequest { job: job.to_owned(), stale: false };
    let mut rows = Vec::new();
    for (rpc, job) in [
        ("GetJob", job.as_str()),
        ("GetJob (prefix)", &job[..4]),
        ("WatchJob", &job),
        ("Explain", &job),
        ("Logs", &job),
        ("Logs (prefix)", &job[..4]),
    ] {
        let path = format!("/trainyard.v1.Client/{}", rpc.split(' ').next().unwrap());
        let mut cells = Vec::new();
        for column in &columns {
            cells.push(found(call(column, &path, get(job)).await));
        }
        rows.push((rpc.to_owned(), cells));
    }
    let cancel = v1::CancelRequest { key: Uuid::now_v7().to_string(), job: job.clone() };
    let model = v1::GetModelRequest { model: "m".into(), version: 0 };
    let path = "model.bin".to_owned();
    let file = v1::ReadModelFileRequest { model: "m".into(), version: 1, path };
    for (rpc, cells) in [
        (
            "Cancel",
            all(&columns, "Cancel", || v1::CancelRequest {
                key: Uuid::now_v7().to_string(),
                ..cancel.clone()
            })
            .await,
        ),
        ("GetModel", all(&columns, "GetModel", || model.clone()).await),
        ("ReadModelFile", all(&columns, "ReadModelFile", || file.clone()).await),
        ("Submit", all(&columns, "Submit", || submit_in("research", now_key())).await),
        (
            "Submit (model)",
            all(&columns, "Submit", || support::register_in("other", now_key())).await,
        ),
    ] {
        rows.push((rpc.to_owned(), cells));
    }
    insta::assert_snapshot!("projects", draw(&columns, &rows));
    in_lists(&columns, &job).await;
    the_words_are_the_same(&columns[3], &job).await;
    daemon.stop().await;
}

async fn all<M: Message + Default + 'static>(
    columns: &[Column],
    rpc: &str,
    message: impl Fn() -> M,
) -> Vec<&'static str> {
    let path = format!("/trainyard.v1.Client/{rpc}");
    let mut cells = Vec::new();
    for column in columns {
        cells.push(found(call(column, &path, message()).await));
    }
    cells
}

async fn in_lists(columns: &[Column], job: &str) {
    for column in columns {
        let mut client = support::client(column.channel.clone().unwrap(), &column.token);
        let request = v1::ListJobsRequest { all: true, ..Default::default() };
        let jobs = client.list_jobs(request).await.unwrap().into_inner().jobs;
        let models = client.list_models(v1::ListModelsRequest::default()).await.unwrap();
        let models = models.into_inner().models;
        let nodes = client.list_nodes(v1::ListNodesRequest::default()).await.unwrap().into_inner();
        assert_eq!(nodes.nodes.len(), 1, "machines are everybody's");
        if column.name.ends_with("@other") {
            assert!(jobs.iter().all(|job| job.project == "other"), "{}", column.name);
            assert!(models.is_empty(), "{}", column.name);
        } else {
            assert!(jobs.iter().any(|listed| listed.id == job), "{}", column.name);
            assert_eq!(models.len(), 1, "{}", column.name);
        }
    }
}

/// Somebody who may not know of a job is told the same as of one that never was.
async fn the_words_are_the_same(column: &Column, job: &str) {
    let mut client = support::client(column.channel.clone().unwrap(), &column.token);
    let mut text = Vec::new();
    for job in [job, "zzzzzzzzzzzz"] {
        let get = v1::GetJobRequest { job: job.to_owned(), stale: false };
        let status = client.get_job(get).await.unwrap_err();
        text.push((status.code(), status.message().replace(job, "JOB")));
    }
    assert_eq!(text[0], text[1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_its_owners() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(config(dir.path())).await;
    let anonymous = daemon.channel(Someone::Nobody).await;
    let ada = daemon.named_token("researcher", "ada").await;
    let bob = daemon.named_token("researcher", "bob").await;
    let key = now_key();
    let mut by_ada = support::client(anonymous.clone(), &Some(ada));
    let job = by_ada.submit(submit_in("research", key)).await.unwrap().into_inner();
    let again = by_ada.submit(submit_in("research", key)).await.unwrap().into_inner();
    assert_eq!((again.job, again.existed), (job.job, true));
    let mut by_bob = support::client(anonymous, &Some(bob));
    let status = by_bob.submit(submit_in("research", key)).await.unwrap_err();
    assert_eq!(status.code(), Code::AlreadyExists);
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_says_what_it_takes() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(config(dir.path())).await;
    let anonymous = daemon.channel(Someone::Nobody).await;
    let mut text = String::new();
    let expired = daemon.token("admin", &[], 1).await;
    tokio::time::sleep(Duration::from_millis(5)).await;
    for (who, token) in [
        ("nobody", None),
        ("damaged", Some("yard_api_0123".to_owned())),
        ("unknown", Some(unknown())),
        ("expired", Some(expired)),
        ("viewer", Some(daemon.named_token("viewer", "ada").await)),
    ] {
        let mut client = support::client(anonymous.clone(), &token);
        let status = client.submit(submit_in("research", now_key())).await.unwrap_err();
        writeln!(text, "{who}: {:?}: {}", status.code(), status.message()).unwrap();
    }
    let token = Some(daemon.token("researcher", &["a", "b"], 60_000).await);
    let mut client = support::client(anonymous.clone(), &token);
    let status = client.submit(submit_in("research", now_key())).await.unwrap_err();
    writeln!(text, "elsewhere: {:?}: {}", status.code(), status.message()).unwrap();
    let viewer = Some(daemon.named_token("viewer", "ada").await);
    let mut access = AccessClient::new(anonymous);
    let mut request = Request::new(v1::ListTokensRequest::default());
    bearer(&mut request, viewer.as_deref().unwrap());
    let status = access.list_tokens(request).await.unwrap_err();
    writeln!(text, "tokens: {:?}: {}", status.code(), status.message()).unwrap();
    let ids = regex_free_ids(&text);
    insta::assert_snapshot!("refusals", ids);
    daemon.stop().await;
}

/// Ids of tokens differ from run to run.
fn regex_free_ids(text: &str) -> String {
    let is_id = |word: &str| {
        let word = word.trim_start_matches("token/");
        word.len() == 12 && word.parse::<trainyard_jobs::TokenId>().is_ok()
    };
    let word = |word: &str| if is_id(word) { "ID".to_owned() } else { word.to_owned() };
    text.lines()
        .map(|line| line.split(' ').map(word).collect::<Vec<_>>().join(" "))
        .collect::<Vec<_>>()
        .join("\n")
}
