//! Tokens: made, revoked, redeemed, and forgotten some time after they have expired.

use trainyard_jobs::{Digest, Millis, Timestamp, TokenId, TokenKind};

use super::{
    Applied,
    submit::{FORGET_AT_ONCE, KEY_MEMORY},
};
use crate::{
    archive::Archive,
    command::{CreateToken, Mutation, Reply},
    refusal::Refusal,
    state::{Redeemed, State, TokenRecord},
};

/// The longest life of a token that speaks for somebody.
const LONGEST_API: Millis = Millis(366 * 86_400_000);

/// The longest life of a token with which a machine joins.
const LONGEST_JOIN: Millis = Millis(7 * 86_400_000);

/// The most tokens at once, so that the state stays small.
const MOST: usize = 10_000;

impl State {
    pub(super) fn create_token(&mut self, create: CreateToken, archive: &dyn Archive) -> Applied {
        if let Some(reply) = self.known_key(&create.mutation, archive)? {
            return Ok(reply);
        }
        let longest = match create.kind {
            TokenKind::Api { .. } => LONGEST_API,
            TokenKind::Join { .. } => LONGEST_JOIN,
        };
        if create.ttl.0 == 0 || create.ttl > longest {
            return Err(Refusal::Malformed(format!(
                "a token of this kind lives from 1ms to {longest}, not {}",
                create.ttl
            )));
        }
        if self.tokens.contains_key(&create.token) {
            return Err(Refusal::IdTaken(create.token.to_string()));
        }
        if self.tokens.len() - self.forgettable().count() >= MOST {
            return Err(Refusal::TooManyTokens(MOST));
        }
        let reply = Reply::TokenCreated(create.token.clone());
        self.remember(&create.mutation, reply.clone());
        let record = TokenRecord {
            id: create.token.clone(),
            kind: create.kind,
            digest: create.digest,
            created: self.time,
            expires: Timestamp(self.time.0.saturating_add(create.ttl.0)),
            created_by: create.mutation.principal,
            revoked: None,
            redeemed: None,
        };
        self.tokens_by_expiry.insert((record.expires, create.token.clone()));
        self.tokens.insert(create.token, record);
        Ok(reply)
    }

    pub(super) fn revoke_token(
        &mut self,
        mutation: &Mutation,
        id: &TokenId,
        archive: &dyn Archive,
    ) -> Applied {
        if let Some(reply) = self.known_key(mutation, archive)? {
            return Ok(reply);
        }
        let time = self.time;
        let token = self.tokens.get_mut(id).ok_or_else(|| Refusal::NoToken(id.clone()))?;
        token.revoked.get_or_insert(time);
        self.remember(mutation, Reply::Done);
        Ok(Reply::Done)
    }

    /// Uses a join token up. Which of its conditions is not met is told to nobody who has not
    /// shown its secret. The machine that used it may ask again while the token would be good, so
    /// that an answer that was lost costs no token.
    pub(super) fn redeem_token(
        &mut self,
        id: &TokenId,
        digest: &Digest,
        requester: Digest,
    ) -> Applied {
        let time = self.time;
        let token = self.tokens.get_mut(id).ok_or(Refusal::BadToken)?;
        let TokenKind::Join { role } = token.kind else { return Err(Refusal::BadToken) };
        if !token.digest.same(digest) || !token.is_valid(time) {
            return Err(Refusal::BadToken);
        }
        match token.redeemed {
            Some(used) if used.requester != requester => Err(Refusal::TokenUsed(id.clone())),
            Some(_) => Ok(Reply::TokenRedeemed(role)),
            None => {
                token.redeemed = Some(Redeemed { requester, at: time });
                self.forget_tokens();
                Ok(Reply::TokenRedeemed(role))
            }
        }
    }

    /// Forgets tokens that expired a day ago, a bounded number at once. Until then they are
    /// listed, and their ids are not drawn again.
    pub(super) fn forget_tokens(&mut self) {
        let forgotten: Vec<_> = self.forgettable().cloned().collect();
        for (expired, id) in forgotten {
            self.tokens.remove(&id);
            self.tokens_by_expiry.remove(&(expired, id));
        }
    }

    fn forgettable(&self) -> impl Iterator<Item = &(Timestamp, TokenId)> {
        let old = self.tokens_by_expiry.iter().take(FORGET_AT_ONCE);
        old.take_while(|(expired, _)| self.time.since(*expired) >= KEY_MEMORY)
    }
}
