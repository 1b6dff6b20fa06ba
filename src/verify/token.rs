//! The verdict on a JSON Web Token: signature first, then its claims, then what they prove of the body and the time.

use std::borrow::Cow;

use bytes::Bytes;

use super::beside;
use super::candidates::Candidates;
use super::claims;
use super::digest;
use super::header::{self, Carrier};
use super::jwt::{TOKEN_BYTES_MAX, Token};
use super::key::Material;
use super::verifier::{By, Judged, Verifier, any_equal, time_of};
use crate::delivery::Delivery;
use crate::extract::Scene;
use crate::provider::{Jws, TimeSource};
use crate::reject::{Refused, Reject};

impl Verifier {
    /// Judges a delivery whose proof is a token signed by `jws`.
    ///
    /// # Errors
    /// The exact cause.
    pub(super) fn judge_token(&self, jws: Jws, delivery: &Delivery, by: By<'_>) -> Result<Judged, Refused> {
        let scheme = self.scheme();
        let scene = Scene::to_prove(delivery);
        let carriers = header::carriers(&scheme.signature, &scene)?;
        let text = self.token_text(&carriers)?;
        beside::check(scheme, &scene)?;
        let token = Token::parse(text, jws)?;
        let id = self.named_key(&scene, Some(&token.header))?;
        if let Some(fetch) = &scheme.key.fetch {
            fetch.wanted(id.as_deref(), delivery)?;
        }
        let secret =
            self.first_key(id.as_deref(), by, |key| Ok(sealed(key.material_for(scheme.algorithm), &token)))?;
        claims::check(&scheme.token, &token.claims, delivery, by.now)?;
        let body_proved = self.body_proved(&token, delivery)?;
        let signed_at = match &scheme.timestamp {
            Some(rule) => {
                let text = match &rule.from {
                    TimeSource::Place(place) => place.read_claim(&token.claims),
                    TimeSource::Signature(_) => None,
                };
                Some(time_of(rule, &text.ok_or(Reject::TimestampMissing)?, true)?)
            }
            None => None,
        };
        Ok(Judged { secret, signed_at, claims: Some(Bytes::from(token.claims)), body_proved })
    }

    /// The only token of the delivery.
    fn token_text<'c>(&'c self, carriers: &'c [Carrier<'_>]) -> Result<&'c str, Refused> {
        let scheme = self.scheme();
        let text = Candidates::parse(&scheme.signature, carriers)?.only()?;
        if scheme.token_is_body() {
            // A body may end with the newline of whoever wrote it to a file.
            return Ok(text.trim_ascii());
        }
        if text.len() > TOKEN_BYTES_MAX {
            let detail = format!("a token of {} bytes; at most {TOKEN_BYTES_MAX} are read", text.len());
            return Err(Reject::SignatureMalformed.because(detail));
        }
        Ok(text)
    }

    /// The id of the key that the delivery says its token was signed with.
    pub(super) fn token_key(&self, jws: Jws, delivery: &Delivery) -> Result<Option<String>, Refused> {
        let scene = Scene::to_prove(delivery);
        let carriers = header::carriers(&self.scheme().signature, &scene)?;
        let token = Token::parse(self.token_text(&carriers)?, jws)?;
        Ok(self.named_key(&scene, Some(&token.header))?.map(Cow::into_owned))
    }

    /// Whether the claims prove the body.
    fn body_proved(&self, token: &Token<'_>, delivery: &Delivery) -> Result<bool, Refused> {
        let Some(rule) = &self.scheme().body_digest else { return Ok(self.scheme().token_is_body()) };
        let Some(text) = rule.from.read_claim(&token.claims).filter(|text| !text.is_empty()) else {
            let missing =
                || Reject::CompanionMissing.because(format!("{}, the body's digest, is missing", rule.from));
            return if rule.optional { Ok(false) } else { Err(missing()) };
        };
        digest::check(rule, &text, &delivery.body)?;
        Ok(true)
    }
}

/// Whether the key signed the token.
pub(super) fn sealed(key: &Material, token: &Token<'_>) -> bool {
    match key {
        Material::Mac(keyed) => {
            let own = keyed.mac.of(token.signed.as_bytes());
            token.signature.len() == own.as_bytes().len()
                && any_equal([super::algorithm::Output::from_bytes(&token.signature)].iter(), &own)
        }
        Material::Public(public) => {
            let mut message = public.message();
            message.update(token.signed.as_bytes());
            public.holds(&message.finish(), &token.signature)
        }
        Material::Plain(_) | Material::Token(_) | Material::Nothing => false,
    }
}
