//! Who may import whom. The table is the design's; a crate without a line in it is a finding, so
//! that a new room gets its place in the order before it gets users.

use std::path::Path;

use super::Finding;
use crate::metadata::{Metadata, Package};

/// A room, and which others it may be linked with. Tests may use any.
const ROOMS: &[(&str, &[&str])] = &[
    ("trainyard-jobs", &[]),
    ("trainyard-proto", &["trainyard-jobs"]),
    ("trainyard-pki", &["trainyard-jobs"]),
    ("trainyard-store", &["trainyard-jobs"]),
    ("trainyard-core", &["trainyard-jobs", "trainyard-probe"]),
    ("trainyard-raft", &["trainyard-probe"]),
    ("trainyard-sim", &["trainyard-core", "trainyard-jobs"]),
    (
        "trainyard-scheduler",
        &[
            "trainyard-core",
            "trainyard-jobs",
            "trainyard-pki",
            "trainyard-probe",
            "trainyard-proto",
            "trainyard-raft",
            "trainyard-store",
        ],
    ),
    (
        "trainyard-worker",
        &[
            "trainyard-jobs",
            "trainyard-pki",
            "trainyard-probe",
            "trainyard-proto",
            "trainyard-store",
        ],
    ),
    ("trainyard-train", &["trainyard-jobs", "trainyard-store"]),
    (
        "yard",
        &[
            "trainyard-jobs",
            "trainyard-pki",
            "trainyard-proto",
            "trainyard-scheduler",
            "trainyard-sim",
            "trainyard-store",
            "trainyard-worker",
        ],
    ),
    ("trainyard-tests", &["trainyard-jobs", "trainyard-pki", "trainyard-proto", "trainyard-store"]),
    // Marks that vanish from every daemon: see its crate doc.
    ("trainyard-probe", &[]),
    (
        "trainyard-sim-tests",
        &[
            "trainyard-core",
            "trainyard-jobs",
            "trainyard-probe",
            "trainyard-proto",
            "trainyard-raft",
            "trainyard-scheduler",
            "trainyard-store",
            "trainyard-worker",
        ],
    ),
    (
        "trainyard-fuzz",
        &[
            "trainyard-core",
            "trainyard-jobs",
            "trainyard-proto",
            "trainyard-raft",
            "trainyard-scheduler",
            "trainyard-store",
            "trainyard-worker",
        ],
    ),
    (
        "trainyard-bench",
        &[
            "trainyard-core",
            "trainyard-jobs",
            "trainyard-pki",
            "trainyard-proto",
            "trainyard-raft",
            "trainyard-scheduler",
        ],
    ),
    ("xtask", &[]),
];

/// Rooms that are pure, and what would make them otherwise, however deep it comes in.
const PURE: &[&str] = &["trainyard-core", "trainyard-jobs"];
const IMPURE: &[&str] = &["mio", "object_store", "prost", "rand", "redb", "tokio", "tonic"];

/// What loads libtorch, and the one room that may.
const LIBTORCH: &[&str] = &["tch", "torch-sys"];
const TRAINER: &str = "trainyard-train";

/// Checks every crate of the workspace.
pub(crate) fn check(metadata: &Metadata, root: &Path) -> Vec<Finding> {
    metadata.rooms().flat_map(|room| check_room(metadata, room, root)).collect()
}

fn check_room(metadata: &Metadata, room: &Package, root: &Path) -> Vec<Finding> {
    let file = Path::new(&room.manifest_path);
    let file = file.strip_prefix(root).unwrap_or(file).display().to_string();
    let mut texts = Vec::new();
    let ours: Vec<&str> = metadata.rooms().map(|room| room.name.as_str()).collect();
    match ROOMS.iter().find(|(name, _)| *name == room.name) {
        None => texts
            .push(format!("{} has no line in ops/xtask/src/tidy/rooms.rs; give it one", room.name)),
        Some((_, allowed)) => {
            for import in metadata.direct(room) {
                let name = import.name.as_str();
                if ours.contains(&name) && !allowed.contains(&name) {
                    texts.push(format!(
                        "{} imports {name}, which the design does not allow",
                        room.name
                    ));
                }
            }
        }
    }
    let reached = metadata.reached(room);
    let pure = PURE.contains(&room.name.as_str());
    let banned = IMPURE.iter().filter(|_| pure);
    let banned = banned.chain(LIBTORCH.iter().filter(|_| room.name != TRAINER));
    for name in banned {
        if let Some(through) = reached.get(name) {
            texts.push(format!("{} reaches {name} through {through}; it must not", room.name));
        }
    }
    texts.into_iter().map(|text| Finding::new(&file, 1, text)).collect()
}
