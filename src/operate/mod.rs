//! What an operator sees and does: events listed and shown, replayed, forgotten, released, requeued, dropped.
//!
//! `selection` says which events are meant, `operator` finds them in pages and has the acceptance thread act on them.
//! Every action is durable before its answer, counted by outcome, and logged. Knows nothing of HTTP.

mod operator;
mod selection;

pub use operator::{Acted, Call, Cursor, Operator, OperatorError, OperatorParts, Page, Seen};
pub use selection::{Choice, Selection, Status};
