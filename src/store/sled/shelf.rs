//! How snapshots lie in sled, and the checks each value passes on its way out.
//!
//! Two trees:
//!
//! * `catalogue`: name → one line: which snapshot is here, in how many pieces, with which sum
//! * `pieces`: name, 0, number of the piece (4 bytes, big-endian) → CRC32 of key and rest, `lsn` of the
//!   snapshot (both little-endian), piece
//!
//! What must stay true:
//!
//! * A piece is at most [`PIECE_BYTES`] long: a leaf of sled holds up to 17 values, and a leaf over 128 KiB
//!   would become a blob file, which sled neither syncs nor always removes.
//! * A new snapshot overwrites the pieces of the one before: new keys for each would make sled split and
//!   merge pages all the time. The pieces are written before the line, so a line is only ever behind its
//!   pieces; each piece says of which snapshot it is.
//! * [`find`] returns a snapshot only when its line and each piece pass their check and are what the
//!   journal's base says. Everything else is an answer that sends the caller to the journal.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use bytes::{Bytes, BytesMut};
use sled::{Db, IVec, Tree};

use crate::{id::DocumentId, store::journal::index::Base};

/// Longest piece of a snapshot, in bytes.
pub const PIECE_BYTES: usize = 4_096;

/// What a value takes beside its name and what is put, in bytes: our sums and numbers, sled's own.
const VALUE_BYTES: usize = 48;

const VERSION: u8 = 1;
const LINE_BYTES: usize = 1 + 8 + 8 + 8 + 4 + 4 + 4;

/// The trees, and a count that moves while work in them does.
pub struct Shelf {
    db: Db,
    catalogue: Tree,
    pieces: Tree,
    /// Grows with each value read or written.
    pub ticks: AtomicU64,
    /// What the lines and the snapshots that they speak of take, in bytes; right once [`Shelf::weigh`] has run.
    held_bytes: AtomicU64,
}

/// What the shelf says when asked for a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The snapshot, checked.
    Found(Bytes),
    /// It has another one or none: it is behind.
    Behind,
    /// It has something that fails its check.
    Doubtful(String),
}

/// A line of the catalogue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line {
    /// The last position that the snapshot covers.
    pub seq: u64,
    /// The snapshot's order of writing in the journal.
    pub lsn: u64,
    /// Its length in bytes.
    pub bytes: u64,
    /// In how many pieces it is.
    pub pieces: u32,
    /// Its CRC32.
    pub sum: u32,
}

impl Line {
    fn encode(&self, name: &[u8]) -> [u8; LINE_BYTES] {
        let mut line = [0; LINE_BYTES];
        line[0] = VERSION;
        line[1..9].copy_from_slice(&self.seq.to_le_bytes());
        line[9..17].copy_from_slice(&self.lsn.to_le_bytes());
        line[17..25].copy_from_slice(&self.bytes.to_le_bytes());
        line[25..29].copy_from_slice(&self.pieces.to_le_bytes());
        line[29..33].copy_from_slice(&self.sum.to_le_bytes());
        let sum = sum_of(name, &line[..33]);
        line[33..].copy_from_slice(&sum.to_le_bytes());
        line
    }

    fn decode(name: &[u8], line: &[u8]) -> Option<Self> {
        let line: &[u8; LINE_BYTES] = line.try_into().ok()?;
        let (fields, sum) = line.split_last_chunk::<4>()?;
        if u32::from_le_bytes(*sum) != sum_of(name, fields) || line[0] != VERSION {
            return None;
        }
        let u64_at = |at: usize| line[at..at + 8].try_into().ok().map(u64::from_le_bytes);
        let u32_at = |at: usize| line[at..at + 4].try_into().ok().map(u32::from_le_bytes);
        Some(Self {
            seq: u64_at(1)?,
            lsn: u64_at(9)?,
            bytes: u64_at(17)?,
            pieces: u32_at(25)?,
            sum: u32_at(29)?,
        })
    }

    fn is_of(&self, base: &Base) -> bool {
        (self.seq, self.lsn) == (base.seq, base.lsn)
    }
}

impl Shelf {
    /// Takes an open database.
    ///
    /// # Errors
    /// What sled said; the same for all calls below.
    pub fn new(db: Db) -> sled::Result<Self> {
        let (catalogue, pieces) = (db.open_tree("catalogue")?, db.open_tree("pieces")?);
        Ok(Self {
            db,
            catalogue,
            pieces,
            ticks: AtomicU64::new(0),
            held_bytes: AtomicU64::new(0),
        })
    }

    /// Counts what is here.
    ///
    /// # Errors
    /// See [`Shelf::new`].
    pub fn weigh(&self) -> sled::Result<()> {
        let mut held = 0;
        for entry in &self.catalogue {
            let (name, line) = entry?;
            self.ticks.fetch_add(1, Relaxed);
            held += bytes_of(&name, Some(line));
        }
        self.held_bytes.store(held, Relaxed);
        Ok(())
    }

    /// Bytes of what is here: snapshots, names, lines.
    #[must_use]
    pub fn held_bytes(&self) -> u64 {
        self.held_bytes.load(Relaxed)
    }

    /// The same of one document, 0 when it is not here.
    ///
    /// # Errors
    /// See [`Shelf::new`].
    pub fn held_of(&self, document: &DocumentId) -> sled::Result<u64> {
        let name = document.as_str().as_bytes();
        Ok(bytes_of(name, self.catalogue.get(name)?))
    }

    /// The snapshot that `base` says.
    ///
    /// # Errors
    /// See [`Shelf::new`].
    pub fn find(&self, document: &DocumentId, base: &Base) -> sled::Result<Answer> {
        let name = document.as_str().as_bytes();
        let Some(found) = self.catalogue.get(name)? else {
            return Ok(Answer::Behind);
        };
        let Some(line) = Line::decode(name, &found) else {
            return Ok(Answer::Doubtful(format!(
                "the catalogue's line of {document} fails its check"
            )));
        };
        if !line.is_of(base) {
            return Ok(Answer::Behind);
        }
        match self.collect(name, &line)? {
            Ok(body) => Ok(Answer::Found(body)),
            // The feeder may have put a newer snapshot while this one was read.
            Err(_) if self.catalogue.get(name)?.as_ref() != Some(&found) => Ok(Answer::Behind),
            Err(reason) => Ok(Answer::Doubtful(format!("the snapshot of {document}: {reason}"))),
        }
    }

    /// Whether the line of the document says that the shelf has what `base` says.
    ///
    /// # Errors
    /// See [`Shelf::new`].
    pub fn has(&self, document: &DocumentId, base: &Base) -> sled::Result<Answer> {
        let name = document.as_str().as_bytes();
        self.ticks.fetch_add(1, Relaxed);
        Ok(match self.catalogue.get(name)?.map(|line| Line::decode(name, &line)) {
            None => Answer::Behind,
            Some(None) => Answer::Doubtful(format!("the catalogue's line of {document} fails its check")),
            Some(Some(line)) if line.is_of(base) => Answer::Found(Bytes::new()),
            Some(Some(_)) => Answer::Behind,
        })
    }

    /// Puts the snapshot that `base` says in the place of the one that is here.
    ///
    /// # Errors
    /// See [`Shelf::new`].
    pub fn put(&self, document: &DocumentId, base: &Base, body: &Bytes) -> sled::Result<()> {
        let name = document.as_str().as_bytes();
        let mut pieces = 0_u32;
        for piece in body.chunks(PIECE_BYTES) {
            let key = piece_key(name, pieces);
            let mut value = Vec::with_capacity(12 + piece.len());
            value.extend_from_slice(&[0; 4]);
            value.extend_from_slice(&base.lsn.to_le_bytes());
            value.extend_from_slice(piece);
            let sum = sum_of(&key, &value[4..]);
            value[..4].copy_from_slice(&sum.to_le_bytes());
            self.pieces.insert(key, value)?;
            self.ticks.fetch_add(1, Relaxed);
            pieces += 1;
        }
        let line = Line {
            seq: base.seq,
            lsn: base.lsn,
            bytes: body.len() as u64,
            pieces,
            sum: crc32fast::hash(body),
        };
        let before = self.catalogue.insert(name, line.encode(name).as_slice())?;
        self.held_bytes.fetch_sub(bytes_of(name, before), Relaxed);
        self.held_bytes.fetch_add(taken_bytes(document, line.bytes), Relaxed);
        self.sweep(name, pieces)
    }

    /// Removes the document.
    ///
    /// # Errors
    /// See [`Shelf::new`].
    pub fn remove(&self, document: &DocumentId) -> sled::Result<()> {
        let name = document.as_str().as_bytes();
        let before = self.catalogue.remove(name)?;
        self.held_bytes.fetch_sub(bytes_of(name, before), Relaxed);
        self.sweep(name, 0)
    }

    /// Up to `most` names that follow `after`; none that is not a document's name.
    ///
    /// # Errors
    /// See [`Shelf::new`].
    pub fn names(&self, after: Option<&DocumentId>, most: usize) -> sled::Result<Vec<DocumentId>> {
        use std::ops::Bound;
        let start = after.map_or(Bound::Unbounded, |name| Bound::Excluded(name.as_str().as_bytes()));
        let mut names = Vec::new();
        for key in self
            .catalogue
            .range::<&[u8], _>((start, Bound::Unbounded))
            .keys()
            .take(most)
        {
            let key = key?;
            self.ticks.fetch_add(1, Relaxed);
            names.extend(str::from_utf8(&key).ok().and_then(|name| DocumentId::parse(name).ok()));
        }
        Ok(names)
    }

    /// Gives the system what was put. It does not survive a power loss for sure, and need not.
    ///
    /// # Errors
    /// See [`Shelf::new`].
    pub fn flush(&self) -> sled::Result<()> {
        self.db.flush().map(drop)
    }

    /// Bytes on disk.
    ///
    /// # Errors
    /// See [`Shelf::new`].
    pub fn disk_bytes(&self) -> sled::Result<u64> {
        self.db.size_on_disk()
    }

    fn collect(&self, name: &[u8], line: &Line) -> sled::Result<Result<Bytes, String>> {
        let most = usize::try_from(line.bytes)
            .unwrap_or(usize::MAX)
            .min(line.pieces as usize * PIECE_BYTES);
        let mut body = BytesMut::with_capacity(most);
        for number in 0..line.pieces {
            let key = piece_key(name, number);
            self.ticks.fetch_add(1, Relaxed);
            match self.pieces.get(&key)? {
                None => return Ok(Err(format!("piece {number} is missing"))),
                Some(value) => match checked(&key, &value) {
                    Some((lsn, piece)) if lsn == line.lsn => body.extend_from_slice(piece),
                    Some(_) => return Ok(Err(format!("piece {number} is of another snapshot"))),
                    None => return Ok(Err(format!("piece {number} fails its check"))),
                },
            }
        }
        let whole = body.len() as u64 == line.bytes && crc32fast::hash(&body) == line.sum;
        Ok(if whole {
            Ok(body.freeze())
        } else {
            Err("the pieces together fail their check".into())
        })
    }

    /// Removes the pieces of a document from number `from` on.
    fn sweep(&self, name: &[u8], from: u32) -> sled::Result<()> {
        let range = piece_key(name, from)..[name, &[1]].concat();
        let stale: Vec<IVec> = self.pieces.range(range).keys().collect::<sled::Result<_>>()?;
        for key in stale {
            self.pieces.remove(key)?;
            self.ticks.fetch_add(1, Relaxed);
        }
        Ok(())
    }
}

/// What the document of a line takes, 0 when there is none or it fails its check.
fn bytes_of(name: &[u8], line: Option<IVec>) -> u64 {
    line.and_then(|line| Line::decode(name, &line))
        .map_or(0, |line| taken(name, line.bytes))
}

/// What a snapshot of so many bytes takes here: very short ones take several times their length.
pub fn taken_bytes(document: &DocumentId, bytes: u64) -> u64 {
    taken(document.as_str().as_bytes(), bytes)
}

fn taken(name: &[u8], bytes: u64) -> u64 {
    let values = 1 + bytes.div_ceil(PIECE_BYTES as u64);
    bytes + values * (name.len() + VALUE_BYTES) as u64
}

fn piece_key(name: &[u8], number: u32) -> Vec<u8> {
    // A name holds no control characters, so the 0 ends it.
    [name, &[0], &number.to_be_bytes()].concat()
}

/// Of which snapshot a piece is, and the piece.
fn checked<'a>(key: &[u8], value: &'a [u8]) -> Option<(u64, &'a [u8])> {
    let (sum, rest) = value.split_first_chunk::<4>()?;
    if u32::from_le_bytes(*sum) != sum_of(key, rest) {
        return None;
    }
    let (lsn, piece) = rest.split_first_chunk::<8>()?;
    Some((u64::from_le_bytes(*lsn), piece))
}

fn sum_of(key: &[u8], value: &[u8]) -> u32 {
    let mut sum = crc32fast::Hasher::new();
    sum.update(key);
    sum.update(value);
    sum.finalize()
}

#[cfg(test)]
impl Shelf {
    /// Changes a byte of some piece of the document, as a failing disk would.
    pub fn spoil(&self, document: &DocumentId) {
        let (key, mut value) = self.pieces.scan_prefix(document.as_str()).next().unwrap().unwrap();
        value[5] ^= 1;
        self.pieces.insert(key, value).unwrap();
    }

    /// How many pieces there are.
    pub fn pieces(&self) -> usize {
        self.pieces.len()
    }
}
