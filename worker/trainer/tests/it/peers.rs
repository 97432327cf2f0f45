//! A rank that dies takes nobody with it for long, and is named.

use std::time::Instant;

use serde_json::json;
use tempfile::tempdir;

use crate::dataset;
use crate::ranks::{DEADLINE, Start};

#[test]
fn the_others_end_soon_and_name_the_lost_rank() {
    let data = tempdir().unwrap();
    dataset::write(data.path(), 512);
    for lost in [1, 0] {
        let folder = tempdir().unwrap();
        let params = json!({"data": data.path(), "epochs": 100_000, "batch_size": 16, "width": 4});
        let mut run = Start::new(folder.path(), 3, params).go();
        run.until("the first step", |folder| {
            folder.join("metrics-0.jsonl").metadata().ok().filter(|m| m.len() > 0)
        });
        run.children[lost].kill().unwrap();
        let died = Instant::now();
        let codes = run.wait();
        assert!(died.elapsed() < DEADLINE / 3);
        for rank in (0..3).filter(|rank| *rank != lost) {
            assert_eq!(codes[rank], 1);
            let log = run.log(rank);
            let last = log.lines().last().unwrap();
            // A third rank that ended over the loss may be gone as well by the time of the look.
            let named =
                last.strip_prefix("error: rank ").and_then(|l| l.split_once(" lost during "));
            let (ranks, _) = named.unwrap_or_else(|| panic!("rank {rank}: {last}"));
            assert!(ranks.split(", ").any(|r| r == lost.to_string()), "rank {rank}: {last}");
        }
    }
}

#[test]
fn a_rank_that_never_comes_is_waited_for_only_so_long() {
    let (data, folder) = (tempdir().unwrap(), tempdir().unwrap());
    dataset::write(data.path(), 64);
    let params = json!({"data": data.path(), "batch_size": 16});
    let mut run = Start::new(folder.path(), 1, params)
        .env("WORLD_SIZE", 2)
        .env("YARD_COLLECTIVE_TIMEOUT", 1)
        .go();
    assert_eq!(run.wait(), [1]);
    assert!(
        run.log(0).contains("error: the rendezvous on the store ran out of time"),
        "{}",
        run.log(0)
    );
}
