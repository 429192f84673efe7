//! A disk in memory for tests: it remembers what was synced, fails a chosen call, and can lose power.
//!
//! It is meaner than most: what was not synced survives by the sector, in any order; a name that was not
//! synced may or may not be there; after a failed sync the pages read back as written and are on the disk
//! only in part, whatever later syncs return.

use std::{
    collections::BTreeMap,
    io,
    path::Path,
    sync::{Arc, Mutex},
};

use super::disk::{Disk, DiskFile, DiskLock};

const SECTOR: usize = 512;

/// A generator of numbers that are the same for the same seed.
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A number below `sides`.
    pub fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % sides
    }
}

/// Which calls fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    None,
    /// The n-th call from now fails, the others do not.
    Once(u64, io::ErrorKind),
    /// The n-th call from now and all after it fail: the machine stops there.
    From(u64),
}

#[derive(Clone)]
pub struct SimDisk(Arc<Mutex<State>>);

struct State {
    files: Vec<Pages>,
    names: BTreeMap<String, usize>,
    synced_names: BTreeMap<String, usize>,
    fault: Fault,
    calls: u64,
    dice: Dice,
    locked: bool,
}

#[derive(Clone, Default)]
struct Pages {
    /// What a read returns.
    cached: Vec<u8>,
    /// What survives.
    durable: Vec<u8>,
    pending: Vec<Change>,
}

#[derive(Clone)]
enum Change {
    Write(usize, Vec<u8>),
    Truncate(usize),
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Write(at, new) => {
                let end = at + new.len();
                bytes.resize(bytes.len().max(end), 0);
                bytes[*at..end].copy_from_slice(new);
            }
            Self::Truncate(length) => bytes.resize(*length, 0),
        }
    }
}

impl Pages {
    /// Applies what is pending in part: each sector or not.
    fn tear(&mut self, dice: &mut Dice) {
        for change in std::mem::take(&mut self.pending) {
            match change {
                Change::Write(at, new) => {
                    for (index, sector) in new.chunks(SECTOR).enumerate() {
                        if dice.roll(3) > 0 {
                            Change::Write(at + index * SECTOR, sector.to_vec()).apply(&mut self.durable);
                        }
                    }
                }
                truncate @ Change::Truncate(_) if dice.roll(2) == 0 => truncate.apply(&mut self.durable),
                Change::Truncate(_) => {}
            }
        }
    }
}

impl SimDisk {
    pub fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(State {
            files: Vec::new(),
            names: BTreeMap::new(),
            synced_names: BTreeMap::new(),
            fault: Fault::None,
            calls: 0,
            dice: Dice::new(seed),
            locked: false,
        })))
    }

    pub fn fail(&self, fault: Fault) {
        let mut state = self.0.lock().unwrap();
        state.fault = fault;
        state.calls = 0;
    }

    /// How many calls there were since [`SimDisk::fail`].
    pub fn calls(&self) -> u64 {
        self.0.lock().unwrap().calls
    }

    /// True once a call met [`Fault::From`].
    pub fn stopped(&self) -> bool {
        let state = self.0.lock().unwrap();
        matches!(state.fault, Fault::From(at) if state.calls >= at)
    }

    /// The disk after the power went and came back.
    pub fn power_loss(&self, seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let state = self.0.lock().unwrap();
        let mut files = state.files.clone();
        for file in &mut files {
            file.tear(&mut dice);
            file.cached = file.durable.clone();
        }
        let mut all: Vec<&String> = state.names.keys().chain(state.synced_names.keys()).collect();
        all.sort();
        all.dedup();
        let mut names = BTreeMap::new();
        for name in all {
            let kept = if dice.roll(2) == 0 {
                state.names.get(name)
            } else {
                state.synced_names.get(name)
            };
            names.extend(kept.map(|file| (name.clone(), *file)));
        }
        let disk = Self::new(seed);
        *disk.0.lock().unwrap() = State {
            files,
            synced_names: names.clone(),
            names,
            fault: Fault::None,
            calls: 0,
            dice,
            locked: false,
        };
        disk
    }

    /// The disk after the process was killed: nothing is lost, nothing is synced either.
    pub fn kill(&self) -> Self {
        let state = self.0.lock().unwrap();
        let disk = Self::new(1);
        *disk.0.lock().unwrap() = State {
            files: state.files.clone(),
            names: state.names.clone(),
            synced_names: state.synced_names.clone(),
            fault: Fault::None,
            calls: 0,
            dice: state.dice.clone(),
            locked: false,
        };
        disk
    }

    /// Names and contents as a read returns them.
    pub fn contents(&self) -> BTreeMap<String, Vec<u8>> {
        let state = self.0.lock().unwrap();
        state
            .names
            .iter()
            .map(|(name, file)| (name.clone(), state.files[*file].cached.clone()))
            .collect()
    }

    /// Length of all files together, as a read finds them.
    pub fn bytes(&self) -> usize {
        let state = self.0.lock().unwrap();
        state.names.values().map(|file| state.files[*file].cached.len()).sum()
    }

    /// A disk with these files, all synced.
    pub fn with(contents: &BTreeMap<String, Vec<u8>>) -> Self {
        let disk = Self::new(1);
        {
            let mut state = disk.0.lock().unwrap();
            for (name, bytes) in contents {
                let number = state.files.len();
                state.files.push(Pages {
                    cached: bytes.clone(),
                    durable: bytes.clone(),
                    pending: Vec::new(),
                });
                state.names.insert(name.clone(), number);
            }
            state.synced_names = state.names.clone();
        }
        disk
    }

    fn call(&self) -> Result<std::sync::MutexGuard<'_, State>, (io::Error, std::sync::MutexGuard<'_, State>)> {
        let mut state = self.0.lock().unwrap();
        state.calls += 1;
        match state.fault {
            Fault::Once(at, kind) if state.calls == at => Err((io::Error::new(kind, "the test's disk fails"), state)),
            Fault::From(at) if state.calls >= at => Err((io::Error::other("the test's machine stopped"), state)),
            _ => Ok(state),
        }
    }
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap().to_str().unwrap().to_owned()
}

struct SimFile {
    disk: SimDisk,
    number: usize,
}

struct SimLock(SimDisk);

impl DiskLock for SimLock {}

impl Drop for SimLock {
    fn drop(&mut self) {
        self.0.0.lock().unwrap().locked = false;
    }
}

impl Disk for SimDisk {
    fn create_folder(&self, _path: &Path) -> io::Result<()> {
        Ok(())
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.call().map_err(|(error, _)| error)?;
        if state.names.contains_key(&name_of(path)) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let number = state.files.len();
        state.files.push(Pages::default());
        state.names.insert(name_of(path), number);
        Ok(Arc::new(SimFile {
            disk: self.clone(),
            number,
        }))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let state = self.call().map_err(|(error, _)| error)?;
        let number = *state.names.get(&name_of(path)).ok_or(io::ErrorKind::NotFound)?;
        Ok(Arc::new(SimFile {
            disk: self.clone(),
            number,
        }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.call().map_err(|(error, _)| error)?;
        let number = state.names.remove(&name_of(from)).ok_or(io::ErrorKind::NotFound)?;
        state.names.insert(name_of(to), number);
        Ok(())
    }

    fn unlink(&self, path: &Path) -> io::Result<()> {
        let mut state = self.call().map_err(|(error, _)| error)?;
        state
            .names
            .remove(&name_of(path))
            .map(drop)
            .ok_or(io::ErrorKind::NotFound.into())
    }

    fn list(&self, _folder: &Path) -> io::Result<Vec<(String, u64)>> {
        let state = self.call().map_err(|(error, _)| error)?;
        Ok(state
            .names
            .iter()
            .map(|(name, file)| (name.clone(), state.files[*file].cached.len() as u64))
            .collect())
    }

    fn sync_folder(&self, _folder: &Path) -> io::Result<()> {
        let mut state = self.call().map_err(|(error, _)| error)?;
        state.synced_names = state.names.clone();
        Ok(())
    }

    fn lock(&self, _path: &Path) -> io::Result<Option<Box<dyn DiskLock>>> {
        let mut state = self.0.lock().unwrap();
        if state.locked {
            return Ok(None);
        }
        state.locked = true;
        Ok(Some(Box::new(SimLock(self.clone()))))
    }
}

impl DiskFile for SimFile {
    fn write_all_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        let (mut state, error) = match self.disk.call() {
            Ok(state) => (state, None),
            Err((error, state)) => (state, Some(error)),
        };
        // A write that fails may have written a part.
        let written = if error.is_some() {
            state.dice.roll(bytes.len() as u64 + 1) as usize
        } else {
            bytes.len()
        };
        let change = Change::Write(at as usize, bytes[..written].to_vec());
        let file = &mut state.files[self.number];
        change.apply(&mut file.cached);
        file.pending.push(change);
        error.map_or(Ok(()), Err)
    }

    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        let state = self.disk.call().map_err(|(error, _)| error)?;
        let cached = &state.files[self.number].cached;
        let from = (at as usize).min(cached.len());
        let to = (from + buffer.len()).min(cached.len());
        buffer[..to - from].copy_from_slice(&cached[from..to]);
        Ok(to - from)
    }

    fn sync_data(&self) -> io::Result<()> {
        match self.disk.call() {
            Ok(mut state) => {
                let file = &mut state.files[self.number];
                for change in std::mem::take(&mut file.pending) {
                    change.apply(&mut file.durable);
                }
                Ok(())
            }
            Err((error, mut state)) => {
                let State { files, dice, .. } = &mut *state;
                files[self.number].tear(dice);
                Err(error)
            }
        }
    }

    fn truncate(&self, bytes: u64) -> io::Result<()> {
        let mut state = self.disk.call().map_err(|(error, _)| error)?;
        let file = &mut state.files[self.number];
        let change = Change::Truncate(bytes as usize);
        change.apply(&mut file.cached);
        file.pending.push(change);
        Ok(())
    }

    fn bytes(&self) -> io::Result<u64> {
        let state = self.disk.call().map_err(|(error, _)| error)?;
        Ok(state.files[self.number].cached.len() as u64)
    }
}
