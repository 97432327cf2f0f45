//! Each rule on a small example that breaks it and one that does not.

use std::path::Path;

use super::{
    docs::{check_changelog, check_named_tests},
    licence, rooms, supply,
    text::check,
    tree::File,
};
use crate::metadata::Metadata;

fn file(path: &str, text: &str) -> File {
    File { path: path.to_owned(), text: text.to_owned() }
}

fn found(path: &str, text: &str) -> Vec<String> {
    check(&file(path, text)).iter().map(ToString::to_string).collect()
}

#[test]
fn a_module_must_open_with_its_doc() {
    assert_eq!(found("a.rs", "//! For tests.\nfn a() {}\n"), [""; 0]);
    let findings = found("a.rs", "fn a() {}\n");
    assert!(findings[0].starts_with("a.rs:1: no opening doc"), "{findings:?}");
}

#[test]
fn a_file_has_a_length() {
    let long = format!("//! Long.\n{}", "\n".repeat(600));
    assert!(found("a.rs", &long)[0].contains("601 lines, 600 at most"));
    assert_eq!(found("a.md", &long), [""; 0]);
}

#[test]
fn unfinished_work_is_found_as_a_word() {
    for word in super::text::UNFINISHED {
        assert_eq!(found("a.py", &format!("# {word}: later\n")).len(), 1, "{word}");
        assert_eq!(found("a.py", &format!("# {word}ER\n")), [""; 0]);
        assert_eq!(found("a.md", &format!("{word}\n")), [""; 0]);
    }
    for call in super::text::UNWRITTEN {
        assert_eq!(found("a.rs", &format!("//! A.\nfn a() {{ {call}) }}\n")).len(), 1, "{call}");
    }
}

#[test]
fn an_ignored_test_says_why() {
    let bare = format!("//! A.\n{}]\nfn a() {{}}\n", super::text::IGNORED);
    let told = format!("//! A.\n{} = \"needs a GPU\"]\nfn a() {{}}\n", super::text::IGNORED);
    assert_eq!(found("a.rs", &bare).len(), 1);
    assert_eq!(found("a.rs", &told), [""; 0]);
}

#[test]
fn a_machine_path_is_found_and_a_relative_one_is_not() {
    let place = super::text::PLACES[0];
    assert_eq!(found("a.md", &format!("see `{place}main`\n")).len(), 1);
    assert_eq!(found("a.md", &format!("see some{place}main and .{place}x\n")), [""; 0]);
}

#[test]
fn the_changelog_names_the_version_in_the_making() {
    assert!(check_changelog(&[]).is_some());
    assert!(check_changelog(&[file("CHANGELOG.md", "# Changes\n\n## 0.0.1\n")]).is_some());
    assert!(check_changelog(&[file("CHANGELOG.md", "# Changes\n\n## Unreleased\n")]).is_none());
}

#[test]
fn a_test_that_the_architecture_names_exists() {
    let page =
        |name: &str| file("ARCHITECTURE.md", &format!("# A\nby `{name}` and `serde::Value`\n"));
    let test = || file("tests/e2e/tests/faults.rs", "fn a_loss_is_healed() {}\n");
    assert_eq!(check_named_tests(&[page("faults::a_loss_is_healed"), test()]), []);
    for wrong in ["faults::a_loss", "jobs::a_loss_is_healed"] {
        let findings = check_named_tests(&[page(wrong), test()]);
        assert!(findings[0].to_string().starts_with("ARCHITECTURE.md:2: "), "{findings:?}");
    }
}

#[test]
fn licence_expressions_are_read_as_spdx_says() {
    let allowed = ["MIT", "Zlib", "Apache-2.0 WITH LLVM-exception"].map(str::to_owned);
    for good in [
        "MIT",
        "GPL-3.0 OR MIT",
        "GPL-3.0/MIT",
        "(MIT OR GPL-3.0) AND Zlib",
        "GPL-3.0 AND Zlib OR MIT",
        "Apache-2.0 WITH LLVM-exception",
    ] {
        assert!(licence::is_allowed(good, &allowed), "{good}");
    }
    for bad in ["", "GPL-3.0", "MIT AND GPL-3.0", "Apache-2.0", "(MIT", "MIT Zlib", "MIT AND"] {
        assert!(!licence::is_allowed(bad, &allowed), "{bad}");
    }
}

/// A workspace of `trainyard-core` and a room that nobody knows, both with crates of others.
const METADATA: &str = r#"{
  "packages": [
    {"id": "core", "name": "trainyard-core", "version": "0.1.0", "manifest_path": "/r/core/Cargo.toml"},
    {"id": "new", "name": "trainyard-new", "version": "0.1.0", "manifest_path": "/r/new/Cargo.toml"},
    {"id": "a", "name": "a", "version": "1.0.0", "license": "MIT", "source": "registry+x", "manifest_path": ""},
    {"id": "tokio", "name": "tokio", "version": "1.0.0", "license": "GPL-3.0", "source": "git+x", "manifest_path": ""},
    {"id": "tokio2", "name": "tokio", "version": "2.0.0", "source": "registry+x", "manifest_path": ""},
    {"id": "unbuilt", "name": "unbuilt", "version": "1.0.0", "manifest_path": ""}
  ],
  "workspace_members": ["core", "new"],
  "resolve": {"nodes": [
    {"id": "core", "deps": [{"pkg": "a", "dep_kinds": [{"kind": null}]}, {"pkg": "new", "dep_kinds": [{"kind": null}]}]},
    {"id": "new", "deps": [{"pkg": "tokio2", "dep_kinds": [{"kind": "dev"}]}]},
    {"id": "a", "deps": [{"pkg": "tokio", "dep_kinds": [{"kind": null}]}]},
    {"id": "tokio", "deps": []},
    {"id": "tokio2", "deps": []}
  ]}
}"#;

#[test]
fn rooms_import_what_the_table_says() {
    let metadata = Metadata::parse(METADATA.as_bytes()).unwrap();
    let findings = rooms::check(&metadata, Path::new("/r"));
    let findings: Vec<_> = findings.iter().map(ToString::to_string).collect();
    assert_eq!(
        findings,
        [
            "core/Cargo.toml:1: trainyard-core imports trainyard-new, which the design does not allow",
            "core/Cargo.toml:1: trainyard-core reaches tokio through a; it must not",
            "new/Cargo.toml:1: trainyard-new has no line in ops/xtask/src/tidy/rooms.rs; give it one",
        ]
    );
}

#[test]
fn licences_bans_sources_and_duplicates_are_checked() {
    let metadata = Metadata::parse(METADATA.as_bytes()).unwrap();
    let policy = supply::Policy::parse(
        r#"
        [licenses]
        allow = ["MIT"]
        [bans]
        deny = [
            { crate = "a", reason = "for the test" },
            { crate = "tokio", deny-multiple-versions = true },
            { crate = "absent", reason = "never seen" },
        ]
        "#,
    )
    .unwrap();
    let findings = supply::check(&metadata, &policy);
    let findings: Vec<_> = findings.iter().map(|finding| finding.text.as_str()).collect();
    assert_eq!(
        findings,
        [
            "tokio 1.0.0 is under GPL-3.0, which is not allowed",
            "tokio 1.0.0 does not come from the registry; use a released version",
            "tokio 2.0.0 names no licence; use another crate",
            "a is banned: for the test",
            "tokio is there in versions 1.0.0, 2.0.0; agree on one",
        ]
    );
}
