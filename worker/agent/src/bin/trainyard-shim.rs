//! The shim as a program of its own: `trainyard-shim [shim] DIR`, what `yard shim DIR` runs.

use std::{env, path::PathBuf, process::exit};

fn main() {
    let dir = env::args_os().next_back().map(PathBuf::from).unwrap_or_default();
    exit(trainyard_worker::shim_main(&dir));
}
