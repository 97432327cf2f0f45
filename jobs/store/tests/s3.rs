//! The rules that rest on S3's own behaviour: create-only commits and uploads in parts. Needs
//! an endpoint and a bucket, so it runs when asked to, as `make test-long` does:
//!
//! `ops/with-s3.sh cargo nextest run -p trainyard-store --run-ignored all -E 'binary(s3)'`

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops where it fails")]

use bytes::Bytes;
use trainyard_jobs::{AttemptNo, AttemptRef, Digest, Generation, JobId};
use trainyard_store::{Store, StoreError, bundle, keys};

fn store() -> Store {
    let url = std::env::var("YARD_TEST_STORE").expect("YARD_TEST_STORE names a bucket");
    Store::open(&url).unwrap()
}

fn attempt(job: u64) -> AttemptRef {
    AttemptRef { job: JobId::from_random(job), attempt: AttemptNo(1), generation: Generation(1) }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs an S3 endpoint and YARD_TEST_STORE"]
async fn a_race_of_segments_has_one_winner() {
    let (store, a) = (store(), attempt(1));
    store.delete_prefix(&keys::job_prefix(&a.job)).await.unwrap();
    for start in 0..10 {
        let tasks: Vec<_> = (0..8u8)
            .map(|i| {
                let (store, a) = (store.clone(), a.clone());
                let bytes = Bytes::from(vec![b'a' + i % 4; 4]);
                tokio::spawn(async move { store.put_log_segment(&a, 0, start, bytes).await })
            })
            .collect();
        let mut won = 0;
        for task in tasks {
            match task.await.unwrap() {
                Ok(()) => won += 1,
                Err(error) => assert!(matches!(error, StoreError::Conflict { .. }), "{error}"),
            }
        }
        assert_eq!(won, 2, "both writers of the winning bytes");
    }
    assert_eq!(store.list_log_segments(&a.job).await.unwrap().len(), 10);
    store.delete_prefix(&keys::job_prefix(&a.job)).await.unwrap();
    assert_eq!(store.list_log_segments(&a.job).await.unwrap(), []);
}

#[tokio::test]
#[ignore = "needs an S3 endpoint and YARD_TEST_STORE"]
async fn large_files_go_up_in_parts_and_wrong_ones_not_at_all() {
    let (store, work) = (store(), tempfile::tempdir().unwrap());
    let (source, dest) = (work.path().join("in"), work.path().join("out"));
    let bytes: Vec<u8> = (0..(20u32 << 20) / 4).flat_map(u32::to_le_bytes).collect();
    std::fs::write(&source, &bytes).unwrap();
    let key = keys::artifact(&attempt(2), "model.pt");
    let entry = store.put_file(&key, "model.pt", &source).await.unwrap();
    assert_eq!(entry.digest, Digest::of(&bytes));
    store.get_file(&entry, &dest).await.unwrap();
    assert_eq!(std::fs::read(&dest).unwrap(), bytes);

    let wrong = Digest::of(b"another");
    let refused = store.put_bundle(&wrong, &source).await;
    assert!(matches!(refused, Err(StoreError::WrongDigest { .. })), "{refused:?}");
    assert!(!store.has_bundle(&wrong).await.unwrap());
    let packed = bundle::pack(work.path()).unwrap();
    store.put_bundle(&packed.digest, packed.file.path()).await.unwrap();
    assert!(store.has_bundle(&packed.digest).await.unwrap());
    store.get_bundle(&packed.digest, &dest).await.unwrap();
}
