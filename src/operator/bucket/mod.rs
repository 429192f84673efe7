//! Runs in a bucket of an object store (rules B26 to B32).
//!
//! | object | what |
//! |---|---|
//! | `segments/NUMBER-SALT-FROM-END-CRC.segment` | a piece of a segment: its bytes from FROM to END, 8 MiB at most, and their CRC32 ([`Mark`]) |
//! | `segments/NUMBER-SALT-END-CRC.hint` | a hint, as in a folder |
//! | `runs/NUMBER.run` | one run: as in a folder, and of which pieces each segment is made ([`Manifest`]) |
//! | `dropped/NUMBER.run` | a run that is no longer one; its pieces stay for a day |
//!
//! A store can neither append to an object nor lock one. So a segment is kept in pieces, and an object is never given
//! another content: its name says what is in it. Nobody needs a lock: two backups at once write the same pieces, and
//! each has a run of its own.
//!
//! What must stay true:
//!
//! * A run is written after everything that it lists was read back, and never in place of another.
//! * A piece is removed when no run has needed it for [`GRACE_MS`]: longer than a backup may take
//!   ([`BACKUP_MAX`]) that found it there at its beginning.

mod backup;
mod fetch;
mod http;
mod link;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    fmt::{self, Display},
    time::Duration,
};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use self::link::{About, Link};
use super::{
    Failure,
    pool::{IN_PIECES, Listed, Run, decode},
    target::BucketUrl,
};

/// Longest piece, in bytes. One is held in memory twice.
const PIECE_BYTES: u64 = 8 * 1024 * 1024;

/// How long what no run needs stays, in milliseconds.
const GRACE_MS: u64 = 24 * 60 * 60 * 1_000;

/// A backup that takes longer than this gives up.
const BACKUP_MAX: Duration = Duration::from_secs(12 * 60 * 60);

/// What tells apart objects that are called after the same place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Mark {
    crc32: u32,
    /// When a backup was begun that found one of that name which may be removed at any time. Mostly 0.
    #[serde(default, skip_serializing_if = "is_zero")]
    again: u64,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.crc32)?;
        match self.again {
            0 => Ok(()),
            again => write!(f, "-{again:x}"),
        }
    }
}

/// A part of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Piece {
    from: u64,
    end: u64,
    #[serde(flatten)]
    mark: Mark,
}

impl Piece {
    fn name(self, number: u32, salt: u32) -> String {
        let Self { from, end, mark } = self;
        format!("{number:010}-{salt:08x}-{from}-{end}-{mark}.segment")
    }

    fn bytes(self) -> u64 {
        self.end.saturating_sub(self.from)
    }
}

/// What a segment of a run is made of.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Made {
    /// One behind the other, from byte 0 on.
    pieces: Vec<Piece>,
    /// Its hint, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    hint: Option<Mark>,
}

impl Made {
    fn end(&self) -> u64 {
        self.pieces.last().map_or(0, |piece| piece.end)
    }
}

fn hint_name(number: u32, salt: u32, end: u64, mark: Mark) -> String {
    format!("{number:010}-{salt:08x}-{end}-{mark}.hint")
}

/// A run as it is written into a bucket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Manifest {
    #[serde(flatten)]
    run: Run,
    /// For each of the run's segments.
    made: Vec<Made>,
}

impl Manifest {
    /// Its segments, each with what it is made of.
    fn segments(&self) -> impl Iterator<Item = (Listed, &Made)> {
        self.run.segments.iter().copied().zip(&self.made)
    }

    /// The names of what it needs, below `segments/`.
    fn needs(&self) -> impl Iterator<Item = String> + '_ {
        self.segments().flat_map(|(listed, made)| {
            let (number, salt) = (listed.number, listed.salt);
            let pieces = made.pieces.iter().map(move |piece| piece.name(number, salt));
            let hint = listed.hint_end.zip(made.hint);
            pieces.chain(hint.map(|(end, mark)| hint_name(number, salt, end, mark)))
        })
    }

    /// Whether its pieces lie one behind the other and reach as far as the run says.
    fn is_sound(&self) -> bool {
        let sound = |(listed, made): (Listed, &Made)| {
            let mut at = 0;
            let follow = made.pieces.iter().all(|piece| {
                let follows = piece.from == at && piece.end > piece.from && piece.bytes() <= PIECE_BYTES;
                at = piece.end;
                follows
            });
            follow && at >= listed.bytes
        };
        self.run.segments.len() == self.made.len() && self.segments().all(sound)
    }
}

const NUMBER_MAX: u64 = 1 << 40;

fn run_name(number: u64) -> String {
    format!("{number:06}.run")
}

/// The number of a run that [`run_name`] has named. Numbers rise one by one, so what is far above them is no run.
fn number_of(name: &str) -> Option<u64> {
    let number = name.strip_suffix(".run")?.parse().ok()?;
    (number < NUMBER_MAX && run_name(number) == name).then_some(number)
}

/// The runs in a part of a bucket.
pub(super) struct Bucket {
    link: Link,
    /// Those that pass their check.
    runs: BTreeMap<u64, Manifest>,
    /// Those that do not.
    unreadable: BTreeMap<u64, String>,
    /// The objects that these were read from.
    read: BTreeMap<u64, About>,
}

impl Bucket {
    /// Opens a backup to read it.
    pub fn open(url: &BucketUrl) -> Result<Self, Failure> {
        let mut bucket = Self::of(Link::open(url, false)?);
        bucket.refresh()?;
        if bucket.runs.is_empty() && bucket.unreadable.is_empty() {
            return Err(Failure(format!(
                "{url} is no backup of cowrite, or no backup to it was ever completed: there is no run in it"
            )));
        }
        Ok(bucket)
    }

    /// Opens a backup to write to it; nothing is asked of the store yet.
    pub fn open_or_make(url: &BucketUrl) -> Result<Self, Failure> {
        Ok(Self::of(Link::open(url, true)?))
    }

    fn of(link: Link) -> Self {
        Self {
            link,
            runs: BTreeMap::new(),
            unreadable: BTreeMap::new(),
            read: BTreeMap::new(),
        }
    }

    /// Reads the runs that were not read before, and forgets those that are gone.
    fn refresh(&mut self) -> Result<(), Failure> {
        let there: BTreeMap<u64, About> = self
            .link
            .list("runs")?
            .into_iter()
            .filter_map(|(name, about)| Some((number_of(&name)?, about)))
            .collect();
        self.read.retain(|number, about| there.get(number) == Some(about));
        self.runs.retain(|number, _| self.read.contains_key(number));
        self.unreadable.retain(|number, _| self.read.contains_key(number));
        let new: Vec<(u64, About)> = there
            .into_iter()
            .filter(|(number, _)| !self.read.contains_key(number))
            .collect();
        let names: Vec<String> = new
            .iter()
            .map(|(number, _)| format!("runs/{}", run_name(*number)))
            .collect();
        for ((number, about), bytes) in new.into_iter().zip(self.link.get_all(&names)?) {
            // One that is gone was dropped meanwhile.
            if let Some(bytes) = bytes {
                self.take(number, about, &bytes)?;
            }
        }
        Ok(())
    }

    fn take(&mut self, number: u64, about: About, bytes: &Bytes) -> Result<(), Failure> {
        let name = format!("{}/runs/{}", self.link.label, run_name(number));
        let version = decode::<Run>(bytes).map(|run| run.version);
        if let Some(version) = version.filter(|version| *version > IN_PIECES) {
            return Err(Failure(format!(
                "{name} was written by a newer cowrite (version {version} of the format): use that one"
            )));
        }
        if version.is_some_and(|version| version < IN_PIECES) {
            return Err(Failure(format!(
                "{name} is of a backup in a folder: copy all of it into a folder, and name that"
            )));
        }
        let manifest = decode::<Manifest>(bytes).filter(|found| found.run.number == number && found.is_sound());
        match manifest {
            Some(manifest) => drop(self.runs.insert(number, manifest)),
            None => drop(self.unreadable.insert(number, name)),
        }
        self.read.insert(number, about);
        Ok(())
    }

    /// The number of the next run.
    fn next_number(&self) -> u64 {
        self.read.keys().next_back().copied().unwrap_or_default() + 1
    }
}
