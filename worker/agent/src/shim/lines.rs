//! Splits a rank's output into lines. A long line is split, a progress bar that redraws itself
//! with carriage returns leaves what it showed last, and nothing else is changed.

/// The longest line, in bytes; a longer one goes on in the next.
pub(super) const MAX_LINE: usize = 64 << 10;

/// Collects bytes and gives lines.
#[derive(Debug, Default)]
pub(super) struct Lines {
    pending: Vec<u8>,
}

impl Lines {
    /// Takes more bytes and passes on every line that they complete.
    pub(super) fn push(&mut self, bytes: &[u8], mut emit: impl FnMut(String)) {
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.pending.extend_from_slice(part);
            if part.ends_with(b"\n") {
                self.pending.pop();
                self.split_long(&mut emit);
                emit(text(&self.pending));
                self.pending.clear();
            }
        }
        self.split_long(&mut emit);
    }

    /// The output ended: what is pending is a line too.
    pub(super) fn finish(&mut self, emit: impl FnOnce(String)) {
        if !self.pending.is_empty() {
            emit(text(&self.pending));
            self.pending.clear();
        }
    }

    fn split_long(&mut self, emit: &mut impl FnMut(String)) {
        if self.pending.len() > MAX_LINE {
            self.drop_overwritten();
        }
        while self.pending.len() > MAX_LINE {
            let cut = char_boundary(&self.pending, MAX_LINE);
            let rest = self.pending.split_off(cut);
            emit(text(&self.pending));
            self.pending = rest;
        }
    }

    /// A progress bar may redraw itself for hours without a line end.
    fn drop_overwritten(&mut self) {
        let end = self.pending.trim_ascii_end().len();
        let (content, _) = self.pending.split_at(end);
        if let Some(last) = content.iter().rposition(|byte| *byte == b'\r') {
            self.pending.drain(..=last);
        }
    }
}

/// What a terminal would still show: that which follows the last return to the line's start.
fn text(mut line: &[u8]) -> String {
    while let Some(shorter) = line.strip_suffix(b"\r") {
        line = shorter;
    }
    let shown = line.rsplit(|byte| *byte == b'\r').next().unwrap_or(line);
    String::from_utf8_lossy(shown).into_owned()
}

/// The last place at or before `at` that does not lie within a UTF-8 character.
fn char_boundary(bytes: &[u8], at: usize) -> usize {
    let continues = |i: usize| bytes.get(i).is_some_and(|byte| byte & 0xc0 == 0x80);
    (at.saturating_sub(3)..=at).rev().find(|i| !continues(*i)).unwrap_or(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(chunks: &[&[u8]]) -> Vec<String> {
        let (mut lines, mut out) = (Lines::default(), Vec::new());
        for chunk in chunks {
            lines.push(chunk, |line| out.push(line));
        }
        lines.finish(|line| out.push(line));
        out
    }

    #[test]
    fn lines_do_not_depend_on_chunks() {
        assert_eq!(split(&[b"a\nb", b"c\n", b"\n", b"d"]), ["a", "bc", "", "d"]);
        assert_eq!(split(&[b"a\r", b"\nb\r\n"]), ["a", "b"]);
        assert!(split(&[b""]).is_empty());
    }

    #[test]
    fn a_progress_bar_leaves_its_last_state() {
        assert_eq!(split(&[b" 10%\r 50%\r100%\ndone\n"]), ["100%", "done"]);
        assert_eq!(split(&[b"\r 50%\r"]), [" 50%"]);
    }

    #[test]
    fn long_lines_are_split_between_characters() {
        let long = "ä".repeat(MAX_LINE);
        let out = split(&[b"x", long.as_bytes(), b"\nend\n"]);
        assert_eq!(out.last().map(String::as_str), Some("end"));
        assert_eq!(out[..out.len() - 1].concat(), format!("x{long}"));
        assert!(out.iter().all(|line| line.len() <= MAX_LINE));
    }

    #[test]
    fn a_bar_without_line_end_does_not_grow() {
        let mut lines = Lines::default();
        for i in 0..100_000 {
            lines.push(format!("\rstep {i}").as_bytes(), |line| panic!("{line}"));
        }
        assert!(lines.pending.len() <= MAX_LINE);
        lines.finish(|line| assert_eq!(line, "step 99999"));
    }
}
