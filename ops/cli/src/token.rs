//! The user's token: from the file that `--token-file` names, from `YARD_TOKEN`, or from the file
//! that the context names. Never from the command line itself, where every user of the machine
//! can read it.

use std::{fs, path::Path};

use trainyard_jobs::Token;

use crate::{error::CliError, exit::Exit};

/// Finds the token to send; there need not be one.
pub(crate) fn find(
    flag: Option<&Path>,
    environment: Option<&str>,
    context: Option<&Path>,
) -> Result<Option<Token>, CliError> {
    if let Some(file) = flag {
        return from_file(file).map(Some);
    }
    if let Some(text) = environment {
        return parse(text, "YARD_TOKEN").map(Some);
    }
    context.map(from_file).transpose()
}

fn from_file(file: &Path) -> Result<Token, CliError> {
    let text = fs::read_to_string(file).map_err(|error| CliError::io("read", file, &error))?;
    parse(&text, &file.display().to_string())
}

fn parse(text: &str, origin: &str) -> Result<Token, CliError> {
    let token = text.trim().parse().map_err(|error| {
        CliError::new(Exit::Auth, format!("cannot use the token of `{origin}`: {error}"))
            .help("`yard token create` prints one, once: keep it in a file that only you can read")
    })?;
    match token {
        Token::Api { .. } => Ok(token),
        Token::Join { .. } => Err(CliError::new(
            Exit::Auth,
            format!("the token of `{origin}` lets a machine join, it does not speak for you"),
        )
        .help("an administrator makes one for you: `yard token create --role researcher`")),
    }
}

#[cfg(test)]
mod tests {
    use trainyard_jobs::{Digest, Secret, TokenId};

    use super::*;

    fn api(n: u64) -> Token {
        Token::Api { id: TokenId::from_random(n), secret: Secret::from_random([7; 32]) }
    }

    #[test]
    fn the_flag_comes_before_the_environment_and_that_before_the_context() {
        let dir = tempfile::tempdir().unwrap();
        let file = |n: u64| {
            let path = dir.path().join(n.to_string());
            fs::write(&path, format!("{}\n", api(n).expose())).unwrap();
            path
        };
        let (one, three) = (file(1), file(3));
        let two = api(2).expose();
        let found = |flag, environment, context| find(flag, environment, context).unwrap();
        assert_eq!(found(Some(&*one), Some(&*two), Some(&*three)), Some(api(1)));
        assert_eq!(found(None, Some(&*two), Some(&*three)), Some(api(2)));
        assert_eq!(found(None, None, Some(&*three)), Some(api(3)));
        assert_eq!(found(None, None, None), None);
    }

    #[test]
    fn what_is_no_api_token_is_not_shown_and_ends_with_the_code_for_it() {
        let secret = Secret::from_random([9; 32]);
        let join = Token::Join { id: TokenId::from_random(1), secret, ca: Digest::of(b"ca") };
        let cut = api(1).expose()[..40].to_owned();
        for text in [join.expose(), cut] {
            let error = find(None, Some(&text), None).unwrap_err();
            assert_eq!(error.exit(), Exit::Auth);
            assert!(!error.render(false, 80).contains(&text[24..]), "{text}");
        }
    }
}
