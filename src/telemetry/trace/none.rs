//! A build without traces: no span, and no context of ours.

use super::{Answered, Asked, Context, Published};

/// None.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Span;

pub(super) const fn is_on() -> bool {
    false
}

pub(super) const fn request(_: Asked<'_>) -> Span {
    Span
}

pub(super) const fn publish(_: Published<'_>) -> Span {
    Span
}

pub(super) const fn context(_: &Span) -> Option<Context> {
    None
}

pub(super) const fn answered(_: Span, _: Answered<'_>) {}

pub(super) const fn published(_: Span, _: Option<&'static str>) {}
