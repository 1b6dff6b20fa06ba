//! The demo's stage: a folder that goes away with it, sources with secrets made up on the spot, a configuration.
//!
//! The secrets are in memory; only a demo that stays up writes them, to files that their owner alone can read.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use zeroize::Zeroizing;

use super::Addresses;
use crate::cli::assemble::{self, Plan};
use crate::config::{self, Input, Loaded};
use crate::disk::{Disk, RealDisk};
use crate::provider::secret::Environment;
use crate::provider::{Catalog, Definition, Scheme};
use crate::sample::random;

/// Where temporary folders go, where `TMPDIR` says nothing.
const TEMPORARY: &str = "/tmp";
/// What the environment calls the secrets, which it holds in memory only.
const VARIABLE: &str = "HOOKGATE_DEMO_SECRET_";

/// A provider that the demo shows; its source has its name.
pub(super) struct Shown {
    /// Its file.
    pub definition: Definition,
    /// Its default scheme.
    pub scheme: Scheme,
    /// The source's secret: 32 hexadecimal digits, which is text, base64 and hexadecimal alike.
    pub secret: Zeroizing<String>,
}

/// Everything that stands before the gateway starts.
pub(super) struct Stage {
    /// The configuration.
    pub loaded: Arc<Loaded>,
    /// The providers.
    pub shown: Arc<[Shown]>,
    folder: Folder,
}

impl Stage {
    /// Makes the folder and the configuration, with deliveries on `port` (0 = any).
    pub(super) fn build(env: &Environment, port: u16) -> anyhow::Result<Self> {
        let shown: Arc<[Shown]> = shown()?.into();
        anyhow::ensure!(!shown.is_empty(), "no built-in provider file has `demo = true` in [sample]");
        let folder = Folder::make(env)?;
        let anywhere = Addresses { ingress: loopback(port), admin: loopback(0) };
        let text = configuration(&folder, &shown, anywhere, |name| format!("env = {:?}", variable(name)));
        let file = folder.write("hookgate.toml", &text)?;
        let secrets = shown.iter().map(|source| (variable(&source.definition.name), source.secret.as_str()));
        let env = secrets.collect();
        let loaded = config::load(Input { file: Some(file), env, flags: Vec::new(), dev: false })
            .map_err(|report| anyhow::anyhow!("the demo's own configuration has errors:\n{report}"))?;
        Ok(Self { loaded: Arc::new(loaded), shown, folder })
    }

    /// Where everything is kept.
    pub(super) fn folder(&self) -> &Path {
        &self.folder.0
    }

    /// The sources, ready to serve.
    pub(super) fn plans(&self) -> anyhow::Result<Vec<Plan>> {
        let mut report = self.loaded.report();
        let plans = assemble::all(&self.loaded, &mut report);
        report.into_result(plans).map_err(|report| anyhow::anyhow!("the demo's own configuration:\n{report}"))
    }

    /// Writes a configuration for callers from outside; says how they use it.
    pub(super) fn keep(&self, Addresses { ingress, admin }: Addresses) -> anyhow::Result<String> {
        for source in self.shown.iter() {
            self.folder.write(&source.definition.name, &source.secret)?;
        }
        let file = |name: &str| format!("file = {:?}", self.folder.0.join(name));
        let text = configuration(&self.folder, &self.shown, Addresses { ingress, admin }, file);
        let path = self.folder.write("running.toml", &text)?;
        let path = path.display();
        let name = self.shown.first().map_or("", |source| &source.definition.name);
        Ok(format!(
            "The gateway stays up until Ctrl-C; its folder goes with it.\n  \
             deliveries  http://{ingress}/in/{name}\n  \
             admin       http://{admin}  (/readyz, /metrics, the inbox)\n\
             From another terminal:\n  \
             hookgate send {name} --config {path}\n  \
             hookgate send {name} --config {path} --break body\n  \
             hookgate consume {name} --config {path}\n"
        ))
    }
}

fn shown() -> anyhow::Result<Vec<Shown>> {
    let mut shown = Vec::new();
    for definition in Catalog::built_in()?.iter() {
        if !definition.sample.as_ref().is_some_and(|sample| sample.demo) {
            continue;
        }
        let scheme = Scheme::build(definition, None, &Default::default()).map_err(|problems| {
            anyhow::anyhow!(
                "{}: {}",
                definition.name,
                problems.iter().map(ToString::to_string).collect::<String>()
            )
        })?;
        let secret = Zeroizing::new(hex::encode(random()?));
        shown.push(Shown { definition: definition.clone(), scheme, secret });
    }
    Ok(shown)
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

fn variable(name: &str) -> String {
    format!("{VARIABLE}{}", name.to_ascii_uppercase())
}

/// The configuration: defaults, but for addresses, folder and a small journal.
fn configuration(
    folder: &Folder,
    shown: &[Shown],
    Addresses { ingress, admin }: Addresses,
    reference: impl Fn(&str) -> String,
) -> String {
    let dir = folder.0.join("journal");
    let mut text = format!(
        "[ingress]\nlisten = \"{ingress}\"\n[admin]\nlisten = \"{admin}\"\n\
         [journal]\ndir = {dir:?}\nsegment_bytes = \"4MiB\"\n"
    );
    for source in shown {
        let name = &source.definition.name;
        let secret = reference(name);
        let section = format!(
            "[sources.{name}]\nprovider = \"{name}\"\nsecrets = [{{ {secret}, label = \"demo\" }}]\n\
             body_bytes_max = \"1MiB\"\n"
        );
        text.push_str(&section);
    }
    text
}

/// A temporary folder that ends with its value.
struct Folder(PathBuf);

impl Folder {
    fn make(env: &Environment) -> anyhow::Result<Self> {
        let parent = env.get("TMPDIR").filter(|dir| !dir.is_empty()).map_or(Path::new(TEMPORARY), Path::new);
        anyhow::ensure!(parent.is_dir(), "{} is no folder; set TMPDIR to one", parent.display());
        let folder = parent.join(format!("hookgate-demo-{}", hex::encode(random()?)));
        RealDisk
            .create_dir(&folder)
            .with_context(|| format!("cannot make the folder {}", folder.display()))?;
        Ok(Self(folder))
    }

    /// Writes a file that its owner alone can read; its path comes back.
    fn write(&self, name: &str, text: &str) -> anyhow::Result<PathBuf> {
        let path = self.0.join(name);
        let written = RealDisk.create(&path).and_then(|file| RealDisk.write_at(&file, text.as_bytes(), 0));
        written.with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0)
            && error.kind() != io::ErrorKind::NotFound
        {
            eprintln!("hookgate: {} is left behind: {error}", self.0.display());
        }
    }
}
