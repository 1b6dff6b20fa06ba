//! Resolves every secret that the settings refer to, and reports each that cannot be used.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::load::Input;
use super::path::KeyPath;
use super::report::Report;
use super::settings::{Admin, Backend, Settings};
use crate::provider::secret::{KEY_BYTES_MIN, Secret, SecretError, SecretPlace, SecretRef};

/// The secrets of a configuration, by what they are for.
#[derive(Debug, Default)]
pub struct Secrets {
    /// Those of each source, in the order of its list.
    pub sources: BTreeMap<String, Vec<Secret>>,
    /// Where a source's secret is kept that a handshake brings: the file, and its label.
    pub captured: BTreeMap<String, (PathBuf, String)>,
    /// Those of the admin listener.
    pub admin: AdminTokens,
    /// The URL of Redis, if it is used.
    pub dedup_url: Option<Secret>,
    /// The URL of the sink's service, if its kind has one.
    pub sink_url: Option<Secret>,
    /// What notices are signed with, where they are sent.
    pub notices: Option<Secret>,
}

/// The tokens of the admin listener.
#[derive(Debug, Default)]
pub struct AdminTokens {
    /// Opens all of it.
    pub operator: Option<Secret>,
    /// Opens what changes nothing.
    pub reader: Option<Secret>,
    /// Opens the inbox only.
    pub worker: Option<Secret>,
}

/// Resolves the secrets that are used: the URL of a service that is switched off is not looked at.
pub(super) fn resolve(
    settings: &Settings,
    input: &Input,
    report: &mut Report,
    warnings: &mut Vec<String>,
) -> Secrets {
    let mut all = Resolver { input, report, warnings };
    let mut secrets = Secrets::default();
    for (name, source) in &settings.sources {
        let list = KeyPath::from("sources").key(name).key("secrets");
        secrets.sources.insert(name.clone(), all.list(&list, &source.secrets));
        secrets.captured.extend(all.captured(&list, &source.secrets).map(|found| (name.clone(), found)));
    }
    let Settings { admin, dedup, sink, notices, .. } = settings;
    secrets.admin = all.of_admin(admin);
    let redis = dedup.url.as_ref().filter(|_| dedup.backend == Backend::Redis);
    secrets.dedup_url = all.optional("dedup.url", redis, 1);
    let service = sink.url.as_ref().filter(|_| sink.kind.service().is_some());
    secrets.sink_url = all.optional("sink.url", service, 1);
    let key = notices.secret.as_ref().filter(|_| notices.url.is_some());
    secrets.notices = all.optional("notices.secret", key, KEY_BYTES_MIN);
    secrets
}

/// The tokens of the admin listener.
pub(super) fn of_admin(admin: &Admin, input: &Input, report: &mut Report) -> AdminTokens {
    Resolver { input, report, warnings: &mut Vec::new() }.of_admin(admin)
}

struct Resolver<'a> {
    input: &'a Input,
    report: &'a mut Report,
    warnings: &'a mut Vec<String>,
}

impl Resolver<'_> {
    fn list(&mut self, path: &KeyPath, references: &[SecretRef]) -> Vec<Secret> {
        let mut seen: BTreeMap<String, usize> = BTreeMap::new();
        let mut resolved = Vec::new();
        if references.len() > 1 && references.iter().any(|reference| reference.label.is_none()) {
            let place = self.report.origins().place(path);
            self.warnings.push(format!(
                "{place}: {path}: several secrets, and not each has a label: metrics and log call such a one by its place, \
                 which another takes when the list changes; give each a label"
            ));
        }
        for (index, reference) in references.iter().enumerate() {
            let label = reference.label_at(index + 1);
            if let Some(first) = seen.get(&label) {
                let key = if reference.label.is_some() {
                    path.index(index).key("label")
                } else {
                    path.index(index)
                };
                let allowed = format!("a label of its own; {} has this one", path.index(*first));
                self.report.error(key, format!("{label:?}"), allowed);
            }
            seen.entry(label).or_insert(index);
            if let (Some(from), Some(until)) = (reference.not_before, reference.not_after)
                && from >= until
            {
                let key = path.index(index).key("not_after");
                self.report.error(key, format!("{until}"), format!("a time after not_before, {from}"));
            }
            if matches!(reference.place, SecretPlace::Captured(_)) {
                continue;
            }
            resolved.extend(self.one(&path.index(index), reference, index + 1, KEY_BYTES_MIN));
        }
        resolved
    }

    fn of_admin(&mut self, admin: &Admin) -> AdminTokens {
        let mut token = |path, reference: &Option<_>| self.optional(path, reference.as_ref(), KEY_BYTES_MIN);
        AdminTokens {
            operator: token("admin.token", &admin.token),
            reader: token("admin.read_token", &admin.read_token),
            worker: token("admin.worker_token", &admin.worker_token),
        }
    }

    /// The captured secret of a list, which has its own times.
    fn captured(&mut self, path: &KeyPath, references: &[SecretRef]) -> Option<(PathBuf, String)> {
        let mut found = None;
        for (index, reference) in references.iter().enumerate() {
            let SecretPlace::Captured(file) = &reference.place else { continue };
            if found.is_some() {
                let allowed = "one: each capture keeps the secret before it for an hour";
                self.report.error(path.index(index), "a second captured secret", allowed);
            }
            if reference.not_before.is_some() || reference.not_after.is_some() {
                let allowed = "neither not_before nor not_after: it counts from its capture to the next";
                self.report.error(path.index(index), "a captured secret with a time", allowed);
            }
            found = Some((file.clone(), reference.label_at(index + 1)));
        }
        found
    }

    fn optional(&mut self, path: &str, reference: Option<&SecretRef>, bytes_min: usize) -> Option<Secret> {
        self.one(&path.into(), reference?, 1, bytes_min)
    }

    fn one(
        &mut self,
        path: &KeyPath,
        reference: &SecretRef,
        position: usize,
        bytes_min: usize,
    ) -> Option<Secret> {
        if reference.is_plain() && !self.input.dev {
            let allowed = format!("{}; plain text only with --dev", SecretRef::EXPECTED);
            self.report.error(path, "plain text \"***\"", allowed);
            return None;
        }
        match reference.resolve(&self.input.env, position, bytes_min) {
            Ok(resolved) => {
                let place = self.report.origins().place(path);
                self.warnings.extend(resolved.warning.map(|text| format!("{place}: {path}: {text}")));
                Some(resolved.secret)
            }
            Err(error) => {
                self.report.error(path, format!("a secret that cannot be used: {error}"), remedy(&error));
                None
            }
        }
    }
}

fn remedy(error: &SecretError) -> String {
    match error {
        SecretError::Unset(name) => {
            format!("a value in {name}, or the path of a file in {name}_FILE, where this process was started")
        }
        SecretError::Ambiguous(_) => "one of the two".to_owned(),
        SecretError::NoCredentials => "a service started with LoadCredential=".to_owned(),
        SecretError::Captured(_) => "env, file or credential".to_owned(),
        SecretError::Unreadable(..) => "a file that this user can read".to_owned(),
        SecretError::Empty(_) | SecretError::Blank(_) => "the secret's text".to_owned(),
        SecretError::Short { .. } => format!("at least {KEY_BYTES_MIN} bytes"),
        SecretError::Long(_) => "a secret, at most 65536 bytes".to_owned(),
    }
}
