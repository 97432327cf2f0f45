//! Real encodings to begin from, made by the code that makes them in service. Written anew when a
//! format grows: `cargo run -p trainyard-fuzz -- seeds`.

use std::fs;

use anyhow::Context as _;

use crate::corpus;

mod files;
mod state;
mod wire;

/// A seed: target, file name, bytes.
type Seed = (&'static str, String, Vec<u8>);

/// All seeds.
///
/// # Errors
/// When one cannot be made.
pub fn all() -> anyhow::Result<Vec<Seed>> {
    let mut seeds = state::seeds()?;
    seeds.extend(wire::seeds()?);
    seeds.extend(files::seeds()?);
    Ok(seeds)
}

/// Writes all seeds into the corpora, over those of the same name. What was found stays.
///
/// # Errors
/// When one cannot be made or written.
pub fn write() -> anyhow::Result<usize> {
    let seeds = all()?;
    for (target, name, bytes) in &seeds {
        let folder = corpus::folder(target);
        fs::create_dir_all(&folder)?;
        let path = folder.join(name);
        fs::write(&path, bytes).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(seeds.len())
}
