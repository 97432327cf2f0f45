//! Times and sizes as people say them. The one place of this crate that reads the clock.

use std::time::{SystemTime, UNIX_EPOCH};

use trainyard_jobs::{Bytes, Millis};

/// Milliseconds since the Unix epoch.
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// How long ago an instant was: `3m ago`; nothing for an instant that has not come.
pub(crate) fn ago(now_ms: u64, then_ms: u64) -> String {
    match then_ms {
        0 => String::new(),
        then => match now_ms.saturating_sub(then) {
            0..1000 => "now".to_owned(),
            span => format!("{} ago", largest(span)),
        },
    }
}

/// A span by its largest unit alone, for columns.
pub(crate) fn largest(ms: u64) -> String {
    let s = ms / 1000;
    match s {
        0..60 => format!("{s}s"),
        60..3600 => format!("{}m", s / 60),
        3600..172_800 => format!("{}h", s / 3600),
        _ => format!("{}d", s / 86_400),
    }
}

/// A span by its two largest units; nothing for none.
pub(crate) fn span(ms: u64) -> String {
    if ms == 0 {
        String::new()
    } else {
        Millis(if ms < 1000 { ms } else { ms / 1000 * 1000 }).to_string()
    }
}

/// A size, nothing for none.
pub(crate) fn size(bytes: u64) -> String {
    if bytes == 0 { String::new() } else { Bytes(bytes).to_string() }
}

/// An instant in the user's time zone; nothing for an instant that has not come.
pub(crate) fn instant(ms: u64) -> String {
    let ms = i64::try_from(ms).unwrap_or_default();
    match jiff::Timestamp::from_millisecond(ms) {
        Ok(at) if ms > 0 => {
            at.to_zoned(jiff::tz::TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S %Z").to_string()
        }
        _ => String::new(),
    }
}

/// A metric's number: whole ones as such, others to six significant digits or so.
pub(crate) fn figure(value: f64) -> String {
    if value == value.trunc() && value.abs() < 1e15 {
        return format!("{value:.0}");
    }
    let text = match value.abs() {
        size if size >= 1000.0 => format!("{value:.1}"),
        size if size >= 0.001 => format!("{value:.4}"),
        _ => return format!("{value:.3e}"),
    };
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// `2 restarts`, `3 checkpoints kept`: the first word takes the plural.
pub(crate) fn plural(n: u32, what: &str) -> String {
    let (noun, rest) = what
        .split_once(' ')
        .map_or((what, String::new()), |(noun, rest)| (noun, format!(" {rest}")));
    format!("{n} {noun}{}{rest}", if n == 1 { "" } else { "s" })
}

/// Some reasons begin with their phase: it is said once.
pub(crate) fn phase_words(phase: &str, reason: &str) -> String {
    match reason.strip_prefix(phase).unwrap_or(reason).trim_start_matches(": ") {
        "" => phase.to_owned(),
        reason => format!("{phase}: {reason}"),
    }
}

/// How many characters of `ids` name each of them, eight at least.
pub(crate) fn id_chars<'a>(ids: impl Iterator<Item = &'a str>) -> usize {
    let mut sorted: Vec<&str> = ids.collect();
    sorted.sort_unstable();
    sorted.dedup();
    let shared = sorted
        .iter()
        .zip(sorted.iter().skip(1))
        .map(|(a, b)| a.bytes().zip(b.bytes()).take_while(|(a, b)| a == b).count());
    shared.max().map_or(8, |shared| (shared + 1).max(8))
}

/// The first characters of an id.
pub(crate) fn short(id: &str, chars: usize) -> String {
    id.chars().take(chars).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_said_as_people_do() {
        let now = 10_000_000_000;
        for (then, text) in [
            (0, ""),
            (now, "now"),
            (now + 5, "now"),
            (now - 59_999, "59s ago"),
            (now - 200_000, "3m ago"),
            (now - 172_799_000, "47h ago"),
            (now - 172_800_000, "2d ago"),
        ] {
            assert_eq!(ago(now, then), text);
        }
    }

    #[test]
    fn ids_are_as_long_as_they_must_be() {
        assert_eq!(id_chars(["aaaaaaaaaaaa", "bbbbbbbbbbbb"].into_iter()), 8);
        assert_eq!(id_chars(["aaaaaaaaaaaa", "aaaaaaaaabbb"].into_iter()), 10);
        assert_eq!(id_chars(std::iter::empty()), 8);
    }

    #[test]
    fn figures_keep_what_matters() {
        for (value, text) in [(0.0, "0"), (12.0, "12"), (0.5, "0.5"), (0.123_456, "0.1235")] {
            assert_eq!(figure(value), text);
        }
        assert_eq!(figure(12345.67), "12345.7");
        assert_eq!(figure(0.000_012_3), "1.230e-5");
        assert_eq!(figure(f64::NAN), "NaN");
    }
}
