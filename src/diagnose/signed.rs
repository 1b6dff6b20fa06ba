//! What else the sender may have signed: whoever signs by hand often takes the body alone, or another sign between time
//! and body.

use std::sync::Arc;

use super::case::Case;
use super::cause::{Cause, Finding};
use crate::provider::{Scheme, Template};

/// What is signed in place of more, most often first.
const OTHERS: [&str; 4] = ["{body}", "{timestamp}.{body}", "{timestamp}{body}", "{timestamp}:{body}"];

impl Case<'_> {
    /// The signature over other bytes than the scheme's.
    pub(super) fn by_template(&self) -> Option<Finding> {
        let scheme = &self.endpoint.scheme;
        let own = scheme.signed.first()?;
        let timed = |text: &&str| scheme.timestamp.is_some() || !text.contains("{timestamp}");
        let others = OTHERS.into_iter().filter(timed).filter_map(|text| Template::parse(text).ok());
        let other = others.filter(|other| !scheme.signed.contains(other)).find(|other| {
            let scheme = Scheme { signed: vec![other.clone()], ..(**scheme).clone() };
            self.any_holds(&Arc::new(scheme), self.delivery)
        })?;
        Some(Cause::SignedOtherwise.found(
            format!("the signature is right over `{other}`, and `{own}` is what has to be signed"),
            "sign the bytes that the provider documents, in that order, with what stands between them",
        ))
    }
}
