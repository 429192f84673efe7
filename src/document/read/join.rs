//! The same state in as few structs as may be, for whoever integrates it again and joins neighbours at a price.
//!
//! Neighbours are one struct where Yjs joins them: same client and kind, the next clock, the origin right before it, the
//! same right origin, next to each other in their list. Values of a key are left alone. What the state's own delete set
//! deletes comes as deleted structs, so that nobody has to cut for it. At a right origin that comes before its origin
//! the state is left as it is: there Yjs goes by how structs were cut.

use super::{NONE, Parent, Piece, Place, ReadError, Reading, Steps, Struct};
use crate::protocol::{
    lib0::{write_var_bytes, write_var_uint},
    update::structs::{ANY, DELETED, GC, HAS_KEY, HAS_ORIGIN, HAS_RIGHT_ORIGIN, JSON, STRING},
};

/// A state that was joined.
#[derive(Debug)]
pub(crate) struct Joined {
    /// Yjs update v1, with an empty delete set.
    pub bytes: Vec<u8>,
    /// What cutting structs again wherever something refers into them costs, in bytes copied, at most.
    pub cutting_bytes: u64,
    /// Whether some right origin comes before its origin. Clients of Yjs themselves do not agree on such a document.
    pub is_crossed: bool,
}

/// A struct that grows.
struct Run {
    kind: u8,
    len: u32,
    header: Vec<u8>,
    content: Vec<u8>,
}

impl Reading {
    /// The state with its neighbours joined, in at most `steps_max` steps.
    pub(crate) fn joined(&self, steps_max: u64) -> Result<Joined, ReadError> {
        let mut steps = Steps::new(steps_max);
        steps.spend(self.pieces.len())?;
        let crossed = self.crossed();
        let mut bytes = Vec::with_capacity(self.bytes.len());
        write_var_uint(&mut bytes, self.clients.len() as u64);
        // The first clock and the size of each struct that is written, by section.
        let mut written: Vec<Vec<(u32, u32)>> = Vec::with_capacity(self.clients.len());
        // Where what is written refers to: the first clock behind each cut.
        let mut cuts: Vec<Place> = Vec::new();
        for (section, client) in self.clients.iter().enumerate() {
            let (from, to) = (self.starts[section], self.starts[section + 1]);
            let (mut structs, mut sizes) = (Vec::new(), Vec::new());
            let mut run: Option<Run> = None;
            let finish = |run: Option<Run>, structs: &mut Vec<u8>| {
                let Some(run) = run else { return };
                structs.extend_from_slice(&run.header);
                if matches!(run.kind, GC | DELETED | ANY | JSON) {
                    write_var_uint(structs, u64::from(run.len));
                } else if run.kind == STRING {
                    write_var_uint(structs, run.content.len() as u64);
                }
                structs.extend_from_slice(&run.content);
            };
            for index in from..to {
                let piece = &self.pieces[index as usize];
                let kind = self.kind_as_told(piece);
                steps.spend_bytes(self.cost(piece, kind))?;
                match &mut run {
                    Some(run) if index > from && run.kind == kind && self.follows(index, kind, &crossed) => {
                        run.len += piece.len;
                        self.copy(piece, kind, &mut run.content);
                    }
                    _ => {
                        finish(run.take(), &mut structs);
                        sizes.push((piece.clock, 0));
                        let found = &self.structs[piece.of as usize];
                        cuts.extend(found.origin.map(|Place { section, clock }| Place {
                            section,
                            clock: clock + 1,
                        }));
                        cuts.extend(found.right_origin);
                        let mut begun = Run {
                            kind,
                            len: piece.len,
                            header: self.header(piece, kind),
                            content: Vec::new(),
                        };
                        self.copy(piece, kind, &mut begun.content);
                        run = Some(begun);
                    }
                }
                if let Some((_, size)) = sizes.last_mut() {
                    *size += self.cost(piece, kind) as u32;
                }
            }
            finish(run, &mut structs);
            write_var_uint(&mut bytes, sizes.len() as u64);
            write_var_uint(&mut bytes, *client);
            bytes.push(0);
            bytes.extend_from_slice(&structs);
            written.push(sizes);
        }
        bytes.push(0);
        let cut_at = |place: Place| {
            let sizes = &written[place.section as usize];
            let after = sizes.partition_point(|(clock, _)| *clock <= place.clock);
            match after.checked_sub(1).map(|at| sizes[at]) {
                Some((clock, size)) if clock < place.clock => u64::from(size),
                _ => 0,
            }
        };
        steps.spend(cuts.len())?;
        Ok(Joined {
            bytes,
            cutting_bytes: cuts.into_iter().map(cut_at).sum(),
            is_crossed: !crossed.is_empty(),
        })
    }

    /// The pieces that some right origin begins at which comes before its origin, in order.
    fn crossed(&self) -> Vec<u32> {
        let pairs = self
            .structs
            .iter()
            .filter_map(|found| found.origin.zip(found.right_origin));
        let crossed = pairs.filter(|(left, right)| left.section == right.section && right.clock <= left.clock);
        let mut crossed: Vec<u32> = crossed.map(|(_, right)| self.piece_at(right)).collect();
        crossed.sort_unstable();
        crossed.dedup();
        crossed
    }

    /// Whether the piece goes into one struct with the one before it, which is of the same kind and client.
    fn follows(&self, index: u32, kind: u8, crossed: &[u32]) -> bool {
        if kind == GC {
            return true;
        }
        let (before, piece) = (&self.pieces[index as usize - 1], &self.pieces[index as usize]);
        if crossed.binary_search(&index).is_ok() {
            return before.of == piece.of;
        }
        if !matches!(kind, STRING | ANY | JSON | DELETED) || before.right != index {
            return false;
        }
        if before.of == piece.of {
            return true;
        }
        let (last, found) = (&self.structs[before.of as usize], &self.structs[piece.of as usize]);
        let before_it = Place {
            section: found.section,
            clock: piece.clock - 1,
        };
        let is_keyed = self.lists[found.list as usize].keyed;
        found.origin == Some(before_it) && found.right_origin == last.right_origin && (!is_keyed || kind == DELETED)
    }

    fn kind_as_told(&self, piece: &Piece) -> u8 {
        let found = &self.structs[piece.of as usize];
        match found.list {
            NONE => GC,
            _ if piece.told => DELETED,
            _ => found.kind,
        }
    }

    /// About how many bytes somebody holds for a piece.
    fn cost(&self, piece: &Piece, kind: u8) -> usize {
        match kind {
            GC | DELETED => 0,
            ANY | JSON => (piece.to - piece.from) as usize + 32 * piece.len as usize,
            _ => (piece.to - piece.from) as usize,
        }
    }

    fn copy(&self, piece: &Piece, kind: u8, out: &mut Vec<u8>) {
        const HALF: &[u8] = "\u{fffd}".as_bytes();
        if matches!(kind, GC | DELETED) {
            return;
        }
        if piece.half_before {
            out.extend_from_slice(HALF);
        }
        out.extend_from_slice(&self.bytes[piece.from as usize..piece.to as usize]);
        if piece.half_after {
            out.extend_from_slice(HALF);
        }
    }

    fn header(&self, piece: &Piece, kind: u8) -> Vec<u8> {
        if kind == GC {
            return vec![GC];
        }
        let found: &Struct = &self.structs[piece.of as usize];
        let origin = if piece.clock == found.clock {
            found.origin
        } else {
            let clock = piece.clock - 1;
            Some(Place {
                section: found.section,
                clock,
            })
        };
        let flag = |is_set: bool, flag: u8| if is_set { flag } else { 0 };
        let mut out = vec![
            kind | flag(origin.is_some(), HAS_ORIGIN)
                | flag(found.right_origin.is_some(), HAS_RIGHT_ORIGIN)
                | flag(self.lists[found.list as usize].keyed, HAS_KEY),
        ];
        let write_id = |out: &mut Vec<u8>, place: Place| {
            write_var_uint(out, self.clients[place.section as usize]);
            write_var_uint(out, u64::from(place.clock));
        };
        let text = |(from, to): (u32, u32)| &self.bytes[from as usize..to as usize];
        origin.into_iter().for_each(|place| write_id(&mut out, place));
        found
            .right_origin
            .into_iter()
            .for_each(|place| write_id(&mut out, place));
        if origin.is_some() || found.right_origin.is_some() {
            return out;
        }
        match found.parent {
            Parent::Item(place) => {
                out.push(0);
                write_id(&mut out, place);
            }
            Parent::Root(root) => {
                out.push(1);
                write_var_bytes(&mut out, text(self.types[root as usize].name));
            }
            // Such a struct has an origin or a right origin.
            Parent::Neighbours => {}
        }
        if found.key != NONE {
            write_var_bytes(&mut out, text(self.keys[found.key as usize]));
        }
        out
    }
}
