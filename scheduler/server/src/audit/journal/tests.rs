use trainyard_jobs::ClusterId;
use uuid::Uuid;

use super::{super::chain::Event, *};

const SCHEDULER: u64 = 3;

fn cluster() -> ClusterId {
    ClusterId(Uuid::from_u128(7))
}

fn open(dir: &Path, rotate: Duration) -> Journal {
    Journal::open(dir, cluster(), SCHEDULER, rotate).unwrap()
}

const NEVER: Duration = Duration::from_secs(3600);

fn entry(principal: &str) -> (Entry, u64) {
    let entry = Entry {
        time_ms: 1,
        event: Event::Change,
        principal: principal.to_owned(),
        credential: "certificate".to_owned(),
        role: "admin".to_owned(),
        address: "127.0.0.1:1".to_owned(),
        rpc: "Client/Submit".to_owned(),
        subject: String::new(),
        outcome: "ok".to_owned(),
        reason: String::new(),
        request: String::new(),
    };
    (entry, 0)
}

/// All lines of the directory, in order.
fn lines(dir: &Path) -> Vec<String> {
    let files = segments(dir).unwrap().into_values();
    let text: String = files.map(|path| fs::read_to_string(path).unwrap()).collect();
    text.lines().map(str::to_owned).collect()
}

/// Follows the chain, and says what is wrong with it.
fn check(lines: &[String]) -> Result<u64, String> {
    let mut end = End::beginning(cluster(), SCHEDULER);
    for line in lines {
        end.follow(SCHEDULER, line)?;
    }
    Ok(end.seq)
}

#[test]
fn the_chain_goes_on_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = open(dir.path(), NEVER);
    journal.append(vec![entry("ada"), entry("bob")]).unwrap();
    journal.append(vec![entry("ada")]).unwrap();
    drop(journal);
    let mut journal = open(dir.path(), NEVER);
    journal.append(vec![entry("eve")]).unwrap();
    assert_eq!(segments(dir.path()).unwrap().into_keys().collect::<Vec<_>>(), [1, 4]);
    assert_eq!(check(&lines(dir.path())), Ok(4));
}

#[test]
fn a_torn_line_is_cut_and_kept_beside() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = open(dir.path(), NEVER);
    journal.append(vec![entry("ada"), entry("bob")]).unwrap();
    drop(journal);
    let path = path_of(dir.path(), 1);
    let mut text = fs::read(&path).unwrap();
    text.truncate(text.len() - 10);
    fs::write(&path, text).unwrap();
    let mut journal = open(dir.path(), NEVER);
    journal.append(vec![entry("eve")]).unwrap();
    let lines = lines(dir.path());
    assert_eq!(check(&lines), Ok(2));
    assert!(lines[1].contains("eve"), "{lines:?}");
    let torn = fs::read_to_string(path.with_extension("damaged")).unwrap();
    assert!(torn.contains("bob"), "{torn}");
}

#[test]
fn every_change_of_a_record_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = open(dir.path(), NEVER);
    journal.append((0..4).map(|n| entry(&format!("p{n}"))).collect()).unwrap();
    let whole = lines(dir.path());
    assert_eq!(check(&whole), Ok(4));
    let mut changed = whole.clone();
    changed[1] = changed[1].replace("p1", "p9");
    assert_eq!(check(&changed).unwrap_err(), "record 2 was changed: record 3 holds another hash");
    let mut missing = whole.clone();
    missing.remove(1);
    assert_eq!(check(&missing).unwrap_err(), "records 2 to 2 are missing");
    let mut doubled = whole.clone();
    doubled.insert(1, whole[0].clone());
    assert_eq!(check(&doubled).unwrap_err(), "record 1 stands where 2 should");
    let mut foreign = whole.clone();
    foreign[0] = foreign[0].replace("\"scheduler\":3", "\"scheduler\":4");
    assert_eq!(check(&foreign).unwrap_err(), "record 1 is of scheduler 4");
    let mut damaged = whole;
    damaged[0].pop();
    assert_eq!(check(&damaged).unwrap_err(), "record 1 is damaged: it is no record any more");
}

#[test]
fn a_segment_is_closed_by_age_and_what_was_exported_is_not_needed() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = open(dir.path(), Duration::ZERO);
    assert!(!journal.settle().unwrap(), "an empty one is not closed");
    journal.append(vec![entry("ada")]).unwrap();
    assert!(journal.settle().unwrap());
    journal.append(vec![entry("bob")]).unwrap();
    let (end, current) = journal.position();
    assert_eq!((end.seq, current), (2, Some(2)));
    drop(journal);
    // Both are exported, and the daemon ended before it removed the second.
    note_exported(dir.path(), &end).unwrap();
    fs::remove_file(path_of(dir.path(), 1)).unwrap();
    let mut journal = open(dir.path(), NEVER);
    assert!(segments(dir.path()).unwrap().is_empty());
    journal.append(vec![entry("eve")]).unwrap();
    assert_eq!(journal.position().0.seq, 3);
    assert!(lines(dir.path())[0].contains(&end.hash), "it follows what was exported");
}

#[test]
fn what_cannot_be_written_leaves_no_half_record() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = open(dir.path(), NEVER);
    journal.append(vec![entry("ada")]).unwrap();
    // A file that takes nothing stands for a full disk.
    let segment = journal.current.as_mut().unwrap();
    let good = std::mem::replace(&mut segment.file, File::open(path_of(dir.path(), 1)).unwrap());
    assert!(journal.append(vec![entry("bob")]).is_err());
    journal.current.as_mut().unwrap().file = good;
    journal.append(vec![(entry("eve").0, 1)]).unwrap();
    let lines = lines(dir.path());
    assert_eq!(check(&lines), Ok(2));
    assert!(lines[1].contains("\"suppressed\":1"), "{lines:?}");
}
