//! Simulation: the real way in, acceptance, index, journal, lanes and relay in one thread, on a disk, a clock, senders
//! and a broker that a seed drives. Every schedule can be repeated by its seed.
//!
//! Stands above all rooms and is compiled for tests alone. `disk`, `clock`, `broker` and `sender` are the world outside;
//! `life` is one process of the gateway between its start and its end; `ledger` is what was promised and what arrived,
//! and the judge of both; `world` is one step of each kind; `schedule` chooses the steps, then heals everything and
//! runs to rest; `tests` runs seeds. No thread, no file, no sleep.

mod broker;
mod clock;
mod disk;
mod ledger;
mod life;
mod order;
mod random;
mod schedule;
mod sender;
mod tally;
mod tests;
mod world;
