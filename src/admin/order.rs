//! What the body of a call asks for, or what is expected instead.

use serde::de::DeserializeOwned;

/// An order in JSON, of at most `bytes_max` bytes; `expected` describes one, for the error.
pub(super) fn read<T: DeserializeOwned>(body: &[u8], bytes_max: usize, expected: &str) -> Result<T, String> {
    let told = |found: &dyn std::fmt::Display| format!("{found}; expected {expected}");
    if body.len() > bytes_max {
        return Err(told(&format_args!("a body of {} bytes, of at most {bytes_max}", body.len())));
    }
    serde_json::from_slice(body).map_err(|error| told(&error))
}

/// The same where there may be no body.
pub(super) fn read_or_default<T: DeserializeOwned + Default>(
    body: &[u8],
    bytes_max: usize,
    expected: &str,
) -> Result<T, String> {
    if body.is_empty() { Ok(T::default()) } else { read(body, bytes_max, expected) }
}
