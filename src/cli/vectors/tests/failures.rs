//! The failures that a scheme allows, as its checked form says; each must be among the vectors of its provider.

use crate::extract::Pick;
use crate::provider::{
    Algorithm, EmptyBody, Encoding, Expires, Grammar, KeyUrl, Piece, Repeated, Scheme, Template, TimeSource,
    TimestampRule,
};
use crate::reject::Reject;

/// How a request that fails stands to one that is accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Beside {
    /// In any way.
    Any,
    /// It has the same body: what differs is the secret or the signature.
    SameBody,
    /// It has the same signature, and another body.
    SameSignature,
}

/// A failure that a scheme allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    /// What people call it.
    pub name: &'static str,
    /// What it is refused with.
    pub refused: &'static [Reject],
    /// What shows that it is this one, where others are refused in the same way.
    pub beside: Beside,
}

const fn failure(name: &'static str, refused: &'static [Reject]) -> Failure {
    Failure { name, refused, beside: Beside::Any }
}

/// What a body that was changed is refused with; one that is no form any more is not even compared.
const OTHER_BODY: &[Reject] =
    &[Reject::SignatureMismatch, Reject::BodyDigestMismatch, Reject::FormMalformed, Reject::CompanionMissing];

/// Every failure that `scheme` allows.
pub(super) fn of(scheme: &Scheme) -> Vec<Failure> {
    let mut all = vec![failure("another method", &[Reject::MethodNotAllowed])];
    if scheme.algorithm != Algorithm::Unauthenticated {
        signature(scheme, &mut all);
        content(scheme, &mut all);
    }
    beside(scheme, &mut all);
    if let Some(rule) = &scheme.timestamp {
        time(scheme, rule, &mut all);
    }
    if matches!(scheme.algorithm, Algorithm::Jwt(_)) {
        token(scheme, &mut all);
    }
    key(scheme, &mut all);
    all
}

fn signature(scheme: &Scheme, all: &mut Vec<Failure>) {
    let rule = &scheme.signature;
    all.push(failure("signature missing", &[Reject::SignatureMissing]));
    if has_form(scheme) {
        all.push(failure("signature malformed", &[Reject::SignatureMalformed]));
    }
    if matches!(rule.from, Pick::Header(_)) && rule.repeated == Repeated::Refuse {
        all.push(failure("signature repeated", &[Reject::SignatureRepeated]));
    }
    let beside = if scheme.token_is_body() { Beside::Any } else { Beside::SameBody };
    let refused = &[Reject::SignatureMismatch];
    all.push(Failure { name: "signature of another secret", refused, beside });
    if scheme.covers_body() && !scheme.token_is_body() {
        all.push(Failure { name: "altered body", refused: OTHER_BODY, beside: Beside::SameSignature });
    }
}

/// Whether a text can be told from a signature before anything is compared: a bare token cannot.
fn has_form(scheme: &Scheme) -> bool {
    let bare = match &scheme.signature.grammar {
        Grammar::Plain { prefix, optional, .. } => prefix.is_empty() || *optional,
        _ => false,
    };
    let text = scheme.algorithm.shows_secret() && scheme.signature.encoding == Encoding::Text;
    !(bare && text)
}

/// What is signed beside the body.
fn content(scheme: &Scheme, all: &mut Vec<Failure>) {
    let every = |holds: &dyn Fn(&Piece) -> bool| {
        let signs = |template: &Template| template.pieces.iter().any(holds);
        !scheme.signed.is_empty() && scheme.signed.iter().all(signs)
    };
    let made = |piece: &Piece| match piece {
        Piece::FormSorted | Piece::FormSortedAll => true,
        Piece::BodyAs(form) => form.respelled().is_some(),
        _ => false,
    };
    if every(&made) {
        all.push(failure("a body that could not have been signed", &[Reject::FormMalformed]));
    }
    if scheme.covers_target() {
        all.push(failure("another URL", &[Reject::SignatureMismatch]));
    }
    if every(&|piece| matches!(piece, Piece::SignedHeaders(_))) {
        all.push(failure("an odd list of signed headers", &[Reject::CompanionWrong]));
    }
    if scheme.body_digest.is_some() {
        all.push(failure("digest of another body", &[Reject::BodyDigestMismatch]));
    }
    // A value beside the signature is there or the signature is not, where the grammar counts its items.
    let counted = matches!(scheme.signature.grammar, Grammar::Pattern { .. } | Grammar::Positional { .. });
    let needed = |piece: &Piece| match piece {
        Piece::Value(Pick::Signature(_)) => !counted,
        Piece::Value(Pick::Body) => false,
        Piece::Value(pick) | Piece::Lower(pick) => *pick != scheme.signature.from,
        _ => false,
    };
    let digest = scheme.body_digest.as_ref().is_some_and(|rule| !rule.optional);
    let always = |template: &Template| {
        template
            .pieces
            .split(|piece| *piece == Piece::End)
            .any(|part| part.iter().take_while(|piece| !matches!(piece, Piece::If(_))).any(needed))
    };
    let value = !scheme.signed.is_empty() && scheme.signed.iter().all(always);
    if value || digest || scheme.each.is_some() {
        all.push(failure("a signed value missing", &[Reject::CompanionMissing]));
    }
}

/// What is demanded beside the signature.
fn beside(scheme: &Scheme, all: &mut Vec<Failure>) {
    let demanded = scheme.equal.len() + scheme.matching.len();
    if demanded + scheme.require.len() > 0 {
        all.push(failure("companion missing", &[Reject::CompanionMissing]));
    }
    if demanded > 0 {
        all.push(failure("companion wrong", &[Reject::CompanionWrong]));
    }
    if scheme.empty_body == EmptyBody::Refuse {
        all.push(failure("empty body", &[Reject::BodyEmpty]));
    }
}

fn time(scheme: &Scheme, rule: &TimestampRule, all: &mut Vec<Failure>) {
    let place = match &rule.from {
        TimeSource::Place(pick) => Some(pick),
        TimeSource::Signature(_) => None,
    };
    let demanded = |pick: &Pick| {
        let wanted = scheme.matching.iter().map(|rule| &rule.place).chain(&scheme.require);
        wanted.chain(scheme.equal.iter().map(|rule| &rule.place)).any(|known| known == pick)
    };
    let (missing, malformed) = match (place, &scheme.signature.grammar) {
        (Some(pick), _) if demanded(pick) => (false, scheme.require.contains(pick)),
        (None, Grammar::Pattern { .. }) => (false, false),
        (None, Grammar::Positional { .. }) => (false, true),
        _ => (true, true),
    };
    let bounds = [
        (missing, failure("time missing", &[Reject::TimestampMissing])),
        (malformed, failure("time malformed", &[Reject::TimestampMalformed])),
        (rule.past.is_some(), failure("stale", &[Reject::Stale])),
        (rule.future.is_some(), failure("premature", &[Reject::Premature])),
    ];
    all.extend(bounds.into_iter().filter(|(allowed, _)| *allowed).map(|(_, failure)| failure));
}

fn token(scheme: &Scheme, all: &mut Vec<Failure>) {
    let rule = &scheme.token;
    all.push(failure("another algorithm", &[Reject::WrongAlgorithm]));
    if !rule.claims.is_empty() {
        all.push(failure("another claim", &[Reject::ClaimMismatch]));
    }
    if rule.expires != Expires::Ignored {
        all.push(failure("token expired", &[Reject::TokenExpired]));
    }
    if rule.request_digest.is_some() {
        all.push(failure("digest of another request", &[Reject::RequestDigestMismatch]));
    }
}

fn key(scheme: &Scheme, all: &mut Vec<Failure>) {
    if scheme.key.id.is_some() {
        all.push(failure("unknown key", &[Reject::UnknownKey]));
    }
    if scheme.key.fetch.as_ref().is_some_and(|fetch| matches!(fetch.from, KeyUrl::Delivered(..))) {
        all.push(failure("URL of a key that is none", &[Reject::UntrustedKeyUrl]));
    }
}
