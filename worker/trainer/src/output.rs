//! Lines for people: progress on stdout, trouble on stderr. A closed pipe is no reason to stop
//! training, so write errors are dropped.

use std::io::Write;

/// One line on stdout.
pub fn say(line: &str) {
    drop(writeln!(std::io::stdout(), "{line}"));
}

/// One line on stderr.
pub fn warn(line: &str) {
    drop(writeln!(std::io::stderr(), "{line}"));
}
