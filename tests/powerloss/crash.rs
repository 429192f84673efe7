//! The disk after losing power at some point of what a recorder wrote down.
//!
//! * What a file got after its last sync is there in part: cut at 512 or 4,096 bytes, each block or not, in
//!   any order; the length may have come without the bytes (zeros, or what lay on the disk before).
//! * A truncation after the last sync happened or not.
//! * A name is as it was at the folder's last sync, or as it was last, each name for itself.
//! * What was written before a sync that failed survives in part or not at all, whatever later syncs say.

use std::collections::BTreeMap;

use crate::{dice::Dice, recorder::Event};

/// Names and contents.
pub type Files = BTreeMap<String, Vec<u8>>;

#[derive(Debug, Clone)]
enum Change {
    Write { at: usize, bytes: Vec<u8> },
    Truncate(usize),
}

#[derive(Debug, Clone, Default)]
struct File {
    durable: Vec<u8>,
    pending: Vec<Change>,
}

/// What survives of `events` over a disk that had `files`.
pub fn power_loss(files: &Files, events: &[Event], dice: &mut Dice) -> Files {
    let mut inodes: BTreeMap<usize, File> = files
        .values()
        .enumerate()
        .map(|(number, bytes)| {
            (
                number,
                File {
                    durable: bytes.clone(),
                    pending: Vec::new(),
                },
            )
        })
        .collect();
    let mut names: BTreeMap<String, usize> = files.keys().cloned().zip(0..).collect();
    let mut durable_names = names.clone();
    for event in events {
        match event {
            Event::Created { file, name } => {
                inodes.insert(*file, File::default());
                names.insert(name.clone(), *file);
            }
            Event::Wrote { file, at, bytes } => {
                let change = Change::Write {
                    at: *at,
                    bytes: bytes.clone(),
                };
                inodes.entry(*file).or_default().pending.push(change);
            }
            Event::Truncated { file, bytes } => {
                inodes.entry(*file).or_default().pending.push(Change::Truncate(*bytes));
            }
            Event::Synced { file } => {
                let file = inodes.entry(*file).or_default();
                for change in std::mem::take(&mut file.pending) {
                    change.apply(&mut file.durable);
                }
            }
            Event::SyncFailed { file } => inodes.entry(*file).or_default().tear(dice, &[]),
            Event::Renamed { from, to } => {
                if let Some(file) = names.remove(from) {
                    names.insert(to.clone(), file);
                }
            }
            Event::Unlinked { name } => {
                names.remove(name);
            }
            Event::SyncedFolder => durable_names = names.clone(),
            Event::Committing(_) | Event::Acknowledged | Event::Reopened(_) => {}
        }
    }

    let rubbish = inodes
        .values()
        .map(|file| file.durable.clone())
        .max_by_key(Vec::len)
        .unwrap_or_default();
    for file in inodes.values_mut() {
        file.tear(dice, &rubbish);
    }
    let mut all: Vec<&String> = names.keys().chain(durable_names.keys()).collect();
    all.sort();
    all.dedup();
    let mut survived = Files::new();
    for name in all {
        let file = if dice.roll(2) == 0 {
            names.get(name)
        } else {
            durable_names.get(name)
        };
        if let Some(file) = file {
            survived.insert(name.clone(), inodes[file].durable.clone());
        }
    }
    survived
}

impl Change {
    fn apply(&self, content: &mut Vec<u8>) {
        match self {
            Self::Write { at, bytes } => {
                let end = at + bytes.len();
                content.resize(content.len().max(end), 0);
                content[*at..end].copy_from_slice(bytes);
            }
            Self::Truncate(bytes) => content.resize(*bytes, 0),
        }
    }
}

impl File {
    /// Takes in what is pending, in part.
    fn tear(&mut self, dice: &mut Dice, rubbish: &[u8]) {
        let block = if dice.roll(2) == 0 { 512 } else { 4_096 };
        // A disk that keeps everything up to some point, or any of the blocks.
        let mut prefix = (dice.roll(2) == 0).then(|| {
            let blocks: usize = self.pending.iter().map(|change| change.blocks(block)).sum();
            dice.below(blocks + 1)
        });
        let one_in = 1 + dice.roll(4);
        let extends = dice.roll(3);
        for change in std::mem::take(&mut self.pending) {
            match change {
                Change::Write { at, bytes } => {
                    let end = at + bytes.len();
                    if extends > 0 && end > self.durable.len() {
                        let from = self.durable.len();
                        self.durable.resize(end, 0);
                        if extends == 2 {
                            for (index, byte) in self.durable[from..].iter_mut().enumerate() {
                                *byte = rubbish.get((from + index) % rubbish.len().max(1)).copied().unwrap_or(0);
                            }
                        }
                    }
                    // Blocks lie at multiples of their size in the file, not in the write.
                    let mut from = at;
                    while from < end {
                        let to = ((from / block + 1) * block).min(end);
                        let kept = match &mut prefix {
                            Some(0) => false,
                            Some(left) => {
                                *left -= 1;
                                true
                            }
                            None => dice.roll(one_in + 1) > 0,
                        };
                        if kept {
                            let part = bytes[from - at..to - at].to_vec();
                            Change::Write { at: from, bytes: part }.apply(&mut self.durable);
                        }
                        from = to;
                    }
                }
                truncate @ Change::Truncate(_) => {
                    if dice.roll(2) == 0 {
                        truncate.apply(&mut self.durable);
                    }
                }
            }
        }
    }
}

impl Change {
    fn blocks(&self, block: usize) -> usize {
        match self {
            Self::Write { at, bytes } => (at + bytes.len()).div_ceil(block) - at / block,
            Self::Truncate(_) => 0,
        }
    }
}
