//! What a name on `send`'s command line stands for: a source of the configuration, or a provider without one.

use std::collections::BTreeMap;

use zeroize::Zeroizing;

use crate::cli::access::{self, reachable};
use crate::cli::files::unread;
use crate::cli::http::Url;
use crate::cli::stop::Stop;
use crate::config::{Ingress, Loaded, Source, nearest};
use crate::exit;
use crate::provider::secret::Secret;
use crate::provider::{Catalog, Definition, Scheme};
use crate::sample::example_settings;

/// What a name on the command line stands for.
pub(in crate::cli) struct Target<'t> {
    /// The provider's file.
    pub definition: &'t Definition,
    source: Option<(&'t str, &'t Source, &'t Loaded)>,
}

impl<'t> Target<'t> {
    /// The source of that name, else the only source of that provider, else the provider.
    ///
    /// # Errors
    /// Where there is none of these, or several sources.
    pub(in crate::cli) fn find(
        name: &str,
        loaded: Option<&'t Loaded>,
        catalog: &'t Catalog,
    ) -> Result<Self, Stop> {
        let sources = loaded.map(|loaded| &loaded.settings.sources);
        let of_provider: Vec<&str> = sources
            .into_iter()
            .flatten()
            .filter(|(_, source)| source.provider == name)
            .map(|(name, _)| name.as_str())
            .collect();
        let found = match (sources.and_then(|sources| sources.get_key_value(name)), &of_provider[..]) {
            (Some((name, _)), _) => Some(name.as_str()),
            (None, [only]) => Some(*only),
            (None, []) => None,
            (None, several) => {
                let several = several.join(", ");
                return Err(Stop::usage(format!(
                    "{name}: several sources have this provider; name one: {several}"
                )));
            }
        };
        let source = loaded.zip(found).and_then(|(loaded, name)| {
            let (name, source) = loaded.settings.sources.get_key_value(name)?;
            Some((name.as_str(), source, loaded))
        });
        let provider = source.map_or(name, |(_, source, _)| source.provider.as_str());
        let definition = catalog.get(provider).ok_or_else(|| {
            let names: Vec<&str> = sources.into_iter().flatten().map(|(name, _)| name.as_str()).collect();
            let there = if names.is_empty() { String::new() } else { format!(" ({})", names.join(", ")) };
            let near = nearest(provider, &names).or_else(|| catalog.nearest(provider));
            let near = near.map(|near| format!("; did you mean {near}?")).unwrap_or_else(|| ";".to_owned());
            let all = unread(provider, "`hookgate providers list` has all");
            Stop::usage(format!("{provider:?} is no source{there} and no provider{near} {all}"))
        })?;
        Ok(Self { definition, source })
    }

    /// The scheme, with `given` settings over the source's; where there is no source, examples stand for those that it
    /// lacks, which is told on stderr.
    ///
    /// # Errors
    /// Where the settings do not fit it.
    pub(super) fn scheme_to_send(&self, given: &[(String, String)]) -> Result<Scheme, Stop> {
        let (None, Some(raw)) = (self.source, self.definition.schemes.first()) else {
            return self.scheme_as(None, given);
        };
        let settings = example_settings(self.definition, raw, &given.iter().cloned().collect());
        for (name, value) in settings.iter().filter(|(name, _)| given.iter().all(|(known, _)| known != *name))
        {
            eprintln!(
                "note: {name} = {value:?} is an example; give the source's own with --setting {name}=VALUE"
            );
        }
        self.scheme_as(None, &settings.into_iter().collect::<Vec<_>>())
    }

    /// The id and the slot of the key that signs: `kid`, else those of the source's first secret.
    pub(in crate::cli) fn key(&self, kid: Option<String>) -> (Option<String>, Option<u8>) {
        let first = self.secrets().first();
        let own = first.and_then(|secret| secret.kid().map(str::to_owned));
        (kid.or(own), first.and_then(Secret::slot))
    }

    /// The scheme called `chosen` rather than the source's own, with `given` settings over the source's.
    ///
    /// # Errors
    /// Where there is none, or the settings do not fit it.
    pub(in crate::cli) fn scheme_as(
        &self,
        chosen: Option<&str>,
        given: &[(String, String)],
    ) -> Result<Scheme, Stop> {
        let (name, mut settings): (_, BTreeMap<String, String>) = match self.source {
            Some((_, source, _)) => {
                let text = source.settings.iter().map(|(key, value)| (key.clone(), value.to_string()));
                (source.scheme.as_deref(), text.collect())
            }
            None => (None, BTreeMap::new()),
        };
        settings.extend(given.iter().cloned());
        let mut scheme = Scheme::build(self.definition, chosen.or(name), &settings).map_err(|problems| {
            let mut lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
            if problems.iter().any(|problem| problem.key.starts_with("settings.")) {
                lines.push(match self.source {
                    Some((source, _, _)) => format!("set what is missing under sources.{source}.settings"),
                    None => "give what is missing with --setting NAME=VALUE".to_owned(),
                });
            }
            Stop { code: exit::CONFIG, why: lines.join("\n") }
        })?;
        let Some((_, source, loaded)) = self.source else { return Ok(scheme) };
        if let Some(rule) = &mut scheme.timestamp {
            rule.past = source.tolerance.past.map(|past| past.duration()).or(rule.past);
            rule.future = source.tolerance.future.map(|future| future.duration()).or(rule.future);
        }
        Ok(match &loaded.settings.ingress.public_url {
            Some(url) => scheme.at(url.as_str()),
            None => scheme,
        })
    }

    /// The source's first secret.
    pub(in crate::cli) fn secret(&self) -> Option<access::Secret> {
        let (name, _, loaded) = self.source?;
        let first = loaded.secrets.sources.get(name)?.first()?;
        Some(Zeroizing::new(first.expose().to_vec()))
    }

    /// The source's name, where it is one.
    pub(in crate::cli) fn name(&self) -> Option<&str> {
        self.source.map(|(name, _, _)| name)
    }

    /// Whether it is a source that splits.
    pub(in crate::cli) fn splits(&self) -> bool {
        self.source.is_some_and(|(_, source, _)| source.split)
    }

    /// The event types that the source wants; empty where it wants all.
    pub(in crate::cli) fn events(&self) -> &[String] {
        self.source.map_or(&[], |(_, source, _)| &source.events)
    }

    /// The source's secrets; none where it is a provider.
    pub(in crate::cli) fn secrets(&self) -> &'t [Secret] {
        let own = self.source.and_then(|(name, _, loaded)| loaded.secrets.sources.get(name));
        own.map_or(&[], Vec::as_slice)
    }

    /// What to do without a secret.
    pub(super) fn needs_secret(&self, name: &str) -> Stop {
        let found = match self.source {
            Some((source, _, _)) => format!("source {source} has no secret"),
            None => format!("no configured source is named {name} or has this provider"),
        };
        Stop::usage(format!("{found}; give --config FILE, or --secret-env NAME (and --to URL)"))
    }

    /// What to do where the configuration can verify and not sign.
    pub(in crate::cli) fn needs_private_key(scheme: &Scheme) -> Stop {
        Stop::usage(format!(
            "scheme {} verifies with public keys, and a source has no other: give the sender's private key, \
             --secret-env NAME",
            scheme.name
        ))
    }

    /// The path that deliveries go to.
    pub(in crate::cli) fn path(&self) -> String {
        let own = self.source.map(|(_, source, _)| source.path.as_str().to_owned());
        own.unwrap_or_else(|| format!("/in/{}", self.definition.name))
    }

    /// Where deliveries go: the configured listener, itself.
    ///
    /// # Errors
    /// Where the path is none that a URL can have.
    pub(in crate::cli) fn url(&self) -> Result<Url, String> {
        let ingress = self.source.map(|(_, _, loaded)| &loaded.settings.ingress);
        let listen = ingress.map_or(Ingress::default().listen, |ingress| ingress.listen);
        let scheme = if ingress.is_some_and(|ingress| ingress.tls.is_some()) { "https" } else { "http" };
        Url::parse(&format!("{scheme}://{}{}", reachable(listen), self.path()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loaded(flags: &[(&str, &str)]) -> Loaded {
        let env = [("KEY", "whsec_0123456789abcdef")].into_iter().collect();
        let flags = flags.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        crate::config::load(crate::config::Input { env, flags, ..Default::default() }).unwrap()
    }

    #[test]
    fn a_name_is_a_source_then_the_only_source_of_a_provider_then_a_provider() {
        let flags = [
            ("sources.shop.provider", "stripe"),
            ("sources.shop.secrets", "[{ env = \"KEY\" }]"),
            ("sources.code.provider", "github"),
            ("sources.more.provider", "github"),
            ("ingress.listen", "0.0.0.0:7777"),
        ];
        let (loaded, catalog) = (loaded(&flags), Catalog::built_in().unwrap());
        let find = |name| Target::find(name, Some(&loaded), &catalog);
        for name in ["shop", "stripe"] {
            let target = find(name).unwrap();
            assert_eq!(target.url().unwrap().to_string(), "http://127.0.0.1:7777/in/shop");
            assert_eq!(target.secret().unwrap().as_slice(), b"whsec_0123456789abcdef");
        }
        assert!(find("github").err().unwrap().why.ends_with("name one: code, more"));
        assert!(find("code").unwrap().secret().is_none());
        let alone = find("shopify").unwrap();
        assert_eq!(alone.url().unwrap().to_string(), "http://127.0.0.1:8080/in/shopify");
        assert!(alone.needs_secret("shopify").why.contains("--secret-env NAME"));
        let stop = find("strpe").err().unwrap();
        assert_eq!(stop.code, exit::USAGE);
        let told = "\"strpe\" is no source (code, more, shop) and no provider; did you mean stripe? `hookgate providers list` has all";
        assert!(stop.why.starts_with(told), "{}", stop.why);
        assert!(find("shpo").err().unwrap().why.contains("did you mean shop?"));
    }
}
