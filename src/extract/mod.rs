//! Values picked out of a delivery by name: a header, a JSON pointer, a form field, a query parameter, an XML path.
//!
//! Provider files say where a value is (`header:X-Request-Id`, `json:/data/id`); this room fetches it.
//! A value comes back as its text; a body is read once for any number of pointers, and never printed again.

mod alike;
mod cut;
mod elements;
mod form;
mod json;
mod multipart;
mod pick;
mod scene;
mod spelling;
mod write;
mod xml;

pub use elements::{NoElements, elements};
pub use form::{
    FormText, all_fields as form_all_fields, decoded as form_decoded, encoded as form_encoded,
    field_span as form_field_span,
};
pub use json::{Found, Pointer, find};
pub use pick::Pick;
pub use scene::Scene;
pub use spelling::{Spelling, crc32, unescaped};
pub use write::{put, put_number, take_out};
pub use xml::Path;
