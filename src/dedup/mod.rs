//! One event, once: which events are known, here and among replicas.
//!
//! [`key`] derives what makes two deliveries one event, from proof only. `embedded` is the local index that answers before the journal is written; `redis` holds the claims that
//! replicas share, asked by the relay alone. Neither imports the other, the journal or a sink.

pub mod key;
