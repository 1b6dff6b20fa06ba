//! Acceptance: the one thread that claims event keys and writes the journal, so that check-and-claim is atomic.
//!
//! Deliveries wait in `queue` together; all that came in while the disk was busy share the next sync. A sender is
//! answered only with a receipt, after that sync. [`Core`] is the logic without the thread, `orders` what operators
//! ask of it, `terms` what is asked and answered, `answer` the way back to who waits, `taking` whether anything is taken.

mod answer;
mod core;
mod orders;
mod queue;
mod taking;
mod terms;

pub use self::core::Core;
pub use answer::{Answer, Unanswered};
pub use orders::{Action, Fate, Target};
pub use queue::{Acceptor, Load, Work};
pub use taking::{SharedTaking, Taking};
pub use terms::{Accepted, Fault, Policy, Proof, Stores, TWINS_MAX};
