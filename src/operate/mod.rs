//! What an operator sees and does: events listed, shown and followed as they come in, replayed, forgotten, released,
//! requeued, dropped.
//!
//! `selection` says which events are meant, `operator` finds them in pages and has the acceptance thread act on them, `tail`
//! follows them, `outline` shows one as data.
//! Every action is durable before its answer, and counted by outcome; who has it done writes the audit log. Knows nothing
//! of HTTP.

mod operator;
mod outline;
mod selection;
mod tail;

pub use operator::{Acted, Call, Cursor, Operator, OperatorError, OperatorParts, Page, Seen};
pub use outline::{details, outline, parts};
pub use selection::{Choice, Selection, Status, moment};
pub use tail::{NoTail, Tail};
