//! What only a restart changes: what stores, services and listeners were opened with.
//!
//! The sections are taken apart key by key, so that a further key does not compile until somebody has said here whether
//! a reload can change it.

use std::fmt::Debug;

use sha2::{Digest as _, Sha256};

use crate::config::{
    Admin, Dedup, History, Ingress, Journal, Loaded, Log, Notices, Settings, Sink, Telemetry,
};
use crate::provider::secret::Secret;

/// A key that is fixed, with its value.
#[derive(Clone, PartialEq, Eq)]
struct Key {
    name: &'static str,
    /// What may be shown of the value; nothing of a secret.
    shown: Option<String>,
    digest: [u8; 32],
}

/// The values that a running gateway was started with.
#[derive(Default)]
pub(super) struct Fixed(Vec<Key>);

/// A key that a reload would have to change and cannot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Difference {
    /// The key.
    pub key: &'static str,
    /// The running value, fit to be shown.
    pub running: String,
    /// That of the files.
    pub found: String,
}

impl Difference {
    /// What stands where, and what to do.
    pub(super) fn sentence(&self) -> String {
        let Self { key, running, found } = self;
        format!("{key} is {running} in the running gateway and {found} in the files: restart to apply")
    }
}

impl Fixed {
    /// Those of a configuration.
    pub(super) fn of(loaded: &Loaded) -> Self {
        let mut fixed = Self(Vec::new());
        // What is not taken here is swapped by `live`, and told apart in `prepared::general` or with its source.
        let Settings {
            ingress,
            admin,
            providers: _,
            schemas: _,
            fetch: _,
            journal,
            history,
            dedup,
            sink,
            log,
            telemetry,
            notices,
            reload: _,
            sources: _,
        } = &loaded.settings;
        fixed.listeners(ingress, admin);
        fixed.stores(journal, dedup);
        fixed.sink(sink);
        let History { enabled, file, retention, bytes_max } = history;
        fixed.add("history.enabled", enabled);
        fixed.add("history.file", file);
        fixed.add("history.retention", retention);
        fixed.add("history.bytes_max", bytes_max);
        let Log { format, level } = log;
        fixed.add("log.format", format);
        fixed.add("log.level", level);
        let Telemetry { otlp } = telemetry;
        fixed.add("telemetry.otlp", otlp);
        let Notices { url, secret: _, secret_unused_after } = notices;
        fixed.add("notices.url", url);
        fixed.secret("notices.secret", loaded.secrets.notices.as_ref());
        fixed.add("notices.secret_unused_after", secret_unused_after);
        fixed.secret("dedup.url", loaded.secrets.dedup_url.as_ref());
        fixed.secret("sink.url", loaded.secrets.sink_url.as_ref());
        fixed
    }

    fn listeners(&mut self, ingress: &Ingress, admin: &Admin) {
        let Ingress {
            listen,
            public_url: _,
            tls,
            plain_http: _,
            trusted_proxies: _,
            body_bytes_max: _,
            head_bytes_max,
            head_timeout,
            body_timeout,
            body_rate_min,
            bodies_in_flight_max,
            keep_alive,
            connections_max,
            connections_per_address,
            requests_per_address,
            proxy_protocol,
            workers,
            explain: _,
        } = ingress;
        self.add("ingress.listen", listen);
        self.add("ingress.tls", tls);
        self.add("ingress.head_bytes_max", head_bytes_max);
        self.add("ingress.head_timeout", head_timeout);
        self.add("ingress.body_timeout", body_timeout);
        self.add("ingress.body_rate_min", body_rate_min);
        self.add("ingress.bodies_in_flight_max", bodies_in_flight_max);
        self.add("ingress.keep_alive", keep_alive);
        self.add("ingress.connections_max", connections_max);
        self.add("ingress.connections_per_address", connections_per_address);
        self.add("ingress.requests_per_address", requests_per_address);
        self.add("ingress.proxy_protocol", proxy_protocol);
        self.add("ingress.workers", workers);
        let Admin { listen, token: _, read_token: _, worker_token: _ } = admin;
        self.add("admin.listen", listen);
    }

    fn stores(&mut self, journal: &Journal, dedup: &Dedup) {
        let Journal { dir, segment_bytes, bytes_max, retention, ack } = journal;
        self.add("journal.dir", dir);
        self.add("journal.segment_bytes", segment_bytes);
        self.add("journal.bytes_max", bytes_max);
        self.add("journal.retention", retention);
        self.add("journal.ack", ack);
        let Dedup { window, backend, url: _, redis_wait, takeover_after } = dedup;
        self.add("dedup.window", window);
        self.add("dedup.backend", backend);
        self.add("dedup.redis_wait", redis_wait);
        self.add("dedup.takeover_after", takeover_after);
    }

    fn sink(&mut self, sink: &Sink) {
        let Sink { kind, url: _, exchange, declare, max_in_flight, confirm_timeout, lease: _, max_attempts } =
            sink;
        self.add("sink.kind", kind);
        self.add("sink.exchange", exchange);
        self.add("sink.declare", declare);
        self.add("sink.max_in_flight", max_in_flight);
        self.add("sink.confirm_timeout", confirm_timeout);
        self.add("sink.max_attempts", max_attempts);
    }

    fn add(&mut self, name: &'static str, value: &impl Debug) {
        let shown = format!("{value:?}");
        self.0.push(Key { name, digest: Sha256::digest(&shown).into(), shown: Some(shown) });
    }

    fn secret(&mut self, name: &'static str, secret: Option<&Secret>) {
        let digest = Sha256::digest(secret.map_or(&b""[..], Secret::expose)).into();
        self.0.push(Key { name, shown: None, digest });
    }

    /// Where `found` differs from these.
    pub(super) fn differences(&self, found: &Self) -> Vec<Difference> {
        let shown = |key: &Key| key.shown.clone().unwrap_or_else(|| "(not shown)".to_owned());
        let pairs = self.0.iter().zip(&found.0).filter(|(running, found)| running != found);
        pairs
            .map(|(running, found)| Difference {
                key: running.name,
                running: shown(running),
                found: shown(found),
            })
            .collect()
    }
}

/// Keys that only a restart changes.
#[cfg(test)]
pub(in crate::cli) fn restarts() -> Vec<&'static str> {
    tests::fixed(&[]).0.iter().map(|key| key.name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{self, Input};

    pub(super) fn fixed(flags: &[(&str, &str)]) -> Fixed {
        let mut all = vec![
            ("sources.a.provider", "stripe"),
            ("sources.a.secrets", "[{ env = \"KEY\" }]"),
            ("sink.kind", "rabbitmq"),
            ("sink.url", "{ env = \"KEY\" }"),
        ];
        all.extend(flags);
        let flags = all.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
        let env = [("KEY", "amqp://shop:hunter2@mq.example"), ("OTHER", "amqp://shop:hunter3@mq.example")];
        let input = Input { file: None, env: env.into_iter().collect(), flags, dev: false };
        Fixed::of(&config::load(input).unwrap())
    }

    #[test]
    fn what_was_opened_with_is_told_apart_and_what_is_swapped_is_not() {
        let running = fixed(&[]);
        assert_eq!(running.differences(&fixed(&[])), []);
        let swapped = [
            ("ingress.trusted_proxies", "[\"10.0.0.0/8\"]"),
            ("ingress.explain", "false"),
            ("sources.b.provider", "github"),
            ("sources.b.secrets", "[{ env = \"KEY\" }]"),
            ("sink.lease", "10s"),
            ("reload.watch", "false"),
        ];
        assert_eq!(running.differences(&fixed(&swapped)), []);
        let found =
            fixed(&[("journal.dir", "elsewhere"), ("dedup.window", "8d"), ("ingress.keep_alive", "75000ms")]);
        let keys: Vec<_> = running.differences(&found).into_iter().map(|one| one.key).collect();
        assert_eq!(keys, ["journal.dir", "dedup.window"], "75000ms is 75s");
    }

    #[test]
    fn another_url_is_told_and_not_shown() {
        let told = fixed(&[]).differences(&fixed(&[("sink.url", "{ env = \"OTHER\" }")]));
        assert_eq!(told.len(), 1);
        assert_eq!(
            (told[0].key, &*told[0].running, &*told[0].found),
            ("sink.url", "(not shown)", "(not shown)")
        );
    }
}
