//! All provider files: those built into the binary, and the operator's folder over them.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use rust_embed::RustEmbed;
use sha2::{Digest as _, Sha256};

use super::definition::Definition;
use super::unverified;

#[derive(RustEmbed)]
#[folder = "providers/"]
#[include = "*.toml"]
struct BuiltIn;

#[derive(RustEmbed)]
#[folder = "providers/samples/"]
#[include = "*.json"]
#[include = "*.form"]
#[include = "*.xml"]
struct Samples;

/// A sample payload that comes with the binary.
#[derive(Clone, Debug)]
pub struct SampleFile {
    /// Its bytes.
    pub body: Vec<u8>,
    /// The Content-Type that its provider sends such a body with.
    pub content_type: &'static str,
}

/// Sample files by their extension.
const SAMPLE_FORMS: [(&str, &str); 3] = [
    (".json", "application/json"),
    (".form", "application/x-www-form-urlencoded"),
    (".xml", "text/xml; charset=utf-8"),
];

/// A provider file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// The folder or a file in it cannot be read.
    #[error("{path}: {source}")]
    Read {
        /// Which.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// A file is not in the form of a provider file.
    #[error("{path}: {message}")]
    Form {
        /// Which.
        path: String,
        /// What was found, and where.
        message: String,
    },
}

/// What is wrong with a file's names, if anything; its schemes are looked at when a source uses one.
fn plain(definition: &Definition) -> Result<(), String> {
    let is_name = |name: &str| {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        (1..=64).contains(&name.len()) && name.bytes().all(plain)
    };
    if !is_name(&definition.name) {
        return Err(format!("name = {:?}; allowed: 1 to 64 of a-z, 0-9 and _", definition.name));
    }
    let methods = definition.schemes.iter().filter_map(|scheme| scheme.methods.as_ref()).flatten();
    if definition
        .methods
        .iter()
        .chain(methods)
        .any(|method| method.is_empty() || method.bytes().any(|b| !b.is_ascii_uppercase()))
    {
        return Err(format!(
            "methods = {:?}; allowed: HTTP methods in upper case, such as POST",
            definition.methods
        ));
    }
    if let (true, Some(retries)) = (definition.sender.never_retries, definition.sender.retries) {
        return Err(format!(
            "sender.never_retries = true beside sender.retries = \"{retries}\"; allowed: one of the two"
        ));
    }
    let payloads = payloads(definition);
    if !is_name(payloads) {
        return Err(format!("sample.payloads = {payloads:?}; allowed: the name of a provider"));
    }
    let names: Vec<&str> = definition.schemes.iter().map(|scheme| scheme.name.as_str()).collect();
    let repeated = names.iter().enumerate().find(|(at, name)| names[..*at].contains(name));
    match repeated {
        Some((_, name)) => {
            Err(format!("schemes: two are called {name:?}; allowed: a name of its own for each"))
        }
        None if names.is_empty() => Err("schemes: none; allowed: at least one".to_owned()),
        None => Ok(()),
    }
}

/// Providers by name; a clone shares them.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    providers: BTreeMap<String, Arc<Definition>>,
    own: [u8; 32],
}

impl Catalog {
    /// The providers that come with the binary.
    ///
    /// # Errors
    /// Where one of the built-in files is broken, which the crate's tests rule out.
    pub fn built_in() -> Result<Self, CatalogError> {
        static READ: OnceLock<Catalog> = OnceLock::new();
        match READ.get() {
            Some(catalog) => Ok(catalog.clone()),
            None => Self::read_built_in().map(|catalog| READ.get_or_init(|| catalog).clone()),
        }
    }

    fn read_built_in() -> Result<Self, CatalogError> {
        let mut catalog = Self::default();
        for name in BuiltIn::iter().filter(|name| !name.contains('/')) {
            let Some(file) = BuiltIn::get(&name) else { continue };
            catalog.add(&name, &file.data, None)?;
        }
        Ok(catalog)
    }

    /// SHA-256 over the files that do not come with the binary, in the order they were added in; zeroes where there are
    /// none.
    pub fn own(&self) -> [u8; 32] {
        self.own
    }

    /// Adds the `*.toml` files in `dir`; one with a known name replaces that provider whole.
    ///
    /// # Errors
    /// Every file that cannot be read or used.
    pub fn add_folder(&mut self, dir: &Path) -> Result<(), Vec<CatalogError>> {
        let listing = fs::read_dir(dir).map_err(|source| vec![unreadable(dir, source)])?;
        let mut paths: Vec<_> = listing
            .filter_map(|entry| entry.ok().map(|entry| entry.path()))
            .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
            .collect();
        paths.sort();
        let mut errors = Vec::new();
        for path in paths {
            errors.extend(self.add_file(&path).err());
        }
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }

    /// Adds one file; a known name replaces that provider whole.
    ///
    /// # Errors
    /// Where it cannot be read or used.
    pub fn add_file(&mut self, path: &Path) -> Result<(), CatalogError> {
        let shown = path.display().to_string();
        let text = fs::read(path).map_err(|source| CatalogError::Read { path: shown.clone(), source })?;
        self.add(&shown, &text, path.parent())
    }

    fn add(&mut self, path: &str, text: &[u8], folder: Option<&Path>) -> Result<(), CatalogError> {
        let form = |message: String| CatalogError::Form { path: path.to_owned(), message };
        if folder.is_some() {
            self.own = Sha256::new().chain_update(self.own).chain_update(text).finalize().into();
        }
        let text = std::str::from_utf8(text).map_err(|error| form(error.to_string()))?;
        let mut definition: Definition = toml::from_str(text).map_err(|error| form(error.to_string()))?;
        if Path::new(path).file_stem().is_none_or(|stem| stem != definition.name.as_str()) {
            return Err(form(format!(
                "name = {:?}; allowed: the file's own name without .toml",
                definition.name
            )));
        }
        plain(&definition).and_then(|()| unverified::check(&definition, text)).map_err(form)?;
        definition.folder = folder.map(Path::to_owned);
        self.providers.insert(definition.name.clone(), Arc::new(definition));
        Ok(())
    }

    /// The text of a provider file that comes with the binary.
    pub fn built_in_text(name: &str) -> Option<String> {
        let file = BuiltIn::get(&format!("{name}.toml"))?;
        String::from_utf8(file.data.into_owned()).ok()
    }

    /// The provider of that name.
    pub fn get(&self, name: &str) -> Option<&Definition> {
        self.providers.get(name).map(|known| &**known)
    }

    /// The same, to be kept.
    pub fn shared(&self, name: &str) -> Option<Arc<Definition>> {
        self.providers.get(name).map(Arc::clone)
    }

    /// The name that was likely meant, where there is none like this.
    pub fn nearest(&self, name: &str) -> Option<&str> {
        let name = name.to_lowercase();
        let names =
            self.iter().map(|known| (strsim::damerau_levenshtein(&known.name, &name), known.name.as_str()));
        names.filter(|(distance, _)| *distance <= 2).min().map(|(_, name)| name)
    }

    /// All providers, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Definition> {
        self.providers.values().map(|known| &**known)
    }

    /// The sample payload of an event type of the provider, or of the one whose payloads its file names: from
    /// `samples/` beside the file where it is an operator's own, else one that comes with the binary.
    ///
    /// # Errors
    /// Where a sample beside the file is there and cannot be read.
    pub fn sample_of(definition: &Definition, event_type: &str) -> Result<Option<SampleFile>, CatalogError> {
        for name in own_samples(definition)? {
            if let (Some(content_type), Some(dir)) =
                (form_of(&name, event_type), Self::samples_folder(definition))
            {
                let path = dir.join(name);
                let body = fs::read(&path).map_err(|source| unreadable(&path, source))?;
                return Ok(Some(SampleFile { body, content_type }));
            }
        }
        Ok(Self::sample(payloads(definition), event_type))
    }

    /// Where an operator's own file has its samples, whether they are there or not.
    pub fn samples_folder(definition: &Definition) -> Option<PathBuf> {
        Some(definition.folder.as_ref()?.join("samples").join(payloads(definition)))
    }

    /// The event types that have a sample in [`Self::sample_of`], sorted.
    ///
    /// # Errors
    /// Where the folder of samples beside the file is there and cannot be read.
    pub fn samples_of(definition: &Definition) -> Result<Vec<String>, CatalogError> {
        let mut samples = Self::samples(payloads(definition));
        samples.extend(own_samples(definition)?.iter().filter_map(|name| event_type_of(name)));
        samples.sort();
        samples.dedup();
        Ok(samples)
    }

    /// The sample payload of an event type, where one comes with the binary.
    pub fn sample(provider: &str, event_type: &str) -> Option<SampleFile> {
        SAMPLE_FORMS.iter().find_map(|(extension, content_type)| {
            let file = Samples::get(&format!("{provider}/{event_type}{extension}"))?;
            Some(SampleFile { body: file.data.into_owned(), content_type })
        })
    }

    /// The event types that have a sample.
    pub fn samples(provider: &str) -> Vec<String> {
        let prefix = format!("{provider}/");
        Samples::iter().filter_map(|name| event_type_of(name.strip_prefix(&prefix)?)).collect()
    }
}

/// The type whose sample a file is.
fn event_type_of(name: &str) -> Option<String> {
    SAMPLE_FORMS.iter().find_map(|(extension, _)| Some(name.strip_suffix(extension)?.to_owned()))
}

/// The Content-Type of a file that is the sample of `event_type`.
fn form_of(name: &str, event_type: &str) -> Option<&'static str> {
    let extension = name.strip_prefix(event_type)?;
    SAMPLE_FORMS.iter().find(|(known, _)| *known == extension).map(|(_, content_type)| *content_type)
}

/// The names of the files there, sorted. Names are only ever compared: no event type becomes part of a path.
fn own_samples(definition: &Definition) -> Result<Vec<String>, CatalogError> {
    let Some(dir) = Catalog::samples_folder(definition) else { return Ok(Vec::new()) };
    let listing = match fs::read_dir(&dir) {
        Ok(listing) => listing,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(unreadable(&dir, error)),
    };
    let mut names: Vec<String> =
        listing.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
    names.sort();
    Ok(names)
}

fn unreadable(path: &Path, source: io::Error) -> CatalogError {
    CatalogError::Read { path: path.display().to_string(), source }
}

fn payloads(definition: &Definition) -> &str {
    let named = definition.sample.as_ref().and_then(|sample| sample.payloads.as_deref());
    named.unwrap_or(&definition.name)
}
