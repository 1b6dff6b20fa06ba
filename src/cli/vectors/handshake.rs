//! Vectors of handshakes: what the answer is judged against where no event stands behind the request.

use std::collections::BTreeMap;

use super::{Expect, Vector, VectorSecret};
use crate::clock::Timestamp;
use crate::delivery::Delivery;
use crate::provider::{Definition, EventAnswer};
use crate::verify::Verifier;

/// The name of the scheme that stands for whatever scheme a provider's file has first.
const ANY_SCHEME: &str = "handshake";
/// Keys of `config` that hold the source's secret where `secrets` is empty.
const SECRETS: [&str; 2] = ["secret", "private_key"];
/// How the id of a request ends that the gateway would make and not get.
const OUTBOUND: &str = "(outbound)";

impl Vector {
    /// Whether its request is one that the provider gets.
    pub(super) fn is_outbound(&self) -> bool {
        self.id.ends_with(OUTBOUND)
    }

    /// Whether a note stands in the place of its body, and no secret is there to verify one with.
    pub(super) fn is_left_out(&self) -> bool {
        let delivery = self.request.delivery(Timestamp::from_seconds(self.now));
        let note = delivery.is_ok_and(|own| own.body.starts_with(b"(") && own.body.ends_with(b")"));
        self.is_handshake_alone() && self.secrets.is_empty() && note
    }

    /// The scheme's name; `None` for the first of the file, which a vector of handshakes means that names none.
    pub(super) fn scheme_name(&self, definition: &Definition) -> Option<&str> {
        let named = definition.schemes.iter().any(|scheme| scheme.name == self.scheme);
        (named || self.scheme != ANY_SCHEME).then_some(&self.scheme)
    }

    /// Whether no scheme is named and the handshakes alone judge.
    fn is_handshake_alone(&self) -> bool {
        self.expect == Expect::Handshake && self.scheme == ANY_SCHEME
    }

    /// The secret that `config` holds, for a vector of a handshake alone.
    pub(super) fn configured_secret(&self) -> Option<VectorSecret> {
        if !self.is_handshake_alone() || !self.secrets.is_empty() {
            return None;
        }
        let value = SECRETS.iter().find_map(|key| self.config.get(*key)?.as_str())?;
        Some(VectorSecret::shared(value))
    }

    /// Takes the secret out of the settings of a handshake vector, but where the file has a setting of that name.
    pub(super) fn leave_settings(
        &self,
        settings: &mut BTreeMap<String, String>,
        declared: impl Fn(&str) -> bool,
    ) {
        if self.is_handshake_alone() {
            SECRETS.iter().filter(|key| !declared(key)).for_each(|key| drop(settings.remove(*key)));
        }
    }

    /// Whether an event is what a handshake vector may be: some providers ask with an ordinary, empty delivery.
    pub(super) fn may_be_event(&self) -> bool {
        self.is_handshake_alone()
    }

    /// Where nothing is there to verify with: whether the request is a handshake that wants it, and of which status.
    pub(super) fn unproved(&self, verifier: &Verifier, delivery: &Delivery) -> Option<Result<(), String>> {
        if self.expect != Expect::Handshake || verifier.secrets().next().is_some() {
            return None;
        }
        let (status, name) = verifier.scheme().handshakes.if_verified(delivery)?;
        let response = self.response.as_ref()?;
        let found = || Err(format!("expected status {}, found {status} of {name}", response.status()));
        Some(if response.has(status) { Ok(()) } else { found() })
    }

    /// Compares what an accepted event is answered with, where the vector says.
    ///
    /// # Errors
    /// What differs.
    pub(super) fn compare_answer(&self, verifier: &Verifier) -> Result<(), String> {
        let own = || EventAnswer {
            status: 200,
            headers: vec![("content-type".to_owned(), "application/json".to_owned())],
            body: r#"{"outcome":"accepted"}"#.to_owned(),
        };
        match &self.response {
            Some(response) => response.compare(&verifier.scheme().answer.clone().unwrap_or_else(own)),
            None => Ok(()),
        }
    }
}
