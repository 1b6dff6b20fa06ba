//! Exit codes of the binary, after sysexits where one fits.

/// Everything went well.
pub const OK: u8 = 0;
/// It did not, for a reason told on stderr.
pub const FAILURE: u8 = 1;
/// The command line was wrong.
pub const USAGE: u8 = 2;
/// A signature or the data given is not valid.
pub const DATA: u8 = 65;
/// Redis, RabbitMQ or a gateway could not be reached.
pub const UNAVAILABLE: u8 = 69;
/// A write or sync of the journal failed; only a new start, which recovers, may go on.
pub const JOURNAL_POISONED: u8 = 70;
/// The configuration has errors.
pub const CONFIG: u8 = 78;
