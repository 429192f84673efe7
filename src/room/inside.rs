//! What a room says of itself, for whoever looks inside.
//!
//! Numbers are kept as things happen, and nothing of the document is walked for them. Of the sessions as many are shown as
//! are asked for, those first for which most waits.

use std::cmp::Reverse;

use smallvec::SmallVec;

use crate::{
    access::Access,
    budgets::Network,
    document::Totals,
    store::{NodeId, Seq},
};

use super::{
    MS, Micros, Room, SECOND,
    session::{Present, Reading, Session, SessionId},
};

/// Rates are those of so many seconds.
const SECONDS: usize = 10;

/// Client ids of one session that are shown at most.
const CLIENTS_MAX: usize = 16;

/// Who looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Onlooker {
    /// Somebody who may read the document.
    Reader,
    /// Whoever runs the server.
    Operator,
}

/// What is inside a room.
#[derive(Debug, Clone)]
pub struct Inside {
    /// What the document holds.
    pub totals: Totals,
    /// The last position that was appended.
    pub appended: Seq,
    /// The last one that is durable.
    pub durable: Seq,
    /// Bytes that are not durable yet, those that have not left included.
    pub unsaved_bytes: usize,
    /// Bytes and records behind the newest snapshot.
    pub since_snapshot: (usize, usize),
    /// Updates that changed the document since it was opened.
    pub updates: u64,
    /// Such updates in a second, in the mean of the last ten.
    pub updates_per_second: f64,
    /// Sessions that the onlooker may know of.
    pub sessions: usize,
    /// Some of them.
    pub shown: Vec<Seen>,
}

/// A session, as somebody sees it who looks inside.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Who, by which wire, since when.
    pub present: Present,
    /// Where it comes from, for the operator.
    pub network: Option<Network>,
    /// The server that it is connected to, where there are several.
    pub node: Option<NodeId>,
    /// For so many seconds nothing was heard of it.
    pub silent_seconds: u64,
    /// What it has of the document.
    pub reading: &'static str,
    /// Versions of the document that its socket has not taken.
    pub behind: u64,
    /// Bytes of memory that wait for its socket, for all sessions there.
    pub waiting_bytes: usize,
    /// Some client ids that it speaks for in presence.
    pub clients: SmallVec<[u64; 2]>,
}

impl Room {
    /// What is inside, with `sessions_max` sessions at most. Costs a look at each session.
    #[must_use]
    pub fn inside(&self, onlooker: Onlooker, sessions_max: usize, now: Micros) -> Inside {
        let is_shown = |session: &Session| {
            onlooker == Onlooker::Operator || self.policy.shows_readers || session.identity.access != Access::Read
        };
        let shown = self.sessions.iter().filter(|(_, session)| is_shown(session));
        let mut order: Vec<(Reverse<usize>, SessionId)> = shown
            .map(|(id, session)| (Reverse(session.outbox.line().waiting_bytes()), *id))
            .collect();
        let sessions = order.len();
        if sessions > sessions_max {
            order.select_nth_unstable(sessions_max);
            order.truncate(sessions_max);
        }
        order.sort_unstable();
        let seen = |(_, id): &(_, SessionId)| Some(self.seen(onlooker, *id, self.sessions.get(id)?, now));
        Inside {
            totals: self.document.totals(),
            appended: self.journal.appended,
            durable: self.journal.durable,
            unsaved_bytes: self.journal.unsaved_bytes() + self.batch.bytes,
            since_snapshot: self.journal.since_snapshot(),
            updates: self.pulse.total(),
            updates_per_second: self.pulse.per_second(now),
            sessions,
            shown: order.iter().filter_map(seen).collect(),
        }
    }

    fn seen(&self, onlooker: Onlooker, id: SessionId, session: &Session, now: Micros) -> Seen {
        let is_operator = onlooker == Onlooker::Operator;
        let mut present = present(id, session, now);
        // Who somebody is by their token is told to others if it is told to them in presence as well.
        present.user = present.user.filter(|_| is_operator || self.policy.stamps_presence);
        let line = session.outbox.line();
        let network = line.network().filter(|_| is_operator);
        let (reading, behind) = self.reading_of(session);
        Seen {
            present,
            network,
            node: line.node(),
            silent_seconds: now.saturating_sub(line.heard_ms() * MS) / SECOND,
            reading,
            behind,
            waiting_bytes: line.waiting_bytes(),
            clients: self.presence.spoken_for(id).take(CLIENTS_MAX).collect(),
        }
    }

    fn reading_of(&self, session: &Session) -> (&'static str, u64) {
        let untaken = || self.version.saturating_sub(session.outbox.taken_version());
        match session.reading {
            Reading::New => ("new", 0),
            // An author is not sent its own edits: where nothing waits, nothing is lacking.
            Reading::Live { .. } if !session.outbox.holds_sync() => ("live", 0),
            Reading::Live { .. } => ("live", untaken()),
            Reading::Behind { .. } => ("behind", untaken()),
            Reading::Streaming(_) => ("catching up", untaken()),
        }
    }
}

/// A session, as an operator sees it.
pub(super) fn present(id: SessionId, session: &Session, now: Micros) -> Present {
    Present {
        session: id,
        user: session.identity.subject.clone(),
        by: session.identity.by.clone(),
        access: session.identity.access,
        wire: session.dialect.wire(),
        seconds: now.saturating_sub(session.joined) / SECOND,
    }
}

/// How often something happens, second by second.
#[derive(Debug, Default)]
pub(super) struct Pulse {
    /// The second that is counted in.
    second: u64,
    counts: [u32; SECONDS],
    total: u64,
}

impl Pulse {
    /// It happens.
    pub fn beat(&mut self, now: Micros) {
        let second = now / SECOND;
        // A clock that is read on several threads may be behind by a moment.
        let passed = second.saturating_sub(self.second);
        for gone in 0..passed.min(SECONDS as u64) {
            self.counts[Self::at(second - gone)] = 0;
        }
        self.second = self.second.max(second);
        let count = &mut self.counts[Self::at(self.second)];
        *count = count.saturating_add(1);
        self.total += 1;
    }

    /// How often it happened.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// How often it happens in a second.
    pub fn per_second(&self, now: Micros) -> f64 {
        let passed = (now / SECOND).saturating_sub(self.second);
        let known = (SECONDS as u64).saturating_sub(passed);
        let beats = (0..known).map(|ago| self.counts[Self::at(self.second.wrapping_sub(ago))]);
        f64::from(beats.sum::<u32>()) / SECONDS as f64
    }

    fn at(second: u64) -> usize {
        (second % SECONDS as u64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i3_a_rate_is_that_of_the_last_ten_seconds() {
        let mut pulse = Pulse::default();
        let at = |second: u64| 1_000 * SECOND + second * SECOND;
        assert_eq!(pulse.per_second(at(0)), 0.0);
        for second in 0..20 {
            (0..3).for_each(|_| pulse.beat(at(second)));
        }

        assert_eq!((pulse.total(), pulse.per_second(at(19))), (60, 3.0));
        assert_eq!(pulse.per_second(at(24)), 1.5);
        assert_eq!(pulse.per_second(at(29)), 0.0);
        pulse.beat(at(60));
        assert_eq!(pulse.per_second(at(60)), 0.1);
        pulse.beat(at(59));
        assert_eq!(pulse.per_second(at(60)), 0.2);
    }
}
