//! Encoding: what a peer lacks, as one update, or in pieces.
//!
//! The blocks of the logs are the encoding, but for a head. A [`State`] shares them, so that a large one is encoded
//! where it delays nobody, and nothing that is edited meanwhile waits for it or shows in it.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;

use crate::protocol::{
    lib0::write_var_uint,
    update::{Clocks, Deletion},
};

use super::{
    log::{Block, Blocks, Log},
    ranges::Ranges,
};

/// Some of a document's deletions: those that a peer lacks who has all the others.
#[derive(Debug, Default)]
pub struct DeleteSet(BTreeMap<u64, Ranges>);

impl FromIterator<Deletion> for DeleteSet {
    fn from_iter<T: IntoIterator<Item = Deletion>>(deletions: T) -> Self {
        let mut all = BTreeMap::<u64, Ranges>::new();
        for deletion in deletions {
            all.entry(deletion.client)
                .or_default()
                .insert(deletion.start, deletion.end);
        }
        Self(all)
    }
}

/// A document at one moment.
#[derive(Debug, Clone)]
pub struct State {
    /// By client, in descending order.
    logs: Vec<Written>,
}

/// What a client had written at that moment.
#[derive(Debug, Clone)]
struct Written {
    client: u64,
    next: u32,
    blocks: Blocks,
    deleted: Option<Arc<Ranges>>,
}

/// What is encoded of one client.
pub(super) trait Source {
    fn client(&self) -> u64;
    fn next(&self) -> u32;
    fn blocks(&self) -> &[Block];
    fn deleted(&self) -> Option<&Ranges>;
}

impl Source for &Log {
    fn client(&self) -> u64 {
        self.client
    }

    fn next(&self) -> u32 {
        self.next
    }

    fn blocks(&self) -> &[Block] {
        &self.blocks
    }

    fn deleted(&self) -> Option<&Ranges> {
        self.deleted.as_deref()
    }
}

impl Source for &Written {
    fn client(&self) -> u64 {
        self.client
    }

    fn next(&self) -> u32 {
        self.next
    }

    fn blocks(&self) -> &[Block] {
        &self.blocks
    }

    fn deleted(&self) -> Option<&Ranges> {
        self.deleted.as_deref()
    }
}

impl State {
    pub(super) fn of<'a>(logs: impl Iterator<Item = &'a Log>) -> Self {
        let written = |log: &Log| Written {
            client: log.client,
            next: log.next,
            blocks: log.blocks.clone(),
            deleted: log.deleted.clone(),
        };
        Self {
            logs: logs.map(written).collect(),
        }
    }

    /// About how many bytes all of it takes, encoded.
    #[must_use]
    pub fn bytes(&self) -> usize {
        encoded_bytes(self.logs.iter(), &Clocks::default(), None)
    }

    /// What a peer lacks who has `had`, as a Yjs v1 update, with all deletions.
    #[must_use]
    pub fn since(&self, had: &Clocks) -> Bytes {
        self.since_telling(had, None)
    }

    /// The same, with all deletions or only these.
    #[must_use]
    pub fn since_telling(&self, had: &Clocks, only: Option<&DeleteSet>) -> Bytes {
        encode(self.logs.iter(), had, only).into()
    }
}

/// Writes an update with what `had` lacks, and all deletions or only these. `sources` are in descending order of client, as Yjs
/// writes them.
pub(super) fn encode<S: Source>(
    sources: impl Iterator<Item = S> + Clone,
    had: &Clocks,
    only: Option<&DeleteSet>,
) -> Vec<u8> {
    let lacking = sources
        .clone()
        .filter(|source| source.next() > had.next(source.client()));
    let mut out = Vec::with_capacity(encoded_bytes(sources.clone(), had, only));
    write_var_uint(&mut out, lacking.clone().count() as u64);
    for source in lacking {
        write_structs(&source, had.next(source.client()), &mut out);
    }
    if let Some(DeleteSet(only)) = only {
        write_var_uint(&mut out, only.len() as u64);
        for (client, deleted) in only.iter().rev() {
            write_deletions(*client, deleted, &mut out);
        }
        return out;
    }
    let deleting = sources.filter(|source| source.deleted().is_some_and(|deleted| deleted.len() > 0));
    write_var_uint(&mut out, deleting.clone().count() as u64);
    for source in deleting {
        let Some(deleted) = source.deleted() else { continue };
        write_deletions(source.client(), deleted, &mut out);
    }
    out
}

fn write_deletions(client: u64, deleted: &Ranges, out: &mut Vec<u8>) {
    write_var_uint(out, client);
    write_var_uint(out, deleted.len() as u64);
    for (start, end) in deleted.iter() {
        write_var_uint(out, u64::from(start));
        write_var_uint(out, u64::from(end - start));
    }
}

/// What the head of a section takes, in bytes, about; of a client's deletions; and a range of these.
const HEAD_BYTES: usize = 16;
const CLIENT_BYTES: usize = 8;
const RANGE_BYTES: usize = 4;

/// About as many bytes as [`encode`] writes.
pub(super) fn encoded_bytes<S: Source>(
    sources: impl Iterator<Item = S>,
    had: &Clocks,
    only: Option<&DeleteSet>,
) -> usize {
    let of_ranges = |deleted: &Ranges| CLIENT_BYTES + deleted.len() * RANGE_BYTES;
    let of = |source: S| {
        let from = had.next(source.client());
        let structs = if from < source.next() {
            let lacking = &source.blocks()[block_of(source.blocks(), from)..];
            HEAD_BYTES + lacking.iter().map(|block| block.bytes.len()).sum::<usize>()
        } else {
            0
        };
        let deleted = source.deleted().filter(|_| only.is_none());
        structs + deleted.map_or(0, of_ranges)
    };
    let only = only.map_or(0, |DeleteSet(only)| only.values().map(of_ranges).sum());
    HEAD_BYTES + sources.map(of).sum::<usize>() + only
}

/// The index of the block that has `clock`; that of the last one when it is beyond.
fn block_of(blocks: &[Block], clock: u32) -> usize {
    blocks.partition_point(|block| block.start <= clock).saturating_sub(1)
}

/// A section with the structs of one client from clock `from` on.
fn write_structs<S: Source>(source: &S, from: u32, out: &mut Vec<u8>) {
    let blocks = source.blocks();
    let index = block_of(blocks, from);
    let (block, later) = (&blocks[index], &blocks[index + 1..]);
    let mut left = block.count;
    let mut rest = 0;
    let mut first = Vec::new();
    if block.start < from {
        for step in block.steps() {
            if step.end() > from {
                rest = step.at;
                let skip = from - step.clock;
                if skip > 0 {
                    let whole = step.whole(&block.bytes, source.client());
                    // A struct of one clock is not asked for less.
                    let _ = whole.piece(skip, step.end() - from, &mut first);
                    rest = step.to;
                }
                break;
            }
            left -= 1;
        }
    }
    let count = left + later.iter().map(|block| block.count).sum::<u32>();
    write_var_uint(out, u64::from(count));
    write_var_uint(out, source.client());
    write_var_uint(out, u64::from(from));
    out.extend_from_slice(&first);
    out.extend_from_slice(&block.bytes[rest..]);
    for block in later {
        out.extend_from_slice(&block.bytes);
    }
}
