//! The folder of a backup.
//!
//! | file | what |
//! |---|---|
//! | `segments/NUMBER-SALT.segment` | the beginning of a segment; SALT tells two of the same number apart |
//! | `segments/NUMBER-SALT-END.hint` | its hint, when the data folder had one; END: where the segment ends |
//! | `runs/NUMBER.run` | one run: a line of JSON ([`Run`]), and a line `crc32` with the sum of the first in hexadecimal |
//! | `lock` | held while something is written here |
//!
//! What must stay true:
//!
//! * A file has its name only when it is whole and synced; it is replaced only by a longer one that begins
//!   with the same bytes. So a run stays right when a later one makes a file longer.
//! * A run is read with the hints that its own image had: that of a later one may end earlier, when what was in
//!   doubt was written anew into a segment that the run does not have.
//! * A run is written after everything that it lists.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{Failure, failed, image::Image, is_folder, time_text};
use crate::store::journal::{
    disk::{Disk, DiskLock, FileDisk},
    hint, segment,
};

/// The version of [`Run`] that this program writes into a folder.
pub(super) const VERSION: u32 = 1;

/// The version of [`Run`] that it writes into a bucket, and the newest that it reads.
pub(super) const IN_PIECES: u32 = 2;

/// What ends the name of a file that is not whole.
pub(super) const PART: &str = ".part";

/// One run of `cowrite backup`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Run {
    pub version: u32,
    /// 1 is the first of its folder.
    pub number: u64,
    /// The data folder.
    pub source: String,
    /// When it was begun, in milliseconds since the Unix epoch: all that was acknowledged before is in it.
    pub began_ms: u64,
    /// Documents in it.
    pub documents: u64,
    /// What makes the image, in the order of their numbers.
    pub segments: Vec<Listed>,
}

/// A segment of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Listed {
    pub number: u32,
    /// 0 when no header says it.
    pub salt: u32,
    /// So much of the file belongs to the run.
    pub bytes: u64,
    /// Where the image's own hint said that the segment ends, when it had one.
    #[serde(default)]
    pub hint_end: Option<u64>,
    /// Set when something in it failed its check.
    pub damaged: bool,
}

impl Run {
    /// How people are told which one it is.
    pub fn title(&self) -> String {
        format!("run {} of {}", self.number, time_text(self.began_ms))
    }
}

/// The folder of a backup, while nobody else writes to it.
pub(super) struct Pool {
    pub folder: PathBuf,
    /// Those that pass their check, oldest first.
    pub runs: Vec<Run>,
    /// The files of those that do not.
    pub unreadable: Vec<(u64, String)>,
    /// What people call it.
    pub label: String,
    /// What of a segment is known to be lacking or damaged.
    pub lacking: BTreeMap<(u32, u32), Vec<String>>,
    _lock: Option<Box<dyn DiskLock>>,
}

impl Pool {
    /// Opens a backup to read it; one on a disk that cannot be written to is read without its lock.
    pub fn open(folder: &Path) -> Result<Self, Failure> {
        if !is_folder(&folder.join("runs"))? {
            return Err(Failure(format!(
                "{} is no backup of cowrite: there is no folder `runs` in it",
                folder.display()
            )));
        }
        let lock = match FileDisk.lock(&folder.join("lock")) {
            Err(error) if refuses_writes(&error) => None,
            other => Some(taken(folder, other)?),
        };
        Self::read(folder, lock)
    }

    /// Opens a backup to write to it, and makes it when the folder is empty or missing.
    pub fn open_or_make(folder: &Path) -> Result<Self, Failure> {
        if !is_folder(&folder.join("runs"))? {
            let entries = match fs::read_dir(folder) {
                Ok(entries) => entries.flatten().collect(),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
                Err(error) => return Err(failed("list", folder, error)),
            };
            // What a first run leaves that was killed at its very beginning.
            let ours = ["lock", "segments"];
            if entries
                .iter()
                .any(|entry| !ours.iter().any(|name| entry.file_name() == *name))
            {
                return Err(Failure(format!(
                    "{} is not empty and no backup of cowrite: name another folder",
                    folder.display()
                )));
            }
        }
        let make = |path: &Path| {
            FileDisk
                .create_folder(path)
                .map_err(|error| failed("create", path, error))
        };
        make(folder)?;
        let lock = taken(folder, FileDisk.lock(&folder.join("lock")))?;
        make(&folder.join("segments"))?;
        make(&folder.join("runs"))?;
        let pool = Self::read(folder, Some(lock))?;
        pool.tidy()?;
        Ok(pool)
    }

    fn read(folder: &Path, lock: Option<Box<dyn DiskLock>>) -> Result<Self, Failure> {
        let mut pool = Self {
            folder: folder.to_path_buf(),
            runs: Vec::new(),
            unreadable: Vec::new(),
            label: folder.display().to_string(),
            lacking: BTreeMap::new(),
            _lock: lock,
        };
        let runs = folder.join("runs");
        for (name, _) in FileDisk.list(&runs).map_err(|error| failed("list", &runs, error))? {
            let Some(number) = name.strip_suffix(".run").and_then(|digits| digits.parse().ok()) else {
                continue;
            };
            let path = runs.join(&name);
            let text = fs::read(&path).map_err(|error| failed("read", &path, error))?;
            match decode::<Run>(&text) {
                Some(run) if run.version == IN_PIECES => {
                    return Err(Failure(format!(
                        "{folder} is a copy of a backup in a bucket: write file://{folder}, with a path from the root",
                        folder = folder.display()
                    )));
                }
                Some(run) if run.version > VERSION => {
                    return Err(Failure(format!(
                        "{} was written by a newer cowrite (version {} of the format): use that one",
                        path.display(),
                        run.version
                    )));
                }
                Some(run) if run.number == number => pool.runs.push(run),
                _ => pool.unreadable.push((number, path.display().to_string())),
            }
        }
        pool.runs.sort_by_key(|run| run.number);
        pool.unreadable.sort();
        Ok(pool)
    }

    /// Removes what a run that was killed left half written.
    fn tidy(&self) -> Result<(), Failure> {
        for folder in [self.folder.join("segments"), self.folder.join("runs")] {
            for (name, _) in FileDisk.list(&folder).map_err(|error| failed("list", &folder, error))? {
                if name.ends_with(PART) {
                    let path = folder.join(name);
                    fs::remove_file(&path).map_err(|error| failed("remove", &path, error))?;
                }
            }
        }
        Ok(())
    }

    /// The newest run.
    ///
    /// # Errors
    /// When there is none, or a newer one cannot be read: an older one in its place would be a surprise.
    pub fn newest(&self) -> Result<&Run, Failure> {
        let newest = self.runs.last();
        let number = newest.map_or(0, |run| run.number);
        if let Some((_, path)) = self.unreadable.last().filter(|(unreadable, _)| *unreadable > number) {
            return Err(Failure(format!(
                "the newest run cannot be read, {path} fails its check: name an earlier one with --run"
            )));
        }
        newest.ok_or_else(|| {
            Failure(format!(
                "{} holds no run: no backup to it was ever completed",
                self.label
            ))
        })
    }

    /// The run of this number.
    pub fn run(&self, number: u64) -> Result<&Run, Failure> {
        self.runs.iter().find(|run| run.number == number).ok_or_else(|| {
            let folder = &self.label;
            Failure(format!(
                "{folder} holds no run {number} that can be read: `cowrite verify {folder} --all` lists them"
            ))
        })
    }

    /// The number of the next run.
    pub fn next_number(&self) -> u64 {
        let unreadable = self.unreadable.last().map_or(0, |(number, _)| *number);
        self.runs.last().map_or(0, |run| run.number).max(unreadable) + 1
    }

    /// Where a segment is, whole or not.
    pub fn segment(&self, number: u32, salt: u32) -> PathBuf {
        self.folder.join(format!("segments/{number:010}-{salt:08x}.segment"))
    }

    /// Where its hint is that says that it ends at `end`, if there is one.
    pub fn hint(&self, number: u32, salt: u32, end: u64) -> PathBuf {
        self.folder.join(format!("segments/{number:010}-{salt:08x}-{end}.hint"))
    }

    /// So many bytes of a segment are here that an earlier run took for whole records.
    pub fn held(&self, number: u32, salt: u32) -> u64 {
        let runs = self.runs.iter().flat_map(|run| &run.segments);
        let same = runs.filter(|listed| (listed.number, listed.salt) == (number, salt));
        let listed = same.map(|listed| listed.bytes).max().unwrap_or_default();
        fs::metadata(self.segment(number, salt)).map_or(0, |about| about.len().min(listed))
    }

    /// The image that a run lists, and one sentence for each file that is missing or too short.
    pub fn image(&self, run: &Run) -> (Image, Vec<String>) {
        let (mut image, mut missing) = (Image::default(), Vec::new());
        for listed in &run.segments {
            let path = self.segment(listed.number, listed.salt);
            let lacking = self.lacking.get(&(listed.number, listed.salt));
            missing.extend(lacking.into_iter().flatten().cloned());
            let found = fs::metadata(&path).ok().map(|about| about.len());
            let bytes = found.unwrap_or_default();
            if bytes < listed.bytes || found.is_none() {
                missing.push(format!(
                    "{} is {bytes} bytes long, {} are needed",
                    path.display(),
                    listed.bytes
                ));
            }
            if found.is_some() {
                image.put(segment::file_name(listed.number), path, bytes.min(listed.bytes));
            }
            let Some(end) = listed.hint_end else { continue };
            let path = self.hint(listed.number, listed.salt, end);
            if let Ok(about) = fs::metadata(&path) {
                let name = hint::file_name(listed.number);
                image.put(name.clone(), path, about.len());
                let fits = |(hint, _): (hint::Hint, Vec<u8>)| hint.end == end && hint.salt == listed.salt;
                if !image.hint(listed.number).is_some_and(fits) {
                    image.hide(&name);
                }
            }
        }
        (image, missing)
    }

    /// Writes a run down: from here on it is part of the backup.
    pub fn add(&mut self, run: Run) -> Result<(), Failure> {
        // The names of what it lists are durable before its own can be.
        self.sync(&["segments"])?;
        let path = self.folder.join(format!("runs/{:06}.run", run.number));
        write_whole(&path, &encode(&run)?)?;
        self.sync(&["runs"])?;
        self.runs.push(run);
        Ok(())
    }

    /// Removes all runs but the newest that were begun before `since_ms`, and what no run needs; returns how
    /// many runs that were.
    pub fn drop_before(&mut self, since_ms: u64) -> Result<u64, Failure> {
        let newest = self.runs.last().map_or(0, |run| run.number);
        let (kept, gone): (Vec<Run>, Vec<Run>) = std::mem::take(&mut self.runs)
            .into_iter()
            .partition(|run| run.number == newest || run.began_ms >= since_ms);
        self.runs = kept;
        for run in &gone {
            let path = self.folder.join(format!("runs/{:06}.run", run.number));
            fs::remove_file(&path).map_err(|error| failed("remove", &path, error))?;
        }
        self.sync(&["runs"])?;
        if !self.unreadable.is_empty() {
            log::warn!("a run cannot be read: the files that it may need stay");
            return Ok(gone.len() as u64);
        }
        let needed: Vec<PathBuf> = self
            .runs
            .iter()
            .flat_map(|run| &run.segments)
            .flat_map(|listed| {
                let hint = listed.hint_end.map(|end| self.hint(listed.number, listed.salt, end));
                [self.segment(listed.number, listed.salt)].into_iter().chain(hint)
            })
            .collect();
        let needed: std::collections::BTreeSet<PathBuf> = needed.into_iter().collect();
        let folder = self.folder.join("segments");
        for (name, _) in FileDisk.list(&folder).map_err(|error| failed("list", &folder, error))? {
            let path = folder.join(name);
            if !needed.contains(&path) {
                fs::remove_file(&path).map_err(|error| failed("remove", &path, error))?;
            }
        }
        Ok(gone.len() as u64)
    }

    fn sync(&self, folders: &[&str]) -> Result<(), Failure> {
        for folder in folders {
            let path = self.folder.join(folder);
            FileDisk
                .sync_folder(&path)
                .map_err(|error| failed("sync", &path, error))?;
        }
        Ok(())
    }
}

/// Writes a file that has its name only when it is whole and synced.
pub(super) fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let part = part_of(path);
    let written = fs::File::create(&part).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_data()
    });
    written.map_err(|error| failed("write", &part, error))?;
    fs::rename(&part, path).map_err(|error| failed("rename", &part, error))
}

/// The name that a file has until it is whole.
pub(super) fn part_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(PART);
    name.into()
}

/// A run as it is written down.
pub(super) fn encode(run: &impl Serialize) -> Result<Vec<u8>, Failure> {
    let line = serde_json::to_string(run).map_err(|error| Failure(error.to_string()))?;
    let sum = crc32fast::hash(line.as_bytes());
    Ok(format!("{line}\ncrc32 {sum:08x}\n").into_bytes())
}

/// The reverse of [`encode`]; nothing when it fails its check.
pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    let (line, rest) = str::from_utf8(bytes).ok()?.split_once('\n')?;
    let sum = u32::from_str_radix(rest.trim_end().strip_prefix("crc32 ")?, 16).ok()?;
    if crc32fast::hash(line.as_bytes()) != sum {
        return None;
    }
    serde_json::from_str(line).ok()
}

fn taken(folder: &Path, lock: io::Result<Option<Box<dyn DiskLock>>>) -> Result<Box<dyn DiskLock>, Failure> {
    lock.map_err(|error| failed("lock", &folder.join("lock"), error))?
        .ok_or_else(|| {
            Failure(format!(
                "another cowrite command is at work in {}: wait for it",
                folder.display()
            ))
        })
}

fn refuses_writes(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem
    )
}
