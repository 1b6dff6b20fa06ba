//! Lanes: what is still to be handed over, a queue for each source, of bounded length in memory.
//!
//! The acceptor pushes every durable event to its lane. A lane that is full stops taking and remembers from
//! where on it must read the journal again; so a backlog of any length costs no memory, and one source's
//! backlog never stands in another's way. Where lanes share one window, none may have more in flight than is
//! still free: however many lanes get no confirms, some room is left for those that do.
//!
//! - `entry`: what a lane gives out, and the terms on which it does. `lane`: one source's queue.
//! - `table`: all of them, their turns, and the journal behind them. `orders`: what operators change.

mod entry;
mod lane;
mod orders;
mod table;

#[cfg(test)]
mod tests;

pub use entry::{Allow, Back, Entry, Taken, Turn, Why};
pub use orders::Again;
pub use table::Lanes;
