//! Queues: what they may use, and what they do.

use serde::Serialize;
use trainyard_jobs::QueueSpec;
use trainyard_proto::v1;

use crate::{
    error::CliError,
    output::{Cell, Look, Row, Tone},
};

/// A queue.
#[derive(Debug, Serialize)]
pub(crate) struct QueueView {
    pub(crate) name: String,
    policy: String,
    units: u64,
    running: u64,
    waiting: u64,
    used_unit_hours: f64,
    /// Of its settings; 0: it has none of its own.
    pub(crate) version: u64,
    pub(crate) settings: QueueSpec,
}

impl TryFrom<v1::Queue> for QueueView {
    type Error = CliError;

    fn try_from(queue: v1::Queue) -> Result<Self, CliError> {
        let settings = match queue.settings_json.as_str() {
            "" => QueueSpec::default(),
            json => serde_json::from_str(json).map_err(|error| {
                CliError::internal(format!("the queue's settings cannot be read: {error}"))
                    .help("is this yard older than the scheduler?")
            })?,
        };
        // Seconds fit a double with room to spare.
        let seconds = u32::try_from(queue.used_unit_ms / 1000).unwrap_or(u32::MAX);
        Ok(Self {
            name: queue.name,
            policy: queue.policy,
            units: queue.units,
            running: queue.running,
            waiting: queue.waiting,
            used_unit_hours: f64::from(seconds / 36) / 100.0,
            version: queue.version,
            settings,
        })
    }
}

impl QueueView {
    /// `8` of any type, `h100=4` of one; several with commas.
    fn quotas(&self, read: fn(&trainyard_jobs::Quota) -> Option<u32>) -> String {
        let text = |quota: &trainyard_jobs::Quota| {
            let units = read(quota)?;
            Some(match &quota.gpu_type {
                Some(kind) => format!("{kind}={units}"),
                None => units.to_string(),
            })
        };
        let all: Vec<String> = self.settings.quotas.iter().filter_map(text).collect();
        if all.is_empty() { "-".to_owned() } else { all.join(",") }
    }
}

impl Row for QueueView {
    const KIND: &'static str = "Queue";
    const LIST: &'static str = "QueueList";

    fn key(&self) -> String {
        self.name.clone()
    }

    fn titles(wide: bool) -> &'static [&'static str] {
        if wide {
            &[
                "NAME",
                "POLICY",
                "UNITS",
                "RUNNING",
                "WAITING",
                "GUARANTEED",
                "LIMIT",
                "WEIGHT",
                "PARENT",
                "BACKFILL",
                "BUDGET",
                "MAX-PRIORITY",
                "VALUE",
                "USED",
            ]
        } else {
            &["NAME", "POLICY", "UNITS", "RUNNING", "WAITING", "GUARANTEED", "LIMIT"]
        }
    }

    fn cells(&self, look: Look) -> Vec<Cell> {
        let parent = self.settings.parent.as_ref().map_or("root", |parent| parent.as_str());
        let mut cells = vec![
            Cell::new(self.name.as_str()),
            Cell::new(self.policy.as_str()),
            Cell::new(self.units.to_string()),
            Cell::new(self.running.to_string()),
            Cell::new(self.waiting.to_string()),
            Cell::new(self.quotas(|quota| Some(quota.guaranteed).filter(|units| *units > 0))),
            Cell::new(self.quotas(|quota| quota.limit)),
        ];
        if look.wide {
            let (budget, highest) = (self.settings.disruption_budget, self.settings.max_priority);
            let backfill = self.settings.backfill.map_or("-", trainyard_jobs::Backfill::as_str);
            let value = self.settings.value_per_hour.map(|value| format!("${}/h", value.0));
            let value = value.unwrap_or_else(|| "-".to_owned());
            cells.extend([
                Cell::new(self.settings.weight.unwrap_or(1).to_string()),
                Cell::new(if self.name == "root" { "-" } else { parent }),
                Cell::new(backfill),
                Cell::new(budget.map_or_else(|| "-".to_owned(), |percent| format!("{percent}%/h"))),
                Cell::new(highest.map_or_else(|| "-".to_owned(), |most| most.to_string())),
                Cell::new(value),
                Cell::new(format!("{} unit-hours", self.used_unit_hours)).tone(Tone::Meta),
            ]);
        }
        cells
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::{Format, List, Output};

    #[test]
    fn a_listing_shows_what_each_may_have() {
        let queue = |name: &str, json: &str, policy: &str| v1::Queue {
            name: name.to_owned(),
            settings_json: json.to_owned(),
            version: 7,
            units: 12,
            running: 3,
            waiting: 40,
            used_unit_ms: 5_400_000,
            policy: policy.to_owned(),
        };
        let settings = r#"{"parent":"lab","weight":3,"backfill":"none","disruption_budget":10,"max_priority":-5,"value_per_hour":4.5,"quotas":[{"guaranteed":8,"limit":32},
            {"gpu_type":"h100","guaranteed":0,"limit":4}]}"#;
        let items: Vec<QueueView> = [
            queue("default", "", "auto"),
            queue("vision", settings, "srsf"),
            queue("root", r#"{"policy":"auto"}"#, "auto"),
        ]
        .into_iter()
        .map(|queue| QueueView::try_from(queue).unwrap())
        .collect();
        let list = List { items, more: false, stale: false, empty: String::new() };
        let out = Output { format: Format::Wide, quiet: false, colour: false, colour_err: false };
        let look = Look { now_ms: 10_000_000, colour: false, wide: true, id_chars: 12 };
        let body = out.list(&list, look).unwrap().body;
        let cells = |name: &str| {
            let line = body.lines().find(|line| line.starts_with(name)).expect("a line");
            line.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
        };
        let used = ["1.5", "unit-hours"];
        let vision = ["vision", "srsf", "12", "3", "40", "8", "32,h100=4", "3", "lab", "none"];
        assert_eq!(cells("vision"), [&vision[..], &["10%/h", "-5", "$4.50/h"], &used].concat());
        let none = ["-", "-", "-"];
        let default = ["default", "auto", "12", "3", "40", "-", "-", "1", "root", "-"];
        assert_eq!(cells("default"), [&default[..], &none, &used].concat());
        let root = ["root", "auto", "12", "3", "40", "-", "-", "1", "-", "-"];
        assert_eq!(cells("root"), [&root[..], &none, &used].concat());
    }
}
