use proptest::prelude::*;

use super::*;

fn api() -> Token {
    Token::Api { id: TokenId::from_random(7), secret: Secret::from_random([0xA5; 32]) }
}

fn join() -> Token {
    Token::Join {
        id: TokenId::from_random(7),
        secret: Secret::from_random([0xFF; 32]),
        ca: Digest::of(b"a certificate"),
    }
}

#[test]
fn the_text_is_as_agreed() {
    assert_eq!(
        api().expose(),
        "yard_api_000000000007_mpjtb9d5mpjtb9d5mpjtb9d5mpjtb9d5mpjtb9d5mpjtb9d5mpjg"
    );
    let ca = Digest::of(b"a certificate").hex();
    let secret = "z".repeat(51) + "g";
    assert_eq!(join().expose(), format!("yard_join_000000000007_{secret}_{ca}"));
    assert!(join().expose().len() <= MAX_TOKEN);
}

#[test]
fn no_debug_text_and_no_error_shows_a_secret() {
    for token in [api(), join()] {
        let secret = &token.secret().0;
        assert!(!format!("{token:?}").contains(secret.as_str()));
        let cut = &token.expose()[..token.expose().len() - 1];
        let error = cut.parse::<Token>().unwrap_err();
        assert!(!format!("{error} {error:?}").contains(&secret[..8]), "{error}");
    }
}

#[test]
fn what_is_no_token_is_refused() {
    let text = api().expose();
    let bad = [
        (String::new(), InvalidToken::Kind),
        ("Bearer x".into(), InvalidToken::Kind),
        ("yard_api_".into(), InvalidToken::Damaged),
        (text[..text.len() - 1].into(), InvalidToken::Damaged),
        (format!("{text} "), InvalidToken::Damaged),
        (text.to_uppercase(), InvalidToken::Kind),
        (text.replace("mpj", "MPJ"), InvalidToken::Damaged),
        (format!("{}0", join().expose()), InvalidToken::Damaged),
        ("yard_api_".to_owned() + &"0".repeat(1 << 20), InvalidToken::TooLong),
    ];
    for (text, why) in bad {
        assert_eq!(text.parse::<Token>(), Err(why), "{}", &text[..text.len().min(80)]);
    }
}

proptest! {
    #[test]
    fn a_token_survives_its_text(id: u64, secret: [u8; 32], ca: Option<[u8; 8]>) {
        let (id, secret) = (TokenId::from_random(id), Secret::from_random(secret));
        let token = match ca {
            None => Token::Api { id, secret },
            Some(ca) => Token::Join { id, secret, ca: Digest::of(&ca) },
        };
        prop_assert_eq!(token.expose().parse::<Token>(), Ok(token));
    }

    #[test]
    fn different_bytes_are_different_secrets(a: [u8; 32], b: [u8; 32]) {
        let same = Secret::from_random(a) == Secret::from_random(b);
        prop_assert_eq!(same, a == b);
        prop_assert_eq!(
            Secret::from_random(a).digest().same(&Secret::from_random(b).digest()),
            a == b
        );
    }

    #[test]
    fn any_text_is_read_or_refused(text in "\\PC{0,200}") {
        if let Ok(token) = text.parse::<Token>() {
            prop_assert_eq!(token.expose(), text);
        }
    }
}

#[test]
fn a_bearers_name_is_safe_in_any_line() {
    for good in ["ada", "ada@lab.example", "ci+1", "A-b_c"] {
        assert!(is_bearer_name(good), "{good}");
    }
    for bad in ["", "a b", "a\nb", "a/b", "ä", &"x".repeat(65)] {
        assert!(!is_bearer_name(bad), "{bad}");
    }
}
