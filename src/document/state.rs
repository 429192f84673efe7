//! Encoding: what a peer lacks, as one update, or in pieces.
//!
//! The blocks of the logs are the encoding, but for a head. A [`State`] shares them, so that a large one is encoded
//! where it delays nobody, and nothing that is edited meanwhile waits for it or shows in it.

use std::sync::Arc;

use bytes::Bytes;

use crate::protocol::{lib0::write_var_uint, update::Clocks};

use super::{
    log::{Block, Blocks, Log},
    ranges::Ranges,
};

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
        encoded_bytes(self.logs.iter(), &Clocks::default())
    }

    /// What a peer lacks who has `had`, as a Yjs v1 update.
    #[must_use]
    pub fn since(&self, had: &Clocks) -> Bytes {
        encode(self.logs.iter(), had).into()
    }
}

/// Writes an update with what `had` lacks. `sources` are in descending order of client, as Yjs writes them.
pub(super) fn encode<S: Source>(sources: impl Iterator<Item = S> + Clone, had: &Clocks) -> Vec<u8> {
    let lacking = sources
        .clone()
        .filter(|source| source.next() > had.next(source.client()));
    let mut out = Vec::with_capacity(encoded_bytes(sources.clone(), had));
    write_var_uint(&mut out, lacking.clone().count() as u64);
    for source in lacking {
        write_structs(&source, had.next(source.client()), &mut out);
    }
    let deleting = sources.filter(|source| source.deleted().is_some_and(|deleted| deleted.len() > 0));
    write_var_uint(&mut out, deleting.clone().count() as u64);
    for source in deleting {
        let Some(deleted) = source.deleted() else { continue };
        write_var_uint(&mut out, source.client());
        write_var_uint(&mut out, deleted.len() as u64);
        for (start, end) in deleted.iter() {
            write_var_uint(&mut out, u64::from(start));
            write_var_uint(&mut out, u64::from(end - start));
        }
    }
    out
}

/// About as many bytes as [`encode`] writes.
pub(super) fn encoded_bytes<S: Source>(sources: impl Iterator<Item = S>, had: &Clocks) -> usize {
    let of = |source: S| {
        let from = had.next(source.client());
        let first = if from < source.next() {
            block_of(source.blocks(), from)
        } else {
            source.blocks().len()
        };
        let structs: usize = source.blocks()[first..].iter().map(|block| block.bytes.len()).sum();
        16 + structs + source.deleted().map_or(0, |deleted| 8 + deleted.len() * 4)
    };
    sources.map(of).sum()
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
