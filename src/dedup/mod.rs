//! One event, once: which events are known, here and among replicas.
//!
//! [`key`] derives what makes two deliveries one event, from proof only. `embedded` is the local index that answers before the journal is written; `redis` holds the claims that
//! replicas share, asked just before a publish, and `silence` when others' are taken over. Neither imports the other, the journal or a sink.

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
mod silence;
mod steady;
mod table;
mod terms;
mod upkeep;
mod writer;

pub use embedded::Index;
pub use redis::{
    Ask, Claimant, ClaimsError, Done, Lease, LeaseAnswer, Leased, Life, Owner, RedisClaims, RedisSettings,
    Shared,
};
pub use silence::Silence;
pub use terms::{Claim, Damage, Forgot, IndexError, Settings, Stats, Twin};
