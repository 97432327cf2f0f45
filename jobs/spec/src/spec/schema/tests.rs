//! The published schema: what it says is a snapshot, and what it gives as examples is right.

use super::*;
use crate::spec::Format;

#[test]
fn the_schema_is_as_published() {
    insta::assert_json_snapshot!(schema());
}

#[test]
fn every_key_is_described_and_exemplified() {
    let lookup = Lookup::new();
    let schema = schema();
    for (table, keys) in lookup.tables() {
        assert!(!keys.is_empty());
        let at = match table.as_str() {
            "" => &schema,
            table => lookup.resolve(&schema["properties"][table]),
        };
        assert_eq!(at["additionalProperties"], json!(false), "{table}");
        for key in keys {
            let property = &at["properties"][&key];
            assert!(property["description"].is_string(), "{table}.{key} has no description");
            let is_table = lookup.properties(property).is_some();
            assert!(is_table || property["examples"].is_array(), "{table}.{key} has no example");
        }
    }
}

/// A spec that says everything has only keys of the schema, and all of them.
#[test]
fn a_full_spec_and_the_schema_have_the_same_keys() {
    let text = include_str!("../read/tests/job.toml");
    let mut spec = JobSpec::read("job.toml", text, Format::Toml).unwrap();
    spec.run.command = vec!["true".into()];
    let full: Value = serde_json::from_str(&spec.canonical_json()).unwrap();
    for (table, keys) in Lookup::new().tables() {
        let at = if table.is_empty() { &full } else { &full[&table] };
        let mut said: Vec<&String> = at.as_object().unwrap().keys().collect();
        said.sort();
        let mut known: Vec<&String> = keys.iter().collect();
        known.sort();
        assert_eq!(said, known, "{table}");
    }
}

#[test]
fn every_example_reads() {
    let schema = schema();
    let lookup = Lookup::new();
    for (table, keys) in lookup.tables() {
        for key in keys {
            let at = match table.as_str() {
                "" => &schema,
                table => lookup.resolve(&schema["properties"][table]),
            };
            for example in at["properties"][&key]["examples"].as_array().into_iter().flatten() {
                let mut spec = json!({
                    "name": "a",
                    "resources": { "gpus": 8 },
                    "run": { "command": ["true"] },
                });
                if ["recipe", "params"].contains(&key.as_str()) {
                    spec["run"] = json!({ "recipe": "gpt" });
                }
                if table == "register" {
                    spec["register"] = json!({ "model": "a" });
                }
                let place = if table.is_empty() { &mut spec } else { &mut spec[&table] };
                place[&key] = example.clone();
                JobSpec::from_canonical(spec.to_string().as_bytes())
                    .unwrap_or_else(|error| panic!("{table}.{key} = {example}: {error}"));
            }
        }
    }
}
