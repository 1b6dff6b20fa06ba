//! Which files and folders a configuration is read from: those that have to be looked at to notice that there is another.
//!
//! Reads the layers and no secret. What is wrong in them does not count here: a file that is broken, or not there yet,
//! is one to be looked at all the more.

use std::path::PathBuf;

use super::layers::{Gathered, main_file, sources_dir};
use super::load::{self, Input};
use super::settings::Settings;
use crate::provider::secret::SecretRef;

/// The paths, whether there is something at them or not: the main file and `sources.d`, the folders of provider and
/// schema files, `fetch.ca_file`, the authorities of client certificates, and every file that holds a secret or
/// addresses. A file that the gateway itself writes a captured secret to is none of them.
pub fn watched(input: &Input) -> Vec<PathBuf> {
    let main = main_file(input.file.as_deref());
    let mut paths = vec![main.to_owned(), sources_dir(main)];
    let gathered = Gathered::read(input.file.as_deref(), &input.env, &input.flags);
    let (origins, mut report) = gathered.into_report();
    if let Ok(merged) = origins.merged() {
        of_settings(&load::complete(merged, &mut report), input, &mut paths);
    }
    paths.sort();
    paths.dedup();
    paths
}

fn of_settings(settings: &Settings, input: &Input, paths: &mut Vec<PathBuf>) {
    let Settings { providers, schemas, fetch, admin, dedup, sink, notices, sources, .. } = settings;
    let named = [&providers.dir, &schemas.dir, &fetch.ca_file];
    paths.extend(named.into_iter().flatten().cloned());
    let clients = sources.values().filter_map(|source| source.client_certificates.as_ref());
    paths.extend(clients.map(|wanted| wanted.ca_file.clone()));
    let single =
        [&admin.token, &admin.read_token, &admin.worker_token, &dedup.url, &sink.url, &notices.secret];
    let references = single.into_iter().flatten().chain(sources.values().flat_map(|source| &source.secrets));
    let listed = sources.values().filter_map(|source| source.addresses.as_ref()?.file());
    paths.extend(listed.map(PathBuf::from));
    paths.extend(references.filter_map(|reference: &SecretRef| reference.place.file(&input.env)));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::secret::Environment;

    #[test]
    fn all_that_is_read_is_watched_whatever_is_wrong_in_it() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("hookgate.toml");
        let text = "[providers]\ndir = \"own\"\n[schemas]\ndir = 7\n[admin]\ntoken = { credential = \"token\" }\n\
                    [sources.a]\nprovider = \"nobody\"\nsecrets = [{ env = \"A\" }, { env = \"B\" }, { file = \"c\" }, \
                    { captured = \"d\" }]\naddresses = { file = \"e\" }\n[notices]\nsecret = { file = \"f\" }\n";
        std::fs::write(&file, text).unwrap();
        let env: Environment =
            [("A", "plain"), ("B_FILE", "/run/b"), ("CREDENTIALS_DIRECTORY", "/run/credentials")]
                .into_iter()
                .collect();
        let input = Input { file: Some(file.clone()), env, ..Input::default() };
        let expected = [
            PathBuf::from("/run/b"),
            "/run/credentials/token".into(),
            file,
            dir.path().join("sources.d"),
            "c".into(),
            "e".into(),
            "f".into(),
            "own".into(),
        ];
        let mut expected = Vec::from(expected);
        expected.sort();
        assert_eq!(watched(&input), expected);
    }

    #[test]
    fn a_file_that_cannot_be_read_is_watched() {
        let input = Input { file: Some("/nowhere/hookgate.toml".into()), ..Input::default() };
        let expected: [PathBuf; 2] = ["/nowhere/hookgate.toml".into(), "/nowhere/sources.d".into()];
        assert_eq!(watched(&input), expected);
    }
}
