//! Names for what `State::apply` did, so that a long run can tell which of its arms it has reached.
//! A new command does not compile here until it has a name.

use trainyard_core::{Command, Refusal, Reply};

/// Every command that something in this simulation proposes. The feature level is raised by hand.
pub const COMMANDS: &[&str] = &[
    "Submit",
    "Cancel",
    "RegisterNode",
    "MarkLost",
    "StartAttempt",
    "ReportStarted",
    "ReportEnded",
    "ReportCheckpoint",
    "Complete",
    "RejectArtifacts",
    "RetireCheckpoint",
    "ForgetCheckpoint",
    "Preempt",
    "SetQueue",
];

/// The command's name.
pub const fn command(command: &Command) -> &'static str {
    match command {
        Command::Submit(_) => "Submit",
        Command::Cancel { .. } => "Cancel",
        Command::RegisterNode { .. } => "RegisterNode",
        Command::MarkLost { .. } => "MarkLost",
        Command::StartAttempt(_) => "StartAttempt",
        Command::ReportStarted { .. } => "ReportStarted",
        Command::ReportEnded(_) => "ReportEnded",
        Command::ReportCheckpoint { .. } => "ReportCheckpoint",
        Command::Complete { .. } => "Complete",
        Command::RejectArtifacts { .. } => "RejectArtifacts",
        Command::RetireCheckpoint { .. } => "RetireCheckpoint",
        Command::ForgetCheckpoint { .. } => "ForgetCheckpoint",
        Command::RaiseFeatureLevel { .. } => "RaiseFeatureLevel",
        Command::CreateToken(_) => "CreateToken",
        Command::RevokeToken { .. } => "RevokeToken",
        Command::RedeemToken { .. } => "RedeemToken",
        Command::SetMembers { .. } => "SetMembers",
        Command::AddMember { .. } => "AddMember",
        Command::LeaveMember { .. } => "LeaveMember",
        Command::ForgetMember { .. } => "ForgetMember",
        Command::ReleaseAttempt { .. } => "ReleaseAttempt",
        Command::Archive { .. } => "Archive",
        Command::Preempt(_) => "Preempt",
        Command::SetQueue(_) => "SetQueue",
        Command::CreateReservation(_) => "CreateReservation",
        Command::DeleteReservation { .. } => "DeleteReservation",
    }
}

const fn outcome(outcome: &Result<Reply, Refusal>) -> &'static str {
    match outcome {
        Ok(Reply::Submitted { existed: true, .. }) => "known",
        Ok(_) => "done",
        Err(Refusal::KeyConflict) => "key conflict",
        Err(Refusal::KeyExpired) => "key expired",
        Err(Refusal::IdTaken(_)) => "id taken",
        Err(Refusal::NoJob(_)) => "no job",
        Err(Refusal::NoNode(_)) => "no node",
        Err(Refusal::NameTaken { .. }) => "name taken",
        Err(Refusal::Stale(_)) => "stale",
        Err(Refusal::Superseded(_)) => "superseded",
        Err(Refusal::WrongPhase { .. }) => "wrong phase",
        Err(Refusal::Pinned(_)) => "pinned",
        Err(Refusal::Malformed(_)) => "malformed",
        Err(Refusal::NoToken(_) | Refusal::BadToken | Refusal::TokenUsed(_)) => "no such token",
        Err(Refusal::TooManyTokens(_)) => "too many tokens",
        Err(Refusal::NoMember(_) | Refusal::Members(_)) => "members",
        Err(Refusal::Queue(_)) => "queue",
        Err(Refusal::Known(_)) => "known attempt",
        Err(
            Refusal::Reservation(_)
            | Refusal::ReservationTaken(_)
            | Refusal::NoReservation(_)
            | Refusal::Reserved { .. },
        ) => "reservation",
    }
}

/// A command and what it came to.
pub fn name(applied: &Command, came_to: &Result<Reply, Refusal>) -> String {
    format!("{} {}", command(applied), outcome(came_to))
}
