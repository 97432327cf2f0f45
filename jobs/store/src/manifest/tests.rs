use std::collections::BTreeMap;

use bytes::Bytes;
use trainyard_jobs::{AttemptNo, AttemptRef, Generation, JobId, checkpoint::Description};

use super::*;

fn manifest(epoch: u64, files: Vec<FileEntry>) -> Manifest {
    Manifest {
        format: FORMAT,
        attempt: AttemptRef {
            job: JobId::from_random(5),
            attempt: AttemptNo(1),
            generation: Generation(1),
        },
        part: 0,
        description: Description {
            format: FORMAT,
            step: 40,
            epoch,
            world_size: 2,
            parts: 1,
            metrics: BTreeMap::from([("loss".to_owned(), 0.1 + 0.2)]),
        },
        files,
    }
}

fn stores() -> Vec<(Store, Option<tempfile::TempDir>)> {
    let dir = tempfile::tempdir().unwrap();
    let url = format!("file://{}", dir.path().display());
    vec![(Store::open("memory://").unwrap(), None), (Store::open(&url).unwrap(), Some(dir))]
}

async fn put(store: &Store, name: &str, bytes: &'static [u8]) -> FileEntry {
    let m = manifest(0, vec![]);
    let key = format!("{}{name}", keys::checkpoint_part(&m.attempt, 40, 0));
    store.put_bytes(&key, name, Bytes::from_static(bytes)).await.unwrap()
}

#[tokio::test]
async fn a_committed_manifest_reads_back() {
    for (store, _guard) in stores() {
        let files =
            vec![put(&store, "model.pt", b"weights").await, put(&store, "opt/0", b"").await];
        let written = manifest(1, files);
        let entry = store.commit_manifest(&written).await.unwrap();
        assert_eq!(entry, store.commit_manifest(&written).await.unwrap());
        assert_eq!(store.read_manifest(&entry).await.unwrap(), written);
        assert_eq!(store.check_manifest(&entry).await.unwrap(), written);
    }
}

#[tokio::test]
async fn a_part_is_found_once_it_is_committed() {
    for (store, _guard) in stores() {
        let written = manifest(1, vec![]);
        let find = |step, part| store.find_manifest(&written.attempt, step, part);
        assert_eq!(find(40, 0).await.unwrap(), None);
        let entry = store.commit_manifest(&written).await.unwrap();
        assert_eq!(find(40, 0).await.unwrap(), Some(entry));
        assert_eq!(find(40, 1).await.unwrap(), None);
        let body = Bytes::from(serde_json::to_vec(&written).unwrap());
        for (step, body) in [(41, body), (42, Bytes::from_static(b"{"))] {
            let key = keys::manifest(&written.attempt, step, 0);
            store.put_bytes(&key, keys::MANIFEST_FILE, body).await.unwrap();
            let error = find(step, 0).await.unwrap_err();
            assert!(matches!(error, StoreError::InvalidManifest { .. }), "{error}");
        }
    }
}

/// Of many writers of one part exactly one body wins, its writers (also the repeated ones) all
/// succeed, the others all see a conflict.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_race_of_commits_has_one_winner() {
    for (store, _guard) in stores() {
        for round in 0..20 {
            let tasks: Vec<_> = (0..12u64)
                .map(|i| {
                    let (store, mut m) = (store.clone(), manifest(i % 4, vec![]));
                    m.attempt.attempt = AttemptNo(round);
                    tokio::spawn(async move { (i % 4, store.commit_manifest(&m).await) })
                })
                .collect();
            let mut won = BTreeMap::new();
            for task in tasks {
                match task.await.unwrap() {
                    (body, Ok(entry)) => won.entry(body).or_insert_with(Vec::new).push(entry),
                    (_, Err(StoreError::Conflict { .. })) => {}
                    (_, Err(error)) => panic!("{error}"),
                }
            }
            assert_eq!(won.len(), 1, "one body wins");
            let (body, entries) = won.pop_first().unwrap();
            assert_eq!(entries.len(), 3, "and every writer of it is told so");
            let stands = store.read_manifest(&entries[0]).await.unwrap();
            assert_eq!(stands.description.epoch, body);
        }
    }
}

#[tokio::test]
async fn a_part_with_a_missing_or_cut_file_does_not_check() {
    for (store, _guard) in stores() {
        let file = put(&store, "model.pt", b"weights").await;
        let entry = store.commit_manifest(&manifest(0, vec![file.clone()])).await.unwrap();
        store.put_bytes(&file.key, "x", Bytes::from_static(b"wei")).await.unwrap();
        let error = store.check_manifest(&entry).await.unwrap_err();
        assert!(matches!(error, StoreError::WrongSize { .. }), "{error}");
        store.delete_prefix(&file.key).await.ok();
        let m = manifest(0, vec![]);
        store.delete_prefix(&keys::checkpoint_part(&m.attempt, 40, 0)).await.unwrap();
        let error = store.check_manifest(&entry).await.unwrap_err();
        assert!(matches!(error, StoreError::NotFound { .. }), "{error}");
    }
}

#[tokio::test]
async fn a_corrupt_or_foreign_manifest_is_refused() {
    let store = Store::open("memory://").unwrap();
    let entry = store.commit_manifest(&manifest(0, vec![])).await.unwrap();
    let mut wrong = entry.clone();
    wrong.digest = trainyard_jobs::Digest::of(b"another");
    let error = store.read_manifest(&wrong).await.unwrap_err();
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");

    let bytes = store.read_all(&entry.key).await.unwrap();
    let elsewhere = store.put_bytes("elsewhere", "manifest.json", bytes).await.unwrap();
    let error = store.check_manifest(&elsewhere).await.unwrap_err().to_string();
    assert!(error.contains("it belongs at `jobs/000000000005/"), "{error}");

    let newer = Bytes::from_static(br#"{"format":2,"shards":{}}"#);
    let newer = store.put_bytes("newer", "manifest.json", newer).await.unwrap();
    let error = store.read_manifest(&newer).await.unwrap_err().to_string();
    assert!(error.contains("format 2, this version reads 1"), "{error}");
}

#[tokio::test]
async fn what_no_manifest_may_say_is_not_committed() {
    let store = Store::open("memory://").unwrap();
    let file = put(&store, "a", b"a").await;
    type Change<'a> = &'a dyn Fn(&mut Manifest);
    let with = |change: Change<'_>| {
        let mut m = manifest(0, vec![file.clone()]);
        change(&mut m);
        m
    };
    let bad: [(Change<'_>, &str); 7] = [
        (&|m| m.format = 9, "format 9"),
        (&|m| m.part = 1, "parts count from 0"),
        (&|m| m.files[0].path = "../a".into(), "`..` part"),
        (&|m| m.files[0].path = "/etc/passwd".into(), "leading `/`"),
        (&|m| m.files[0].key = "jobs/other/attempts/1.1/a".into(), "outside of the attempt's"),
        (&|m| m.files.push(file.clone()), "twice"),
        (&|m| *m.description.metrics.get_mut("loss").unwrap() = f64::NAN, "metric `loss` is NaN"),
    ];
    for (change, hint) in bad {
        let error = store.commit_manifest(&with(change)).await.unwrap_err().to_string();
        assert!(error.contains(hint), "{hint}: {error}");
    }
}
