//! Clients that ask too much, too slowly or for too long: others are served, and the leader leads.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a test")]

mod support;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use support::{Daemon, Someone, client, config, now_key, submit_in};
use tokio::{sync::mpsc, time::timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;
use trainyard_jobs::Digest;
use trainyard_proto::v1;
use trainyard_scheduler::Pace;

/// The longest that somebody's submit may take while others misbehave.
const STILL_FAST: Duration = Duration::from_secs(3);

async fn term(daemon: &Daemon) -> u64 {
    let status = daemon.admin().await.cluster_status(v1::ClusterStatusRequest {}).await;
    status.unwrap().into_inner().term
}

/// Somebody's submits, one after the other; each has to be fast.
async fn submits_stay_fast(daemon: &Daemon, count: usize) {
    let token = Some(daemon.named_token("researcher", "bystander").await);
    let mut client = client(daemon.channel(Someone::Nobody).await, &token);
    for _ in 0..count {
        let began = Instant::now();
        client.submit(submit_in("research", now_key())).await.unwrap();
        assert!(began.elapsed() < STILL_FAST, "{:?}", began.elapsed());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_one_callers_requests_does_not_reach_the_others() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path());
    config.limits.caller = Pace { per_second: 50, burst: 100 };
    let daemon = Daemon::start(config).await;
    let before = term(&daemon).await;
    let token = Some(daemon.named_token("researcher", "flood").await);
    let (stop, refused) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let mut floods = Vec::new();
    for _ in 0..8 {
        let mut client = client(daemon.channel(Someone::Nobody).await, &token);
        let (stop, refused) = (Arc::clone(&stop), Arc::clone(&refused));
        floods.push(tokio::spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                if let Err(status) = client.submit(submit_in("research", now_key())).await {
                    assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
                    let hint = status.metadata().get("grpc-retry-pushback-ms").unwrap();
                    assert!(hint.to_str().unwrap().parse::<u64>().unwrap() > 0);
                    refused.fetch_add(1, Ordering::Relaxed);
                }
            }
        }));
    }
    let flooded = timeout(Duration::from_secs(20), async {
        while refused.load(Ordering::Relaxed) < 200 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    flooded.await.expect("the flood is held up");
    submits_stay_fast(&daemon, 20).await;
    stop.store(true, Ordering::Relaxed);
    for flood in floods {
        flood.await.unwrap();
    }
    assert_eq!(term(&daemon).await, before, "the leader leads on");
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_strangers_is_refused_unheard() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(config(dir.path())).await;
    let mut nobody = client(daemon.channel(Someone::Nobody).await, &None);
    let mut codes = Vec::new();
    for _ in 0..100 {
        let get = v1::GetJobRequest { job: "x".into(), stale: false };
        codes.push(nobody.get_job(get).await.unwrap_err().code());
    }
    assert_eq!(codes[0], Code::Unauthenticated);
    assert!(codes.iter().filter(|code| **code == Code::ResourceExhausted).count() > 20);
    // From the same address, with a name.
    submits_stay_fast(&daemon, 5).await;
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_uploads_are_few_and_are_cut_off() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(config(dir.path())).await;
    let before = term(&daemon).await;
    let token = Some(daemon.named_token("researcher", "slow").await);
    let channel = daemon.channel(Someone::Nobody).await;
    let mut uploads = Vec::new();
    for _ in 0..5 {
        let mut client = client(channel.clone(), &token);
        let (up, chunks) = mpsc::channel(1);
        let digest = Digest::of(b"never").to_string();
        up.send(v1::BundleChunk { digest, data: b"n".to_vec() }).await.unwrap();
        uploads.push(tokio::spawn(async move {
            let answer = client.upload_bundle(ReceiverStream::new(chunks)).await;
            drop(up);
            answer.unwrap_err().code()
        }));
    }
    submits_stay_fast(&daemon, 10).await;
    let mut codes = Vec::new();
    for upload in uploads {
        codes.push(timeout(Duration::from_secs(60), upload).await.unwrap().unwrap());
    }
    let count = |wanted| codes.iter().filter(|code| **code == wanted).count();
    assert_eq!(count(Code::ResourceExhausted), 1, "four at once: {codes:?}");
    assert_eq!(count(Code::DeadlineExceeded), 4, "and not for ever: {codes:?}");
    assert_eq!(term(&daemon).await, before);
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn listeners_are_limited_and_their_places_are_given_back() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path());
    config.limits.watches = 2;
    let daemon = Daemon::start(config).await;
    let token = Some(daemon.named_token("researcher", "ada").await);
    let mut client = client(daemon.channel(Someone::Nobody).await, &token);
    let job = client.submit(submit_in("research", now_key())).await.unwrap().into_inner().job;
    let watch = v1::GetJobRequest { job, stale: false };
    let first = client.watch_job(watch.clone()).await.unwrap();
    let _second = client.watch_job(watch.clone()).await.unwrap();
    let third = client.watch_job(watch.clone()).await.unwrap_err();
    assert_eq!(third.code(), Code::ResourceExhausted, "{third}");
    drop(first);
    let back = timeout(Duration::from_secs(20), async {
        while client.watch_job(watch.clone()).await.is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    back.await.expect("a place is free again");
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_has_a_size() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(config(dir.path())).await;
    let mut admin = daemon.admin().await;
    let get = v1::GetJobRequest { job: "x".repeat(100_000), stale: false };
    let status = admin.get_job(get).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
    assert!(status.message().contains("larger than 16384 bytes"), "{status}");
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_listens_with_a_revoked_token_hears_no_more() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(config(dir.path())).await;
    let (id, token) = daemon.make("researcher", &[], "ada", 3_600_000).await;
    let mut client = client(daemon.channel(Someone::Nobody).await, &Some(token));
    let job = client.submit(submit_in("research", now_key())).await.unwrap().into_inner().job;
    let watch = v1::GetJobRequest { job, stale: false };
    let mut updates = client.watch_job(watch).await.unwrap().into_inner();
    updates.message().await.unwrap().unwrap();
    daemon.revoke(id).await;
    let end = timeout(Duration::from_secs(30), async {
        loop {
            if let Err(status) = updates.message().await {
                return status;
            }
        }
    });
    assert_eq!(end.await.expect("it ends").code(), Code::Unauthenticated);
    daemon.stop().await;
}
