//! Resident memory of this process.

pub(crate) fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    let pages: u64 = text.split_whitespace().nth(1).and_then(|n| n.parse().ok()).expect("pages");
    pages * 4096
}
