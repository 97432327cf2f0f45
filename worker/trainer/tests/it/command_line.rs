//! Usage, mistakes, and the small commands.

use std::fs;
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::tempdir;
use trainyard_jobs::JobSpec;
use trainyard_jobs::spec::Format;
use trainyard_train::recipe::Recipe;

use crate::dataset;

fn yard_train(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_yard-train"))
        .args(args)
        .env("CUDA_VISIBLE_DEVICES", "")
        .output()
        .unwrap()
}

fn failure(args: &[&str]) -> (i32, String) {
    let output = yard_train(args);
    (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap().trim_end().to_owned())
}

#[test]
fn the_probe_is_one_line_of_json() {
    let output = yard_train(&["--probe"]);
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text.lines().count(), 1);
    let probe: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(probe["yard_train"], env!("CARGO_PKG_VERSION"));
    assert_eq!(probe["libtorch"], "2.11.0");
    assert_eq!(probe["gloo"], true);
    assert!(probe["cuda"].is_boolean() && probe["nccl"].is_boolean());
}

#[test]
fn mistakes_in_usage_exit_with_2() {
    assert_eq!(failure(&[]), (2, "error: no recipe: give --recipe NAME, or --probe".to_owned()));
    let (code, text) =
        failure(&["--recipe", "image-classifier", "--params-json", r#"{"epoch": 1}"#]);
    assert_eq!(code, 2);
    assert!(text.contains("has no parameter \"epoch\" (did you mean \"epochs\"?)"), "{text}");
    let (code, text) = failure(&["--recipe", "image-classifier", "--params-json", "[]"]);
    assert_eq!(code, 2);
    assert!(text.starts_with("error: --params-json: not a JSON object: "), "{text}");
}

#[test]
fn data_that_is_missing_or_broken_is_named() {
    let folder = tempdir().unwrap();
    let data = format!("data={}", folder.path().display());
    let run = || {
        let (code, text) = failure(&["--recipe", "image-classifier", "--set", &data]);
        (code, text.replace(&folder.path().display().to_string(), "DATA"))
    };
    assert_eq!(run(), (1, "error: could not open DATA/train-images-idx3-ubyte.gz: No such file or directory (os error 2)".to_owned()));
    dataset::write(folder.path(), 64);
    let images = folder.path().join("train-images-idx3-ubyte.gz");
    let whole = fs::read(&images).unwrap();
    fs::write(&images, &whole[..whole.len() / 2]).unwrap();
    let (code, text) = run();
    assert_eq!(code, 1);
    assert!(
        text.starts_with("error: DATA/train-images-idx3-ubyte.gz at byte ")
            && text.contains(": gzip: "),
        "{text}"
    );
    fs::write(&images, b"not gzip at all").unwrap();
    assert_eq!(
        run(),
        (
            1,
            "error: DATA/train-images-idx3-ubyte.gz at byte 0: gzip: invalid gzip header"
                .to_owned()
        )
    );
}

#[test]
fn a_port_that_is_taken_is_an_error_not_a_wait() {
    let folder = tempdir().unwrap();
    dataset::write(folder.path(), 64);
    let listener = std::net::TcpListener::bind("0.0.0.0:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let output = Command::new(env!("CARGO_BIN_EXE_yard-train"))
        .args([
            "--recipe",
            "image-classifier",
            "--device",
            "cpu",
            "--set",
            &format!("data={}", folder.path().display()),
        ])
        .envs([
            ("RANK", "0"),
            ("WORLD_SIZE", "2"),
            ("MASTER_ADDR", "127.0.0.1"),
            ("MASTER_PORT", port.to_string().as_str()),
        ])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains(&port.to_string()) && text.contains("address already in use"), "{text}");
}

#[test]
fn the_benchmark_starts_its_own_ranks() {
    let output = yard_train(&[
        "bench-ddp",
        "--ranks",
        "2",
        "--width",
        "32",
        "--steps",
        "20",
        "--warmup",
        "2",
        "--device",
        "cpu",
    ]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let result: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (&result["world_size"], &result["implementation"]),
        (&2.into(), &"yard-train".into())
    );
    assert!(result["steps_per_s"].as_f64().unwrap() > 0.0);
    assert!(result["last_loss"].as_f64() < result["first_loss"].as_f64());
}

#[test]
fn without_a_gpu_the_gpu_check_says_so() {
    let output = yard_train(&["gpu-check"]);
    if output.status.code() == Some(3) {
        assert!(
            String::from_utf8_lossy(&output.stderr).starts_with("gpu-check: nothing to check: ")
        );
    } else {
        assert!(String::from_utf8_lossy(&output.stdout).contains("CUDA devices"));
    }
}

/// The examples are what people start from: they must be specs, and the recipe's own words.
#[test]
fn the_example_specs_are_read_and_their_recipe_knows_its_parameters() {
    let examples = concat!(env!("CARGO_MANIFEST_DIR"), "/../../jobs/examples");
    for name in ["fashion-mnist.toml", "torchrun-ddp.toml"] {
        let text = fs::read_to_string(format!("{examples}/{name}")).unwrap();
        let spec = JobSpec::read(name, &text, Format::Toml).unwrap();
        if let Some(recipe) = &spec.run.recipe {
            let params = serde_json::to_value(&spec.run.params).unwrap();
            Recipe::parse(recipe, params.as_object().unwrap()).unwrap();
        }
    }
}
