use trainyard_jobs::{AttemptNo, AttemptRef, Generation, JobId};

use super::*;
use crate::transfer::PART;

fn attempt(job: u64, attempt: u32, generation: u32) -> AttemptRef {
    AttemptRef {
        job: JobId::from_random(job),
        attempt: AttemptNo(attempt),
        generation: Generation(generation),
    }
}

/// The same behaviour is asked of every backend: memory, and a folder (kept by the guard).
fn stores() -> Vec<(Store, Option<tempfile::TempDir>)> {
    let dir = tempfile::tempdir().unwrap();
    let url = format!("file://{}/made/on/open", dir.path().display());
    vec![(Store::open("memory://").unwrap(), None), (Store::open(&url).unwrap(), Some(dir))]
}

fn random_bytes(len: usize) -> Vec<u8> {
    let mut state = 1u64;
    std::iter::repeat_with(|| {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        state.to_be_bytes()[0]
    })
    .take(len)
    .collect()
}

/// Overwrites an object behind the store's back.
async fn corrupt(store: &Store, key: &str, bytes: &'static [u8]) {
    store.put_bytes(key, "x", Bytes::from_static(bytes)).await.unwrap();
}

#[tokio::test]
async fn files_of_every_size_come_back_as_they_went() {
    let work = tempfile::tempdir().unwrap();
    for (store, _guard) in stores() {
        for len in [0, 1, PART - 1, PART, 2 * PART, 6 * PART + 5] {
            let (source, dest) = (work.path().join("source"), work.path().join("deep/er/dest"));
            let bytes = random_bytes(len);
            std::fs::write(&source, &bytes).unwrap();
            let entry = store.put_file("a/b.pt", "b.pt", &source).await.unwrap();
            assert_eq!(entry.size, Size(length(len)));
            assert_eq!(entry.digest, Digest::of(&bytes));
            store.verify(&entry).await.unwrap();
            store.get_file(&entry, &dest).await.unwrap();
            assert_eq!(std::fs::read(&dest).unwrap(), bytes, "{len}");
            let read: Vec<Bytes> = store.read(&entry).try_collect().await.unwrap();
            assert_eq!(read.concat(), bytes);
        }
    }
}

#[tokio::test]
async fn corrupt_bytes_never_reach_the_destination() {
    let work = tempfile::tempdir().unwrap();
    let dest = work.path().join("dest");
    std::fs::write(&dest, "as it was").unwrap();
    for (store, _guard) in stores() {
        let entry = store.put_bytes("a", "a", Bytes::from_static(b"weights")).await.unwrap();
        for wrong in [&b"weightz"[..], b"weight", b"weights and more", b""] {
            corrupt(&store, "a", wrong).await;
            for result in [
                store.verify(&entry).await,
                store.get_file(&entry, &dest).await,
                store.read(&entry).try_collect::<Vec<_>>().await.map(drop),
            ] {
                assert!(matches!(result, Err(StoreError::Corrupt { .. })), "{result:?}");
            }
            assert_eq!(std::fs::read(&dest).unwrap(), b"as it was");
        }
        assert_eq!(std::fs::read_dir(work.path()).unwrap().count(), 1, "nothing left behind");
    }
}

#[tokio::test]
async fn a_missing_object_says_so() {
    for (store, _guard) in stores() {
        let entry = entry_of("no/such", "such", &Bytes::new());
        let error = store.verify(&entry).await.unwrap_err();
        assert!(matches!(&error, StoreError::NotFound { key } if key == "no/such"), "{error}");
        assert!(!error.is_transient());
        assert!(store.put_bytes("../up", "a", Bytes::new()).await.is_err());
        assert!(store.put_bytes("a", "../a", Bytes::new()).await.is_err());
    }
}

#[tokio::test]
async fn a_prefix_is_deleted_and_its_neighbours_stay() {
    for (store, _guard) in stores() {
        for key in ["jobs/a/1", "jobs/a/b/2", "jobs/ab", "jobs/ab2/3"] {
            store.put_bytes(key, "x", Bytes::from_static(b"x")).await.unwrap();
        }
        store.delete_prefix("jobs/a/").await.unwrap();
        for (key, there) in [("jobs/a/1", false), ("jobs/a/b/2", false), ("jobs/ab", true)] {
            assert_eq!(store.size_of(key).await.is_ok(), there, "{key}");
        }
        store.delete_prefix("jobs/a").await.unwrap();
        store.delete_prefix("never/was").await.unwrap();
        for bad in ["", "/", "..", "jobs/../jobs"] {
            assert!(store.delete_prefix(bad).await.is_err(), "{bad}");
        }
        assert!(store.size_of("jobs/ab2/3").await.is_ok());
    }
}

#[tokio::test]
async fn log_segments_are_listed_in_order_and_written_once() {
    for (store, _guard) in stores() {
        let job = JobId::from_random(1);
        assert_eq!(store.list_log_segments(&job).await.unwrap(), []);
        let places = [
            (10, 1, 0, 0),
            (2, 1, 1, 5),
            (2, 1, 0, 1000),
            (2, 1, 0, 99),
            (2, 3, 0, 0),
            (1, 1, 0, 7),
        ];
        for (number, generation, node, start) in places {
            let a = attempt(1, number, generation);
            store.put_log_segment(&a, node, start, Bytes::from_static(b"line\n")).await.unwrap();
            store.put_log_segment(&a, node, start, Bytes::from_static(b"line\n")).await.unwrap();
            let other = store.put_log_segment(&a, node, start, Bytes::from_static(b"other")).await;
            assert!(matches!(other, Err(StoreError::Conflict { .. })), "{other:?}");
        }
        let elsewhere = attempt(2, 1, 1);
        store.put_log_segment(&elsewhere, 0, 0, Bytes::from_static(b"-")).await.unwrap();
        store.put_bytes("jobs/000000000001/attempts/x/logs/y", "y", Bytes::new()).await.unwrap();

        let listed = store.list_log_segments(&job).await.unwrap();
        let order: Vec<_> = listed
            .iter()
            .map(|s| (s.attempt.attempt.0, s.attempt.generation.0, s.node, s.start))
            .collect();
        let mut sorted = places.to_vec();
        sorted.sort_unstable();
        assert_eq!(order, sorted);
        assert_eq!(listed[0].size, 5);
        assert_eq!(store.read_log_segment(&listed[0].key).await.unwrap(), "line\n");
    }
}

#[tokio::test]
async fn a_bundle_is_stored_under_the_digest_of_its_bytes_alone() {
    let work = tempfile::tempdir().unwrap();
    let (file, dest) = (work.path().join("b.tar.zst"), work.path().join("out"));
    for (store, _guard) in stores() {
        for len in [100, 2 * PART + 1] {
            let bytes = random_bytes(len);
            std::fs::write(&file, &bytes).unwrap();
            let (right, wrong) = (Digest::of(&bytes), Digest::of(b"another"));
            let refused = store.put_bundle(&wrong, &file).await;
            assert!(matches!(refused, Err(StoreError::WrongDigest { .. })), "{refused:?}");
            assert!(!store.has_bundle(&wrong).await.unwrap());
            store.put_bundle(&right, &file).await.unwrap();
            store.put_bundle(&right, &file).await.unwrap();
            assert!(store.has_bundle(&right).await.unwrap());
            store.get_bundle(&right, &dest).await.unwrap();
            assert_eq!(std::fs::read(&dest).unwrap(), bytes);
            corrupt(&store, &keys::bundle(&right), b"same key").await;
            let read = store.get_bundle(&right, &dest).await;
            assert!(matches!(read, Err(StoreError::Corrupt { .. })), "{read:?}");
        }
        let error = store.get_bundle(&Digest::of(b"none"), &dest).await.unwrap_err();
        assert!(matches!(error, StoreError::NotFound { .. }));
    }
}

#[tokio::test]
async fn segments_of_the_audit_trail_are_written_once() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&format!("file://{}", dir.path().display())).unwrap();
    assert!(store.list_audit_segments().await.unwrap().is_empty());
    for (scheduler, first) in [(2, 1), (1, 10), (1, 1)] {
        store.put_audit_segment(scheduler, first, "a\n".into()).await.unwrap();
    }
    store.put_audit_segment(1, 1, "a\n".into()).await.unwrap();
    let other = store.put_audit_segment(1, 1, "b\n".into()).await;
    assert!(matches!(other, Err(StoreError::Conflict { .. })), "{other:?}");
    let found = store.list_audit_segments().await.unwrap();
    let numbers: Vec<_> = found.iter().map(|s| (s.scheduler, s.first)).collect();
    assert_eq!(numbers, [(1, 1), (1, 10), (2, 1)]);
    assert_eq!(store.read_audit_segment(&found[0].key).await.unwrap(), "a\n");
}
