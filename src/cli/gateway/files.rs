//! Noticing that files of the configuration have changed, by looking: whatever wrote them, an editor that renames, a
//! link that is swapped, a mount that is exchanged, a look sees what is there. Nothing is opened. In folders, files of
//! TOML and JSON alone count: whatever else lies there may change as it likes.

use std::collections::VecDeque;
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

/// How deep folders are looked into: schemas lie in a folder for each provider.
const DEPTH: usize = 3;
/// Entries of all folders that are looked at.
const ENTRIES_MAX: usize = 20_000;

/// How files stood at one look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stamp([u8; 32]);

impl Stamp {
    /// Looks at these paths: what they lead to, and of that place, number, length and times. Blocks.
    pub(super) fn of(paths: &[PathBuf]) -> Self {
        let mut digest = Sha256::new();
        let mut waiting: VecDeque<(PathBuf, usize)> = paths.iter().map(|path| (path.clone(), 0)).collect();
        let mut left = ENTRIES_MAX;
        while let Some((path, depth)) = waiting.pop_front() {
            let found = fs::metadata(&path).ok();
            let folder = found.as_ref().is_some_and(Metadata::is_dir);
            if folder || depth == 0 || is_read(&path) {
                note(&mut digest, &path, found.filter(|_| !folder));
            }
            if folder && depth < DEPTH {
                let mut entries = entries(&path, left);
                left -= entries.len();
                entries.sort();
                waiting.extend(entries.into_iter().map(|entry| (entry, depth + 1)));
            }
        }
        Self(digest.finalize().into())
    }
}

fn entries(folder: &Path, most: usize) -> Vec<PathBuf> {
    let Ok(listing) = fs::read_dir(folder) else { return Vec::new() };
    let shown =
        |path: &PathBuf| path.file_name().is_some_and(|name| !name.as_encoded_bytes().starts_with(b"."));
    listing.filter_map(|entry| Some(entry.ok()?.path())).filter(shown).take(most).collect()
}

/// Whether a file of a folder is one that a configuration is made of.
fn is_read(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending == "toml" || ending == "json")
}

/// What there is of a file; of a folder, and of what is not there, its name and target alone.
fn note(digest: &mut Sha256, path: &Path, found: Option<Metadata>) {
    let target = fs::canonicalize(path).unwrap_or_default();
    for name in [path, &target] {
        let bytes = name.as_os_str().as_encoded_bytes();
        digest.update((bytes.len() as u64).to_be_bytes());
        digest.update(bytes);
    }
    let Some(found) = found else { return digest.update([0]) };
    digest.update([1]);
    let times = [found.mtime(), found.mtime_nsec(), found.ctime(), found.ctime_nsec()];
    times.iter().for_each(|time| digest.update(time.to_be_bytes()));
    [found.dev(), found.ino(), found.len()].iter().for_each(|number| digest.update(number.to_be_bytes()));
}

/// Whether what was loaded is what is there.
#[derive(Debug)]
pub(super) struct Watch {
    paths: Vec<PathBuf>,
    loaded: Stamp,
    /// How the files stood at the last look, where that was not as they were loaded.
    moving: Option<Stamp>,
}

impl Watch {
    /// Takes these files for loaded as they stood then.
    pub(super) fn new(paths: Vec<PathBuf>, loaded: Stamp) -> Self {
        Self { paths, loaded, moving: None }
    }

    /// The files to look at.
    pub(super) fn paths(&self) -> Vec<PathBuf> {
        self.paths.clone()
    }

    /// Takes note of a look: whether the files differ from what was loaded, and have stood still since the look before.
    pub(super) fn seen(&mut self, stamp: Stamp) -> bool {
        if stamp == self.loaded {
            self.moving = None;
            return false;
        }
        let still = self.moving.as_ref() == Some(&stamp);
        self.moving = Some(stamp);
        still
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_change_counts_once_it_stands_still_and_never_twice() {
        let stamp = |number| Stamp([number; 32]);
        let mut watch = Watch::new(Vec::new(), stamp(0));
        assert!(!watch.seen(stamp(0)));
        assert!(!watch.seen(stamp(1)) && !watch.seen(stamp(2)), "it moves");
        assert!(watch.seen(stamp(2)));
        let mut watch = Watch::new(Vec::new(), stamp(2));
        assert!(!watch.seen(stamp(2)) && !watch.seen(stamp(2)), "it is loaded");
        assert!(
            !watch.seen(stamp(3)) && !watch.seen(stamp(2)) && !watch.seen(stamp(3)),
            "there and back again"
        );
    }

    #[test]
    fn renames_swapped_links_and_whatever_lies_in_a_folder_show() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for (folder, text) in [("..a", "one"), ("..b", "two")] {
            fs::create_dir(at(folder)).unwrap();
            fs::write(at(folder).join("secret"), text).unwrap();
        }
        symlink("..a", at("..data")).unwrap();
        symlink("..data/secret", at("secret")).unwrap();
        let look = || Stamp::of(&[at("secret")]);
        let first = look();
        assert_eq!(look(), first);
        symlink("..b", at("..new")).unwrap();
        fs::rename(at("..new"), at("..data")).unwrap();
        let second = look();
        assert_ne!(second, first, "the link between was swapped");

        let look = || Stamp::of(&[at("folder"), at("none")]);
        let mut stamps = vec![look()];
        let mut changed = |what: &str| {
            let stamp = look();
            assert!(!stamps.contains(&stamp), "{what}");
            stamps.push(stamp);
        };
        fs::create_dir_all(at("folder/provider")).unwrap();
        changed("a folder came");
        fs::write(at("folder/provider/event.json"), "{}").unwrap();
        changed("a file in its folder");
        fs::write(at("other"), "{}").unwrap();
        fs::rename(at("other"), at("folder/provider/event.json")).unwrap();
        changed("another in its place");
        let quiet = look();
        fs::write(at("folder/provider/journal"), "{}").unwrap();
        fs::write(at("folder/.hidden.json"), "{}").unwrap();
        assert_eq!(look(), quiet, "what is not read does not count");
        fs::write(at("none"), "").unwrap();
        changed("a file where none was");
        fs::remove_file(at("none")).unwrap();
        fs::remove_dir_all(at("folder")).unwrap();
        assert_eq!(look(), stamps[0]);
    }
}
