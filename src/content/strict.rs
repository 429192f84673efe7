//! What yrs asks of a state on top of what the document's gate asks: rules G14 to G19, judged against nothing.
//!
//! Clocks alone say whether a referenced struct exists. They do not say *what* it is, and yrs believes the update: a
//! parent that is no type, text where it expects values, a chain of types so deep that its deletion overflows the stack.
//! So each struct has a trait here, one word: how deep it is nested, in what, whether it is a type, an entry of a map, or
//! gone. Equal neighbours share one entry.

use std::borrow::Cow;

use smallvec::SmallVec;

use super::{NotShown, crowd::Crowd};
use crate::{
    limits::{CROWDED_CLIENTS_MIN, TYPE_DEPTH_MAX},
    protocol::update::{
        CheckedUpdate, Id, Section,
        encode::{Out, assemble, gc},
        piece::Whole,
        structs::{ANY, EMBED, FORMAT, GC, Parent, STRING, TYPE},
        walk::{Lane, Step, Walk},
    },
};

/// What is known of a struct: what holds it, at which depth (0: a root type), and flags.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Trait(u32);

impl Trait {
    const KEYED: u32 = 1 << 17;
    /// Held by a text; held by another nested type.
    const IN_TEXT: u32 = 1 << 18;
    const IN_OTHER: u32 = 1 << 19;
    /// It is a type itself; and that a text.
    const TYPE: u32 = 1 << 20;
    const TEXT: u32 = 1 << 21;

    /// Collected: Yjs makes everything that refers to it collected, too.
    const GONE: Self = Self(1 << 16);

    fn in_root(keyed: bool) -> Self {
        Self(if keyed { Self::KEYED } else { 0 })
    }

    /// In the type that this struct is, if it is one.
    fn inside(self, keyed: bool) -> Option<Self> {
        if self.0 & Self::TYPE == 0 {
            return None;
        }
        let holder = if self.0 & Self::TEXT != 0 {
            Self::IN_TEXT
        } else {
            Self::IN_OTHER
        };
        Some(Self((self.depth() + 1) | holder | if keyed { Self::KEYED } else { 0 }))
    }

    fn is_keyed(self) -> bool {
        self.0 & Self::KEYED != 0
    }

    fn depth(self) -> u32 {
        self.0 & 0xffff
    }

    /// Where it is, whatever it is itself.
    fn place(self) -> Self {
        Self(self.0 & !(Self::TYPE | Self::TEXT))
    }

    /// A type in this place.
    fn holding(self, text: bool) -> Self {
        Self(self.0 | Self::TYPE | if text { Self::TEXT } else { 0 })
    }
}

/// The traits of one client's structs, by the first clock that they hold from.
type Traits = SmallVec<[(u32, Trait); 2]>;

struct Strict<'a> {
    state: &'a CheckedUpdate,
    /// For each section.
    traits: Vec<Traits>,
    /// For each section: structs, and bytes that take the place of others, in order.
    counts: Vec<u32>,
    replaced: Vec<Vec<(usize, usize, Vec<u8>)>>,
}

/// Judges a whole state that refers to nothing else. What comes back means the same and is safe for yrs: what is in no
/// type is collected, and an entry of a map covers one clock.
pub(super) fn judge(state: &CheckedUpdate) -> Result<CheckedUpdate, NotShown> {
    let unsafe_with = |why: &str| NotShown::NotByYrs(format!("yrs is not safe with {why}"));
    if is_crowded(state) {
        return Err(unsafe_with("client ids that collide"));
    }
    let start = |section: &Section| Lane {
        at: section.from,
        clock: section.start,
        left: section.count,
        trim: 0,
    };
    let sections = &state.sections;
    let mut strict = Strict {
        state,
        traits: vec![Traits::new(); sections.len()],
        counts: vec![0; sections.len()],
        replaced: vec![Vec::new(); sections.len()],
    };
    let mut walk = Walk::new(state, sections.iter().map(start).collect());
    while let Some(step) = walk.next(|_| false) {
        strict.take(&step).map_err(unsafe_with)?;
    }
    let is_whole =
        |(section, lane): (&Section, &Lane)| section.start == 0 && lane.clock == section.end && !section.gaps;
    if !sections.iter().zip(&walk.lanes).all(is_whole) {
        return Err(NotShown::NotByYrs("it is no whole state".to_owned()));
    }
    Ok(strict.assemble())
}

fn is_crowded(state: &CheckedUpdate) -> bool {
    let clients: Vec<u64> = state.spans().map(|(client, _)| client).collect();
    if clients.len() < CROWDED_CLIENTS_MIN {
        return false;
    }
    let mut crowd = Crowd::default();
    clients.iter().enumerate().any(|(index, client)| {
        let refuses = crowd.refuses(*client, index + 1);
        crowd.add(*client, clients[..=index].iter().copied());
        refuses
    })
}

impl Strict<'_> {
    fn take(&mut self, step: &Step) -> Result<(), &'static str> {
        let is = self.look_at(step)?;
        let traits = &mut self.traits[step.lane];
        if traits.last().is_none_or(|(_, last)| *last != is) {
            traits.push((step.clock, is));
        }
        self.counts[step.lane] += 1;
        let (found, bytes) = (&step.found, self.state.bytes());
        let mut by = Vec::new();
        if is == Trait::GONE && found.kind() != GC {
            by = gc(found.len);
        } else if is.is_keyed() && found.kind() == ANY && found.len > 1 {
            let client = self.state.sections[step.lane].client;
            let whole = Whole {
                bytes,
                at: step.at,
                to: step.to,
                found,
                id: Id {
                    client,
                    clock: step.clock,
                },
            };
            whole.deleted(0, found.len - 1, &mut by);
            whole
                .piece(found.len - 1, 1, &mut by)
                .ok_or("a struct that cannot be cut")?;
            self.counts[step.lane] += 1;
        } else {
            return Ok(());
        }
        self.replaced[step.lane].push((step.at, step.to, by));
        Ok(())
    }

    /// What the struct is, by what it refers to.
    fn look_at(&self, step: &Step) -> Result<Trait, &'static str> {
        let found = &step.found;
        if found.kind() == GC {
            return Ok(Trait::GONE);
        }
        let left = found.origin.map(|id| self.look_up(id));
        let right = found.right_origin.map(|id| self.look_up(id));
        let place = match (left, right) {
            (Some(left), Some(right)) if left == Trait::GONE || right == Trait::GONE => return Ok(Trait::GONE),
            (Some(left), Some(right)) if left.place() != right.place() => {
                return Err("neighbours that are not in one place");
            }
            (Some(neighbour), _) | (None, Some(neighbour)) => neighbour.place(),
            (None, None) => match found.parent {
                Parent::Root | Parent::Neighbours => Trait::in_root(found.keyed),
                Parent::Item(id) => match self.look_up(id).inside(found.keyed) {
                    Some(place) => place,
                    None => return Ok(Trait::GONE),
                },
            },
        };
        if place == Trait::GONE {
            return Ok(Trait::GONE);
        }
        match found.kind() {
            STRING | EMBED | FORMAT if place.is_keyed() || place.0 & Trait::IN_OTHER != 0 => {
                Err("text where no text can be")
            }
            TYPE if place.depth() >= TYPE_DEPTH_MAX => Err("shared types nested too deeply"),
            TYPE => Ok(place.holding(found.holds_text)),
            _ => Ok(place),
        }
    }

    /// What a struct is that was taken before.
    fn look_up(&self, id: Id) -> Trait {
        let Some(traits) = self.state.section_of(id.client).map(|index| &self.traits[index]) else {
            return Trait::GONE;
        };
        match traits.partition_point(|(start, _)| *start <= id.clock) {
            0 => Trait::GONE,
            after => traits[after - 1].1,
        }
    }

    fn assemble(&self) -> CheckedUpdate {
        let bytes = self.state.bytes();
        let section = |(index, section): (usize, &Section)| {
            let mut parts: SmallVec<[Cow<[u8]>; 1]> = SmallVec::new();
            let mut from = section.from;
            for (at, to, by) in &self.replaced[index] {
                parts.push(Cow::Borrowed(&bytes[from..*at]));
                parts.push(Cow::Borrowed(by));
                from = *to;
            }
            parts.push(Cow::Borrowed(&bytes[from..section.to]));
            Out {
                client: section.client,
                start: section.start,
                end: section.end,
                count: self.counts[index],
                parts,
            }
        };
        let sections: Vec<Out> = self.state.sections.iter().enumerate().map(section).collect();
        assemble(&sections, self.state.deletions().into())
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    /// The answer to a state of one client, `1`.
    fn judged(count: u8, structs: &[u8]) -> Result<Bytes, String> {
        let state = [&[1, count, 1, 0], structs, &[0]].concat();
        let checked = CheckedUpdate::check(state.into()).map_err(|error| error.to_string())?;
        judge(&checked)
            .map(|state| state.bytes().clone())
            .map_err(|why| why.to_string())
    }

    const TEXT: &[u8] = b"\x04\x01\x01t\x01x";
    const LIST: &[u8] = b"\x07\x01\x01t\x00";

    #[test]
    fn v5_text_is_in_a_root_or_in_a_text() {
        let inside = |kind: u8| [&[7, 1, 1, b't', kind][..], &[4, 0, 1, 0, 1, b'x']].concat();

        assert!(judged(1, TEXT).is_ok());
        assert!(judged(2, &inside(2)).is_ok());
        assert!(judged(2, &inside(0)).unwrap_err().contains("text where no text can be"));
        assert!(judged(1, b"\x24\x01\x01t\x01k\x01x").is_err(), "an entry of a map");
    }

    #[test]
    fn v5_what_is_in_no_type_is_collected() {
        let in_text = [TEXT, &[8, 0, 1, 0, 1, 126]].concat();

        assert_eq!(judged(2, &in_text).unwrap()[4..], [TEXT, &[0, 1], &[0]].concat());
    }

    #[test]
    fn v5_an_entry_of_a_map_covers_one_clock() {
        let entry = b"\x28\x01\x01t\x01k\x02\x7e\x78";

        let judged = judged(1, entry).unwrap();

        assert_eq!(judged[1], 2);
        assert_eq!(judged[4..], *b"\x21\x01\x01t\x01k\x01\xa8\x01\x00\x01\x78\x00");
    }

    #[test]
    fn v5_neighbours_are_in_one_place_and_nothing_is_missing() {
        let apart = [LIST, &[8, 0, 1, 0, 1, 126], &[0xc8, 1, 0, 1, 1, 1, 126]].concat();

        assert!(judged(3, &apart).unwrap_err().contains("not in one place"));
        assert!(judged(1, b"\x84\x02\x00\x01x").unwrap_err().contains("no whole state"));
    }
}
