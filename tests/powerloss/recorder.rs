//! A disk that writes down every change, with its bytes, and passes it on to the machine's own.
//!
//! Syncs are written down and not carried out: what would survive is for `crash` to say. A sync may be told
//! to fail, as a disk's does: what was written before it is then in limbo, whatever later syncs return.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard},
};

use cowrite::store::{
    Record,
    journal::disk::{Disk, DiskFile, DiskLock, FileDisk},
};

use crate::dice::Dice;

/// One thing that happened.
#[derive(Debug, Clone)]
pub enum Event {
    Created {
        file: usize,
        name: String,
    },
    Wrote {
        file: usize,
        at: usize,
        bytes: Vec<u8>,
    },
    Truncated {
        file: usize,
        bytes: usize,
    },
    Synced {
        file: usize,
    },
    SyncFailed {
        file: usize,
    },
    Renamed {
        from: String,
        to: String,
    },
    Unlinked {
        name: String,
    },
    SyncedFolder,
    /// These are handed to the store; what was handed before and not acknowledged is among them.
    Committing(Vec<Record>),
    /// What was handed last is acknowledged.
    Acknowledged,
    /// The process was killed and started again; of what was not acknowledged the store returned this.
    Reopened(Vec<Record>),
}

#[derive(Clone)]
pub struct Recorder(Arc<Mutex<State>>);

struct State {
    events: Vec<Event>,
    names: BTreeMap<String, usize>,
    files: usize,
    dice: Dice,
    /// One call in so many fails; 0: none.
    faults: u64,
    /// Files can be made, and neither written nor removed.
    stuck: bool,
}

impl Recorder {
    /// Over a folder in which the files `names` lie already, numbered in this order.
    pub fn new(names: impl IntoIterator<Item = String>, dice: Dice) -> Self {
        let names: BTreeMap<String, usize> = names.into_iter().enumerate().map(|(file, name)| (name, file)).collect();
        let files = names.len();
        Self(Arc::new(Mutex::new(State {
            events: Vec::new(),
            names,
            files,
            dice,
            faults: 0,
            stuck: false,
        })))
    }

    pub fn note(&self, event: Event) {
        self.state().events.push(event);
    }

    pub fn take_events(&self) -> Vec<Event> {
        std::mem::take(&mut self.state().events)
    }

    /// From now on one call that changes something in `one_in` fails, with the disk full or failing.
    pub fn fail(&self, one_in: u64) {
        self.state().faults = one_in;
    }

    /// Whether files can be made, and neither written nor removed.
    pub fn stick(&self, stuck: bool) {
        self.state().stuck = stuck;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }
}

impl State {
    fn stuck(&self) -> Option<io::Error> {
        self.stuck.then(|| io::Error::other("the test's disk is stuck"))
    }

    fn fault(&mut self) -> Option<io::Error> {
        if self.faults == 0 || self.dice.roll(self.faults) != 0 {
            return None;
        }
        let kind = if self.dice.roll(2) == 0 {
            io::ErrorKind::StorageFull
        } else {
            io::ErrorKind::Other
        };
        Some(io::Error::new(kind, "the test's disk refuses"))
    }
}

struct Recorded {
    recorder: Recorder,
    file: usize,
    inner: Arc<dyn DiskFile>,
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap().to_str().unwrap().to_owned()
}

impl Disk for Recorder {
    fn create_folder(&self, path: &Path) -> io::Result<()> {
        std::fs::create_dir_all(path)
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.state();
        if let Some(error) = state.fault() {
            return Err(error);
        }
        let inner = FileDisk.create(path)?;
        let (file, name) = (state.files, name_of(path));
        state.files += 1;
        state.names.insert(name.clone(), file);
        state.events.push(Event::Created { file, name });
        Ok(Arc::new(Recorded {
            recorder: self.clone(),
            file,
            inner,
        }))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let state = self.state();
        let inner = FileDisk.open(path)?;
        let file = state.names[&name_of(path)];
        Ok(Arc::new(Recorded {
            recorder: self.clone(),
            file,
            inner,
        }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state();
        if let Some(error) = state.fault() {
            return Err(error);
        }
        FileDisk.rename(from, to)?;
        let (from, to) = (name_of(from), name_of(to));
        let file = state.names.remove(&from).unwrap();
        state.names.insert(to.clone(), file);
        state.events.push(Event::Renamed { from, to });
        Ok(())
    }

    fn unlink(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        if let Some(error) = state.stuck().or_else(|| state.fault()) {
            return Err(error);
        }
        FileDisk.unlink(path)?;
        let name = name_of(path);
        state.names.remove(&name);
        state.events.push(Event::Unlinked { name });
        Ok(())
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<(String, u64)>> {
        FileDisk.list(folder)
    }

    fn sync_folder(&self, _folder: &Path) -> io::Result<()> {
        let mut state = self.state();
        match state.fault() {
            Some(error) => Err(error),
            None => {
                state.events.push(Event::SyncedFolder);
                Ok(())
            }
        }
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn DiskLock>>> {
        let lock = FileDisk.lock(path);
        // Its name is not part of what survives.
        let mut state = self.state();
        let file = state.files;
        if state.names.insert(name_of(path), file).is_none() {
            state.files += 1;
        }
        lock
    }
}

impl DiskFile for Recorded {
    fn write_all_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        let mut state = self.recorder.state();
        let error = state.stuck().or_else(|| state.fault());
        let written = match error {
            Some(_) => state.dice.below(bytes.len() + 1),
            None => bytes.len(),
        };
        let bytes = bytes[..written].to_vec();
        self.inner.write_all_at(&bytes, at)?;
        if written > 0 {
            state.events.push(Event::Wrote {
                file: self.file,
                at: at as usize,
                bytes,
            });
        }
        error.map_or(Ok(()), Err)
    }

    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        self.inner.read_at(buffer, at)
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.recorder.state();
        let error = state.fault();
        let file = self.file;
        state.events.push(if error.is_some() {
            Event::SyncFailed { file }
        } else {
            Event::Synced { file }
        });
        error.map_or(Ok(()), Err)
    }

    fn truncate(&self, bytes: u64) -> io::Result<()> {
        let mut state = self.recorder.state();
        if let Some(error) = state.fault() {
            return Err(error);
        }
        self.inner.truncate(bytes)?;
        state.events.push(Event::Truncated {
            file: self.file,
            bytes: bytes as usize,
        });
        Ok(())
    }

    fn bytes(&self) -> io::Result<u64> {
        self.inner.bytes()
    }
}

/// Where the journal lies in a store's folder.
pub fn journal(folder: &Path) -> PathBuf {
    folder.join("journal")
}
