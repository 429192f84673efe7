//! Leaving memory: a document that nobody uses.

use super::{Effect, Micros, Room, SECOND, states::Encoding};

/// How often a document that nobody uses looks whether memory is short.
const LOOK: Micros = 5 * SECOND;
/// When it tries again to leave, if it could not.
const AGAIN: Micros = SECOND;

/// When a document leaves memory unless somebody comes.
#[derive(Debug)]
pub(super) struct Leaving {
    at: Micros,
    look: Micros,
}

impl Leaving {
    /// When it is to be looked at next.
    pub fn due(&self) -> Micros {
        self.at.min(self.look)
    }
}

impl Room {
    /// Nobody uses it: it leaves memory at `at`, or sooner if memory is short.
    pub(super) fn leaves_at(&mut self, at: Micros, now: Micros) {
        self.leaving = Some(Leaving { at, look: now + LOOK });
    }

    pub(super) fn leaves_if_due(&mut self, now: Micros, effects: &mut Vec<Effect>) {
        let Some(leaving) = self.leaving.as_mut().filter(|leaving| leaving.due() <= now) else {
            return;
        };
        leaving.look = now + LOOK;
        if leaving.at <= now || self.memory.is_short() {
            self.part(now, effects);
        }
    }

    /// Nobody uses the document: save what a quick opening needs, then go.
    fn part(&mut self, now: Micros, effects: &mut Vec<Effect>) {
        if !self.all_saved() || self.journal.snapshotting || self.encoding != Encoding::Nothing {
            return self.leaves_at(now + AGAIN, now);
        }
        if self.journal.wants_parting_snapshot() {
            // Where others are being encoded, this one has its turn soon.
            let has_begun = self.encode_snapshot(effects);
            let pause = if has_begun { self.policy.idle_timeout } else { AGAIN };
            return self.leaves_at(now + pause, now);
        }
        self.leaving = None;
        effects.push(Effect::Unload);
    }
}
