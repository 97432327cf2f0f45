//! The IDX format of MNIST and its kin, gzipped: two zero bytes, the element type, the number of
//! dimensions, each dimension as a big-endian u32, then the elements.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use flate2::read::GzDecoder;

use crate::Error;

const UNSIGNED_BYTE: u8 = 0x08;

/// An array of bytes.
pub(super) struct Array {
    pub(super) shape: Vec<i64>,
    pub(super) bytes: Vec<u8>,
}

impl Array {
    pub(super) fn bad_shape(&self, path: &Path) -> Error {
        Error::Data {
            path: path.to_owned(),
            offset: 4,
            why: format!("unexpected shape {:?}", self.shape),
        }
    }
}

/// Reads an array of unsigned bytes with `dimensions` dimensions.
pub(super) fn read(path: &Path, dimensions: u8) -> Result<Array, Error> {
    let file = File::open(path).map_err(Error::io("open", path))?;
    let mut content = Vec::new();
    if let Err(source) = GzDecoder::new(file).read_to_end(&mut content) {
        let offset = u64::try_from(content.len()).unwrap_or(u64::MAX);
        return Err(Error::Data { path: path.to_owned(), offset, why: format!("gzip: {source}") });
    }
    parse(&content, dimensions).map_err(|(offset, why)| Error::Data {
        path: path.to_owned(),
        offset,
        why,
    })
}

fn parse(content: &[u8], dimensions: u8) -> Result<Array, (u64, String)> {
    let header = content
        .first_chunk::<4>()
        .ok_or((0, "shorter than the four bytes of an idx header".to_owned()))?;
    let [0, 0, kind, count] = *header else {
        return Err((0, format!("not an idx file: it begins with {header:02x?}")));
    };
    if kind != UNSIGNED_BYTE {
        return Err((
            2,
            format!("elements of type 0x{kind:02x}; only unsigned bytes (0x08) are read"),
        ));
    }
    if count != dimensions {
        return Err((3, format!("{count} dimensions where {dimensions} are expected")));
    }
    let mut shape = Vec::new();
    let mut expected: usize = 1;
    let mut offset: usize = 4;
    for _ in 0..dimensions {
        let at = u64::try_from(offset).unwrap_or(u64::MAX);
        let bytes = content
            .get(offset..)
            .and_then(|rest| rest.first_chunk::<4>())
            .ok_or((at, "ends within its dimensions".to_owned()))?;
        let length = u32::from_be_bytes(*bytes);
        shape.push(i64::from(length));
        expected = usize::try_from(length)
            .ok()
            .and_then(|n| expected.checked_mul(n))
            .ok_or((at, format!("dimension {length} is too large")))?;
        offset += 4;
    }
    let bytes = content.get(offset..).unwrap_or_default();
    if bytes.len() != expected {
        let end = u64::try_from(content.len()).unwrap_or(u64::MAX);
        return Err((
            end,
            format!("{} elements where the shape {shape:?} needs {expected}", bytes.len()),
        ));
    }
    Ok(Array { shape, bytes: bytes.to_vec() })
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn reads_what_the_format_says() {
        let array = parse(&[0, 0, 8, 2, 0, 0, 0, 2, 0, 0, 0, 1, 7, 9], 2).unwrap();
        assert_eq!((array.shape, array.bytes), (vec![2, 1], vec![7, 9]));
    }

    #[test]
    fn each_fault_is_told_with_its_place() {
        let fault = |content: &[u8]| parse(content, 1).map(|_| ()).unwrap_err();
        assert_eq!(fault(&[0, 0]).0, 0);
        assert_eq!(
            fault(&[1, 0, 8, 1]),
            (0, "not an idx file: it begins with [01, 00, 08, 01]".to_owned())
        );
        assert_eq!(fault(&[0, 0, 13, 1]).0, 2);
        assert_eq!(fault(&[0, 0, 8, 3]), (3, "3 dimensions where 1 are expected".to_owned()));
        assert_eq!(fault(&[0, 0, 8, 1, 0, 0]), (4, "ends within its dimensions".to_owned()));
        assert_eq!(
            fault(&[0, 0, 8, 1, 0, 0, 0, 3, 1, 2]),
            (10, "2 elements where the shape [3] needs 3".to_owned())
        );
    }
}
