//! The entries' file by itself, on a disk that tears and rots.

use raft::eraftpb::{Entry, HardState};

use super::{Layout, Wal, WalError};
use crate::sim::{Rng, SimDisk};

const REGION: u64 = 8192;

fn layout() -> Layout {
    Layout::new(REGION, *b"a cluster-------", 1)
}

fn hard(commit: u64) -> HardState {
    HardState { term: 3, vote: 1, commit, ..HardState::default() }
}

fn entry(index: u64, bytes: usize) -> Entry {
    Entry { index, term: 3, data: vec![index as u8; bytes].into(), ..Entry::default() }
}

fn create(disk: &SimDisk) -> Wal {
    Wal::create(disk.entries(), layout(), &hard(0)).unwrap()
}

/// Indices of the entries, record by record, and the last hard state.
type Contents = (Vec<Vec<u64>>, HardState);

fn open(disk: &SimDisk, first: u64) -> Result<(Wal, Contents), WalError> {
    let (mut records, mut last) = (Vec::new(), HardState::default());
    let wal = Wal::open(disk.entries(), layout(), first, |record, _| {
        let open = |sealed: &[u8]| crate::storage::codec::open_any_entry(sealed).unwrap().index;
        let indices: Vec<u64> = record.entries.iter().map(|(_, sealed)| open(sealed)).collect();
        last = record.hard.clone();
        let highest = indices.iter().copied().max().unwrap_or_default();
        records.push(indices);
        Ok(highest)
    })?;
    Ok((wal, (records, last)))
}

#[test]
fn what_was_appended_is_found_again_with_its_places() {
    let disk = SimDisk::default();
    let mut wal = create(&disk);
    let mut places = wal.append(&hard(1), &[entry(1, 10), entry(2, 0)]).unwrap();
    places.extend(wal.append(&hard(2), &[]).unwrap());
    places.extend(wal.append(&hard(3), &[entry(3, 3000)]).unwrap());
    let (wal, (records, last)) = open(&disk, 1).unwrap();
    assert_eq!(records, [vec![], vec![1, 2], vec![], vec![3]]);
    assert_eq!(last, hard(3));
    for (index, place) in (1..).zip(places) {
        let sealed = wal.read(place).unwrap();
        assert_eq!(crate::storage::codec::open_entry(index, &sealed).unwrap().index, index);
    }
}

#[test]
fn regions_behind_the_boundary_are_used_again() {
    let disk = SimDisk::default();
    let mut wal = create(&disk);
    for index in 1..500u64 {
        wal.append(&hard(index), &[entry(index, 1000)]).unwrap();
        if index.is_multiple_of(10) {
            let first = wal.first_after(index - 5);
            wal.free_before(first);
            assert!(wal.length <= 4 * REGION, "the file grew to {} bytes", wal.length);
        }
        if index.is_multiple_of(77) {
            let (reopened, (records, _)) = open(&disk, wal.first()).unwrap();
            let found: Vec<u64> = records.concat();
            assert_eq!(found.last(), Some(&index));
            assert!(found.windows(2).all(|pair| pair[1] == pair[0] + 1), "{found:?}");
            assert!(found[0] <= (index / 10 * 10).saturating_sub(4), "{found:?}");
            wal = reopened;
        }
    }
}

#[test]
fn a_batch_larger_than_a_region_is_several_records_that_make_sense_each() {
    let disk = SimDisk::default();
    let mut wal = create(&disk);
    let entries: Vec<Entry> = (1..30).map(|index| entry(index, 1000)).collect();
    wal.append(&hard(25), &entries).unwrap();
    let mut commits = Vec::new();
    Wal::open(disk.entries(), layout(), 1, |record, _| {
        let indices = record.entries.len() as u64;
        commits.push((indices, record.hard.commit));
        Ok(0)
    })
    .unwrap();
    assert_eq!(commits, [(0, 0), (8, 8), (8, 16), (8, 24), (5, 25)]);
    let problem = wal.append(&hard(25), &[entry(30, 9000), entry(31, 1)]).unwrap_err();
    assert!(problem.to_string().contains("exceeds a region"), "{problem}");
}

#[test]
fn a_record_torn_by_a_power_cut_ends_the_log_and_is_written_anew() {
    for seed in 0..300 {
        let mut rng = Rng(seed);
        let disk = SimDisk::default();
        let mut wal = create(&disk);
        let sure = 1 + rng.below(12);
        for index in 1..=sure {
            wal.append(&hard(index), &[entry(index, 1500)]).unwrap();
        }
        // The write goes through, its fsync does not.
        disk.burn(1);
        wal.append(&hard(sure), &[entry(sure + 1, 1500)]).unwrap_err();
        disk.cut_power(&mut rng);
        let (mut wal, (records, _)) = open(&disk, 1).unwrap();
        let found = records.concat().len() as u64;
        assert!(found == sure || found == sure + 1, "{found} of {sure} entries");
        for index in found + 1..found + 20 {
            wal.append(&hard(index), &[entry(index, 300 + rng.below(900) as usize)]).unwrap();
        }
        let (_, (records, _)) = open(&disk, 1).unwrap();
        assert_eq!(records.concat(), (1..found + 20).collect::<Vec<u64>>());
    }
}

#[test]
fn a_flipped_bit_is_damage_unless_it_is_in_the_last_record() {
    let disk = SimDisk::default();
    let mut wal = create(&disk);
    let mut ends = Vec::new();
    for index in 1..=20 {
        wal.append(&hard(index), &[entry(index, 700)]).unwrap();
        ends.push(wal.end);
    }
    let last_begins = ends[18] as usize;
    let mut rng = Rng(7);
    for _ in 0..400 {
        let at = rng.below(ends[19]) as usize;
        let mut before = 0;
        disk.damage(|bytes| {
            before = bytes[at];
            bytes[at] ^= 1 << (at % 8);
        });
        match open(&disk, 1) {
            Ok((_, (records, _))) if at >= last_begins => assert_eq!(records.concat().len(), 19),
            // The rest of a region that was too short for the next record.
            Ok((_, (records, _))) => assert_eq!(records.concat().len(), 20, "byte {at}"),
            Err(WalError::Damaged(_)) => assert!(at < last_begins),
            Err(problem) => panic!("byte {at}: {problem}"),
        }
        disk.damage(|bytes| bytes[at] = before);
    }
}

#[test]
fn several_damaged_records_at_the_end_are_damage() {
    // No power cut tears more than the last: what lies before it is durable.
    for (bytes, damaged) in [(700, 2), (700, 5), (3000, 2), (6000, 3)] {
        let disk = SimDisk::default();
        let mut wal = create(&disk);
        let mut begins = Vec::new();
        for index in 1..=9 {
            let places = wal.append(&hard(index), &[entry(index, bytes)]).unwrap();
            begins.push(places[0].at as usize);
        }
        disk.damage(|file| {
            for at in begins.iter().rev().take(damaged) {
                file[at + 100] ^= 1;
            }
        });
        let opened = open(&disk, 1);
        assert!(matches!(opened, Err(WalError::Damaged(_))), "{bytes} bytes, {damaged} damaged");
    }
}

#[test]
fn the_file_of_another_member_holds_no_log() {
    let disk = SimDisk::default();
    drop(create(&disk));
    let other = Layout::new(REGION, *b"a cluster-------", 2);
    let problem = Wal::open(disk.entries(), other, 1, |_, _| Ok(0)).unwrap_err();
    assert_eq!(problem.to_string(), "record 1, its first, is missing");
}

#[test]
fn a_log_begun_anew_forgets_what_was_before() {
    let disk = SimDisk::default();
    let mut wal = create(&disk);
    for index in 1..=20 {
        wal.append(&hard(index), &[entry(index, 1000)]).unwrap();
    }
    let first = wal.restart(&hard(20)).unwrap();
    wal.free_before(first);
    wal.append(&hard(100), &[entry(101, 10)]).unwrap();
    let (_, (records, _)) = open(&disk, first).unwrap();
    assert_eq!(records, [vec![], vec![101]]);
}
