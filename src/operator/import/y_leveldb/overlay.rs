//! A LevelDB folder as a disk that can only be read: what is written stays in memory, and is lost.
//!
//! The library skips blocks and the rest of a log whose checksum is wrong. So checksums are looked at here as well, and
//! what is wrong is remembered for whoever asks.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io::{self, Cursor, Read, Write},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    rc::Rc,
};

use rustix::fs::{FlockOperation, fcntl_lock};
use rusty_leveldb::{
    FilterPolicy, Result, Status, StatusCode,
    env::{Env, FileLock, Logger, RandomAccess},
};

use crate::protocol::lib0::Reader;

/// Files that the library wrote, by name.
type Written = Rc<RefCell<BTreeMap<PathBuf, Vec<u8>>>>;
/// What is wrong: file, and what of it.
type Damage = Rc<RefCell<BTreeSet<(PathBuf, String)>>>;

/// Most that the library may write: it merges some tables when it opens a database that waits for that.
const WRITTEN_BYTES_MAX: usize = 256 << 20;

#[derive(Clone)]
pub(super) struct ReadOnly {
    folder: PathBuf,
    written: Written,
    damage: Damage,
    lock: Rc<RefCell<Option<File>>>,
}

impl ReadOnly {
    pub fn new(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
            written: Written::default(),
            damage: Damage::default(),
            lock: Rc::default(),
        }
    }

    /// What was found to be wrong so far.
    pub fn damage(&self) -> Vec<(PathBuf, String)> {
        self.damage.borrow().iter().cloned().collect()
    }

    fn path(&self, path: &Path) -> PathBuf {
        self.folder.join(name(path))
    }

    fn open(&self, path: &Path) -> Result<File> {
        File::open(self.path(path)).map_err(|error| {
            if error.kind() != io::ErrorKind::NotFound {
                self.damage.borrow_mut().insert((name(path), error.to_string()));
            }
            error.into()
        })
    }

    fn written(&self, path: &Path) -> Option<Vec<u8>> {
        self.written.borrow().get(&name(path)).cloned()
    }
}

fn name(path: &Path) -> PathBuf {
    path.file_name().unwrap_or_default().into()
}

impl Env for ReadOnly {
    fn open_sequential_file(&self, path: &Path) -> Result<Box<dyn Read>> {
        if let Some(bytes) = self.written(path) {
            return Ok(Box::new(Cursor::new(bytes)));
        }
        if path.extension().is_some_and(|ending| ending == "log")
            && let Some(at) = log_damage(&mut self.open(path)?)?
        {
            let what = format!("it is damaged behind byte {at}");
            self.damage.borrow_mut().insert((name(path), what));
        }
        Ok(Box::new(self.open(path)?))
    }

    fn open_random_access_file(&self, path: &Path) -> Result<Box<dyn RandomAccess>> {
        if let Some(bytes) = self.written(path) {
            return Ok(Box::new(InMemory(bytes)));
        }
        // Tables had the ending `.sst` before they had `.ldb`, and the library asks for either.
        if !self.path(path).exists() {
            return Err(io::Error::from(io::ErrorKind::NotFound).into());
        }
        let file = self.open(path)?;
        Ok(Box::new(Table {
            len: file.metadata()?.len(),
            file,
            name: name(path),
            damage: self.damage.clone(),
        }))
    }

    fn open_writable_file(&self, path: &Path) -> Result<Box<dyn Write>> {
        self.written.borrow_mut().insert(name(path), Vec::new());
        Ok(Box::new(Writer {
            name: name(path),
            written: self.written.clone(),
        }))
    }

    /// What is appended is never read: a log, or the list of tables.
    fn open_appendable_file(&self, _: &Path) -> Result<Box<dyn Write>> {
        Ok(Box::new(io::sink()))
    }

    fn exists(&self, path: &Path) -> Result<bool> {
        Ok(self.written.borrow().contains_key(&name(path)) || self.path(path).exists())
    }

    fn children(&self, _: &Path) -> Result<Vec<PathBuf>> {
        let entries = fs::read_dir(&self.folder)?;
        let names = entries.map(|entry| Ok(PathBuf::from(entry?.file_name())));
        Ok(names.collect::<io::Result<_>>()?)
    }

    fn size_of(&self, path: &Path) -> Result<usize> {
        if let Some(bytes) = self.written.borrow().get(&name(path)) {
            return Ok(bytes.len());
        }
        Ok(usize::try_from(fs::metadata(self.path(path))?.len()).unwrap_or(usize::MAX))
    }

    fn delete(&self, _: &Path) -> Result<()> {
        Ok(())
    }

    fn mkdir(&self, _: &Path) -> Result<()> {
        Ok(())
    }

    fn rmdir(&self, _: &Path) -> Result<()> {
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        let mut written = self.written.borrow_mut();
        if let Some(bytes) = written.remove(&name(from)) {
            written.insert(name(to), bytes);
        }
        Ok(())
    }

    /// Shares the lock that LevelDB takes for itself alone: a server that has it keeps it, and none starts meanwhile.
    fn lock(&self, path: &Path) -> Result<FileLock> {
        if let Ok(file) = File::open(self.path(path)) {
            fcntl_lock(&file, FlockOperation::NonBlockingLockShared)
                .map_err(|error| Status::new(StatusCode::LockError, &error.to_string()))?;
            *self.lock.borrow_mut() = Some(file);
        }
        Ok(FileLock {
            id: path.display().to_string(),
        })
    }

    fn unlock(&self, _: FileLock) -> Result<()> {
        *self.lock.borrow_mut() = None;
        Ok(())
    }

    fn new_logger(&self, _: &Path) -> Result<Logger> {
        Ok(Logger::new(Box::new(io::sink())))
    }

    /// It only measures with that.
    fn micros(&self) -> u64 {
        0
    }

    fn sleep_for(&self, _: u32) {}
}

struct Writer {
    name: PathBuf,
    written: Written,
}

impl Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut written = self.written.borrow_mut();
        if written.values().map(Vec::len).sum::<usize>() + bytes.len() > WRITTEN_BYTES_MAX {
            return Err(io::Error::other(
                "the database must be compacted first: start its server once",
            ));
        }
        // A file that was renamed meanwhile is written no more.
        if let Some(file) = written.get_mut(&self.name) {
            file.extend_from_slice(bytes);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct InMemory(Vec<u8>);

impl RandomAccess for InMemory {
    fn read_at(&self, at: usize, into: &mut [u8]) -> Result<usize> {
        let rest = self.0.get(at..).unwrap_or_default();
        let len = rest.len().min(into.len());
        into[..len].copy_from_slice(&rest[..len]);
        Ok(len)
    }
}

/// A table of the database. The library reads its last bytes, and blocks.
struct Table {
    file: File,
    len: u64,
    name: PathBuf,
    damage: Damage,
}

/// What a table ends with: where two blocks are, and a magic number.
const FOOTER_BYTES: u64 = 48;
const MAGIC: [u8; 8] = 0xdb47_7524_8b80_fb57_u64.to_le_bytes();
/// A block ends with the kind of its compression, and a checksum.
const CHECKSUM_BYTES: usize = 4;
const TRAILER_BYTES: u64 = 1 + CHECKSUM_BYTES as u64;

impl RandomAccess for Table {
    fn read_at(&self, at: usize, into: &mut [u8]) -> Result<usize> {
        let read = self.file.read_exact_at(into, at as u64);
        let is_footer = at as u64 + FOOTER_BYTES == self.len && into.len() as u64 == FOOTER_BYTES;
        let is_sound = match read {
            Ok(()) if is_footer => self.has(into),
            Ok(()) => is_block(into) || self.is_filter(at, into),
            Err(_) => false,
        };
        if is_sound {
            return Ok(into.len());
        }
        let what = format!("it is damaged at byte {at}");
        self.damage.borrow_mut().insert((self.name.clone(), what.clone()));
        Err(Status::new(StatusCode::Corruption, &what))
    }
}

impl Table {
    /// Filters are read without what they end with.
    fn is_filter(&self, at: usize, bytes: &[u8]) -> bool {
        let mut trailer = [0; TRAILER_BYTES as usize];
        let read = self.file.read_exact_at(&mut trailer, (at + bytes.len()) as u64);
        read.is_ok() && is_block(&[bytes, &trailer].concat())
    }

    /// Whether both blocks are in the file: as much memory as they say is taken for them.
    fn has(&self, footer: &[u8]) -> bool {
        if !footer.ends_with(&MAGIC) {
            return false;
        }
        let mut r = Reader::new(footer);
        (0..2).all(|_| {
            let (Ok(from), Ok(len)) = (r.var_uint(), r.var_uint()) else {
                return false;
            };
            from + len + TRAILER_BYTES <= self.len
        })
    }
}

/// Whether a block is what its checksum says.
fn is_block(bytes: &[u8]) -> bool {
    let Some((summed, sum)) = bytes.split_last_chunk::<CHECKSUM_BYTES>() else {
        return false;
    };
    masked(crc32c::crc32c(summed)) == u32::from_le_bytes(*sum)
}

/// How LevelDB writes a checksum, so that one of bytes with checksums in them is another one.
fn masked(sum: u32) -> u32 {
    sum.rotate_right(15).wrapping_add(0xa282_ead8)
}

/// A log is written in blocks of this length; no record crosses their boundaries.
const LOG_BLOCK_BYTES: usize = 32 * 1024;
/// A record's head: checksum of all that follows, length, kind.
const LOG_HEAD_BYTES: usize = 4 + 2 + 1;

/// The first byte of a log from which on its records are not what their checksums say. A record that is cut off at the end
/// was being written when the server died, and is no damage.
fn log_damage(log: &mut File) -> io::Result<Option<u64>> {
    let mut block_at = 0;
    loop {
        let mut block = Vec::with_capacity(LOG_BLOCK_BYTES);
        log.take(LOG_BLOCK_BYTES as u64).read_to_end(&mut block)?;
        let mut at = 0;
        while let Some((head, rest)) = block[at..].split_first_chunk::<LOG_HEAD_BYTES>() {
            let [c0, c1, c2, c3, l0, l1, kind] = *head;
            let len = usize::from(u16::from_le_bytes([l0, l1]));
            if kind == 0 && len == 0 {
                break;
            }
            let is_cut_off = len > rest.len() && block.len() < LOG_BLOCK_BYTES;
            let is_sound = len <= rest.len() && {
                let summed = &block[at + LOG_HEAD_BYTES - 1..at + LOG_HEAD_BYTES + len];
                masked(crc32c::crc32c(summed)) == u32::from_le_bytes([c0, c1, c2, c3])
            };
            if !is_sound {
                return Ok((!is_cut_off).then_some(block_at + at as u64));
            }
            at += LOG_HEAD_BYTES + len;
        }
        if block.len() < LOG_BLOCK_BYTES {
            return Ok(None);
        }
        block_at += LOG_BLOCK_BYTES as u64;
    }
}

/// No filter: nothing is looked up by key.
pub(super) struct NoFilter;

impl FilterPolicy for NoFilter {
    fn name(&self) -> &'static str {
        "none"
    }

    fn create_filter(&self, _: &[u8], _: &[usize]) -> Vec<u8> {
        Vec::new()
    }

    fn key_may_match(&self, _: &[u8], _: &[u8]) -> bool {
        true
    }
}
