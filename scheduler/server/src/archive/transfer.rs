//! Records on their way to another member or into a backup, in bounded pieces.

use trainyard_core::archive::{ArchiveRecord, Archived};

use super::{ArchiveError, ArchiveStore};

/// The bytes of the records of one piece, about: a piece holds one record at least.
pub(crate) const PIECE_BYTES: usize = 256 << 10;

impl ArchiveStore {
    /// The records from `position` on, in order, up to `end`: as many as fit into a piece.
    pub(crate) fn piece(&self, position: u64, end: u64) -> Result<Vec<Vec<u8>>, ArchiveError> {
        let (mut records, mut bytes) = (Vec::new(), 0usize);
        for position in position..end {
            let record = self.read_bytes(position)?;
            bytes = bytes.saturating_add(record.len());
            if bytes > PIECE_BYTES && !records.is_empty() {
                break;
            }
            records.push(record);
        }
        Ok(records)
    }

    /// Takes in a piece that begins at `position`. A gap is refused, and so is what contradicts
    /// what is here. Not durable before [`ArchiveStore::sync`].
    pub(crate) fn take_in(&self, position: u64, piece: Vec<Vec<u8>>) -> Result<(), ArchiveError> {
        let record = |(position, bytes): (u64, Vec<u8>)| {
            let names = Archived::decode(&bytes)?.names();
            Ok(ArchiveRecord { position, bytes, names })
        };
        let records: Vec<_> =
            (position..).zip(piece).map(record).collect::<Result<_, ArchiveError>>()?;
        self.append(&records)
    }
}
