//! A small dataset in Fashion-MNIST's format: each class is a bright square at its own place, under
//! noise. Quick to learn and equal on every machine.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;

const SIDE: usize = 28;

/// Writes the four files with so many training images, and 200 test images.
pub(crate) fn write(folder: &Path, train: usize) {
    for (prefix, count, seed) in [("train", train, 1), ("t10k", 200, 2)] {
        let mut state: u32 = seed;
        let mut noise = move || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            u8::try_from(state >> 25).unwrap()
        };
        let labels: Vec<u8> = (0..count).map(|i| u8::try_from(i * 7 % 10).unwrap()).collect();
        let mut images = Vec::with_capacity(count * SIDE * SIDE);
        for label in &labels {
            let (top, left) = (usize::from(label / 5) * 14 + 2, usize::from(label % 5) * 5 + 1);
            for y in 0..SIDE {
                for x in 0..SIDE {
                    let inside = (top..top + 9).contains(&y) && (left..left + 5).contains(&x);
                    images.push(noise() + if inside { 100 } else { 0 });
                }
            }
        }
        let count = u32::try_from(count).unwrap();
        save(&folder.join(format!("{prefix}-images-idx3-ubyte.gz")), &[count, 28, 28], &images);
        save(&folder.join(format!("{prefix}-labels-idx1-ubyte.gz")), &[count], &labels);
    }
}

fn save(path: &Path, shape: &[u32], bytes: &[u8]) {
    let mut file = GzEncoder::new(File::create(path).unwrap(), Compression::fast());
    file.write_all(&[0, 0, 8, u8::try_from(shape.len()).unwrap()]).unwrap();
    for dimension in shape {
        file.write_all(&dimension.to_be_bytes()).unwrap();
    }
    file.write_all(bytes).unwrap();
    file.finish().unwrap();
}
