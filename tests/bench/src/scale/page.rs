//! The figures as Markdown, in the words of those who read the page of results.

use std::fmt::Write as _;

use super::{Figures, Timed};
use crate::report::Report;

impl Figures {
    pub(super) fn markdown(&self, report: &Report) -> String {
        let mut page = format!("## {} finished jobs and ", thousands(self.scale.finished));
        let _ = write!(page, "{} live ones\n\n", thousands(self.scale.live));
        let _ = write!(page, "{} One scheduler.\n\n", report.taken());
        page.push_str("| memory (MiB) | resident | peak |\n| --- | ---: | ---: |\n");
        for memory in &self.memory {
            let (when, rss, peak) = (&memory.when, memory.rss_mib, memory.peak_mib);
            let _ = writeln!(page, "| {when} | {rss} | {peak} |");
        }
        page.push_str("\n| from start to serving | seconds |\n| --- | ---: |\n");
        for start in &self.start_seconds {
            let _ = writeln!(page, "| after {} | {:.1} |", start.after, start.seconds);
        }
        page.push_str("\n| answers, p50 / p99 ms | idle | under load |\n| --- | ---: | ---: |\n");
        for busy in &self.busy {
            let idle = self.idle.iter().find(|idle| idle.what == busy.what);
            let idle = idle.map_or_else(|| "–".to_owned(), latency);
            let _ = writeln!(page, "| {} | {idle} | {} |", busy.what, latency(busy));
        }
        let writes: usize = self.busy.iter().filter(|b| b.writes).map(|b| b.count).sum();
        let _ = write!(
            page,
            "\n- The load: submits and cancels in turn, {writes} in all, {:.0} a second.\n\
             - {} of archive and {} of snapshot on disk.\n",
            self.writes_per_second,
            trainyard_jobs::Bytes(self.archive_bytes),
            trainyard_jobs::Bytes(self.snapshot_bytes),
        );
        page
    }
}

fn latency(timed: &Timed) -> String {
    format!("{:.1} / {:.1}", timed.p50_ms, timed.p99_ms)
}

/// In groups of three digits.
fn thousands(count: u32) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::thousands;

    #[test]
    fn digits_stand_in_groups_of_three() {
        let texts = [0, 999, 1000, 100_000, 1_000_000].map(thousands);
        assert_eq!(texts, ["0", "999", "1,000", "100,000", "1,000,000"]);
    }
}
