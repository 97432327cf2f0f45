//! The record of who did what: written, exported, read back, and every change of it found.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a test")]

mod support;

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::Value;
use support::{Daemon, Someone, client, config, ms, now_key, submit_in};
use tokio::time::timeout;
use trainyard_jobs::Token;
use trainyard_proto::v1;
use uuid::Uuid;

const PATIENCE: Duration = Duration::from_secs(20);

async fn records(daemon: &Daemon, request: v1::AuditRequest) -> Vec<Value> {
    let mut stream = daemon.access().await.audit(request).await.unwrap().into_inner();
    let mut records = Vec::new();
    while let Some(chunk) = stream.message().await.unwrap() {
        records.extend(chunk.lines.iter().map(|l| serde_json::from_str::<Value>(l).unwrap()));
    }
    records
}

async fn verify(daemon: &Daemon) -> v1::AuditChain {
    let answer = daemon.access().await.verify_audit(v1::VerifyAuditRequest {}).await.unwrap();
    let mut chains = answer.into_inner().chains;
    assert_eq!(chains.len(), 1);
    chains.remove(0)
}

/// The exported segments, in order.
fn exported(dir: &Path) -> Vec<PathBuf> {
    let Ok(found) = fs::read_dir(dir.join("store/audit/scheduler-1")) else { return Vec::new() };
    let mut files: Vec<_> = found.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_done_and_what_was_denied_is_written_down() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(config(dir.path())).await;
    let anonymous = daemon.channel(Someone::Nobody).await;
    let ada = Some(daemon.named_token("researcher", "ada").await);
    let eve = Some(daemon.token("researcher", &["other"], 60_000).await);
    let mut by_ada = client(anonymous.clone(), &ada);
    let job = by_ada.submit(submit_in("research", now_key())).await.unwrap().into_inner().job;
    let logs = v1::LogsRequest { job: job.clone(), ..Default::default() };
    let denied = client(anonymous.clone(), &eve).logs(logs).await.unwrap_err();
    assert_eq!(denied.code(), tonic::Code::NotFound);
    client(anonymous, &None).submit(submit_in("research", now_key())).await.unwrap_err();

    let about = v1::AuditRequest { job: job.clone(), ..Default::default() };
    let of_job = records(&daemon, about).await;
    let brief = |r: &Value| {
        ["event", "rpc", "outcome"].map(|key| r[key].as_str().unwrap().to_owned()).join(" ")
    };
    let found: Vec<_> = of_job.iter().map(brief).collect();
    assert_eq!(found, ["change Client/Submit ok", "denied Client/Logs not_found"]);
    assert_eq!(of_job[0]["principal"], "ada");
    assert_eq!(of_job[0]["role"], "researcher");
    assert_eq!(of_job[1]["reason"], "of a project that is not theirs");
    assert!(of_job[0]["address"].as_str().unwrap().starts_with("127.0.0.1:"));
    let by = v1::AuditRequest { principal: "nobody".into(), ..Default::default() };
    let nobodys = records(&daemon, by).await;
    assert_eq!(brief(&nobodys[0]), "denied Client/Submit unauthenticated");
    let later = v1::AuditRequest { since_ms: u64::MAX, ..Default::default() };
    assert!(records(&daemon, later).await.is_empty());
    assert_eq!(verify(&daemon).await.problems, Vec::<String>::new());

    // Neither the trail nor anything else that the daemon keeps holds a secret.
    let config = daemon.stop().await;
    for token in [ada, eve] {
        let token: Token = token.unwrap().parse().unwrap();
        let text = token.expose();
        let secret = text.rsplit('_').next().unwrap().as_bytes();
        for file in files(dir.path()) {
            let bytes = fs::read(&file).unwrap();
            assert!(!bytes.windows(secret.len()).any(|part| part == secret), "{}", file.display());
        }
    }
    drop(config);
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_or_missing_segment_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path());
    config.audit_every = ms(1);
    let daemon = Daemon::start(config).await;
    // Four segments at least: each is closed a second after its first record.
    let exported_four = timeout(PATIENCE, async {
        while exported(dir.path()).len() < 4 {
            daemon.token("viewer", &[], 60_000).await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    exported_four.await.expect("segments are exported");
    let whole = verify(&daemon).await;
    assert_eq!(whole.problems, Vec::<String>::new());
    assert!(whole.own && whole.segments >= 4, "{whole:?}");

    let segments = exported(dir.path());
    let original = fs::read_to_string(&segments[1]).unwrap();
    fs::write(&segments[1], original.replace("Access/CreateToken", "Access/ListTokens")).unwrap();
    let problems = verify(&daemon).await.problems;
    assert!(problems[0].contains("was changed"), "{problems:?}");
    fs::write(&segments[1], &original).unwrap();
    assert_eq!(verify(&daemon).await.problems, Vec::<String>::new());

    fs::remove_file(&segments[2]).unwrap();
    let problems = verify(&daemon).await.problems;
    assert!(problems[0].contains("are missing"), "{problems:?}");

    // A restart goes on with the same chain, and still misses what is gone: also at the end.
    let config = daemon.stop().await;
    for segment in exported(dir.path()).iter().skip(1) {
        fs::remove_file(segment).unwrap();
    }
    let daemon = Daemon::start(config).await;
    let problems = verify(&daemon).await.problems;
    assert!(problems.iter().any(|p| p.contains("are missing")), "{problems:?}");
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn denials_are_counted_when_there_are_too_many_to_write() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path());
    config.limits.stranger.burst = 100_000;
    let daemon = Daemon::start(config).await;
    let anonymous = daemon.channel(Someone::Nobody).await;
    for _ in 0..300 {
        let get = v1::GetJobRequest { job: "x".into(), stale: false };
        client(anonymous.clone(), &None).get_job(get).await.unwrap_err();
    }
    // What is written next says how many there were.
    daemon.token("viewer", &[], 60_000).await;
    let all = records(&daemon, v1::AuditRequest::default()).await;
    let denied = all.iter().filter(|record| record["event"] == "denied").count();
    let suppressed: u64 = all.iter().filter_map(|record| record["suppressed"].as_u64()).sum();
    assert!((20..100).contains(&denied), "{denied}");
    assert_eq!(u64::try_from(denied).unwrap() + suppressed, 300);
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_made_once_however_often_it_is_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(config(dir.path())).await;
    let mut access = daemon.access().await;
    let request = v1::CreateTokenRequest {
        key: Uuid::now_v7().to_string(),
        role: "worker".into(),
        ttl_ms: 60_000,
        digest: trainyard_jobs::Digest::of(b"secret").to_string(),
        ..Default::default()
    };
    let first = access.create_token(request.clone()).await.unwrap().into_inner();
    let again = access.create_token(request.clone()).await.unwrap().into_inner();
    assert_eq!(first, again);
    assert_eq!(first.ca.len(), 64, "a machine is told whom to trust");
    for (role, name, projects) in [
        ("king", "", vec![]),
        ("worker", "ada", vec![]),
        ("viewer", "a b", vec![]),
        ("admin", "", vec!["p".to_owned()]),
    ] {
        let key = Uuid::now_v7().to_string();
        let bad = v1::CreateTokenRequest {
            key,
            role: role.into(),
            name: name.into(),
            projects,
            ..request.clone()
        };
        let status = access.create_token(bad).await.unwrap_err();
        assert_eq!(status.code(), tonic::Code::InvalidArgument, "{role} {name}");
    }
    let tokens = access.list_tokens(v1::ListTokensRequest::default()).await.unwrap().into_inner();
    assert_eq!(tokens.tokens.len(), 1);
    daemon.stop().await;
}
