//! The common schema: one header line, then a job a line; columns are found by name. Needed are
//! `submit_time_s`, `gpus` and `duration_s`; `job_id`, `vc`, `gpu_type`, `model`, `user`, `name`,
//! `priority` and `min_gpus` are taken where they stand.

use std::collections::BTreeMap;

use csv::StringRecord;
use trainyard_jobs::Millis;

use super::{job_name, project, seconds, tame};
use crate::{SimError, TraceJob, Workload};

/// Words that say that any GPU will do.
const ANY: [&str; 4] = ["", "any", "none", "-"];

/// The columns by name.
struct Columns<'a> {
    file: &'a str,
    at: BTreeMap<String, usize>,
}

pub(super) fn read(file: &str, text: &str) -> Result<Workload, SimError> {
    let mut reader = csv::ReaderBuilder::new()
        .trim(csv::Trim::All)
        .comment(Some(b'#'))
        .flexible(true)
        .from_reader(text.as_bytes());
    let trace = |what: String| SimError::Trace { file: file.to_owned(), what };
    let header = reader.headers().map_err(|error| trace(error.to_string()))?;
    let at = header.iter().enumerate().map(|(i, name)| (name.to_ascii_lowercase(), i)).collect();
    let columns = Columns { file, at };
    for needed in ["submit_time_s", "gpus", "duration_s"] {
        if !columns.at.contains_key(needed) {
            return Err(trace(format!(
                "no column `{needed}`; the first line must name submit_time_s, gpus and duration_s"
            )));
        }
    }
    let mut jobs = Vec::new();
    let mut without = 0;
    for (number, record) in reader.records().enumerate() {
        let record = record.map_err(|error| trace(error.to_string()))?;
        match columns.job(number, &record)? {
            Some(job) => jobs.push(job),
            None => without += 1,
        }
    }
    let left_out = (without > 0).then(|| ("jobs without a GPU".to_owned(), without));
    Ok(Workload::of(jobs, left_out.into_iter().collect()))
}

impl Columns<'_> {
    fn get<'r>(&self, record: &'r StringRecord, name: &str) -> &'r str {
        self.at.get(name).and_then(|at| record.get(*at)).unwrap_or_default()
    }

    fn wrong(&self, record: &StringRecord, what: String) -> SimError {
        let line = record.position().map_or(0, csv::Position::line);
        SimError::Line { file: self.file.to_owned(), line, what }
    }

    fn time(&self, record: &StringRecord, name: &str) -> Result<Millis, SimError> {
        let text = self.get(record, name);
        let expected = || format!("{name} is `{text}`; expected seconds, not below 0");
        seconds(text).ok_or_else(|| self.wrong(record, expected()))
    }

    fn whole<T: std::str::FromStr>(
        &self,
        record: &StringRecord,
        name: &str,
    ) -> Result<Option<T>, SimError> {
        let text = self.get(record, name);
        if text.is_empty() {
            return Ok(None);
        }
        // Programs that keep numbers as floats write `8.0`.
        let text = text.strip_suffix(".0").unwrap_or(text);
        let expected = || format!("{name} is `{text}`; expected a whole number");
        text.parse().map(Some).map_err(|_| self.wrong(record, expected()))
    }

    fn job(&self, number: usize, record: &StringRecord) -> Result<Option<TraceJob>, SimError> {
        let gpus = self.whole::<u32>(record, "gpus")?.unwrap_or_default();
        if gpus == 0 {
            return Ok(None);
        }
        let vc = self.get(record, "vc");
        let user = self.get(record, "user");
        let name = [self.get(record, "name"), self.get(record, "model")];
        let name = name.into_iter().find(|name| !name.is_empty()).unwrap_or_default();
        let id = self.get(record, "job_id");
        let kind = self.get(record, "gpu_type").to_ascii_lowercase();
        let unnamed = || self.wrong(record, "a name that cannot be read".to_owned());
        Ok(Some(TraceJob {
            id: if id.is_empty() { number.to_string() } else { id.to_owned() },
            submit: self.time(record, "submit_time_s")?,
            gpus,
            duration: self.time(record, "duration_s")?,
            project: project(vc).ok_or_else(unnamed)?,
            user: tame(user).or_else(|| tame(vc)).unwrap_or_else(|| "default".into()),
            name: job_name(name).ok_or_else(unnamed)?,
            gpu_type: Some(kind).filter(|kind| !ANY.contains(&kind.as_str())),
            priority: self.whole(record, "priority")?.unwrap_or_default(),
            min_gpus: self.whole(record, "min_gpus")?.filter(|least| *least < gpus),
        }))
    }
}
