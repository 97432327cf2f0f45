//! The command line as users see it.

use clap::{CommandFactory as _, Parser as _};

use super::*;

fn help(path: &[&str]) -> String {
    let args = std::iter::once("yard").chain(path.iter().copied()).chain(["--help"]);
    let error = Cli::command().term_width(80).try_get_matches_from(args).unwrap_err();
    error.to_string()
}

#[test]
fn the_command_line_is_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn the_overview_names_every_command() {
    let listed: Vec<&str> = OVERVIEW
        .lines()
        .filter(|line| line.starts_with("  "))
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    let mut commands: Vec<String> = Cli::command()
        .get_subcommands()
        .filter(|command| !command.is_hide_set())
        .map(|command| command.get_name().to_owned())
        .collect();
    assert_eq!(listed.len(), commands.len());
    commands.retain(|command| !listed.contains(&command.as_str()));
    assert!(commands.is_empty(), "not in the overview: {commands:?}");
}

#[test]
fn help_fits_eighty_columns() {
    for path in [
        &[][..],
        &["run"],
        &["submit"],
        &["ps"],
        &["logs"],
        &["explain"],
        &["wait"],
        &["cancel"],
        &["job", "get"],
        &["model", "list"],
        &["model", "pull"],
        &["model", "verify"],
        &["gpu", "list"],
        &["cluster", "status"],
        &["dev"],
        &["scheduler"],
        &["worker"],
        &["completion"],
        &["sim"],
    ] {
        for line in help(path).lines() {
            assert!(line.chars().count() <= 80, "yard {path:?}: {line}");
        }
    }
}

#[test]
fn the_overview_is_short() {
    insta::assert_snapshot!(help(&[]));
}

#[test]
fn a_commands_help() {
    insta::assert_snapshot!("help_submit", help(&["submit"]));
    insta::assert_snapshot!("help_dev", help(&["dev"]));
    insta::assert_snapshot!("help_sim", help(&["sim"]));
}

#[test]
fn shortcuts_and_nouns_take_the_same_flags() {
    for args in [
        &["yard", "ps", "--all"][..],
        &["yard", "job", "list", "--all"],
        &["yard", "logs", "-f", "--rank", "1", "@last"],
        &["yard", "job", "logs", "-f", "--rank", "1", "@last"],
        &["yard", "wait", "a", "b", "--timeout", "10m"],
        &["yard", "-o", "json", "node", "ls"],
        &["yard", "gpu", "list", "--all", "-o", "wide"],
        &["yard", "dev", "--schedulers", "3", "--workers", "3", "--slots", "1"],
    ] {
        assert!(Cli::try_parse_from(args).is_ok(), "{args:?}");
    }
    for args in [
        &["yard"][..],
        &["yard", "dev", "--schedulers", "2"],
        &["yard", "wait", "a", "--timeout", "soon"],
        &["yard", "-q", "-v", "ps"],
    ] {
        let error = Cli::try_parse_from(args).unwrap_err();
        assert_eq!(error.exit_code(), 2, "{args:?}");
    }
}
