//! Configuration: from layers of text to one checked [`Settings`], or one [`Report`] of everything wrong.
//!
//! Way of a value: `layers` reads files, environment and flags, and merges them; `tree` keeps the line of
//! each value; `read` turns the merged tree into `Settings`, going on after each error; `check` and
//! `secrets` look at what only holds between values. `watched` tells which files all of it came from. Nothing outside this room sees raw text, and the
//! value of a secret is in no report.

mod addresses;
mod check;
#[cfg(test)]
mod example;
mod in_force;
mod layers;
mod load;
mod path;
mod read;
mod report;
mod secrets;
mod settings;
mod sink;
mod source;
mod tls;
mod tree;
mod values;
mod watched;

pub use addresses::{Caller, Callers};
pub use in_force::InForce;
pub use layers::Origins;
pub use load::{AdminAccess, Input, Loaded, admin_access, load, load_with, providers_dir};
pub use path::KeyPath;
pub use report::{Finding, Place, Report, Wrong, nearest};
pub use secrets::{AdminTokens, Secrets};
pub use settings::{
    Ack, Admin, Backend, Dedup, Fetch, History, Ingress, Journal, Level, Log, LogFormat, Notices, Providers,
    Reload, Schemas, Settings, Telemetry,
};
pub use sink::{Service, Sink, SinkKind};
pub use source::{Limit, OnDuplicate, OnInvalid, OnLimit, OnTwin, SenderTrace, Source, Tolerance};
pub use tls::{Acme, Challenge, ClientCertificates, Tls, TlsVersion};
pub use values::{Network, PublicUrl, RoutePath, Setting, SilentAfter, Success};
pub use watched::watched;
