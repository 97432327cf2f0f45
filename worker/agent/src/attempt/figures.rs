//! The figures that a run writes: rank 0's JSON lines, of which the newest value of each name
//! counts. Lines are the run's own and may be anything, so all is bounded and what is not a
//! number is passed over.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read as _, Seek as _, SeekFrom},
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::{Map, Value};
use tokio::{sync::watch, time::sleep};

use super::{AttemptDir, registry::Entry};
use crate::durable;

const POLL: Duration = Duration::from_millis(250);
const MAX_LINE: usize = 64 << 10;
const MAX_NAMES: usize = 128;
const MAX_NAME: usize = 128;
const CHUNK: u64 = 256 << 10;
const MAX_FINAL: u64 = 4 << 20;

/// Final figures of a run, written among its artifacts.
const FINAL_FILE: &str = "metrics.json";

/// Follows rank 0's figures until the ranks have ended.
pub(super) async fn follow(entry: &Entry, mut ends: watch::Receiver<bool>) {
    let mut tail = Tail::new(entry.dir.rank_metrics(0));
    loop {
        let ended = *ends.borrow_and_update();
        if tail.read() {
            entry.set_figures(tail.figures.clone());
        }
        if ended {
            return;
        }
        tokio::select! {
            () = sleep(POLL) => {}
            _ = ends.changed() => {}
        }
    }
}

/// The figures that a run ends with: `metrics.json` among its artifacts, else the last that it
/// wrote.
pub(super) fn last(dir: &AttemptDir) -> BTreeMap<String, f64> {
    let path = dir.artifacts().join(FINAL_FILE);
    let object = durable::read_bounded(&path, MAX_FINAL)
        .and_then(|bytes| bytes.map(|b| Ok(serde_json::from_slice(&b)?)).transpose());
    let mut figures = BTreeMap::new();
    match object {
        Ok(Some(object)) => merge(&mut figures, &object),
        Ok(None) => {
            let mut tail = Tail::new(dir.rank_metrics(0));
            tail.read();
            figures = tail.figures;
        }
        Err(error) => tracing::warn!(path = %path.display(), %error, "cannot read final metrics"),
    }
    figures
}

/// Reads a growing file of JSON lines.
struct Tail {
    path: PathBuf,
    offset: u64,
    pending: Vec<u8>,
    /// Within a line that is too long.
    skipping: bool,
    figures: BTreeMap<String, f64>,
}

impl Tail {
    fn new(path: PathBuf) -> Self {
        Self { path, offset: 0, pending: Vec::new(), skipping: false, figures: BTreeMap::new() }
    }

    /// Reads what is new; whether there was any.
    fn read(&mut self) -> bool {
        let mut any = false;
        while let Ok(bytes) = chunk(&self.path, self.offset)
            && !bytes.is_empty()
        {
            self.offset += u64::try_from(bytes.len()).unwrap_or_default();
            self.take(&bytes);
            any = true;
        }
        any
    }

    fn take(&mut self, bytes: &[u8]) {
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            let ends = part.ends_with(b"\n");
            if self.pending.len() + part.len() > MAX_LINE {
                self.skipping = true;
                self.pending.clear();
            }
            if !self.skipping {
                self.pending.extend_from_slice(part);
            }
            if ends {
                if let Ok(object) = serde_json::from_slice(&self.pending) {
                    merge(&mut self.figures, &object);
                }
                self.pending.clear();
                self.skipping = false;
            }
        }
    }
}

fn chunk(path: &Path, offset: u64) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(offset))?;
    let mut bytes = Vec::new();
    file.take(CHUNK).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn merge(figures: &mut BTreeMap<String, f64>, object: &Map<String, Value>) {
    for (name, value) in object {
        let Some(number) = value.as_f64().filter(|number| number.is_finite()) else { continue };
        let known = figures.contains_key(name);
        if known || (figures.len() < MAX_NAMES && name.len() <= MAX_NAME) {
            figures.insert(name.clone(), number);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Write as _};

    use super::*;

    #[test]
    fn the_newest_of_each_name_counts_whatever_stands_between() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("rank-0.jsonl");
        let mut tail = Tail::new(path.clone());
        assert!(!tail.read());
        fs::write(&path, "{\"step\":1,\"loss\":2.5}\nnot json\n{\"step\":2,\"note\":\"x\"}\n{\"st")
            .unwrap();
        assert!(tail.read());
        assert_eq!(tail.figures, BTreeMap::from([("loss".into(), 2.5), ("step".into(), 2.0)]));
        let mut file = fs::OpenOptions::new().append(true).open(&path).unwrap();
        write!(file, "ep\":3}}\n{{\"big\":\"{}\"}}\n{{\"step\":4}}\n", "x".repeat(300_000))
            .unwrap();
        assert!(tail.read());
        assert!(!tail.read());
        assert_eq!(tail.figures["step"], 4.0);
        assert_eq!(tail.figures.len(), 2);
    }

    #[test]
    fn names_are_bounded() {
        let mut figures = BTreeMap::new();
        let object = (0..1000).map(|i| (format!("m{i}"), Value::from(i))).collect();
        merge(&mut figures, &object);
        assert_eq!(figures.len(), MAX_NAMES);
    }
}
