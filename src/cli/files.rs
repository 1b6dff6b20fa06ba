//! Which provider files a command reads: the built-in ones, and over them one folder of the operator's own. The one
//! place where that is decided, for every subcommand; `serve` and `check` come here too, from their configuration.

use std::path::{Path, PathBuf};

use clap::Args;

use super::args::ConfigArgs;
use super::stop::Stop;
use crate::config;
use crate::exit;
use crate::provider::{Catalog, CatalogError};

/// Where `hookgate providers new` writes, where nobody says otherwise.
pub(super) const USUAL_DIR: &str = "providers.d";

/// The folder that a command takes instead of the configuration's.
#[derive(Clone, Debug, Default, Args)]
pub(super) struct FilesArgs {
    /// A folder of provider files of your own [default: providers.dir of the configuration]
    #[arg(long, value_name = "DIR", global = true)]
    providers: Option<PathBuf>,
}

/// The same for commands that need nothing else of a configuration.
#[derive(Clone, Debug, Default, Args)]
pub(super) struct FilesAlone {
    #[command(flatten)]
    pub(super) files: FilesArgs,
    /// The configuration file whose providers.dir is read [default: hookgate.toml, if it is there]
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
}

impl FilesArgs {
    /// The folder that the command line names.
    pub(super) fn given(&self) -> Option<&Path> {
        self.providers.as_deref()
    }

    /// The same with the folder that it comes to, for what is written of it.
    ///
    /// # Errors
    /// As [`Self::folder`].
    pub(super) fn settled(&self, config: &ConfigArgs) -> Result<Self, Stop> {
        Ok(Self { providers: self.folder(config)? })
    }

    /// The folder: the one given, else that of the configuration. What else is wrong with a configuration, such as
    /// secrets that this machine lacks, does not count.
    ///
    /// # Errors
    /// Where a configuration that was named cannot be read, or its `providers.dir` is wrong; one that nobody named and
    /// that cannot be read is only told of.
    pub(super) fn folder(&self, config: &ConfigArgs) -> Result<Option<PathBuf>, Stop> {
        if self.providers.is_some() {
            return Ok(self.providers.clone());
        }
        match config::providers_dir(&config.clone().input()) {
            Ok(dir) => Ok(dir),
            Err(report) if config.is_given() => {
                eprintln!("{report}");
                Err(Stop::told(exit::CONFIG))
            }
            Err(report) => {
                eprintln!("note: the configuration's providers.dir is not known: {report}");
                Ok(None)
            }
        }
    }

    /// The provider files.
    ///
    /// # Errors
    /// Every file of the folder that cannot be used, and as [`Self::folder`].
    pub(super) fn catalog(&self, config: &ConfigArgs) -> Result<Catalog, Stop> {
        sound(self.folder(config)?.as_deref())
    }
}

impl FilesAlone {
    /// The folder, as [`FilesArgs::folder`].
    ///
    /// # Errors
    /// As there.
    pub(super) fn folder(&self) -> Result<Option<PathBuf>, Stop> {
        self.files.folder(&ConfigArgs::of_file(self.config.clone()))
    }

    /// The provider files, as [`FilesArgs::catalog`].
    ///
    /// # Errors
    /// As there.
    pub(super) fn catalog(&self) -> Result<Catalog, Stop> {
        self.files.catalog(&ConfigArgs::of_file(self.config.clone()))
    }
}

/// The built-in files with those in `dir` over them.
///
/// # Errors
/// Every file that cannot be used.
pub(super) fn sound(dir: Option<&Path>) -> Result<Catalog, Stop> {
    let (catalog, errors) = read(dir);
    if errors.is_empty() {
        return Ok(catalog);
    }
    let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
    Err(Stop { code: exit::CONFIG, why: lines.join("\n") })
}

/// The built-in files with those in `dir` over them, and every one that cannot be used.
pub(super) fn read(dir: Option<&Path>) -> (Catalog, Vec<CatalogError>) {
    let mut errors = Vec::new();
    let mut catalog = Catalog::built_in().unwrap_or_else(|error| {
        errors.push(error);
        Catalog::default()
    });
    if let Some(dir) = dir {
        errors.extend(catalog.add_folder(dir).err().into_iter().flatten());
    }
    (catalog, errors)
}

/// No provider has that name: the nearest that there is, and how a file of one's own is read.
pub(super) fn unknown(name: &str, catalog: &Catalog) -> Stop {
    let known: Vec<&str> = catalog.iter().map(|known| known.name.as_str()).collect();
    let near = catalog.nearest(name).map(|near| format!("; did you mean {near:?}?")).unwrap_or_default();
    let there = format!("there is: {}", known.join(", "));
    Stop::usage(format!("{name:?} is no provider{near}; {}", unread(name, &there)))
}

/// What to do where no file that is read has that name: `there` says which do, unless one lies in the usual folder.
pub(super) fn unread(name: &str, there: &str) -> String {
    let usual = Path::new(USUAL_DIR).join(format!("{name}.toml"));
    if !name.contains(['/', '\\']) && usual.is_file() {
        return format!(
            "{} is there and is not read: give --providers {USUAL_DIR}, or set providers.dir = {USUAL_DIR:?} in the \
             configuration",
            usual.display()
        );
    }
    format!(
        "{there}; files of your own are read from providers.dir of the configuration, or with --providers DIR"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACME: &str = "name = \"acme\"\ntitle = \"Acme\"\n[[schemes]]\nname = \"s\"\nalgorithm = \"none\"\n";

    #[test]
    fn the_folder_given_counts_then_the_configuration_s_whatever_its_secrets_are() {
        let dir = tempfile::tempdir().unwrap();
        let [own, other] = ["own", "other"].map(|name| dir.path().join(name));
        std::fs::create_dir(&own).unwrap();
        std::fs::write(own.join("acme.toml"), ACME).unwrap();
        let file = dir.path().join("gate.toml");
        let lines = format!(
            "providers.dir = {own:?}\n[sources.acme]\nprovider = \"acme\"\nsecrets = [{{ env = \"NOT_SET_HERE\" }}]\n"
        );
        std::fs::write(&file, &lines).unwrap();
        let config = ConfigArgs::of_file(Some(file.clone()));
        let none = FilesArgs::default();
        assert_eq!(none.folder(&config).unwrap(), Some(own));
        assert!(none.catalog(&config).unwrap().get("acme").is_some());
        let given = FilesArgs { providers: Some(other.clone()) };
        assert_eq!(given.folder(&config).unwrap(), Some(other));
        assert_eq!(given.catalog(&config).unwrap_err().code, exit::CONFIG, "there is no such folder");
        std::fs::write(&file, "providers.dir = 7\n").unwrap();
        assert_eq!(none.folder(&config).unwrap_err().code, exit::CONFIG);
        std::fs::write(&file, "providers = {\n").unwrap();
        assert_eq!(none.folder(&config).unwrap_err().code, exit::CONFIG);
    }

    #[test]
    fn a_file_that_cannot_be_used_is_an_error_of_whoever_reads_the_folder() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("acme.toml"), ACME).unwrap();
        std::fs::write(dir.path().join("bad.toml"), "name = ").unwrap();
        let files = FilesAlone { files: FilesArgs { providers: Some(dir.path().to_owned()) }, config: None };
        let stop = files.catalog().unwrap_err();
        assert!(stop.code == exit::CONFIG && stop.why.contains("bad.toml"), "{}", stop.why);
        assert!(!stop.why.contains("acme.toml"), "{}", stop.why);
    }
}
