//! Secrets that a sender brings itself: taken from one request while the operator has the source armed, and never else.
//!
//! [`Capture`] belongs to one source. The secret is on disk, under its name and synced, before the request is answered
//! and before any delivery is judged by it; what stood there before stays valid for an hour. Nothing here looks at
//! requests: which one shows a secret, the provider's file says. Sits between the way in, which asks for a value to be
//! kept, and the admin listener, which arms.

mod file;
mod window;

#[cfg(test)]
mod tests;

pub use file::FileError;
pub use window::{Capture, WINDOW_DEFAULT, WINDOW_MAX, kept};
