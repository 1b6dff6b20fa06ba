//! One event, once: which events are known, here and among replicas.
//!
//! [`key`] derives what makes two deliveries one event, from proof only. `embedded` is the local index that answers before the journal is written; `redis` holds the claims that
//! replicas share, asked by the relay alone. Neither imports the other, the journal or a sink.

mod embedded;
mod filter;
mod folder;
mod forgotten;
pub mod key;
mod keyfile;
mod memtable;
mod merge;
mod redis;
mod run;
mod steady;
mod terms;
mod upkeep;
mod writer;

pub use embedded::Index;
pub use redis::{ClaimsError, RedisClaims, RedisSettings, Shared};
pub use terms::{Claim, Damage, Forgot, IndexError, Settings, Stats, Twin};
