//! A source's inbox, called over HTTP.

use serde_json::{Map, Value, json};

use crate::cli::access::Secret;
use crate::cli::http::{Client, Reply, Url};
use crate::cli::output;
use crate::cli::stop::Stop;
use crate::units::Span;

/// A source's inbox, over HTTP.
pub(in crate::cli) struct Inbox {
    /// The client.
    pub client: Client,
    /// The admin listener.
    pub base: Url,
    /// The source.
    pub source: String,
    /// The admin token, if it wants one.
    pub token: Option<Secret>,
}

/// What an inbox handed out.
#[derive(Debug, serde::Deserialize)]
pub(super) struct Claimed {
    /// The events, each with its token.
    pub events: Vec<Map<String, Value>>,
    /// How long they are this worker's.
    pub lease_milliseconds: u64,
}

impl Inbox {
    /// Leases at most `max` events; where there is none, as soon as there is one, if it `wait`s.
    ///
    /// # Errors
    /// Where nobody answers, or the gateway refuses.
    pub(in crate::cli) fn claim(
        &self,
        max: u64,
        lease: Option<Span>,
        wait: Option<Span>,
    ) -> Result<Vec<Map<String, Value>>, Stop> {
        self.claim_leases(max, lease, wait).map(|claimed| claimed.events)
    }

    /// The same, with the length of the leases.
    ///
    /// # Errors
    /// Likewise.
    pub(super) fn claim_leases(
        &self,
        max: u64,
        lease: Option<Span>,
        wait: Option<Span>,
    ) -> Result<Claimed, Stop> {
        let lease = lease.map(|lease| format!("&lease={lease}")).unwrap_or_default();
        let wait = wait.map(|wait| format!("&wait={wait}")).unwrap_or_default();
        let reply = self.post(&format!("claim?max={max}{lease}{wait}"), "")?;
        if !reply.is_success() {
            return Err(self.refused("claim", &reply));
        }
        serde_json::from_slice(&reply.body)
            .map_err(|error| Stop::failure(format!("{}: not the answer of an inbox: {error}", self.base)))
    }

    /// Acknowledges; the events are gone for good.
    ///
    /// # Errors
    /// Where nobody answers, or a lease had run out.
    pub(in crate::cli) fn ack(&self, tokens: &[Value]) -> Result<(), Stop> {
        let again = "what is not acknowledged comes again, marked as possible duplicates";
        let body = json!({ "tokens": tokens }).to_string();
        let reply =
            self.post("ack", &body).map_err(|stop| Stop { why: format!("{}; {again}", stop.why), ..stop })?;
        self.counted("acknowledgement", &reply)
            .map_err(|stop| Stop { why: format!("{}; {again}", stop.why), ..stop })
    }

    /// Gives an event back, to be offered again after `delay`.
    ///
    /// # Errors
    /// As for [`Inbox::ack`].
    pub(super) fn nack(&self, token: &str, delay: Span) -> Result<(), Stop> {
        let body = json!({ "tokens": [token], "delay": delay.to_string() }).to_string();
        self.counted("giving back", &self.post("nack", &body)?)
    }

    /// Keeps an event for another `lease`.
    ///
    /// # Errors
    /// As for [`Inbox::ack`].
    pub(super) fn extend(&self, token: &str, lease: Span) -> Result<(), Stop> {
        let body = json!({ "tokens": [token], "lease": lease.to_string() }).to_string();
        self.counted("extending the lease", &self.post("extend", &body)?)
    }

    fn post(&self, call: &str, body: &str) -> Result<Reply, Stop> {
        let url = self.base.with_path(&format!("/v1/inbox/{}/{call}", path_segment(&self.source)));
        let token = self.token.as_ref().map(|token| token.as_slice());
        self.client.post(&url, token, body).map_err(|error| Stop::unreachable(error.to_string()))
    }

    fn counted(&self, what: &str, reply: &Reply) -> Result<(), Stop> {
        match reply.status {
            200..=299 => Ok(()),
            409 => Err(Stop::failure(format!(
                "{what} for {}: the lease had run out (--lease), or another call had answered",
                self.source
            ))),
            _ => Err(self.refused(what, reply)),
        }
    }

    /// A gateway that is stopping or overrun counts as not reached: it is called again.
    fn refused(&self, what: &str, reply: &Reply) -> Stop {
        let detail = reply.text("detail").unwrap_or_else(|| "no reason given".to_owned());
        let (status, source) = (reply.status, &self.source);
        let hint = if status == 401 { " (--token-env NAME, or admin.token configured here)" } else { "" };
        let why = format!("{what} for {source} refused with {status}: {}{hint}", output::line(&detail));
        if matches!(status, 429 | 502..=504) { Stop::unreachable(why) } else { Stop::failure(why) }
    }
}

/// `name` as one segment of a path.
fn path_segment(name: &str) -> String {
    form_urlencoded::byte_serialize(name.as_bytes()).collect::<String>().replace('+', "%20")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_one_segment() {
        assert_eq!(path_segment("a/../b c"), "a%2F..%2Fb%20c");
    }
}
