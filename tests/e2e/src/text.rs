//! Texts made comparable: what differs from run to run is replaced by what it is.

use std::path::Path;

/// An error's text with `folder` as `[dir]` and every loopback port as `[port]`. Lines that were
/// wrapped to the terminal's width are whole again: where they break depends on what is replaced.
#[must_use]
pub fn steady(text: &str, folder: &Path) -> String {
    let text = unwrapped(text).replace(&folder.display().to_string(), "[dir]");
    let mut parts = text.split("127.0.0.1:");
    let mut steady = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let rest = part.trim_start_matches(|c: char| c.is_ascii_digit());
        steady.push_str("127.0.0.1:");
        steady.push_str(if rest.len() < part.len() { "[port]" } else { "" });
        steady.push_str(rest);
    }
    steady
}

/// What begins a line that goes on with the message, or with the help, before it.
const GOES_ON: [&str; 2] = ["  │ ", "        "];

fn unwrapped(text: &str) -> String {
    let mut whole = String::new();
    for line in text.lines() {
        let line = line.trim_end();
        match GOES_ON.iter().find_map(|mark| line.strip_prefix(mark)) {
            Some(rest) => {
                // A word is broken after a hyphen that it has, a path or an id among them.
                whole.push_str(if whole.ends_with('-') { "" } else { " " });
                whole.push_str(rest);
            }
            None => {
                whole.push('\n');
                whole.push_str(line);
            }
        }
    }
    whole.trim_start_matches('\n').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_and_ports_are_replaced_however_the_lines_were_wrapped() {
        let text =
            "  × no /tmp/a-\n  │ 1/x at\n  │ 127.0.0.1:8080, \n  help: or\n        127.0.0.1:x";
        let steady = steady(text, Path::new("/tmp/a-1"));
        assert_eq!(steady, "  × no [dir]/x at 127.0.0.1:[port],\n  help: or 127.0.0.1:x");
    }
}
