//! Loading: the one way from a command line to checked settings. `serve` and `check` both come this way.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use super::addresses;
use super::check::{self, Scope};
use super::layers::{self, Gathered, Origins};
use super::path::KeyPath;
use super::report::Report;
use super::secrets::{self, AdminTokens, Secrets};
use super::settings::Settings;
use super::source::Source;
use super::values::RoutePath;
use super::{read, tree::Node};
use crate::addresses::Addresses;
use crate::provider::secret::Environment;

/// What a configuration is loaded from. Without a debug form: flags may carry plain secrets.
#[derive(Clone, Default)]
pub struct Input {
    /// The main file; it must exist. Without one, `hookgate.toml` in the current folder is read if it is there.
    pub file: Option<PathBuf>,
    /// The environment, for `HOOKGATE__` variables and for secrets.
    pub env: Environment,
    /// `key.path` and value of each overriding flag, in the order given; the last wins.
    pub flags: Vec<(String, String)>,
    /// Whether secrets may stand in the configuration as plain text.
    pub dev: bool,
}

/// A configuration that holds together.
#[derive(Debug)]
pub struct Loaded {
    /// The settings, with every default filled in.
    pub settings: Settings,
    /// The secrets that the settings refer to.
    pub secrets: Secrets,
    /// Who may send, of each source that does not let everybody.
    pub addresses: BTreeMap<String, Addresses>,
    /// Where each value came from; begins further reports.
    pub origins: Origins,
    /// What is allowed but odd, a line each.
    pub warnings: Vec<String>,
}

impl Loaded {
    /// An empty report for checks that need more than the configuration.
    pub fn report(&self) -> Report {
        Report::new(self.origins.clone())
    }
}

/// Reads all layers, checks them, and reads the secrets they refer to.
///
/// # Errors
/// A [`Report`] of everything that is wrong in any layer.
pub fn load(input: Input) -> Result<Loaded, Report> {
    load_with(input, |_, _| ()).map(|(loaded, ())| loaded)
}

/// [`load`], with checks that need more than the configuration: what `further` finds is in the same report,
/// but what it says of values that are wrong by themselves or of layers that could not all be read.
///
/// # Errors
/// As [`load`]; what `further` made comes back only where nothing is wrong.
pub fn load_with<T>(
    input: Input,
    further: impl FnOnce(&Loaded, &mut Report) -> T,
) -> Result<(Loaded, T), Report> {
    let gathered = Gathered::read(input.file.as_deref(), &input.env, &input.flags);
    let scope = if gathered.is_complete() { Scope::Everything } else { Scope::SingleValues };
    let (origins, mut report) = gathered.into_report();
    let merged = match origins.merged() {
        Ok(tree) => tree,
        Err(error) => {
            report.error(KeyPath::default(), "layers that cannot be merged", error.to_string());
            return Err(report);
        }
    };
    origins.tell_hidden(&merged, &mut report);
    let settings = complete(merged, &mut report);
    check::run(&settings, scope, &mut report);
    let mut warnings = check::without_effect(&settings, &origins);
    warnings.extend(origins.shared_sources());
    warnings.extend(layers::misnamed(&input.env));
    let secrets = secrets::resolve(&settings, &input, &mut report, &mut warnings);
    let addresses = addresses::resolve(&settings, &mut report);
    let loaded = Loaded { settings, secrets, addresses, origins, warnings };
    let mut later = loaded.report();
    let made = further(&loaded, &mut later);
    if scope == Scope::Everything {
        report.follow(later);
    }
    report.into_result((loaded, made))
}

/// The folder of provider files that the configuration names, if any, for commands that need nothing else of it:
/// whatever else is wrong there, secrets that this machine lacks among it, does not count.
///
/// # Errors
/// A [`Report`] where a layer cannot be read, or the folder's own value is wrong.
pub fn providers_dir(input: &Input) -> Result<Option<PathBuf>, Report> {
    Ok(part(input, &["providers.dir"])?.0.providers.dir)
}

/// The admin listener as its callers need it.
#[derive(Debug)]
pub struct AdminAccess {
    /// Where it listens.
    pub listen: SocketAddr,
    /// Its tokens, as far as they are configured and this process can read them.
    pub tokens: AdminTokens,
    /// What keeps this process from reading a token.
    pub unread: Report,
}

/// The admin listener that the configuration names, for commands that call it: whatever else is wrong there does not
/// count.
///
/// # Errors
/// A [`Report`] where a layer cannot be read, or what stands in `[admin]` is wrong.
pub fn admin_access(input: &Input) -> Result<AdminAccess, Report> {
    let keys = ["admin.listen", "admin.token", "admin.read_token", "admin.worker_token"];
    let (settings, mut unread) = part(input, &keys)?;
    let tokens = secrets::of_admin(&settings.admin, input, &mut unread);
    Ok(AdminAccess { listen: settings.admin.listen, tokens, unread })
}

/// The settings, of which only what stands at `keys` is sure to be what was given; and an empty report.
fn part(input: &Input, keys: &[&str]) -> Result<(Settings, Report), Report> {
    let gathered = Gathered::read(input.file.as_deref(), &input.env, &input.flags);
    let (origins, report) = gathered.into_report();
    report.into_result(())?;
    let mut report = Report::new(origins.clone());
    let merged = origins.merged().map_err(|error| {
        report.error(KeyPath::default(), "layers that cannot be merged", error.to_string());
        report.clone()
    })?;
    let settings = complete(merged, &mut report);
    if keys.iter().any(|key| report.tells_of(&(*key).into())) {
        return Err(report);
    }
    Ok((settings, Report::new(origins)))
}

/// The settings with what depends on a source's name.
pub(super) fn complete(merged: Node, report: &mut Report) -> Settings {
    let mut settings = read::settings(merged, report);
    let unset = |(_, source): &(&String, &mut Source)| source.path.is_unset();
    for (name, source) in settings.sources.iter_mut().filter(unset) {
        source.path = RoutePath::of_source(name);
    }
    settings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Ack, Backend, OnLimit, SinkKind};
    use crate::units::{ByteSize, Span};

    const KEY: &str = "whsec_0123456789abcdef";

    /// Loads without a file: what stands in `flags` and the defaults.
    fn with(flags: &[(&str, &str)], dev: bool) -> Result<Loaded, Report> {
        let flags = flags.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        load(Input { file: None, env: [("KEY", KEY)].into_iter().collect(), flags, dev })
    }

    #[test]
    fn what_is_not_said_has_its_documented_default() {
        let loaded = with(&[("sources.a.provider", "stripe")], false).unwrap();
        let Settings { ingress, admin, journal, dedup, sink, sources, .. } = loaded.settings;
        assert_eq!(ingress.listen.to_string(), "0.0.0.0:8080");
        assert_eq!((ingress.body_bytes_max, ingress.keep_alive), (ByteSize::mib(1), Span::seconds(75)));
        assert_eq!((ingress.head_timeout, ingress.body_timeout), (Span::seconds(10), Span::seconds(10)));
        assert_eq!(admin.listen.to_string(), "127.0.0.1:9090");
        assert_eq!(journal.dir.to_str(), Some("data/journal"));
        assert_eq!(journal.segment_bytes.to_string(), "64MiB");
        assert_eq!(journal.bytes_max.to_string(), "10GiB");
        assert_eq!((journal.retention, journal.ack), (Span::days(7), Ack::Journal));
        assert_eq!((dedup.window, dedup.backend), (Span::days(7), Backend::Embedded));
        assert_eq!(
            (dedup.redis_wait.to_string(), dedup.takeover_after.to_string()),
            ("30s".into(), "10m".into())
        );
        assert_eq!((sink.kind, sink.exchange.as_str(), sink.declare), (SinkKind::Inbox, "webhooks", true));
        assert_eq!((sink.max_in_flight.get(), sink.max_attempts.get()), (256, 20));
        assert_eq!((sink.confirm_timeout, sink.lease), (Span::seconds(30), Span::seconds(30)));
        let source = &sources["a"];
        assert_eq!(source.path.as_str(), "/in/a");
        assert!(source.success_status.is_none() && source.duplicate_status.is_none());
        assert!(source.schema && source.limit.is_none());
        let on_limit = [Ack::Journal, Ack::Confirm].map(|ack| source.on_limit(ack));
        assert_eq!(on_limit, [OnLimit::Accept, OnLimit::TooMany]);
    }

    #[test]
    fn secrets_come_resolved_and_in_order() {
        let secrets = "[{ env = \"KEY\", label = \"new\" }, { env = \"KEY\" }]";
        let flags = [("sources.a.provider", "stripe"), ("sources.a.secrets", secrets)];
        let loaded = with(&flags, false).unwrap();
        let labels: Vec<&str> = loaded.secrets.sources["a"].iter().map(|secret| secret.label()).collect();
        assert_eq!(labels, ["new", "secret-2"]);
        assert_eq!(loaded.secrets.sources["a"][1].expose(), KEY.as_bytes());
    }

    #[test]
    fn no_debug_form_shows_a_plain_secret() {
        let secrets = format!("[{KEY:?}]");
        let flags = [("sources.a.provider", "stripe"), ("sources.a.secrets", secrets.as_str())];
        let shown = format!("{:?} {:?}", with(&flags, true).unwrap(), with(&flags, false).unwrap_err());
        assert!(!shown.contains("whsec"), "{shown}");
    }

    #[test]
    fn later_checks_find_the_place_by_the_key() {
        let loaded = with(&[("sources.a.provider", "strip")], false).unwrap();
        let mut report = loaded.report();
        report.error("sources.a.provider", "\"strip\"", "stripe, github");
        report.error("dedup.window", "\"7d\"", "at least 30d");
        let text = "flag sources.a.provider: sources.a.provider: found \"strip\"; allowed: stripe, github\n\
                    defaults: dedup.window: found \"7d\"; allowed: at least 30d\n2 errors";
        assert_eq!(report.into_result(()).unwrap_err().to_string(), text);
    }

    #[test]
    fn endless_errors_end() {
        let items = "7,".repeat(2_000);
        let events = format!("[{items}]");
        let report = with(&[("sources.a.events", &events)], false).unwrap_err();
        assert!((500..600).contains(&report.len()), "{}", report.len());
        assert!(report.to_string().contains("500 errors and more"));
    }
}
