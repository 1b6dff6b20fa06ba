//! Values picked out of a delivery by name: a header, a JSON pointer, a form field, a query parameter.
//!
//! Provider files say where a value is (`header:X-Request-Id`, `json:/data/id`); this room fetches it.
//! A value comes back as its text; a body is read once for any number of pointers, and never printed again.

mod elements;
mod form;
mod json;
mod pick;

pub use elements::{NoElements, elements};
pub use form::{
    decoded as form_decoded, encoded as form_encoded, field_span as form_field_span, fields as form_fields,
    sorted as form_sorted,
};
pub use json::{Found, Pointer, find};
pub use pick::Pick;
