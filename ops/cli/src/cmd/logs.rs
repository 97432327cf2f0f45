//! `yard logs`: what a job's ranks wrote, in the order in which it arrived, and with `-f` as it
//! arrives.

use clap::Args;
use serde::Serialize;
use trainyard_proto::v1;

use super::{get, wait};
use crate::{
    app::App,
    client::LogTail,
    error::CliError,
    exit::Exit,
    output::{Format, Output, Tone},
};

/// Which lines.
#[derive(Debug, Args)]
pub(crate) struct LogsArgs {
    /// Id, the beginning of one, or @last
    job: String,
    /// Go on until the job ends
    #[arg(short, long)]
    follow: bool,
    /// Only this rank; repeatable
    #[arg(long, value_name = "N")]
    rank: Vec<u32>,
    /// Only this attempt
    #[arg(long, value_name = "N")]
    attempt: Option<u32>,
    /// The time before each line
    #[arg(short, long)]
    timestamps: bool,
}

/// One line, as programs read it.
#[derive(Debug, Serialize)]
struct Line<'a> {
    unix_ns: u64,
    attempt: u32,
    rank: u32,
    stderr: bool,
    text: &'a str,
}

/// Prints the lines.
pub(crate) async fn run(app: &App, args: LogsArgs) -> Result<Exit, CliError> {
    let cluster = app.cluster()?;
    let name = app.places.job(&args.job)?;
    let job = get::fetch(&cluster, &name, app.global.stale).await?;
    let cluster = if args.follow { cluster.patient(wait::PATIENCE) } else { cluster };
    let mut printer = Printer {
        out: app.out,
        ranks: job.ranks > 1 && args.rank.len() != 1,
        timestamps: args.timestamps,
        attempt: None,
    };
    let request = v1::LogsRequest {
        job: job.id,
        follow: args.follow,
        attempt: args.attempt.unwrap_or_default(),
        ranks: args.rank,
    };
    let mut tail = LogTail::new(&cluster, request);
    while let Some(lines) = tail.next().await? {
        let mut text = String::new();
        for line in &lines {
            printer.print(line, &mut text)?;
        }
        app.out.result(&text)?;
    }
    if printer.attempt.is_none() && app.out.is_human() {
        app.out.note("no lines yet: `yard explain` says what the job waits for");
    }
    Ok(Exit::Done)
}

struct Printer {
    out: Output,
    ranks: bool,
    timestamps: bool,
    attempt: Option<u32>,
}

impl Printer {
    fn print(&mut self, line: &v1::LogLine, text: &mut String) -> Result<(), CliError> {
        let before = self.attempt.replace(line.attempt);
        if matches!(self.out.format, Format::Json | Format::Jsonl | Format::Yaml) {
            let v1::LogLine { unix_ns, attempt, rank, stderr, text: words } = line;
            let line = Line {
                unix_ns: *unix_ns,
                attempt: *attempt,
                rank: *rank,
                stderr: *stderr,
                text: words,
            };
            let out = match self.out.format {
                Format::Json => Output { format: Format::Jsonl, ..self.out },
                _ => self.out,
            };
            *text += &out.document("LogLine", &line)?;
            return Ok(());
        }
        if before.is_some_and(|before| before != line.attempt) {
            let title = format!("--- attempt {} ---\n", line.attempt);
            *text += &Tone::Meta.paint(&title, self.out.colour);
        }
        let mut prefix = String::new();
        if self.timestamps {
            prefix += &instant(line.unix_ns);
            prefix.push(' ');
        }
        if self.ranks {
            prefix += &format!("[rank {}] ", line.rank);
        }
        if !prefix.is_empty() {
            *text += &Tone::Meta.paint(&prefix, self.out.colour);
        }
        *text += &line.text;
        text.push('\n');
        Ok(())
    }
}

/// RFC 3339 with milliseconds, in UTC, so that lines of several machines compare.
fn instant(unix_ns: u64) -> String {
    jiff::Timestamp::from_nanosecond(i128::from(unix_ns))
        .map(|at| format!("{at:.3}"))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::Colour;

    fn lines(format: Format, timestamps: bool, ranks: bool) -> String {
        let out = Output::new(format, false, Colour::Never);
        let mut printer = Printer { out, ranks, timestamps, attempt: None };
        let mut text = String::new();
        for (attempt, rank, words) in [(1, 0, "epoch 1"), (1, 1, ""), (2, 0, "ünïcode")] {
            let unix_ns = 1_763_860_000_123_456_789;
            let line = v1::LogLine { unix_ns, attempt, rank, stderr: false, text: words.into() };
            printer.print(&line, &mut text).unwrap();
        }
        text
    }

    #[test]
    fn lines_say_whose_they_are() {
        insta::assert_snapshot!(lines(Format::Table, true, true), @"
        2025-11-23T01:06:40.123Z [rank 0] epoch 1
        2025-11-23T01:06:40.123Z [rank 1] 
        --- attempt 2 ---
        2025-11-23T01:06:40.123Z [rank 0] ünïcode
        ");
        insta::assert_snapshot!(lines(Format::Json, false, true), @r#"
        {"version":1,"kind":"LogLine","unix_ns":1763860000123456789,"attempt":1,"rank":0,"stderr":false,"text":"epoch 1"}
        {"version":1,"kind":"LogLine","unix_ns":1763860000123456789,"attempt":1,"rank":1,"stderr":false,"text":""}
        {"version":1,"kind":"LogLine","unix_ns":1763860000123456789,"attempt":2,"rank":0,"stderr":false,"text":"ünïcode"}
        "#);
    }

    #[test]
    fn one_rank_needs_no_prefix() {
        assert_eq!(lines(Format::Table, false, false), "epoch 1\n\n--- attempt 2 ---\nünïcode\n");
    }
}
