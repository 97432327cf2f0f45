//! A queue's settings: its place in the tree of projects, what it may use, in which order its
//! jobs go, and when one of them may be stopped for another. A project without settings is a queue
//! too, with the defaults, below the root.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{Millis, ProjectName, Usd, spec::UsdPerHour};

/// The queue above all others. Its settings are the cluster's own.
pub const ROOT: &str = "root";

/// The order in which a queue's jobs go.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Policy {
    /// Fair between the queues below, the least predicted remaining service first within one,
    /// and nobody waits without bound.
    #[default]
    Auto,
    /// Who came first goes first. Nothing is stopped for it.
    Fifo,
    /// Fair between the queues below; within one who came first goes first.
    Fair,
    /// Least attained service first, in buckets of unit-time (Tiresias, NSDI '19): knows nothing
    /// of how long a job will take.
    Las,
    /// Shortest remaining service first: predicted remaining time times units.
    Srsf,
    /// As [`Self::Las`] where types of GPUs differ: each job is given the types that serve it best,
    /// so that the least of what jobs get over an equal split is as much as can be (Gavel, OSDI
    /// '20).
    Gavel,
}

/// A text names no policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no policy: write `auto`, `fair`, `fifo`, `gavel`, `las` or `srsf`")]
pub struct InvalidPolicy(String);

impl Policy {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Auto, Self::Fifo, Self::Fair, Self::Las, Self::Srsf, Self::Gavel];

    /// The word that files and tables use.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Fifo => "fifo",
            Self::Fair => "fair",
            Self::Las => "las",
            Self::Srsf => "srsf",
            Self::Gavel => "gavel",
        }
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Policy {
    type Err = InvalidPolicy;

    fn from_str(text: &str) -> Result<Self, InvalidPolicy> {
        let named = Self::ALL.into_iter().find(|policy| policy.as_str() == text);
        named.ok_or_else(|| InvalidPolicy(text.chars().take(40).collect()))
    }
}

/// Who may pass a job that waits for units, under the policies that stop nobody for it.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Backfill {
    /// Nobody of its queue takes units that it could use.
    None,
    /// Whoever does not delay the first that waits, once that one has waited for some time.
    #[default]
    Easy,
    /// Whoever delays none of those before it: each is promised a start.
    Conservative,
}

/// A text names no way to backfill.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no way to backfill: write `none`, `easy` or `conservative`")]
pub struct InvalidBackfill(String);

impl Backfill {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::None, Self::Easy, Self::Conservative];

    /// The word that files and tables use.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Easy => "easy",
            Self::Conservative => "conservative",
        }
    }
}

impl fmt::Display for Backfill {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Backfill {
    type Err = InvalidBackfill;

    fn from_str(text: &str) -> Result<Self, InvalidBackfill> {
        let named = Self::ALL.into_iter().find(|backfill| backfill.as_str() == text);
        named.ok_or_else(|| InvalidBackfill(text.chars().take(40).collect()))
    }
}

/// What a queue may use of units of one type.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Quota {
    /// The GPU type, such as `h100`; units of any kind when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu_type: Option<String>,
    /// Units that it gets back from whoever borrows them.
    #[serde(default)]
    pub guaranteed: u32,
    /// Units that it never exceeds, however many are idle.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// A queue's settings. What is absent is inherited from the queue above.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct QueueSpec {
    /// The queue above; the root when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent: Option<ProjectName>,
    /// The order of its jobs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<Policy>,
    /// Its share beside its siblings'; 1 when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<u32>,
    /// What it may use, by type or of any.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub quotas: Vec<Quota>,
    /// The time from which use counts half: what was used long ago is forgiven.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub half_life: Option<Millis>,
    /// What a job loses when it is stopped and resumed, beside what it had not checkpointed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restart_cost: Option<Millis>,
    /// An attempt runs at least so long before it may be stopped for another job.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_run: Option<Millis>,
    /// The time that a job gets to write a checkpoint before it is stopped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub notice: Option<Millis>,
    /// A job that has waited so long goes first, whatever the policy says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub patience: Option<Millis>,
    /// Stops of one job in a day at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_disruptions: Option<u32>,
    /// Who may pass those of its jobs that wait, where its policy stops nobody for them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backfill: Option<Backfill>,
    /// Of a hundred units that its jobs and those of the queues below have, so many may be stopped
    /// for other jobs within an hour. What one job needs is always let through once an hour. Not
    /// inherited: it is about all of them together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disruption_budget: Option<u32>,
    /// The highest priority that its jobs, and those of the queues below, may have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_priority: Option<i32>,
    /// US dollars that an hour of a unit is worth to its jobs; 2 when nobody says more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value_per_hour: Option<UsdPerHour>,
}

/// The largest weight.
const MAX_WEIGHT: u32 = 1_000_000;

/// No unit's hour is worth more.
const DEAREST: UsdPerHour = UsdPerHour(Usd(1_000_000_000_000));

/// Spans of time in settings lie within a hundred years.
const LONGEST: Millis = Millis(36_500 * 86_400_000);

impl QueueSpec {
    /// Whether it uses a word that a scheduler of feature level 3 does not know.
    #[must_use]
    pub fn needs_level_4(&self) -> bool {
        self.policy == Some(Policy::Gavel)
    }

    /// Whether it says something that a scheduler of feature level 4 does not know.
    #[must_use]
    pub const fn needs_level_5(&self) -> bool {
        self.backfill.is_some()
    }

    /// Whether it says something that a scheduler of feature level 5 does not know.
    #[must_use]
    pub const fn needs_level_6(&self) -> bool {
        self.disruption_budget.is_some()
            || self.max_priority.is_some()
            || self.value_per_hour.is_some()
    }

    /// What is wrong with the settings of queue `name`, if anything. Whether the queue above
    /// exists is the state's to say.
    #[must_use]
    pub fn problem(&self, name: &ProjectName) -> Option<String> {
        if name.as_str() == ROOT && self.parent.is_some() {
            return Some(format!("queue {ROOT} is above all others: leave `parent` out"));
        }
        if self.weight.is_some_and(|weight| weight == 0 || weight > MAX_WEIGHT) {
            return Some(format!("`weight` is from 1 to {MAX_WEIGHT}"));
        }
        let spans = [
            ("half_life", self.half_life),
            ("restart_cost", self.restart_cost),
            ("min_run", self.min_run),
            ("notice", self.notice),
            ("patience", self.patience),
        ];
        let long = |(_, span): &&(_, Option<Millis>)| span.is_some_and(|span| span > LONGEST);
        if let Some((key, _)) = spans.iter().find(long) {
            return Some(format!("`{key}` is longer than a hundred years"));
        }
        if self.half_life == Some(Millis(0)) {
            return Some("`half_life` is more than nothing: leave it out for a day".into());
        }
        if self.disruption_budget.is_some_and(|percent| percent > 100) {
            return Some("`disruption_budget` is in percent: from 0 to 100".into());
        }
        if self.value_per_hour.is_some_and(|value| value > DEAREST) {
            return Some("`value_per_hour` is up to a million dollars".into());
        }
        for (n, quota) in self.quotas.iter().enumerate() {
            let what = quota.gpu_type.as_deref().unwrap_or("units of any type");
            if self.quotas.iter().take(n).any(|other| other.gpu_type == quota.gpu_type) {
                return Some(format!("there are two quotas for {what}: keep one"));
            }
            if quota.limit.is_some_and(|limit| limit < quota.guaranteed) {
                return Some(format!(
                    "{} {what} are guaranteed, which is more than the limit: raise `limit`",
                    quota.guaranteed
                ));
            }
            let kind = quota.gpu_type.as_ref();
            if kind.is_some_and(|kind| kind.is_empty() || kind.to_lowercase() != *kind) {
                return Some(format!("a GPU type is written small, such as `h100`: not `{what}`"));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(change: impl FnOnce(&mut QueueSpec)) -> Option<String> {
        let mut spec = QueueSpec::default();
        change(&mut spec);
        spec.problem(&"research".parse().unwrap())
    }

    #[test]
    fn settings_that_contradict_themselves_are_named() {
        assert_eq!(spec(|_| ()), None);
        let quota = |guaranteed, limit| Quota { gpu_type: None, guaranteed, limit };
        assert_eq!(spec(|s| s.quotas = vec![quota(4, Some(4))]), None);
        let over = spec(|s| s.quotas = vec![quota(5, Some(4))]).unwrap();
        assert!(over.contains("more than the limit"), "{over}");
        let twice = spec(|s| s.quotas = vec![quota(1, None), quota(2, None)]).unwrap();
        assert!(twice.contains("two quotas"), "{twice}");
        assert!(spec(|s| s.weight = Some(0)).is_some());
        assert!(spec(|s| s.half_life = Some(Millis(0))).is_some());
        assert!(spec(|s| s.notice = Some(Millis(u64::MAX))).is_some());
        assert_eq!(spec(|s| s.disruption_budget = Some(100)), None);
        assert!(spec(|s| s.disruption_budget = Some(101)).is_some());
        assert_eq!(spec(|s| s.max_priority = Some(i32::MIN)), None);
        let value = |text: &str| spec(|s| s.value_per_hour = Some(text.parse().unwrap()));
        assert_eq!((value("0"), value("1000000")), (None, None));
        assert!(value("1000001").unwrap().contains("a million dollars"));
    }

    #[test]
    fn words_read_as_they_are_written() {
        for policy in Policy::ALL {
            assert_eq!(policy.as_str().parse(), Ok(policy));
            let json = serde_json::to_string(&policy).unwrap();
            assert_eq!(json, format!("\"{policy}\""));
        }
        for backfill in Backfill::ALL {
            assert_eq!(backfill.as_str().parse(), Ok(backfill));
            let json = serde_json::to_string(&backfill).unwrap();
            assert_eq!(json, format!("\"{backfill}\""));
        }
        let error = "eager".parse::<Backfill>().unwrap_err().to_string();
        assert!(error.contains("write `none`"), "{error}");
        let spec: QueueSpec = serde_json::from_str(r#"{"value_per_hour":2.5}"#).unwrap();
        assert_eq!(spec.value_per_hour, "2.5".parse().ok());
        assert_eq!(serde_json::to_string(&spec).unwrap(), r#"{"value_per_hour":2.5}"#);
        for text in ["-1", "NaN", "much", "1e300"] {
            let error = text.parse::<UsdPerHour>().unwrap_err().to_string();
            assert!(error.contains("such as 2.5"), "{error}");
        }
        let error = "shortest".parse::<Policy>().unwrap_err().to_string();
        assert!(error.contains("write `auto`"), "{error}");
    }
}
