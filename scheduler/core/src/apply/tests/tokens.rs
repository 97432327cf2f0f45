//! Tokens told as short stories; `histories` checks them against a naive model.

use trainyard_jobs::{Digest, JoinRole, Projects, Role, TokenId, TokenKind};

use crate::{
    Command, Refusal, Reply, codec,
    command::{CreateToken, Submit},
    world::{World, ranks, secret},
};

const MINUTE: u64 = 60_000;
const DAY: u64 = 24 * 60 * MINUTE;

pub(super) fn joins() -> TokenKind {
    TokenKind::Join { role: JoinRole::Worker }
}

pub(super) fn speaks() -> TokenKind {
    TokenKind::Api { role: Role::Researcher, projects: Projects::All, name: "ada".into() }
}

#[test]
fn a_join_token_lets_one_machine_in_however_often_it_asks() {
    let mut world = World::new();
    world.token(1, joins(), 15 * MINUTE).unwrap();
    assert_eq!(world.redeem(1, 2, 1), Err(Refusal::BadToken), "the wrong secret");
    let joined = Ok(Reply::TokenRedeemed(JoinRole::Worker));
    assert_eq!(world.redeem(1, 1, 1), joined);
    assert_eq!(world.redeem(1, 1, 1), joined, "the answer was lost");
    let used = TokenId::from_random(1);
    assert_eq!(world.redeem(1, 1, 2), Err(Refusal::TokenUsed(used)), "another machine");
    world.state = codec::restore(&codec::snapshot(&world.state)).unwrap();
    assert_eq!(world.redeem(1, 1, 1), joined, "also after a snapshot");
    world.now += 15 * MINUTE;
    assert_eq!(world.redeem(1, 1, 1), Err(Refusal::BadToken), "expired");
}

#[test]
fn neither_an_api_token_nor_a_revoked_one_lets_anybody_join() {
    let mut world = World::new();
    world.token(1, speaks(), DAY).unwrap();
    world.token(2, joins(), DAY).unwrap();
    world.revoke(2).unwrap();
    for n in 1..=3 {
        assert_eq!(world.redeem(n, n, 1), Err(Refusal::BadToken));
    }
    assert!(matches!(world.revoke(3), Err(Refusal::NoToken(_))));
}

#[test]
fn one_key_makes_one_token() {
    let mut world = World::new();
    let mutation = world.mutation();
    let create = |n| {
        Command::CreateToken(Box::new(CreateToken {
            mutation: mutation.clone(),
            token: TokenId::from_random(n),
            kind: speaks(),
            digest: secret(1).digest(),
            ttl: trainyard_jobs::Millis(DAY),
        }))
    };
    let made = Ok(Reply::TokenCreated(TokenId::from_random(1)));
    assert_eq!(world.apply(create(1)), made);
    assert_eq!(world.apply(create(2)), made, "the one that was made first");
    assert_eq!(world.state.tokens().len(), 1);
}

#[test]
fn a_life_has_bounds() {
    let mut world = World::new();
    for (kind, longest) in [(speaks(), 366 * DAY), (joins(), 7 * DAY)] {
        for ttl in [0, longest + 1, u64::MAX] {
            let refused = world.token(1, kind.clone(), ttl);
            assert!(matches!(refused, Err(Refusal::Malformed(_))), "{refused:?}");
        }
    }
    world.token(1, joins(), 7 * DAY).unwrap();
}

#[test]
fn expired_tokens_are_forgotten_a_few_at_a_time() {
    let mut world = World::new();
    for n in 0..100 {
        world.token(n, joins(), MINUTE).unwrap();
    }
    world.now += MINUTE;
    world.submit(ranks(1));
    assert_eq!(world.state.tokens().len(), 100, "listed for another day");
    world.now += DAY;
    world.submit(ranks(1));
    assert_eq!(world.state.tokens().len(), 36);
    world.submit(ranks(1));
    assert_eq!(world.state.tokens().len(), 0);
}

/// Before there were users everybody was `local`: whoever repeats such a submission after an
/// upgrade is answered with the job that it made.
#[test]
fn what_was_submitted_before_there_were_users_may_be_repeated_by_anybody() {
    let mut world = World::new();
    let mutation = world.mutation();
    let submit = |world: &mut World, n, principal: &str, request: &[u8]| {
        let mut mutation = mutation.clone();
        mutation.principal = principal.to_owned();
        mutation.request = Digest::of(request);
        let job = trainyard_jobs::JobId::from_random(n);
        let submit = Submit { mutation, job, spec: ranks(1), bundle: None, commit: None };
        world.apply(Command::Submit(Box::new(submit)))
    };
    assert!(submit(&mut world, 1, "local", b"request").is_ok());
    let again = submit(&mut world, 2, "api/ada", b"request");
    assert!(matches!(again, Ok(Reply::Submitted { existed: true, .. })), "{again:?}");
    assert_eq!(submit(&mut world, 3, "api/ada", b"other"), Err(Refusal::KeyConflict));
    world.state.feature_level = 1;
    let older = submit(&mut world, 4, "api/ada", b"request");
    assert_eq!(older, Err(Refusal::KeyConflict), "as members of the older version say");
}

#[test]
fn a_key_belongs_to_who_used_it() {
    let mut world = World::new();
    let mut mutation = world.mutation();
    mutation.principal = "api/ada".into();
    let create = |mutation: &crate::command::Mutation| Command::RevokeToken {
        mutation: mutation.clone(),
        token: TokenId::from_random(1),
    };
    world.token(1, speaks(), DAY).unwrap();
    world.apply(create(&mutation)).unwrap();
    mutation.principal = "api/bob".into();
    assert_eq!(world.apply(create(&mutation)), Err(Refusal::KeyConflict));
}

#[test]
fn a_state_without_tokens_is_written_as_before_there_were_any() {
    let bytes = codec::snapshot(&World::new().state);
    let has = |name: &[u8]| bytes.windows(name.len()).any(|part| part == name);
    assert!(has(b"keys") && !has(b"tokens"));
}
