//! Metrics: what is counted and what Prometheus scrapes. Handles are looked up once, at load, and never per
//! event; labels are names from the configuration or of closed sets, never an id. All of them stand in the table
//! of `deploy/metrics.md`, which a test holds together with what is registered.
//!
//! - [`account`](Account): where every delivery and event stands, in one table that a scrape reads at one moment.
//! - [`families`](Metrics): everything else, and the text. `scrape` renders the account into it,
//!   [`classic`] writes it in the older format.
//! - [`way_in`](SourceMetrics): the handles of a source, and a request between its first and its last count.
//! - [`series`](Series): how the last hour went.
//! - [`way_out`](RelayMetrics): the handles of the relay. `confirm`: what only confirm mode counts. `fetches`: keys and
//!   visits. `reloads`: of the configuration. `tls`: handshakes and the certificate. `notices`: what stands to be told.

mod account;
mod classic;
mod confirm;
mod families;
mod fetches;
mod notices;
mod reloads;
mod scrape;
mod series;
#[cfg(test)]
mod tests;
mod tls;
mod way_in;
mod way_out;

pub use account::{Account, Row, Stand, Standing};
pub use classic::classic;
pub use confirm::{Claimed, ConfirmMetrics};
pub use families::Metrics;
pub use fetches::{KeyFetch, KeyFetchMetrics, Visit, VisitMetrics};
pub use notices::{Letter, LetterMetrics, NoticeMetrics};
pub use reloads::{ReloadMetrics, Reloaded};
pub use series::{STEP, STEPS_MAX, Series, Step};
pub use tls::{CertificateReload, HandshakeFailure, TlsMetrics};
pub use way_in::{Ending, Outcome, Request, SourceMetrics, SourceSeen};
pub use way_out::{LaneStats, Published, RelayMetrics};
