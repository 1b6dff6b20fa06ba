//! The folder of key files at start: removes what was half written, opens what is whole, sets aside what is
//! damaged, and works out through which sequence the whole files answer. Never removes a damaged file before
//! its keys have aged out.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::forgotten::{self, Forgotten};
use super::keyfile::{Ending, Name, day_start};
use super::run::{Broken, Run};
use super::terms::{Damage, IndexError, Settings};
use crate::clock::Timestamp;
use crate::disk::Disk;
use crate::event::Sequence;
use crate::failpoint::{self, Point};

/// What was found at start.
pub(super) struct Folder<D: Disk> {
    pub(super) runs: Vec<Arc<Run<D>>>,
    /// Damaged files whose events still have to be refilled.
    pub(super) aside: Vec<Name>,
    pub(super) damage: Vec<Damage>,
    pub(super) forgotten: Forgotten,
    pub(super) durable_through: Sequence,
    pub(super) next_id: u64,
}

impl<D: Disk> Folder<D> {
    /// Reads the folder, which is made if missing.
    pub(super) fn open(disk: &D, settings: &Settings, now: Timestamp) -> Result<Self, IndexError> {
        let dir = &settings.dir;
        disk.create_dir(dir).map_err(IndexError::io("make the folder", dir))?;
        let names = list(disk, dir)?;
        let mut folder = Self {
            runs: Vec::new(),
            aside: Vec::new(),
            damage: Vec::new(),
            forgotten: Forgotten::default(),
            durable_through: Sequence(0),
            next_id: names.iter().map(|(name, _)| name.id.saturating_add(1)).max().unwrap_or(1),
        };
        let mut broken = Vec::new();
        for (name, ending) in names {
            let path = dir.join(name.with(ending));
            let aged = day_start(name.day.saturating_add(1)).plus(settings.window) <= now;
            match ending {
                Ending::Live => match Run::open(disk.clone(), dir, name) {
                    Ok(run) => folder.runs.push(Arc::new(run)),
                    Err(Broken::Damaged(reason)) => broken.push((name, reason)),
                    Err(Broken::Io(error)) => return Err(IndexError::io("read", &path)(error)),
                },
                Ending::Damaged if !aged => folder.aside.push(name),
                Ending::Refilled if !aged => {}
                _ => disk.remove(&path).map_err(IndexError::io("remove", &path))?,
            }
        }
        folder.drop_replaced(disk, dir, &mut broken)?;
        for (name, reason) in broken {
            folder.damage.push(set_aside(disk, dir, name, reason)?);
            folder.aside.push(name);
        }
        folder.load_forgotten(disk, dir)?;
        disk.sync_dir(dir).map_err(IndexError::io("sync the folder", dir))?;
        folder.runs.sort_by_key(|run| std::cmp::Reverse(run.name().through));
        folder.durable_through = folder.through();
        failpoint::reach(Point::DedupOpenAfter);
        Ok(folder)
    }

    /// A stop between the birth of a merged file and the end of its parts leaves both: the parts go.
    fn drop_replaced(
        &mut self,
        disk: &D,
        dir: &Path,
        broken: &mut Vec<(Name, &'static str)>,
    ) -> Result<(), IndexError> {
        let replaced: BTreeSet<u64> =
            self.runs.iter().flat_map(|run| run.header.replaced.iter().copied()).collect();
        let whole = self.runs.iter().map(|run| run.name());
        let gone: Vec<Name> = whole
            .chain(broken.iter().map(|(name, _)| *name))
            .filter(|name| replaced.contains(&name.id))
            .collect();
        for name in gone {
            let path = dir.join(name.with(Ending::Live));
            disk.remove(&path).map_err(IndexError::io("remove", &path))?;
            failpoint::reach(Point::DedupOpenReplaced);
        }
        self.runs.retain(|run| !replaced.contains(&run.name().id));
        broken.retain(|(name, _)| !replaced.contains(&name.id));
        Ok(())
    }

    fn load_forgotten(&mut self, disk: &D, dir: &Path) -> Result<(), IndexError> {
        let path = dir.join(forgotten::FILE);
        match Forgotten::load(disk, dir) {
            Ok(forgotten) => self.forgotten = forgotten,
            Err(Broken::Io(error)) => return Err(IndexError::io("read", &path)(error)),
            Err(Broken::Damaged(reason)) => {
                let aside = dir.join(forgotten::ASIDE);
                disk.rename(&path, &aside).map_err(IndexError::io("set aside", &path))?;
                self.damage.push(Damage { path: aside, reason, events: None });
            }
        }
        Ok(())
    }

    fn through(&self) -> Sequence {
        let whole = self.runs.iter().map(|run| run.name().through).max().unwrap_or_default();
        let before = self.aside.iter().map(|name| Sequence(name.from.0.saturating_sub(1)));
        before.fold(whole, Sequence::min)
    }
}

/// Gives a damaged file another name, which later starts know to be refilled, and says what it held.
pub(super) fn set_aside<D: Disk>(
    disk: &D,
    dir: &Path,
    name: Name,
    reason: &'static str,
) -> Result<Damage, IndexError> {
    let path = rename(disk, dir, name, (Ending::Live, Ending::Damaged))?;
    Ok(Damage { path, reason, events: Some((name.from, name.through)) })
}

/// Renames a key file from one ending to another, durably.
pub(super) fn rename<D: Disk>(
    disk: &D,
    dir: &Path,
    name: Name,
    (from, to): (Ending, Ending),
) -> Result<PathBuf, IndexError> {
    let (from, to) = (dir.join(name.with(from)), dir.join(name.with(to)));
    let renamed: io::Result<()> = disk.rename(&from, &to).and_then(|()| disk.sync_dir(dir));
    renamed.map_err(IndexError::io("set aside", &from))?;
    Ok(to)
}

fn list<D: Disk>(disk: &D, dir: &Path) -> Result<Vec<(Name, Ending)>, IndexError> {
    let files = disk.list(dir).map_err(IndexError::io("list the folder", dir))?;
    let mut names: Vec<_> =
        files.iter().filter_map(|path| Name::parse(path.file_name()?.to_str()?)).collect();
    names.sort_by_key(|(name, _)| name.id);
    Ok(names)
}
