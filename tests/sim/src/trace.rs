//! What happened, in order: a digest of every line, so that two runs of a seed can be compared, and
//! the lines themselves when somebody wants to read them.

use std::fmt;

/// Takes the lines of one run.
#[derive(Debug, Default)]
pub struct Trace {
    digest: u64,
    lines: u64,
    print: bool,
    text: String,
}

impl Trace {
    pub fn new(print: bool) -> Self {
        Self { digest: 0xcbf2_9ce4_8422_2325, print, ..Self::default() }
    }

    /// Notes one happening at `now`.
    pub fn note(&mut self, now: u64, what: fmt::Arguments<'_>) {
        use fmt::Write as _;
        self.text.clear();
        let _ = write!(self.text, "{now:>8} {what}");
        for byte in self.text.bytes() {
            // FNV-1a.
            self.digest = (self.digest ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        self.lines += 1;
        if self.print {
            use std::io::Write as _;
            let _ = writeln!(std::io::stdout(), "{}", self.text);
        }
    }

    /// The digest of all lines, and how many there were.
    pub const fn digest(&self) -> (u64, u64) {
        (self.digest, self.lines)
    }
}
