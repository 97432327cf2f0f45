//! The chain on this scheduler's disk: one file a segment, named by its first record. A line that
//! a crash tore off is cut away when the journal is opened; nothing else is ever changed.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Seek as _, Write as _},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use trainyard_jobs::ClusterId;

use super::chain::{End, Entry};

/// A segment is closed at this size.
const SEGMENT_BYTES: u64 = 4 << 20;

/// What this scheduler has exported, last.
const EXPORTED: &str = "exported.json";

/// The chain on disk.
pub(super) struct Journal {
    dir: PathBuf,
    scheduler: u64,
    /// What the next record follows.
    end: End,
    /// Written up to here and no further.
    current: Option<Segment>,
    rotate: Duration,
}

struct Segment {
    first: u64,
    file: File,
    bytes: u64,
    since: Instant,
    dirty: bool,
    closing: bool,
}

/// Where a segment lies.
fn path_of(dir: &Path, first: u64) -> PathBuf {
    dir.join(format!("{first:020}.jsonl"))
}

/// The segments of a directory, by their first record.
pub(super) fn segments(dir: &Path) -> io::Result<BTreeMap<u64, PathBuf>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        let first = name.and_then(|name| name.strip_suffix(".jsonl")?.parse().ok());
        found.extend(first.map(|first: u64| (first, path.clone())));
    }
    Ok(found)
}

/// Up to where the chain was exported.
pub(super) fn exported(dir: &Path) -> Option<End> {
    serde_json::from_slice(&fs::read(dir.join(EXPORTED)).ok()?).ok()
}

/// Remembers that everything up to `end` was exported.
pub(super) fn note_exported(dir: &Path, end: &End) -> io::Result<()> {
    let mut file = tempfile::NamedTempFile::new_in(dir)?;
    file.write_all(&serde_json::to_vec(end)?)?;
    file.as_file().sync_all()?;
    file.persist(dir.join(EXPORTED)).map_err(|error| error.error)?;
    File::open(dir)?.sync_all()
}

impl Journal {
    /// Opens the chain, or begins it. Lines after a damaged one stay where they are, in a file
    /// that is never exported, and the chain goes on before them.
    pub(super) fn open(
        dir: &Path,
        cluster: ClusterId,
        scheduler: u64,
        rotate: Duration,
    ) -> io::Result<Self> {
        fs::create_dir_all(dir)?;
        let mut end = exported(dir).unwrap_or_else(|| End::beginning(cluster, scheduler));
        for (first, path) in segments(dir)? {
            if first <= end.seq {
                // Exported already, and the daemon ended before it was removed.
                fs::remove_file(&path)?;
                continue;
            }
            let mut text = Vec::new();
            File::open(&path)?.read_to_end(&mut text)?;
            let whole = good_bytes(&text, scheduler, &mut end);
            if whole < text.len() {
                fs::write(path.with_extension("damaged"), text.get(whole..).unwrap_or_default())?;
                let file = OpenOptions::new().write(true).open(&path)?;
                file.set_len(u64::try_from(whole).unwrap_or(u64::MAX))?;
                file.sync_all()?;
                tracing::error!(path = %path.display(), "the audit trail's end was damaged: cut");
            }
            if whole == 0 {
                fs::remove_file(&path)?;
            }
        }
        Ok(Self { dir: dir.to_owned(), scheduler, end, current: None, rotate })
    }

    /// The end of the chain, and the first record of the segment that is still written.
    pub(super) fn position(&self) -> (End, Option<u64>) {
        (self.end.clone(), self.current.as_ref().map(|segment| segment.first))
    }

    /// Appends records. All or none of them are written.
    pub(super) fn append(&mut self, entries: Vec<(Entry, u64)>) -> io::Result<u64> {
        let mut end = self.end.clone();
        let first = end.seq + 1;
        let mut text = String::new();
        for (entry, suppressed) in entries {
            text.push_str(&end.next(self.scheduler, entry, suppressed));
            text.push('\n');
        }
        let segment = match &mut self.current {
            Some(segment) => segment,
            None => {
                let path = path_of(&self.dir, first);
                let file = OpenOptions::new().create_new(true).write(true).open(path)?;
                let since = Instant::now();
                let (bytes, dirty, closing) = (0, false, false);
                self.current.insert(Segment { first, file, bytes, since, dirty, closing })
            }
        };
        if let Err(error) = segment.file.write_all(text.as_bytes()) {
            // Half a batch must not stand before the next one.
            segment.file.set_len(segment.bytes)?;
            segment.file.seek(io::SeekFrom::Start(segment.bytes))?;
            return Err(error);
        }
        let written = u64::try_from(text.len()).unwrap_or(u64::MAX);
        segment.bytes += written;
        segment.dirty = true;
        self.end = end;
        Ok(written)
    }

    /// The current segment is old enough, whatever its age.
    pub(super) fn close_soon(&mut self) {
        if let Some(segment) = &mut self.current {
            segment.closing = true;
        }
    }

    /// Makes durable what was appended, and closes a segment that is large or old enough. Says
    /// whether it closed one.
    pub(super) fn settle(&mut self) -> io::Result<bool> {
        let Some(segment) = &mut self.current else { return Ok(false) };
        if segment.dirty {
            segment.file.sync_data()?;
            segment.dirty = false;
        }
        let old = segment.since.elapsed() >= self.rotate;
        let due = segment.bytes >= SEGMENT_BYTES || old || segment.closing;
        if !due || segment.bytes == 0 {
            return Ok(false);
        }
        segment.file.sync_all()?;
        File::open(&self.dir)?.sync_all()?;
        self.current = None;
        Ok(true)
    }
}

/// How many bytes of a segment continue the chain; `end` is moved behind them.
fn good_bytes(text: &[u8], scheduler: u64, end: &mut End) -> usize {
    let mut good = 0;
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        let whole = line.strip_suffix(b"\n").and_then(|line| std::str::from_utf8(line).ok());
        if whole.is_none_or(|line| end.follow(scheduler, line).is_err()) {
            break;
        }
        good += line.len();
    }
    good
}

#[cfg(test)]
mod tests;
