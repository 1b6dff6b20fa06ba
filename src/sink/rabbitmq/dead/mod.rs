//! The dead letters: what workers rejected for good, listed, put back, dropped. On demand, over a connection of its own.
//!
//! A look is a consumer without acknowledgements: closing its channel gives everything back, in order. `basic.get` would
//! not do: to a quorum queue each is a consumer of its own, and of more than 32 that end together the queue gives back in
//! the order of a hash (RabbitMQ 3.10 to 4.2). And what is given back goes behind what was given back before: so each look
//! takes all there is, however few are to be listed, or those few would change places with the rest.
//!
//! Looking is not free of danger: a quorum queue counts how often it offered a message, and drops one beyond its limit
//! (20 by default from RabbitMQ 4.0 on), for the dead letters have no dead-letter exchange of their own. From 4.3 on a letter that died
//! by such a limit brings the count along, so the first look would be its last. So a letter whose count has come to
//! [`RENEWED_AT`](letter::RENEWED_AT) is published anew to the queue's end, and the old one acknowledged once that is
//! confirmed; and all that follow it likewise, which keeps their order (of a queue that is longer than one call looks at, block by block).

mod call;
mod letter;
mod letters;
mod reader;
mod writer;

pub use letter::Letter;
pub use letters::{DeadError, DeadLetters, Found, Verb, Which};
