//! What an answer to a report means: delivered, refused for good, or to be sent again. Pure.

use std::collections::HashMap;

use tonic::Code;
use trainyard_proto::v1::EndedReport;

/// The most characters of why a report was refused.
const MAX_REASON: usize = 1000;

/// What a report is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// Ranks that were started.
    Start,
    /// A part of a checkpoint.
    Checkpoint,
    /// Ranks that have ended.
    End,
    /// An end without what the run leaves.
    BareEnd,
}

/// What becomes of a report that was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Nobody waits for it: it counts as delivered.
    Done,
    /// No leader can take it as it is: the bare end is sent instead.
    Reduce,
    /// It is sent again, as after any break.
    Again,
    /// It is sent again, though the refusal is not of a kind that passes by itself.
    AgainOddly,
}

/// What becomes of a report that was answered with `code`.
#[must_use]
pub fn after(code: Code, what: What) -> Next {
    if is_final(code, what) {
        Next::Done
    } else if what == What::End && is_unfit(code) {
        Next::Reduce
    } else if is_passing(code) {
        Next::Again
    } else {
        Next::AgainOddly
    }
}

/// Whether a refusal answers the report. The end is repeated as long as there may be somebody
/// who waits for it, because devices are held until it is known.
fn is_final(code: Code, what: What) -> bool {
    match code {
        // Superseded, or of a job that nobody knows.
        Code::FailedPrecondition | Code::NotFound => true,
        Code::InvalidArgument => !matches!(what, What::End | What::BareEnd),
        _ => false,
    }
}

/// Whether a refusal is of what the report holds, so that every leader will repeat it.
const fn is_unfit(code: Code) -> bool {
    matches!(code, Code::InvalidArgument | Code::OutOfRange | Code::ResourceExhausted)
}

/// The end alone, with the refusal in place of what was refused.
#[must_use]
pub fn reduced(report: EndedReport, refusal: &str) -> EndedReport {
    let mut why = format!("the report was refused: {refusal}");
    if !report.start_error.is_empty() {
        why = format!("{why}; it said: {}", report.start_error);
    }
    EndedReport {
        start_error: why.chars().take(MAX_REASON).collect(),
        artifacts: Vec::new(),
        metrics: HashMap::new(),
        ..report
    }
}

fn is_passing(code: Code) -> bool {
    matches!(code, Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled | Code::Unknown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_repeated_unless_nobody_waits_for_it() {
        for what in [What::Start, What::Checkpoint, What::End, What::BareEnd] {
            assert!(is_final(Code::FailedPrecondition, what));
            assert!(is_final(Code::NotFound, what));
            assert!(!is_final(Code::Unavailable, what));
            assert!(!is_final(Code::Internal, what));
        }
        assert!(is_final(Code::InvalidArgument, What::Checkpoint));
        assert!(!is_final(Code::InvalidArgument, What::End));
        assert!(!is_final(Code::InvalidArgument, What::BareEnd));
        for unfit in [Code::InvalidArgument, Code::OutOfRange, Code::ResourceExhausted] {
            assert!(is_unfit(unfit));
        }
        assert!(!is_unfit(Code::Unavailable) && !is_unfit(Code::Internal));
    }

    #[test]
    fn a_reduced_end_is_short_and_says_why() {
        let report = EndedReport {
            node: "n".into(),
            start_error: "x".repeat(5000),
            artifacts: vec![trainyard_proto::v1::File::default()],
            metrics: HashMap::from([("loss".into(), f64::NAN)]),
            time_limit: true,
            ..EndedReport::default()
        };
        let bare = reduced(report, "metric `loss` is NaN");
        let begin = "the report was refused: metric `loss` is NaN; it said: xxx";
        assert!(bare.start_error.starts_with(begin), "{}", bare.start_error);
        assert_eq!(bare.start_error.chars().count(), MAX_REASON);
        assert!(bare.artifacts.is_empty() && bare.metrics.is_empty());
        assert!(bare.time_limit && bare.node == "n");
    }
}
