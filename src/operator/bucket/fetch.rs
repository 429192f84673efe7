//! Runs of a bucket as a backup in a folder, from which a restore reads, and which `verify` checks (rule B32).
//!
//! The folder lies in the system's folder for what is temporary (`TMPDIR`) and goes when the work is done. It gets the runs
//! of the bucket, and the segments of those that are asked for.

use std::{
    collections::BTreeMap,
    env,
    fs::{self, File},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use super::{Bucket, Made, Manifest, Piece, hint_name};
use crate::operator::{
    Failure, Progress, failed,
    pool::{Listed, Pool, Run, VERSION, encode, write_whole},
    size,
};

/// A folder that goes with this.
struct Scratch(PathBuf);

impl Scratch {
    fn make() -> Result<Self, Failure> {
        let scratch = Self(env::temp_dir().join(format!("cowrite-{}", uuid::Uuid::new_v4())));
        for name in ["segments", "runs"] {
            let path = scratch.0.join(name);
            fs::create_dir_all(&path).map_err(|error| failed("create", &path, error))?;
        }
        Ok(scratch)
    }
}

/// Refuses to fetch what there is no room for: a disk that is full stops others, too.
fn room_for(bytes: u64, room: u64, folder: &Path) -> Result<(), Failure> {
    if bytes <= room {
        return Ok(());
    }
    Err(Failure(format!(
        "{} must be fetched into {}, which has room for {}: name a folder with more room by TMPDIR",
        size(bytes),
        folder.display(),
        size(room)
    )))
}

/// Bytes that this process can write below a folder.
fn room_in(folder: &Path) -> Result<u64, Failure> {
    let system = rustix::fs::statvfs(folder).map_err(|error| failed("look at", folder, error.into()))?;
    Ok(system.f_bavail.saturating_mul(system.f_frsize))
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl Bucket {
    /// Does something with a folder that holds the runs that were chosen.
    pub fn fetched<T>(
        &self,
        choose: impl FnOnce(&Pool) -> Result<Vec<u64>, Failure>,
        work: impl FnOnce(&Pool) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let scratch = Scratch::make()?;
        let mut pool = self.listed(&scratch)?;
        let chosen = choose(&pool)?;
        let manifests: Vec<&Manifest> = chosen.iter().filter_map(|number| self.runs.get(number)).collect();
        self.fill(&scratch.0, &mut pool, manifests)?;
        work(&pool)
    }

    /// Does something with a folder that holds what a run lists that was not written yet.
    pub(super) fn fetched_run<T>(
        &self,
        manifest: &Manifest,
        work: impl FnOnce(&Pool, &Run) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let scratch = Scratch::make()?;
        let mut pool = self.listed(&scratch)?;
        self.fill(&scratch.0, &mut pool, vec![manifest])?;
        work(&pool, &manifest.run)
    }

    /// A folder with the runs alone.
    fn listed(&self, scratch: &Scratch) -> Result<Pool, Failure> {
        let path = |number: u64| scratch.0.join(format!("runs/{number:06}.run"));
        for manifest in self.runs.values() {
            let run = Run {
                version: VERSION,
                ..manifest.run.clone()
            };
            write_whole(&path(run.number), &encode(&run)?)?;
        }
        let mut pool = Pool::open(&scratch.0)?;
        let unreadable = self.unreadable.iter();
        pool.unreadable = unreadable.map(|(number, name)| (*number, name.clone())).collect();
        pool.label.clone_from(&self.link.label);
        Ok(pool)
    }

    fn fill(&self, scratch: &Path, pool: &mut Pool, manifests: Vec<&Manifest>) -> Result<(), Failure> {
        // Each segment as long as the longest of them has it, and the pieces of the others beside.
        let mut segments: BTreeMap<(u32, u32), Vec<(Listed, &Made)>> = BTreeMap::new();
        for (listed, made) in manifests.iter().flat_map(|manifest| manifest.segments()) {
            segments
                .entry((listed.number, listed.salt))
                .or_default()
                .push((listed, made));
        }
        let longest = |runs: &Vec<(Listed, &Made)>| runs.iter().map(|(_, made)| made.end()).max().unwrap_or_default();
        room_for(
            segments.values().map(longest).sum(),
            room_in(scratch)?,
            &env::temp_dir(),
        )?;
        let mut fetch = Fetch {
            bucket: self,
            pool,
            progress: Progress::new(),
            done: 0,
        };
        for runs in segments.into_values() {
            fetch.segment(&runs)?;
            for (listed, made) in runs {
                fetch.hint(listed, made)?;
            }
        }
        Ok(())
    }
}

struct Fetch<'a> {
    bucket: &'a Bucket,
    pool: &'a mut Pool,
    progress: Progress,
    done: u64,
}

impl Fetch<'_> {
    /// A segment, as long as the longest of these has it.
    fn segment(&mut self, runs: &[(Listed, &Made)]) -> Result<(), Failure> {
        let Some((listed, longest)) = runs.iter().max_by_key(|(_, made)| made.end()) else {
            return Ok(());
        };
        let path = self.pool.segment(listed.number, listed.salt);
        let file = File::create(&path).map_err(|error| failed("create", &path, error))?;
        file.set_len(longest.end())
            .map_err(|error| failed("write", &path, error))?;
        let mut seen = Vec::new();
        let others = runs.iter().flat_map(|(_, made)| &made.pieces);
        for piece in longest.pieces.iter().chain(others) {
            if seen.contains(piece) {
                continue;
            }
            seen.push(*piece);
            // Those of the others have nothing that is not in the file, and are only looked at.
            let to = longest.pieces.contains(piece).then_some((&file, &path));
            self.piece(*listed, *piece, to)?;
        }
        Ok(())
    }

    fn piece(&mut self, listed: Listed, piece: Piece, to: Option<(&File, &PathBuf)>) -> Result<(), Failure> {
        let name = format!("segments/{}", piece.name(listed.number, listed.salt));
        let found = self.bucket.link.get(&name)?;
        let label = &self.bucket.link.label;
        let wrong = match &found {
            None => Some(format!("{label}/{name} is missing")),
            Some(bytes) if crc32fast::hash(bytes) != piece.mark.crc32 || bytes.len() as u64 != piece.bytes() => {
                Some(format!("{label}/{name} fails its check"))
            }
            Some(_) => None,
        };
        if let (Some((file, path)), Some(bytes)) = (to, found) {
            let most = usize::try_from(piece.bytes()).unwrap_or(usize::MAX).min(bytes.len());
            file.write_all_at(&bytes[..most], piece.from)
                .map_err(|error| failed("write", path, error))?;
        }
        if let Some(wrong) = wrong {
            let key = (listed.number, listed.salt);
            self.pool.lacking.entry(key).or_default().push(wrong);
        }
        self.done += piece.bytes();
        let done = self.done;
        self.progress.tell(|| format!("fetched: {}", size(done)));
        Ok(())
    }

    /// A hint is a copy: one that is missing or damaged costs a scan.
    fn hint(&self, listed: Listed, made: &Made) -> Result<(), Failure> {
        let Some((end, mark)) = listed.hint_end.zip(made.hint) else {
            return Ok(());
        };
        let path = self.pool.hint(listed.number, listed.salt, end);
        let name = format!("segments/{}", hint_name(listed.number, listed.salt, end, mark));
        match self.bucket.link.get(&name)? {
            Some(bytes) if crc32fast::hash(&bytes) == mark.crc32 => write_whole(&path, &bytes),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b40_what_there_is_no_room_for_is_not_fetched() {
        let folder = env::temp_dir();
        let room = room_in(&folder).expect("a folder");

        assert!(room > 0);
        assert_eq!(room_for(room, room, &folder), Ok(()));
        let Failure(said) = room_for(5_000_000, 2_000_000, Path::new("/tmp")).expect_err("too little room");
        assert!(said.ends_with("name a folder with more room by TMPDIR"), "{said}");
    }
}
