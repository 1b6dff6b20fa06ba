//! What damage, crashes in the middle and failing disks do to the key files: found, reported, nothing lost.

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use super::*;

/// Fills `dir` with one key file of ids and twins, and returns its path.
fn small_file(dir: &Path, keys: u64) -> PathBuf {
    let mut index = open(dir, 0);
    for n in 1..=keys {
        index.claim(&entry(n, (n % 4 == 0).then_some(n % 8), n, n as i64)).unwrap();
    }
    index.flush(Sequence(keys)).unwrap();
    index.runs[0].path.clone()
}

/// Opens the folder with a damaged file, checks that damage is found and that nothing known is lost: either
/// at open, or when the bad page is read, and then by the next open.
fn survives(dir: &Path, keys: u64, what: &str) {
    let mut index = open(dir, 0);
    if index.damage().is_empty() {
        let ids = (1..=keys).map(|n| (entry(n, None, keys + n, 0), known(n)));
        let contents = [4, 8].map(|n| (entry(keys + n, Some(n % 8), keys + n, 0), twin(n, keys as u32 / 8)));
        let damaged = ids.chain(contents).find_map(|(entry, expected)| match index.claim(&entry) {
            Ok(claim) => {
                assert_eq!(claim, expected, "{what}: a wrong answer");
                None
            }
            Err(error) => Some(error),
        });
        assert!(matches!(damaged, Some(IndexError::Damaged(_))), "{what}: not found: {damaged:?}");
        index = open(dir, 0);
    }
    assert_eq!(index.durable_through(), Sequence(0), "{what}");
    for n in 1..=keys {
        index.refill(entry(n, (n % 4 == 0).then_some(n % 8), n, n as i64)).unwrap();
    }
    assert!((1..=keys).all(|n| index.claim(&entry(n, None, keys + n, 0)).unwrap() == known(n)), "{what}");
    index.flush(Sequence(keys)).unwrap();
    drop(index);
    let index = open(dir, 0);
    assert_eq!((index.durable_through(), index.damage().len()), (Sequence(keys), 0), "{what}: healed");
}

#[test]
fn every_cut_and_every_flipped_byte_of_a_key_file_is_found() {
    let origin = tempfile::tempdir().unwrap();
    let path = small_file(origin.path(), 200);
    let whole = fs::read(&path).unwrap();
    let name = path.file_name().unwrap();
    let cuts = (0..whole.len()).step_by(97).map(|cut| (cut, true));
    let flips = (0..whole.len()).step_by(13).map(|flip| (flip, false));
    for (place, is_cut) in cuts.chain(flips) {
        let mut bytes = whole.clone();
        if is_cut {
            bytes.truncate(place)
        } else {
            bytes[place] ^= 1 << (place % 8)
        }
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(name), bytes).unwrap();
        survives(dir.path(), 200, &format!("cut {is_cut} at {place} of {}", whole.len()));
    }
}

#[test]
fn a_crash_between_merged_file_and_parts_leaves_one_of_each_key() {
    let dir = tempfile::tempdir().unwrap();
    let mut index = open(dir.path(), 0);
    let mut parts = Vec::new();
    for n in 1..=7 {
        index.claim(&entry(n, Some(1), n, 0)).unwrap();
        index.flush(Sequence(n)).unwrap();
    }
    for run in &index.runs {
        parts.push((run.path.clone(), fs::read(&run.path).unwrap()));
    }
    index.maintain(at(24 * HOUR), Sequence(7)).unwrap();
    drop(index);
    for (n, (path, bytes)) in parts.iter().enumerate() {
        let cut = if n % 2 == 0 { bytes.len() } else { bytes.len() / 2 };
        fs::write(path, &bytes[..cut]).unwrap();
    }
    fs::write(dir.path().join("keys_0000000000000099_1_1_1.tmp"), b"half").unwrap();
    let mut index = open(dir.path(), 24 * HOUR);
    assert_eq!((index.damage().len(), index.stats().files, index.stats().keys), (0, 1, 7));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    assert_eq!(index.claim(&entry(8, Some(1), 8, 24 * HOUR)).unwrap(), twin(1, 7));
}

#[test]
fn a_bad_page_found_by_a_merge_is_set_aside() {
    let dir = tempfile::tempdir().unwrap();
    let mut index = open(dir.path(), 0);
    for n in 1..=3 {
        index.claim(&entry(n, None, n, 0)).unwrap();
        index.flush(Sequence(n)).unwrap();
    }
    let victim = index.runs[1].path.clone();
    let mut bytes = fs::read(&victim).unwrap();
    bytes[PAGE + 3] ^= 1;
    fs::write(&victim, bytes).unwrap();
    let error = index.maintain(at(24 * HOUR), Sequence(3)).unwrap_err();
    assert!(
        matches!(&error, IndexError::Damaged(damage) if damage.events == Some((Sequence(2), Sequence(2))))
    );
    drop(index);
    let mut index = open(dir.path(), 24 * HOUR);
    assert_eq!(index.durable_through(), Sequence(1));
    (2..=3).for_each(|n| index.refill(entry(n, None, n, 0)).unwrap());
    assert!((1..=3).all(|n| index.claim(&entry(n, None, 4, HOUR)).unwrap() == known(n)));
    assert_eq!(index.stats().keys, 3);
}

/// A disk that refuses everything that writes once its allowance is used up, and what makes it fuller while it is full.
#[derive(Clone)]
struct Failing {
    left: Arc<AtomicI64>,
    full: Arc<AtomicBool>,
}

impl Failing {
    fn spend(&self) -> io::Result<()> {
        let left = self.left.fetch_sub(1, Ordering::SeqCst);
        if left > 0 { Ok(()) } else { Err(io::Error::other("injected")) }
    }
}

impl Disk for Failing {
    type File = fs::File;

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        RealDisk.create_dir(dir)
    }
    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        RealDisk.list(dir)
    }
    fn create(&self, path: &Path) -> io::Result<fs::File> {
        self.spend().and_then(|()| RealDisk.create(path))
    }
    fn open(&self, path: &Path) -> io::Result<fs::File> {
        RealDisk.open(path)
    }
    fn len(&self, file: &fs::File) -> io::Result<u64> {
        RealDisk.len(file)
    }
    fn read_at(&self, file: &fs::File, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        RealDisk.read_at(file, buffer, offset)
    }
    fn write_at(&self, file: &fs::File, bytes: &[u8], offset: u64) -> io::Result<()> {
        if self.full.load(Ordering::SeqCst) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.spend().and_then(|()| RealDisk.write_at(file, bytes, offset))
    }
    fn set_len(&self, file: &fs::File, len: u64) -> io::Result<()> {
        self.spend().and_then(|()| RealDisk.set_len(file, len))
    }
    fn sync(&self, file: &fs::File) -> io::Result<()> {
        self.spend().and_then(|()| RealDisk.sync(file))
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.spend().and_then(|()| RealDisk.sync_dir(dir))
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.spend().and_then(|()| RealDisk.rename(from, to))
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.spend().and_then(|()| RealDisk.remove(path))
    }
}

/// Claims 40 events with flushes, merges and a forget between them, until something fails. Returns the
/// claimed entries and what was durably forgotten.
fn until_it_fails(dir: &Path, disk: Failing) -> (Vec<KeyEntry>, BTreeSet<u64>) {
    let (mut journal, mut forgotten) = (Vec::new(), BTreeSet::new());
    let Ok(mut index) = Index::open(disk, settings(dir), at(0)) else { return (journal, forgotten) };
    for n in 1..=40 {
        let entry = entry(n, Some(n % 5), n, n as i64 * HOUR);
        if index.claim(&entry).is_err() {
            break;
        }
        journal.push(entry);
        if n % 3 == 0 && index.flush(Sequence(n)).is_err() {
            break;
        }
        if n % 7 == 0 && index.forget(&[digest("id", n)], at(n as i64 * HOUR)).is_ok() {
            forgotten.insert(n);
        }
        if n % 2 == 0 && index.maintain(at(n as i64 * HOUR), Sequence(n)).is_err() {
            break;
        }
    }
    (journal, forgotten)
}

#[test]
fn a_disk_that_fails_at_any_call_loses_no_key() {
    for allowance in 0..400 {
        let dir = tempfile::tempdir().unwrap();
        let disk = Failing { left: Arc::new(AtomicI64::new(allowance)), full: Arc::default() };
        let (journal, forgotten) = until_it_fails(dir.path(), disk);
        let now = journal.len() as i64 * HOUR;
        let mut index = open(dir.path(), now);
        assert_eq!(index.damage(), [], "allowance {allowance}");
        journal.iter().for_each(|entry| index.refill(*entry).unwrap());
        let last = journal.len() as u64;
        for n in (1..=last).filter(|n| !forgotten.contains(n) && n % 7 != 0) {
            let claim = index.claim(&entry(n, None, last + 1, now)).unwrap();
            assert_eq!(claim, known(n), "allowance {allowance}");
        }
        for (n, gone) in forgotten.iter().zip(last + 1..) {
            assert_eq!(index.claim(&entry(*n, None, gone, now)).unwrap(), NEW, "allowance {allowance}");
        }
    }
}

#[test]
fn a_full_disk_is_waited_out_and_nothing_is_forgotten_meanwhile() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Failing { left: Arc::new(AtomicI64::new(i64::MAX)), full: Arc::default() };
    let mut index = Index::open(disk.clone(), settings(dir.path()), at(0)).unwrap();
    (1..=50).for_each(|n| assert_eq!(index.claim(&entry(n, None, n, 0)).unwrap(), NEW));
    disk.full.store(true, Ordering::SeqCst);
    let files = || fs::read_dir(dir.path()).unwrap().count();
    let before = files();
    for second in 0..5 {
        index.flush_soon();
        index.maintain(at(second * 1_000), Sequence(50)).unwrap();
        assert_eq!((files(), index.durable_through()), (before, Sequence(0)), "nothing is left of a try");
    }
    assert_eq!(index.claim(&entry(7, None, 51, 5_000)).unwrap(), known(7));
    assert_eq!(index.claim(&entry(60, None, 51, 5_000)).unwrap(), NEW, "it goes on");
    disk.full.store(false, Ordering::SeqCst);
    index.maintain(at(4_500), Sequence(51)).unwrap();
    assert_eq!(index.durable_through(), Sequence(0), "it rests for a second");
    index.maintain(at(5_000), Sequence(51)).unwrap();
    assert_eq!(index.durable_through(), Sequence(50));
    assert_eq!(index.claim(&entry(7, None, 52, 6_000)).unwrap(), known(7));
}
