//! What places are read from: a delivery, and what only a stage of its judgement knows beside it.

use crate::delivery::Delivery;

/// A delivery, with the element of an array and the values beside a signature that some places are read from.
#[derive(Clone, Copy, Debug)]
pub struct Scene<'d> {
    /// The delivery.
    pub delivery: &'d Delivery,
    /// The element that `item:` is read within, as its JSON text; `None` outside of any.
    pub item: Option<&'d str>,
    /// The values that `signature:` names, in order of arrival.
    pub named: &'d [(&'d str, &'d str)],
    /// The claims that `jwt:` names, a JSON text: those of the token that proved the delivery.
    pub claims: Option<&'d [u8]>,
    /// Whether a place that two readers could read differently has no value: see [`Self::to_prove`].
    pub strict: bool,
}

impl<'d> Scene<'d> {
    /// A delivery and nothing beside it.
    pub fn of(delivery: &'d Delivery) -> Self {
        Self { delivery, item: None, named: &[], claims: None, strict: false }
    }

    /// The same for a proof, which must be of the value that a worker finds. What stands twice has none: of some the
    /// first counts, of others the last, and parsers differ; nor has a form that is announced as another.
    pub fn to_prove(delivery: &'d Delivery) -> Self {
        Self { strict: true, ..Self::of(delivery) }
    }

    /// The value of that name beside the signature; `None` where there is none, or several that differ.
    pub(super) fn named(&self, name: &str) -> Option<&'d str> {
        let mut values = self.named.iter().filter(|(key, _)| *key == name).map(|(_, value)| *value);
        let first = values.next()?;
        values.all(|other| other == first).then_some(first)
    }
}
