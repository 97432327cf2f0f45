//! The spec's JSON Schema, made from the types: what editors complete by, what `yard schema job`
//! prints, and where error messages take their examples from.

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::JobSpec;

/// The schema's name; it changes when a spec that was right becomes wrong.
pub const SCHEMA_ID: &str = "urn:trainyard:job:v1";

/// The JSON Schema (draft 2020-12) of a job spec, in TOML, YAML or JSON.
#[must_use]
pub fn schema() -> Value {
    let generator = SchemaSettings::draft2020_12().into_generator();
    let mut schema = generator.into_root_schema_for::<JobSpec>();
    schema.insert("$id".into(), json!(SCHEMA_ID));
    schema.insert("title".into(), json!("Trainyard job"));
    schema.to_value()
}

/// The schema's answers to questions about a path of keys.
pub(super) struct Lookup(Value);

impl Lookup {
    pub(super) fn new() -> Self {
        Self(schema())
    }

    /// An example of what may stand at a path, as JSON, which is also YAML and TOML as long as
    /// it is no table.
    pub(super) fn example(&self, path: &[String]) -> Option<String> {
        let mut at = &self.0;
        for key in path {
            at = self.resolve(at).get("properties")?.get(key)?;
        }
        let example =
            [at, self.resolve(at)].into_iter().find_map(|at| at.get("examples"))?.get(0)?;
        Some(example.to_string().replace("\",\"", "\", \""))
    }

    /// The keys that the top level must have.
    pub(super) fn required(&self) -> Vec<String> {
        let required = self.0.get("required").and_then(Value::as_array);
        let keys = required.into_iter().flatten().filter_map(Value::as_str);
        keys.map(str::to_owned).collect()
    }

    /// The tables whose keys the schema knows, each with its keys: the top (with the empty name)
    /// and those below it.
    pub(super) fn tables(&self) -> Vec<(String, Vec<String>)> {
        let keys = |properties: &Map<String, Value>| properties.keys().cloned().collect();
        let Some(top) = self.properties(&self.0) else { return Vec::new() };
        let below = top.iter().filter_map(|(name, at)| {
            self.properties(at).map(|properties| (name.clone(), keys(properties)))
        });
        std::iter::once((String::new(), keys(top))).chain(below).collect()
    }

    fn properties<'a>(&'a self, at: &'a Value) -> Option<&'a Map<String, Value>> {
        self.resolve(at).get("properties")?.as_object()
    }

    /// Follows a reference and looks through `or nothing`.
    fn resolve<'a>(&'a self, at: &'a Value) -> &'a Value {
        let inner = at.get("anyOf").and_then(|any| any.get(0)).unwrap_or(at);
        let target = inner
            .get("$ref")
            .and_then(Value::as_str)
            .and_then(|reference| self.0.pointer(reference.strip_prefix('#')?));
        target.unwrap_or(inner)
    }
}

#[cfg(test)]
mod tests;
