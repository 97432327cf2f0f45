//! Messages: what three members of a raft group really sent to one of them, its chunks, and
//! requests and reports of every kind.

use std::collections::BTreeMap;

use anyhow::{Context as _, ensure};
use prost::Message as _;
use trainyard_proto::v1;
use trainyard_raft::{Driver, Input, Reply, Transport};

use super::Seed;
use crate::targets::{Counter, MEMBER, config, join, memory_dir};

/// What one member sends in a round.
#[derive(Default)]
struct Outbox(Vec<(u64, Vec<u8>)>);

impl Transport for Outbox {
    fn send(&mut self, to: u64, message: Vec<u8>) {
        self.0.push((to, message));
    }
}

/// Runs three members for a while, with commands, a transfer and a member that joins late and is
/// sent a snapshot; gives what was sent to [`MEMBER`], in order.
fn conversation() -> anyhow::Result<Vec<Vec<u8>>> {
    let dirs: Vec<_> = (1..=3).map(|_| memory_dir()).collect::<Result<_, _>>()?;
    let mut members = BTreeMap::new();
    for (id, dir) in (1..).zip(&dirs) {
        let mut config = config(id, dir.path());
        config.election_window = Some(10 + u32::try_from(id)?..11 + u32::try_from(id)?);
        (config.snapshot_every, config.keep_entries) = (8, 1);
        members.insert(id, Driver::open(&config, Box::<Counter>::default())?);
    }
    let mut heard = Vec::new();
    let mut wire: Vec<(u64, Vec<u8>)> = Vec::new();
    for round in 0_u32..120 {
        let arrived = std::mem::take(&mut wire);
        for (to, message) in arrived {
            if to == MEMBER {
                heard.push(message.clone());
            }
            // Away for a while, so that it needs a snapshot.
            if to == 3 && (40..70).contains(&round) {
                continue;
            }
            if let Some(member) = members.get_mut(&to) {
                member.step(Input::Message(message));
            }
        }
        for (id, member) in &mut members {
            member.step(Input::Tick);
            if round % 2 == 0 {
                member.step(Input::Propose(vec![7; 20], Reply::new(drop)));
            }
            if round == 80 {
                member.step(Input::Transfer(Some(id % 3 + 1)));
            }
            let mut outbox = Outbox::default();
            member.flush(&mut outbox)?;
            wire.append(&mut outbox.0);
        }
    }
    Ok(heard)
}

pub(super) fn seeds() -> anyhow::Result<Vec<Seed>> {
    let heard = conversation()?;
    ensure!(heard.len() > 30, "only {} messages were sent", heard.len());
    let mut seeds = Vec::new();
    for (number, part) in heard.chunks(24).enumerate().take(8) {
        let joined = join(part.iter().map(Vec::as_slice));
        seeds.push(("raft_message", format!("part-{number}"), joined));
    }
    // Each kind by itself: those of a kind are about equally long.
    let mut kinds: BTreeMap<usize, &Vec<u8>> = BTreeMap::new();
    for message in &heard {
        kinds.entry(message.len() / 8).or_insert(message);
    }
    for (length, message) in kinds.into_iter().take(12) {
        seeds.push(("raft_message", format!("one-{length}"), join([message.as_slice()])));
    }
    let longest = heard.iter().max_by_key(|message| message.len()).context("a message")?;
    let pieces = longest.chunks(16);
    let count = pieces.len();
    let chunks: Vec<Vec<u8>> = pieces
        .enumerate()
        .map(|(i, piece)| {
            let last = i + 1 == count;
            let cluster = if i == 0 { "cluster".to_owned() } else { String::new() };
            let data = piece.to_vec();
            let address = "127.0.0.1:7402".to_owned();
            v1::RaftChunk { cluster, from: 2, to: 1, data, last, address, epoch: 1 }.encode_to_vec()
        })
        .collect();
    seeds.push(("raft_chunks", "message".to_owned(), join(chunks.iter().map(Vec::as_slice))));
    seeds.extend(requests());
    Ok(seeds)
}

fn attempt() -> Option<v1::AttemptRef> {
    Some(v1::AttemptRef { job: "0123456789ab".into(), attempt: 1, generation: 1 })
}

fn session() -> String {
    "0190c0de-0000-7000-8000-000000000001".to_owned()
}

fn inventory() -> v1::Inventory {
    let device = |index: u32| v1::Device {
        unit: format!("cpu-{index}"),
        kind: "cpu".into(),
        index,
        model: "cpu".into(),
        memory: 0,
        part: None,
    };
    v1::Inventory {
        name: "node-1".into(),
        address: "127.0.0.1".into(),
        devices: vec![device(0), device(1)],
        cpus: 2,
        memory: 1 << 30,
        first_port: 20_000,
        last_port: 20_099,
        labels: [("zone".to_owned(), "a".to_owned())].into(),
        version: "0.1.0".into(),
        disk: 1 << 40,
        network: 100_000_000_000,
    }
}

fn hello() -> v1::WorkerMessage {
    let hello = v1::Hello {
        cluster: session(),
        node: "0123456789ab".into(),
        session: session(),
        inventory: Some(inventory()),
        running: vec![v1::RunningAttempt {
            attempt: attempt(),
            state: "running".into(),
            held: None,
        }],
        revision: Some(v1::Revision { epoch: 0, index: 7 }),
        answers_roll_call: true,
    };
    v1::WorkerMessage { body: Some(v1::worker_message::Body::Hello(hello)) }
}

fn requests() -> Vec<Seed> {
    let file = || v1::File {
        path: "model".into(),
        key: "jobs/x/model".into(),
        size: 8,
        digest: trainyard_jobs::Digest::of(b"model").to_string(),
    };
    let ended = v1::EndedReport {
        node: "0123456789ab".into(),
        session: session(),
        attempt: attempt(),
        ranks: vec![v1::RankExit { rank: 0, how: Some(v1::rank_exit::How::Code(0)) }],
        artifacts: vec![file()],
        metrics: [("loss".to_owned(), 0.5)].into(),
        ..v1::EndedReport::default()
    };
    let checkpoint = v1::CheckpointReport {
        node: "0123456789ab".into(),
        session: session(),
        attempt: attempt(),
        step: 100,
        part: 0,
        parts: 1,
        manifest: Some(file()),
        size: 8,
    };
    let submit = v1::SubmitRequest {
        key: session(),
        spec_json: b"{}".to_vec(),
        bundle: file().digest,
        commit: "0123".into(),
    };
    let desired = v1::DesiredSet {
        revision: Some(v1::Revision { epoch: 1, index: 9 }),
        stopping: attempt().into_iter().collect(),
        ..v1::DesiredSet::default()
    };
    [
        ("hello", hello().encode_to_vec()),
        ("inventory", inventory().encode_to_vec()),
        ("ended", ended.encode_to_vec()),
        ("checkpoint", checkpoint.encode_to_vec()),
        ("submit", submit.encode_to_vec()),
        ("desired", desired.encode_to_vec()),
    ]
    .map(|(name, bytes)| ("proto", name.to_owned(), bytes))
    .into()
}
