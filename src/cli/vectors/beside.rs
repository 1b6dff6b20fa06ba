//! Mistakes in what a scheme demands beside a good signature: values that must stand somewhere, the key that is named,
//! what a token says. Each is signed as it is, so that nothing but the mistake is refused.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::case::{Case, slug};
use super::draft::{Draft, NOW, delivered, is_own};
use super::edit;
use super::keys::Pair;
use crate::delivery::Delivery;
use crate::provider::{Algorithm, ClaimValue, Expires, Jws, KeyForm, KeyUrl, Scheme};
use crate::sample::tamper;

/// An id that no key has, and a URL that no provider's keys are at.
const STRANGE_ID: &str = "made-strange";
const STRANGE_URL: &str = "https://keys.attacker.example/key.pem";
/// A value that nothing demands.
const STRANGE: &str = "made-strange";
/// For how long a token that must end has ended.
const ENDED: Duration = Duration::from_secs(3600);

/// All of them that fit the scheme.
pub(super) fn cases(draft: &Draft<'_>) -> Vec<Case> {
    let mut cases = demanded(draft);
    cases.extend(key(draft));
    if let Algorithm::Jwt(jws) = draft.scheme.algorithm {
        cases.extend(token(draft, jws));
    }
    cases
}

/// Values of which the scheme says what they must be: missing, and others.
fn demanded(draft: &Draft<'_>) -> Vec<Case> {
    let scheme = &draft.scheme;
    let equal = scheme.equal.iter().map(|rule| &rule.place);
    let places = equal.chain(scheme.matching.iter().map(|rule| &rule.place));
    let mut cases = Vec::new();
    for place in places.filter(|place| !is_own(scheme, place)) {
        let Some(there) = delivered(scheme, place) else { continue };
        let name = slug(&place.to_string());
        let missing = edit::at(&draft.unsigned, &there, &|_| None);
        let other = edit::at(&draft.unsigned, &there, &|text| Some(format!("{text}~")));
        let made = [
            (format!("missing-{name}"), format!("{place} is missing"), missing),
            (format!("other-{name}"), format!("{place} is not what it must be"), other),
        ];
        for (name, why, unsigned) in made {
            let signed = unsigned.and_then(|unsigned| signed(scheme, &draft.secret, unsigned));
            cases.extend(signed.map(|signed| Case::refused(name, why, draft.held(), signed)));
        }
    }
    cases
}

/// A key that the delivery does not name, or that the source does not have.
fn key(draft: &Draft<'_>) -> Vec<Case> {
    let Some(place) = &draft.scheme.key.id else { return Vec::new() };
    let delivered =
        draft.scheme.key.fetch.as_ref().is_some_and(|fetch| matches!(fetch.from, KeyUrl::Delivered(..)));
    let (name, why, id) = match delivered {
        true => ("strange-key-url", "the URL of the key is none of the provider's", STRANGE_URL),
        false => ("unknown-key", "no key of the source has the id that is named", STRANGE_ID),
    };
    let pair = draft.secret.clone().named(Some(id));
    let strange = signed(&draft.scheme, &pair, draft.unsigned.clone());
    let unnamed = match place.is_token_header() {
        true => {
            let pair = draft.secret.clone().named(None);
            signed(&draft.scheme, &pair, draft.unsigned.clone())
        }
        false => draft.signed(NOW).ok().and_then(|signed| edit::at(&signed, place, &|_| None)),
    };
    let strange = strange.map(|own| Case::refused(name, why, draft.held(), own));
    let unnamed =
        unnamed.map(|own| Case::refused("unnamed-key", format!("{place} is missing"), draft.held(), own));
    strange.into_iter().chain(unnamed).collect()
}

/// Tokens that hold, and say what they must not.
fn token(draft: &Draft<'_>, jws: Jws) -> Vec<Case> {
    let scheme = &draft.scheme;
    let mut cases = Vec::new();
    let mut refuse = |name: String, why: &str, delivery: Option<Delivery>| {
        cases.extend(delivery.map(|delivery| Case::refused(name, why, draft.held(), delivery)));
    };
    for (at, (pointer, _)) in scheme.token.claims.iter().enumerate() {
        let mut other = scheme.clone();
        if let Some((_, wanted)) = other.token.claims.get_mut(at) {
            *wanted = vec![ClaimValue::Text(STRANGE.to_owned())];
        }
        let name = format!("other-claim-{}", slug(&pointer.to_string()));
        refuse(name, "a claim says what it must not", signed(&other, &draft.secret, draft.unsigned.clone()));
    }
    if scheme.token.expires == Expires::Required {
        let ended = draft.signed(NOW.minus(ENDED + scheme.token.leeway)).ok();
        refuse("ended-token".to_owned(), "the token has ended", ended);
    }
    // Whoever has the public key must not sign with it.
    let mac = if jws == Jws::Hs256 { Jws::Hs512 } else { Jws::Hs256 };
    let as_mac = Scheme { algorithm: Algorithm::Jwt(mac), key_form: mac_form(scheme), ..scheme.clone() };
    let shared = Pair { signs: draft.secret.held.clone(), ..draft.secret.clone() };
    refuse(
        format!("signed-as-{}", mac.name().to_ascii_lowercase()),
        "another algorithm than the one that must be, keyed with what the source has",
        signed(&as_mac, &shared, draft.unsigned.clone()),
    );
    let unsigned = tamper::signature_places(scheme).first().and_then(|place| {
        let good = draft.signed(NOW).ok()?;
        edit::at(&good, place, &unsecured)
    });
    refuse("algorithm-none".to_owned(), "the token says that nothing signs it", unsigned);
    cases
}

/// The form in which the secret's text is a MAC's key.
fn mac_form(scheme: &Scheme) -> KeyForm {
    if scheme.has_public_keys() { KeyForm::Utf8 } else { scheme.key_form }
}

/// The value with its token under the header `{"alg":"none"}`, and with no signature.
fn unsecured(text: &str) -> Option<String> {
    let (head, rest) = text.split_once('.')?;
    let (claims, _) = rest.split_once('.')?;
    let prefix = head.rfind(' ').map_or("", |at| head.get(..=at).unwrap_or_default());
    let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"none","typ":"JWT"}"#);
    Some(format!("{prefix}{header}.{claims}."))
}

/// `unsigned` with a signature by the rules of `scheme`; `None` where it lacks what is signed.
fn signed(scheme: &Scheme, pair: &Pair, mut delivery: Delivery) -> Option<Delivery> {
    pair.signer().sign(scheme, &mut delivery, NOW).ok()?;
    Some(delivery)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_loses_its_signature_and_keeps_its_claims() {
        assert_eq!(
            unsecured("Bearer a.b.c").as_deref(),
            Some("Bearer eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.b.")
        );
        assert_eq!(unsecured("a.b.c").as_deref(), Some("eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.b."));
        assert_eq!(unsecured("token"), None);
    }
}
