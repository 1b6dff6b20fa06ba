//! What a provider is: a sending service's scheme as data, read from `providers/*.toml`.
//!
//! [`Definition`] is the file's form; [`Scheme`] is one of its schemes, checked and with a source's settings
//! filled in; [`Catalog`] holds all files, the operator's own over the built-in ones. No provider has code.

mod batch;
mod body_form;
mod build;
mod catalog;
mod definition;
mod demands;
mod event;
mod filler;
mod grammar;
mod handshake;
mod key;
mod origin;
mod pinned;
mod proof;
mod reach;
mod rules;
mod scheme;
pub mod secret;
mod template;
mod token;
mod unverified;

pub use batch::{Batch, ItemNames};
pub use body_form::{BodyForm, DigestText};
pub use build::Problem;
pub use catalog::{Catalog, CatalogError, SampleFile};
pub use definition::{
    BatchDefinition, Definition, EmptyBody, EventDefinition, PlaceDefinition, Places, Repeated,
    SampleDefinition, SchemeDefinition, SenderFacts, SettingDefinition, SignatureDefinition, Texts,
};
pub use event::{EventPlace, EventPlaces, NamePart, Named};
pub use grammar::{Grammar, PairsForm};
pub use handshake::{
    AnswerDefinition, Captured, EventAnswer, Expected, HandshakeAnswer, HandshakeDefinition, Handshakes,
    Made, Mint, Scalar,
};
pub use key::{FetchRule, KeyDocument, KeyRule, KeyUrl, WantedKey};
pub use origin::{Origin, UrlPort};
pub use pinned::{PinnedUrl, UrlPattern, UrlTemplate};
#[cfg(test)]
pub use rules::names;
pub use rules::{
    Algorithm, BodyDigestRule, Digest, Encoding, EqualRule, Jws, KeyForm, MatchingRule, SignatureRule,
    TimeSource, TimeUnit, TimestampRule,
};
pub use scheme::Scheme;
pub use template::{Piece, Template};
pub use token::{ClaimDefinition, ClaimValue, Expires, TokenRule};
