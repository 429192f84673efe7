//! A run of the journal into a bucket (rules B27 to B31).

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    time::{Duration, Instant},
};

use bytes::Bytes;

use super::{
    About, BACKUP_MAX, Bucket, GRACE_MS, Link, Made, Manifest, Mark, PIECE_BYTES, Piece, hint_name, number_of, run_name,
};
use crate::{
    actor::clock::wall_ms,
    operator::{
        Failure, Progress,
        backup::{Copy, Done, Segment, Shelf, Tally, apart, examine, source_of},
        failed,
        image::Image,
        journal_in,
        pool::{IN_PIECES, Listed, Run, decode, encode},
        size,
    },
    store::journal::disk::DiskFile,
};

/// How often a piece is written that does not read back as it was written.
const WRITES: usize = 3;

/// How often a run looks for a number of its own.
const NUMBERS: usize = 20;

impl Bucket {
    /// Adds a run of the journal in `data`.
    pub fn add(&mut self, data: &Path, keep: Option<Duration>, documents: Option<u64>) -> Result<Done, Failure> {
        let (began_ms, began) = (wall_ms(), Instant::now());
        let journal = journal_in(data)?;
        let source = source_of(data)?;
        if let Some(folder) = &self.link.folder {
            apart(data, folder)?;
        }
        self.refresh()?;
        let mut there = There::list(self, began_ms)?;

        let mut tally = Tally::default();
        let (mut manifest, mut done) = Image::read(&journal, |image| {
            let mut shelf = Pieces {
                there: &mut there,
                progress: Progress::new(),
                bytes_done: 0,
                bytes_all: image.segments().map(|(_, bytes)| bytes).sum(),
                made: BTreeMap::new(),
            };
            let mut copy = Copy::new(image, &journal, &mut shelf, &mut tally);
            let headed = copy.headed()?;
            self.one_store(&source, &headed)?;
            let listed = copy.all(&headed)?;
            let made = std::mem::take(&mut shelf.made);
            let made_of = |listed: &Listed| made.get(&(listed.number, listed.salt)).cloned().unwrap_or_default();
            let mut manifest = Manifest {
                made: listed.iter().map(made_of).collect(),
                run: Run {
                    version: IN_PIECES,
                    number: 0,
                    source: source.clone(),
                    began_ms,
                    documents: 0,
                    segments: listed,
                },
            };
            let damaged = self.looked_at(image, &journal, &mut manifest, &tally, documents)?;
            let done = tally.done(&manifest.run, damaged);
            Ok((manifest, done))
        })?;
        if began.elapsed() > BACKUP_MAX {
            return Err(Failure(
                "the run took longer than 12 hours and does not count: what was copied is used by the next".to_owned(),
            ));
        }
        self.publish(&mut manifest)?;
        done.title = manifest.run.title();
        // What is damaged now may be whole in an older run.
        if let Some(keep) = keep.filter(|_| done.damaged.is_empty()) {
            done.gone = self.drop_after(keep)?;
        }
        Ok(done)
    }

    /// Refuses a bucket that holds the runs of another store. One in the same folder that shares no segment is the same
    /// one when all its segments are newer: a fresh store begins with the first.
    fn one_store(&self, source: &str, headed: &[(u32, u32)]) -> Result<(), Failure> {
        let Some(newest) = self.runs.values().next_back().map(|manifest| &manifest.run) else {
            return Ok(());
        };
        let known = &newest.segments;
        let is_shared = known
            .iter()
            .any(|listed| headed.contains(&(listed.number, listed.salt)));
        let last = known.iter().map(|listed| listed.number).max();
        let is_later = newest.source == source && headed.iter().all(|(number, _)| Some(*number) > last);
        if known.is_empty() || is_shared || is_later {
            return Ok(());
        }
        Err(Failure(format!(
            "{} holds backups of another store ({} of {}): restore that one, if this one is meant to continue it, or name \
             another prefix",
            self.link.label,
            newest.title(),
            newest.source
        )))
    }

    /// Reads what no earlier run has checked: as it lies in the data folder, which is what was compared with the pieces. Of
    /// a segment that was cut short there the pieces have more, and are fetched.
    fn looked_at(
        &self,
        image: &Image,
        journal: &Path,
        manifest: &mut Manifest,
        tally: &Tally,
        documents: Option<u64>,
    ) -> Result<Vec<String>, Failure> {
        let lengths: BTreeMap<u32, u64> = image.segments().collect();
        let is_here = |listed: &Listed| lengths.get(&listed.number).is_some_and(|bytes| *bytes >= listed.bytes);
        let earlier: Vec<&Run> = self.runs.values().map(|manifest| &manifest.run).collect();
        if manifest.run.segments.iter().all(is_here) {
            let image = image.beginning(manifest.run.segments.iter().map(|listed| (listed.number, listed.bytes)));
            return examine(&image, journal, earlier, &mut manifest.run, tally, documents);
        }
        let fetched = manifest.clone();
        self.fetched_run(&fetched, |pool, run| {
            let (image, _) = pool.image(run);
            let folder = Path::new(&pool.label).join("segments");
            examine(&image, &folder, earlier, &mut manifest.run, tally, documents)
        })
    }

    /// Writes a run down, under a number of its own: from here on it is part of the backup.
    pub(super) fn publish(&mut self, manifest: &mut Manifest) -> Result<(), Failure> {
        for _ in 0..NUMBERS {
            let number = self.next_number();
            manifest.run.number = number;
            let name = format!("runs/{}", run_name(number));
            let bytes = Bytes::from(encode(manifest)?);
            if !self.link.create(&name, &bytes)? {
                // Somebody was faster, who may have begun with another store.
                self.refresh()?;
                let headed = manifest.run.segments.iter();
                let headed: Vec<_> = headed.map(|listed| (listed.number, listed.salt)).collect();
                self.one_store(&manifest.run.source, &headed)?;
                continue;
            }
            if self.link.get(&name)?.as_ref() != Some(&bytes) {
                return Err(Failure(format!(
                    "{}/{name} is not what was written: does something else write there?",
                    self.link.label
                )));
            }
            self.runs.insert(number, manifest.clone());
            let written_ms = self.link.written_ms(&name)?;
            let bytes = bytes.len() as u64;
            self.read.insert(number, About { bytes, written_ms });
            return Ok(());
        }
        Err(Failure(format!(
            "other backups to {} were always faster: try again when fewer run",
            self.link.label
        )))
    }

    /// Drops all runs but the newest that were written `keep` before that one or earlier, by the store's clock, and removes what
    /// no run has needed for a day; returns how many runs were dropped.
    fn drop_after(&mut self, keep: Duration) -> Result<u64, Failure> {
        self.refresh()?;
        let newest = self.runs.keys().next_back().copied();
        let Some((newest, about)) = newest.and_then(|newest| Some((newest, self.read.get(&newest)?))) else {
            return Ok(0);
        };
        let now_ms = about.written_ms;
        let since_ms = now_ms.saturating_sub(keep.as_millis() as u64);
        // Stores that count in seconds say the same time of runs that follow each other at once.
        let is_old = |number: &u64| self.read.get(number).is_some_and(|about| about.written_ms <= since_ms);
        let old = self.runs.keys().filter(|number| **number != newest && is_old(number));
        let old: Vec<u64> = old.copied().collect();
        for number in &old {
            let Some(manifest) = self.runs.remove(number) else {
                continue;
            };
            let name = run_name(*number);
            self.link.put(&format!("dropped/{name}"), encode(&manifest)?.into())?;
            self.link.delete(&format!("runs/{name}"))?;
            self.read.remove(number);
        }
        if self.unreadable.is_empty() {
            self.tidy(now_ms.saturating_sub(GRACE_MS))?;
        } else {
            log::warn!("a run cannot be read: what it may need stays");
        }
        Ok(old.len() as u64)
    }

    /// Removes what no run needs and was not needed since `since_ms`, by the store's clock.
    fn tidy(&self, since_ms: u64) -> Result<(), Failure> {
        let mut needed: BTreeSet<String> = self.runs.values().flat_map(Manifest::needs).collect();
        let dropped = self.link.list("dropped")?;
        let (young, old): (Vec<_>, Vec<_>) = dropped.iter().partition(|(_, about)| about.written_ms >= since_ms);
        let young: Vec<String> = young.iter().map(|(name, _)| format!("dropped/{name}")).collect();
        for bytes in self.link.get_all(&young)?.into_iter().flatten() {
            let Some(manifest) = decode::<Manifest>(&bytes) else {
                log::warn!("a dropped run cannot be read: what it may need stays for now");
                return Ok(());
            };
            needed.extend(manifest.needs());
        }
        for (name, about) in self.link.list("segments")? {
            if about.written_ms < since_ms && !needed.contains(&name) {
                self.link.delete(&format!("segments/{name}"))?;
            }
        }
        for (name, _) in old.iter().filter(|(name, _)| number_of(name).is_some()) {
            self.link.delete(&format!("dropped/{name}"))?;
        }
        Ok(())
    }
}

/// What is in the bucket when a backup begins, and what it adds.
struct There<'a> {
    link: &'a Link,
    /// When the backup was begun.
    began_ms: u64,
    /// What is below `segments/`: the length, and whether it is needed, or so young that it stays.
    objects: BTreeMap<String, (u64, bool)>,
    /// The longest that any run has of a segment, of which all is there.
    held: BTreeMap<(u32, u32), (u64, Made)>,
}

impl<'a> There<'a> {
    fn list(bucket: &'a Bucket, began_ms: u64) -> Result<Self, Failure> {
        let mut needed = BTreeSet::new();
        for manifest in bucket.runs.values() {
            needed.extend(manifest.needs());
        }
        let young_ms = began_ms.saturating_sub(GRACE_MS / 4);
        let objects = bucket.link.list("segments")?.into_iter();
        let objects = objects.map(|(name, About { bytes, written_ms })| {
            let stays = needed.contains(&name) || written_ms > young_ms;
            (name, (bytes, stays))
        });
        let mut there = Self {
            link: &bucket.link,
            began_ms,
            objects: objects.collect(),
            held: BTreeMap::new(),
        };
        for (listed, made) in bucket.runs.values().flat_map(Manifest::segments) {
            let whole = made.pieces.iter().all(|piece| {
                let name = piece.name(listed.number, listed.salt);
                there
                    .objects
                    .get(&name)
                    .is_some_and(|(bytes, _)| *bytes == piece.bytes())
            });
            let held = there.held.entry((listed.number, listed.salt)).or_default();
            // Of as long ones the last: it is made of the fewest pieces.
            if whole && listed.bytes >= held.0 {
                *held = (listed.bytes, made.clone());
            }
        }
        Ok(there)
    }

    /// Brings an object, and reads it back; `name` makes its name.
    fn bring(&mut self, bytes: &Bytes, name: impl Fn(Mark) -> String) -> Result<Mark, Failure> {
        let mut mark = Mark {
            crc32: crc32fast::hash(bytes),
            again: 0,
        };
        // Somebody may be about to remove it, whatever is written there now.
        if self.objects.get(&name(mark)).is_some_and(|(_, stays)| !stays) {
            mark.again = self.began_ms;
        }
        let name = name(mark);
        let path = format!("segments/{name}");
        let mut is_there = self
            .objects
            .get(&name)
            .is_some_and(|(there, _)| *there == bytes.len() as u64);
        for _ in 0..WRITES {
            if !is_there {
                self.link.put(&path, bytes.clone())?;
            }
            if self.link.get(&path)?.as_ref() == Some(bytes) {
                self.objects.insert(name, (bytes.len() as u64, true));
                return Ok(mark);
            }
            is_there = false;
        }
        Err(Failure(format!(
            "{}/{path} never reads back as it was written",
            self.link.label
        )))
    }
}

/// The pieces of the segments of one image.
struct Pieces<'a, 'b> {
    there: &'a mut There<'b>,
    progress: Progress,
    bytes_done: u64,
    bytes_all: u64,
    made: BTreeMap<(u32, u32), Made>,
}

impl Shelf for Pieces<'_, '_> {
    fn held(&self, number: u32, salt: u32) -> u64 {
        self.there.held.get(&(number, salt)).map_or(0, |(bytes, _)| *bytes)
    }

    fn segment(&mut self, from: &Segment<'_>, bytes: u64, tally: &mut Tally) -> Result<u64, Failure> {
        let key = (from.number, from.salt);
        let mut pieces = self
            .there
            .held
            .get(&key)
            .map(|(_, made)| made.pieces.clone())
            .unwrap_or_default();
        let had = pieces.last().map_or(0, |piece| piece.end);
        let mut at = had;
        if had < bytes {
            let file = from.open()?;
            let mut reader = Reader { file: &*file, from };
            at = reader.joined(&mut pieces, bytes)?;
            while at < bytes {
                let read = reader.read(at, (at + PIECE_BYTES).min(bytes))?;
                if read.is_empty() {
                    // Cut off meanwhile: another image is taken.
                    break;
                }
                let end = at + read.len() as u64;
                let mut piece = Piece {
                    from: at,
                    end,
                    mark: Mark { crc32: 0, again: 0 },
                };
                piece.mark = self
                    .there
                    .bring(&read, |mark| Piece { mark, ..piece }.name(from.number, from.salt))?;
                pieces.push(piece);
                at = end;
                let (done, all) = (self.bytes_done + at, self.bytes_all);
                self.progress
                    .tell(|| format!("backup: {} of {}", size(done), size(all)));
            }
            tally.copied.insert(key);
            tally.copied_bytes += at.saturating_sub(had);
        }
        self.bytes_done += at.min(bytes);
        self.made.entry(key).or_default().pieces = pieces;
        Ok(at.min(bytes))
    }

    fn hint(&mut self, from: &Segment<'_>, end: u64, hint: &[u8]) -> Result<(), Failure> {
        let hint = Bytes::copy_from_slice(hint);
        let mark = self
            .there
            .bring(&hint, |mark| hint_name(from.number, from.salt, end, mark))?;
        self.made.entry((from.number, from.salt)).or_default().hint = Some(mark);
        Ok(())
    }
}

struct Reader<'a> {
    file: &'a dyn DiskFile,
    from: &'a Segment<'a>,
}

impl Reader<'_> {
    fn read(&mut self, at: u64, end: u64) -> Result<Bytes, Failure> {
        let mut buffer = vec![0; usize::try_from(end - at).unwrap_or_default()];
        let mut filled = 0;
        while filled < buffer.len() {
            let read = self.file.read_at(&mut buffer[filled..], at + filled as u64);
            match read.map_err(|error| failed("read", &self.from.path, error))? {
                0 => break,
                read => filled += read,
            }
        }
        buffer.truncate(filled);
        Ok(buffer.into())
    }

    /// Takes off those last pieces that are written anew as one with what follows up to `end`, so that runs soon after each
    /// other leave few: a piece that is no longer than what follows it. One stays that is no longer the same in the data
    /// folder. Returns where the rest begins.
    fn joined(&mut self, pieces: &mut Vec<Piece>, end: u64) -> Result<u64, Failure> {
        while let Some(last) = pieces.last() {
            let is_small = last.bytes() <= end - last.end && end - last.from <= PIECE_BYTES;
            if !is_small || crc32fast::hash(&self.read(last.from, last.end)?) != last.mark.crc32 {
                break;
            }
            pieces.pop();
        }
        Ok(pieces.last().map_or(0, |piece| piece.end))
    }
}
