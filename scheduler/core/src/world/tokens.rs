//! Tokens in the small cluster.

use trainyard_jobs::{Digest, Millis, Secret, TokenId, TokenKind};

use super::World;
use crate::{Command, Refusal, Reply, command::CreateToken};

impl World {
    /// Makes the `n`th token; its secret follows from `n`.
    pub(crate) fn token(&mut self, n: u64, kind: TokenKind, ttl: u64) -> Result<Reply, Refusal> {
        let mutation = self.mutation();
        self.apply(Command::CreateToken(Box::new(CreateToken {
            mutation,
            token: TokenId::from_random(n),
            kind,
            digest: secret(n).digest(),
            ttl: Millis(ttl),
        })))
    }

    pub(crate) fn revoke(&mut self, n: u64) -> Result<Reply, Refusal> {
        let mutation = self.mutation();
        self.apply(Command::RevokeToken { mutation, token: TokenId::from_random(n) })
    }

    /// A machine shows the secret of token `n` to join with token `token`.
    pub(crate) fn redeem(&mut self, token: u64, n: u64, machine: u8) -> Result<Reply, Refusal> {
        self.apply(Command::RedeemToken {
            token: TokenId::from_random(token),
            digest: secret(n).digest(),
            requester: Digest::of(&[machine]),
        })
    }

    pub(super) fn tokens_are_used_once(&mut self) {
        // The tests count ids from 0 and take one again once it is forgotten.
        self.redeemed.retain(|id, _| self.state.token(id).is_some());
        self.revoked.retain(|id| self.state.token(id).is_some());
        for (id, token) in self.state.tokens() {
            if let Some(used) = &token.redeemed {
                let first = self.redeemed.entry(id.clone()).or_insert(used.requester);
                assert_eq!(*first, used.requester, "a token lets one machine join");
                assert!(matches!(token.kind, TokenKind::Join { .. }));
                assert!(used.at < token.expires, "in its time");
            }
            if token.revoked.is_some() {
                self.revoked.insert(id.clone());
            }
            assert_eq!(token.revoked.is_some(), self.revoked.contains(id), "revoked is revoked");
        }
    }
}

pub(crate) fn secret(n: u64) -> Secret {
    let mut random = [0; 32];
    random[..8].copy_from_slice(&n.to_be_bytes());
    Secret::from_random(random)
}
