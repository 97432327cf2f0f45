//! What a researcher sees: every kind of mistake, in every notation, as it is rendered; and that
//! the notations mean the same.

use miette::{GraphicalReportHandler, GraphicalTheme};
use proptest::prelude::*;

use super::*;
use crate::{Millis, spec::Param};

fn rendered(name: &str, text: &str) -> String {
    let format = Format::of_path(Path::new(name));
    let errors = JobSpec::read(name, text, format).expect_err("a mistake");
    let mut shown = String::new();
    GraphicalReportHandler::new_themed(GraphicalTheme::unicode_nocolor())
        .with_width(80)
        .render_report(&mut shown, &errors)
        .expect("rendered");
    let lines: Vec<String> = errors.lines().collect();
    format!("{text}\n----\n{shown}----\n{}\n", lines.join("\n"))
}

macro_rules! shows {
    ($test:ident, $file:literal, $text:expr) => {
        #[test]
        fn $test() {
            insta::with_settings!({ omit_expression => true }, {
                insta::assert_snapshot!(rendered($file, $text));
            });
        }
    };
}

const TAIL: &str = "\n[run]\ncommand = [\"true\"]\n";

fn toml_with(body: &str) -> String {
    format!("name = \"char-gpt\"\n{body}{TAIL}")
}

shows!(unknown_key, "job.toml", &toml_with("[resources]\ngpsu = 8\n"));
shows!(unknown_key_of_another_table, "job.toml", &toml_with("gpus = 8\n"));
shows!(unknown_key_of_the_top, "job.toml", &toml_with("[resources]\nproject = \"lab\"\n"));
shows!(unknown_key_like_another_tables, "job.toml", &toml_with("min_gpu = 8\n"));
shows!(unknown_key_like_nothing, "job.toml", &toml_with("[checkpoint]\nfoo = 8\n"));
shows!(wrong_type, "job.toml", &toml_with("[checkpoint]\nevery = 10\n"));
shows!(wrong_number, "job.toml", &toml_with("[resources]\ngpus = \"eight\"\n"));
shows!(negative_number, "job.toml", &toml_with("[limits]\nmax_restarts = -1\n"));
shows!(bad_duration, "job.toml", &toml_with("[checkpoint]\nevery = \"10 minutes\"\n"));
shows!(no_speed, "job.toml", &toml_with("[resources]\nspeed = { h100 = nan, a100 = \"2x\" }\n"));
shows!(
    odd_speeds,
    "job.toml",
    &toml_with("[resources.speed]\nh100 = 0\nA100 = 1.8\nv100 = -1\nt4 = 1e9\n")
);
shows!(no_fraction, "job.toml", &toml_with("[resources]\ngpu_fraction = 1.5\n"));
shows!(
    fraction_of_a_slot,
    "job.toml",
    &toml_with("[resources]\ngpu_fraction = 0.5\ncompact = true\ndevice = \"cpu\"\n")
);
shows!(bad_name, "job.toml", "name = \"Char GPT\"\n[run]\nrecipe = \"gpt\"\n");
shows!(bad_choice, "job.toml", &toml_with("[resources]\ndevice = \"CPU\"\n"));
shows!(bare_command, "job.toml", "name = \"a\"\n[run]\ncommand = \"python train.py\"\n");
shows!(unquoted_env, "job.toml", "name = \"a\"\n[run]\nrecipe = \"gpt\"\nenv = { SEED = 42 }\n");
shows!(duplicate_key, "job.toml", &toml_with("[resources]\ngpus = 8\ngpus = 4\n"));
shows!(missing_keys, "job.toml", "[register]\nmetric = \"loss\"\n");
shows!(
    command_and_recipe,
    "job.toml",
    &toml_with("run.recipe = \"gpt\"\n").replace(TAIL, "run.command = [\"true\"]\n")
);
shows!(zero_gpus, "job.toml", &toml_with("[resources]\ngpus = 0\n"));
shows!(
    past_all_bounds,
    "job.toml",
    &toml_with("[schedule]\nfinish_by = \"tomorrow\"\n[checkpoint]\nevery = \"1ms\"\nkeep = 0\n")
);
shows!(
    several_errors,
    "job.toml",
    &toml_with("gpsu = 8\n[resources]\ngpus = 0\ngpu_typ = []\n[limits]\ntime = 3\n")
);
shows!(toml_syntax, "job.toml", "name = \"char-gpt\n[run\ncommand = [\"true\"]\n");

shows!(yaml_unknown_key, "job.yaml", "name: ärger\nname2: x\ngpus: 8\nrun:\n  comand: [python]\n");
shows!(yaml_wrong_type, "job.yaml", "name: a\nrun:\n  command: [sleep, 10]\n");
shows!(yaml_duplicate_key, "job.yaml", "name: a\nrun:\n  recipe: gpt\n  recipe: mlp\n");
shows!(
    yaml_command_and_recipe,
    "job.yaml",
    "name: a\nrun:\n  recipe: gpt\n  command: [\"true\"]\n"
);
shows!(yaml_syntax, "job.yaml", "name: a\nrun:\n  command: [python\nlimits: {}\n");
shows!(yaml_second_document, "job.yaml", "name: a\nrun: {recipe: gpt}\n---\nname: b\n");

shows!(
    json_unknown_key,
    "job.json",
    "{\n\t\"name\": \"a\",\n\t\"run\": { \"recpie\": \"gpt\" }\n}\n"
);
shows!(json_wrong_type, "job.json", "{ \"name\": \"a\", \"run\": [\"python\"] }\n");
shows!(
    json_duplicate_key,
    "job.json",
    "{ \"name\": \"a\", \"name\": \"b\", \"run\": { \"recipe\": \"gpt\" } }\n"
);
shows!(
    json_zero_gpus,
    "job.json",
    "{ \"name\": \"a\", \"run\": { \"recipe\": \"gpt\" }, \"resources\": { \"gpus\": 0 } }\n"
);
shows!(json_list, "job.json", "[1, 2]\n");
shows!(colon_in_a_name, "job.toml", "name = \"a: b\"\n[run]\nrecipe = \"gpt\"\n");
shows!(json_is_not_yaml, "job.json", "{ \"name\": \"a\", run: { \"recipe\": \"gpt\" } }\n");

const SKETCH: &str = include_str!("tests/job.toml");

#[test]
fn the_notations_mean_the_same() {
    let toml = JobSpec::read("job.toml", SKETCH, Format::Toml).unwrap();
    let yaml = include_str!("tests/job.yaml");
    assert_eq!(JobSpec::read("job.yaml", yaml, Format::Yaml).unwrap(), toml);
    let json = toml.canonical_json();
    assert_eq!(JobSpec::read("job.json", &json, Format::Json).unwrap(), toml);
    assert_eq!(JobSpec::read("job.yaml", &json, Format::Yaml).unwrap(), toml);
    assert_eq!(toml.checkpoint.every, Millis(600_000));
    assert_eq!(toml.run.params.get("lr"), Some(&Param::Decimal("0.0003".into())));
}

#[test]
fn a_path_tells_the_format() {
    for (path, format) in [
        ("job.toml", Format::Toml),
        ("job", Format::Toml),
        ("a/job.YAML", Format::Yaml),
        ("job.yml", Format::Yaml),
        ("job.json", Format::Json),
    ] {
        assert_eq!(Format::of_path(Path::new(path)), format, "{path}");
    }
}

#[test]
fn an_instant_needs_no_quotes_in_toml() {
    let text = toml_with("[schedule]\nfinish_by = 2026-12-24T08:00:00+01:00\n");
    let spec = JobSpec::read("job.toml", &text, Format::Toml).unwrap();
    assert_eq!(spec.schedule.finish_by.as_deref(), Some("2026-12-24T08:00:00+01:00"));
}

/// Money and time are amounts: neither below nothing, nor without end, nor no number at all. What
/// is refused is refused at its key.
#[test]
fn amounts_are_finite_and_not_negative() {
    let refused = |table: &str, key: &str, value: &str| {
        let body = format!("{table}.{key} = {value}\n");
        let text = format!("name = \"a\"\nrun.recipe = \"gpt\"\n{body}");
        let errors = JobSpec::read("job.toml", &text, Format::Toml).expect_err(&body);
        let lines: Vec<String> = errors.lines().collect();
        assert!(lines.iter().all(|line| line.starts_with("job.toml:3:")), "{body}: {lines:?}");
    };
    for value in ["nan", "-nan", "inf", "-inf", "-1", "-0.5", "1e9", "1e300", "\"1\""] {
        refused("limits", "max_cost_usd", value);
    }
    for value in ["nan", "inf", "-1", "1.5", "\"-6h\"", "\"0h\"", "\"inf\"", "\"nan\"", "\"1e9h\""]
    {
        let spans = ["est_duration", "time", "every", "stop_grace"];
        for (table, key) in ["schedule", "limits", "checkpoint", "run"].into_iter().zip(spans) {
            // A program may be given no time to end in.
            if key == "stop_grace" && value == "\"0h\"" {
                continue;
            }
            refused(table, key, value);
        }
    }
    let yaml =
        |value: &str| format!("name: a\nrun: {{recipe: gpt}}\nlimits: {{max_cost_usd: {value}}}\n");
    for value in [".nan", ".inf", "-.inf", "-3"] {
        assert!(JobSpec::read("job.yaml", &yaml(value), Format::Yaml).is_err(), "{value}");
    }
    let json = |value: &str| {
        format!(
            "{{\"name\":\"a\",\"run\":{{\"recipe\":\"gpt\"}},\"limits\":{{\"max_cost_usd\":{value}}}}}"
        )
    };
    for value in ["1e999", "-1", "-0.01", "NaN"] {
        assert!(JobSpec::read("job.json", &json(value), Format::Json).is_err(), "{value}");
        assert!(JobSpec::from_canonical(json(value).as_bytes()).is_err(), "{value}");
    }
}

#[test]
fn a_priority_may_be_any_whole_number_and_no_other() {
    let read = |value: &str| {
        JobSpec::read("job.toml", &format!("priority = {value}\n{}", toml_with("")), Format::Toml)
    };
    for value in [i32::MIN, -1, 0, i32::MAX] {
        assert_eq!(read(&value.to_string()).map(|spec| spec.priority).ok(), Some(value));
    }
    for value in ["-2147483649", "2147483648", "1.5", "nan", "\"high\""] {
        assert!(read(value).is_err(), "{value}");
    }
}

#[test]
fn an_alias_stands_for_its_anchor() {
    let text = "name: &n a\nproject: *n\nrun: {recipe: *n}\n";
    let spec = JobSpec::read("job.yaml", text, Format::Yaml).unwrap();
    assert_eq!((spec.project.as_str(), spec.run.recipe.as_deref()), ("a", Some("a")));
}

#[test]
fn hostile_files_are_refused_in_time() {
    let deep = 100_000;
    let dotted = format!("{}a = 1\n", "a.".repeat(deep));
    let bomb: String = (0..64).fold("a0: &a0 [x, x]\n".to_owned(), |text, i| {
        format!("{text}a{}: &a{} [*a{i}, *a{i}]\n", i + 1, i + 1)
    });
    for (format, text) in [
        (Format::Toml, format!("a = {}", "[".repeat(deep))),
        (Format::Toml, format!("a = {}{}", "[".repeat(60), "]".repeat(60))),
        (Format::Toml, dotted),
        (Format::Yaml, "[".repeat(deep)),
        (Format::Yaml, "- ".repeat(deep)),
        (Format::Yaml, "? ".repeat(deep)),
        (Format::Yaml, bomb),
        (Format::Yaml, "a: &a [*a]".into()),
        (Format::Json, "[".repeat(deep)),
        (Format::Json, format!("{}{}", "[".repeat(100), "]".repeat(100))),
        (Format::Json, format!("[{}1]", "1,".repeat(30_000))),
        (Format::Toml, "#".repeat(MAX_TEXT + 1)),
    ] {
        let begin: String = text.chars().take(20).collect();
        let errors = JobSpec::read("job", &text, format).expect_err(&begin);
        assert!((1..=MAX_ERRORS).contains(&errors.errors().len()), "{begin}");
    }
}

#[test]
fn errors_end_somewhere() {
    let many: String = (0..200).map(|i| format!("k{i} = 1\n")).collect();
    let errors = JobSpec::read("job.toml", &many, Format::Toml).unwrap_err();
    assert_eq!(errors.errors().len(), MAX_ERRORS);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Any damage to a good file gives a spec or errors, with every label inside the text.
    #[test]
    fn damage_never_panics(at in 0..SKETCH.len(), cut in 0usize..40, put in "[\\PC\n]{0,6}") {
        let yaml = include_str!("tests/job.yaml");
        let json = JobSpec::read("job.toml", SKETCH, Format::Toml).unwrap().canonical_json();
        for (text, format) in
            [(SKETCH, Format::Toml), (yaml, Format::Yaml), (json.as_str(), Format::Json)]
        {
            let head: String = text.chars().take(at).collect();
            let tail: String = text.chars().skip(at + cut).collect();
            let text = format!("{head}{put}{tail}");
            let Err(errors) = JobSpec::read("job", &text, format) else { continue };
            prop_assert!(!errors.errors().is_empty());
            let mut shown = String::new();
            prop_assert!(
                GraphicalReportHandler::new_themed(GraphicalTheme::unicode_nocolor())
                    .render_report(&mut shown, &errors)
                    .is_ok()
            );
            for label in errors.errors().iter().flat_map(|error| &error.labels) {
                prop_assert!(text.get(label.offset()..label.offset() + label.len()).is_some());
            }
        }
    }
}
