//! Who is here: the awareness states of one document, latest wins.
//!
//! Yjs awareness is a map from client id to (clock, JSON). The room keeps it so that newcomers see
//! everybody at once, so that a closed connection's cursors go, and so that nobody speaks for
//! somebody else: a client id belongs to a person, and the newest clock speaks, from whichever session of that person.
//! Providers re-send every state that they receive, so an entry that is not newer is dropped without a word.
//!
//! Who is nobody's subject is the same person as another one without a name only if that one's line has been silent since
//! it came: a page whose line died comes back on another one.
//!
//! A client whose clock is behind what receivers know of it would not be seen. It is told that it is gone, at the clock
//! that they know: it answers with the next one. No session is told a state of a client id of its own that it did not
//! write: a page would take that for its own state.
//!
//! What must stay true: `changed` holds every client whose state the receivers have not been told
//! yet; a client in `states` has an owner that is a session of this room.

use std::sync::Arc;

use bytes::Bytes;
use rustc_hash::{FxHashMap, FxHashSet};
use smallvec::SmallVec;

use crate::{
    access::{Identity, Person, stamp},
    limits::{
        AWARENESS_CLIENTS_PER_SESSION_MAX, AWARENESS_EXPIRY_US, AWARENESS_FIRST_CLOCK_MAX, AWARENESS_HIGH_CLOCK,
        AWARENESS_HIGH_CLOCKS_MAX, AWARENESS_STATE_BYTES_MAX, AWARENESS_STEPS_AT_ONCE, AWARENESS_STEPS_PER_SECOND,
        SYNC_FRAME_BYTES_MAX,
    },
    protocol::awareness::{self, Entry},
};

use super::{Micros, SECOND, firsts::Firsts, session::SessionId};

/// Awareness updates, each of which comes in time on a slow line (F12).
pub type States = SmallVec<[Bytes; 1]>;

/// Writes what entries say.
#[must_use]
pub fn encode(entries: &[Entry]) -> States {
    awareness::encode_apart(&entries.iter().collect::<Vec<_>>(), SYNC_FRAME_BYTES_MAX)
}

/// The awareness of one document.
#[derive(Debug, Default)]
pub struct Presence {
    states: FxHashMap<u64, State>,
    /// The clock at which a client was removed, so that a late copy does not bring it back.
    removed: FxHashMap<u64, Removed>,
    changed: FxHashSet<u64>,
    /// Half of them is forgotten when there are more than this.
    forgets_above: usize,
    /// The clients in `states` by owner, and those that it took back and that are in `removed`.
    owned: FxHashMap<SessionId, SmallVec<[u64; 2]>>,
    /// Clients that a session has spoken for, and of which another one speaks.
    estranged: FxHashMap<SessionId, FxHashSet<u64>>,
    /// Whose client ids were first, of those that were their sessions' own.
    firsts: Firsts,
    /// Bytes of all states.
    bytes: usize,
    /// The same of each session.
    said: FxHashMap<SessionId, usize>,
    /// Nobody gives way to what is being said.
    is_full: bool,
    /// What was encoded for who came, and for who may have missed something, since changes were last told.
    told: Option<Told>,
    told_with_gone: Option<Told>,
    /// How often something was encoded for who came.
    told_times: u64,
}

/// What many are told.
#[derive(Debug)]
struct Told {
    clients: FxHashSet<u64>,
    states: States,
}

impl Told {
    fn for_one_of_many(&self, times: u64) -> Everybody {
        Everybody {
            states: self.states.clone(),
            shared: Some(times),
        }
    }
}

/// What somebody is told who comes.
#[derive(Debug)]
pub struct Everybody {
    /// Everybody's state.
    pub states: States,
    /// Which encoding it is, of those that several are told.
    pub shared: Option<u64>,
}

/// Keeps what was encoded for all, the `times`-th time, for those who come next.
fn share(made: Result<States, States>, entries: &[Entry], times: u64, kept: &mut Option<Told>) -> Everybody {
    match made {
        Ok(states) => {
            let clients = entries.iter().map(|entry| entry.client).collect();
            kept.insert(Told { clients, states }).for_one_of_many(times)
        }
        Err(states) => Everybody { states, shared: None },
    }
}

/// How long it is remembered who left, and whose the client id is.
const REMEMBERED: Micros = 2 * AWARENESS_EXPIRY_US;

/// So many are remembered at most; then the half that left first is forgotten.
const REMOVED_MAX: usize = 131_072;
/// What one of them takes, in bytes, about.
const REMOVED_BYTES: usize = 120;

/// What a state costs each receiver beside its JSON text, in bytes.
const ENTRY_BYTES: usize = 16;

/// Who says something.
#[derive(Debug, Clone, Copy)]
pub struct Speaker<'a> {
    /// From where.
    pub session: SessionId,
    /// Who that is.
    pub person: Person<&'a Arc<str>>,
    /// Who that is to be shown as, if its states are to say so.
    pub stamp: Option<&'a Identity>,
    /// Since when it is here.
    pub joined: Micros,
    /// Its own client id, if it said one before it was told of others: what it says later it may only repeat.
    pub own: Option<u64>,
}

impl Speaker<'_> {
    fn stamped(&self, client: u64, json: &Bytes) -> Bytes {
        let stamped = self.stamp.and_then(|identity| stamp(identity, client, json));
        stamped.map_or_else(|| json.clone(), Bytes::from)
    }
}

/// What came of what a session said.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// Entries that were not taken: the client id belongs to another person, this session uses too many, or all states
    /// together would be too much to tell a newcomer.
    pub refused: usize,
    /// What the session is to be told, so that others see it.
    pub corrections: SmallVec<[Entry; 1]>,
}

#[derive(Debug)]
struct State {
    clock: u32,
    json: Bytes,
    owner: SessionId,
    person: Person,
    renewed_us: Micros,
    begun: Begun,
}

/// Where the clock of a client began, as far as is remembered.
#[derive(Debug, Clone, Copy)]
struct Begun {
    clock: u32,
    at_us: Micros,
}

impl Begun {
    /// Whether a clock may have got that far.
    fn reaches(self, clock: u32, now: Micros) -> bool {
        let steps = AWARENESS_STEPS_AT_ONCE + now.saturating_sub(self.at_us) / SECOND * AWARENESS_STEPS_PER_SECOND;
        u64::from(clock) <= u64::from(self.clock) + steps
    }
}

impl State {
    fn new(clock: u32, json: &Bytes, speaker: Speaker, begun: Begun, now: Micros) -> Self {
        // Copied: a slice would keep the whole buffer that it was read into.
        Self {
            clock,
            json: Bytes::copy_from_slice(json),
            owner: speaker.session,
            person: speaker.person.cloned(),
            renewed_us: now,
            begun,
        }
    }

    fn entry(&self, client: u64) -> Entry {
        Entry {
            client,
            clock: self.clock,
            state: Some(self.json.clone()),
        }
    }

    /// `heard` is when a session was last heard of.
    fn is_of(&self, speaker: Speaker, heard: impl Fn(SessionId) -> Micros) -> bool {
        self.owner == speaker.session
            || self.person.is(&speaker.person)
            || (self.person.may_be(&speaker.person) && heard(self.owner) < speaker.joined)
    }
}

#[derive(Debug)]
struct Removed {
    clock: u32,
    person: Person,
    at_us: Micros,
    begun: Begun,
}

impl Removed {
    fn entry(&self, client: u64) -> Entry {
        Entry {
            client,
            clock: self.clock,
            state: None,
        }
    }
}

impl Presence {
    /// The clients that a session speaks for.
    pub fn spoken_for(&self, session: SessionId) -> impl Iterator<Item = u64> + '_ {
        let owned = self.owned.get(&session).into_iter().flatten().copied();
        owned.filter(move |client| self.owner(*client) == Some(session))
    }

    /// Takes what a session says. `bytes_max` bounds all states together; `heard` is when a session was last heard of.
    pub fn hear(
        &mut self,
        speaker: Speaker,
        entries: &[Entry],
        bytes_max: usize,
        now: Micros,
        heard: impl Fn(SessionId) -> Micros,
    ) -> Answer {
        let mut answer = Answer::default();
        self.is_full = false;
        for entry in entries {
            match (self.states.get(&entry.client), &entry.state) {
                (Some(state), None) if state.owner == speaker.session => {
                    if entry.clock >= state.clock {
                        self.remove(entry.client, entry.clock, now);
                    }
                }
                (Some(state), None) => answer.refused += usize::from(entry.clock > state.clock),
                (Some(state), Some(json)) => {
                    let is_own = speaker.own == Some(entry.client);
                    let is_of = state.is_of(speaker, &heard) || self.was_of(speaker, entry.client);
                    let reaches = state.begun.reaches(entry.clock, now);
                    if !is_of && (is_own || entry.clock > state.clock) {
                        answer.refused += 1;
                        self.estrange(speaker.session, entry.client);
                    } else if entry.clock > state.clock && !reaches {
                        answer.refused += 1;
                    } else if entry.clock > state.clock {
                        answer.refused += usize::from(!self.renew(entry, json, speaker, bytes_max, now));
                    } else if is_own && is_of && state.owner != speaker.session {
                        // It came back on another line, perhaps behind what its receivers know.
                        if entry.clock < state.clock {
                            answer.corrections.push(self.gone(entry.client));
                        }
                        self.pass(entry.client, speaker, now);
                    }
                }
                (None, None) => {}
                (None, Some(json)) => match self.removed.get(&entry.client) {
                    Some(removed)
                        if removed.person.is_not(&speaker.person)
                            && removed.at_us + REMEMBERED > now
                            && !self.was_of(speaker, entry.client) =>
                    {
                        answer.refused += 1;
                        self.estrange(speaker.session, entry.client);
                    }
                    Some(removed) if entry.clock <= removed.clock => {
                        if speaker.own == Some(entry.client) {
                            answer.corrections.push(removed.entry(entry.client));
                        }
                    }
                    Some(removed) if !removed.begun.reaches(entry.clock, now) => answer.refused += 1,
                    None if entry.clock > AWARENESS_FIRST_CLOCK_MAX => answer.refused += 1,
                    _ => answer.refused += usize::from(!self.begin(entry, json, speaker, bytes_max, now)),
                },
            }
        }
        answer
    }

    /// Whether somebody says its own client id, and it was that person's before it was anybody else's.
    fn was_of(&self, speaker: Speaker, client: u64) -> bool {
        speaker.own == Some(client) && self.firsts.is_of(client, speaker.person.named())
    }

    /// A client that is not here comes; false when there is no room for it.
    fn begin(&mut self, entry: &Entry, json: &Bytes, speaker: Speaker, bytes_max: usize, now: Micros) -> bool {
        // Of who says too many, or where nothing more has room, nothing is read.
        if !self.may_own(speaker.session, entry.client) || self.has_no_room(bytes_max) {
            return false;
        }
        let json = &speaker.stamped(entry.client, json);
        let bytes = json.len() + ENTRY_BYTES;
        let has_room = self.makes_room(bytes, speaker.session, bytes_max, now);
        if !has_room || !self.own(speaker.session, entry.client) {
            return false;
        }
        self.says(speaker.session, json.len());
        self.reconcile(speaker.session, entry.client);
        let known = self.removed.remove(&entry.client).map(|removed| removed.begun);
        let begun = known.unwrap_or(Begun {
            clock: entry.clock,
            at_us: now,
        });
        if speaker.own == Some(entry.client) {
            self.firsts.remember(entry.client, speaker.person.named());
        }
        self.states
            .insert(entry.client, State::new(entry.clock, json, speaker, begun, now));
        self.changed.insert(entry.client);
        true
    }

    /// A client that is here has another state; false when there is no room for it.
    fn renew(&mut self, entry: &Entry, json: &Bytes, speaker: Speaker, bytes_max: usize, now: Micros) -> bool {
        let json = &speaker.stamped(entry.client, json);
        let Some(known) = self.states.get(&entry.client) else {
            return false;
        };
        let (before, begun) = (known.json.len(), known.begun);
        let more = json.len().saturating_sub(before);
        if more > 0 && !self.makes_room(more, speaker.session, bytes_max, now) {
            return false;
        }
        // It may be what gave way.
        if !self.states.contains_key(&entry.client) {
            return false;
        }
        if !self.pass(entry.client, speaker, now) {
            return false;
        }
        self.says_no_more(speaker.session, before);
        self.says(speaker.session, json.len());
        self.states
            .insert(entry.client, State::new(entry.clock, json, speaker, begun, now));
        self.changed.insert(entry.client);
        true
    }

    /// From now on this session speaks for a client that is here; false when it speaks for too many.
    fn pass(&mut self, client: u64, speaker: Speaker, now: Micros) -> bool {
        let Some(owner) = self.owner(client) else { return false };
        if owner == speaker.session {
            return true;
        }
        if !self.own(speaker.session, client) {
            return false;
        }
        if let Some(owned) = self.owned.get_mut(&owner) {
            owned.retain(|owned| *owned != client);
        }
        self.estrange(owner, client);
        self.reconcile(speaker.session, client);
        let json_bytes = self.states.get(&client).map_or(0, |state| state.json.len());
        self.says_no_more(owner, json_bytes);
        self.says(speaker.session, json_bytes);
        if let Some(state) = self.states.get_mut(&client) {
            (state.owner, state.person, state.renewed_us) = (speaker.session, speaker.person.cloned(), now);
        }
        true
    }

    /// Whether no state at all has room, and nobody gives way.
    fn has_no_room(&self, bytes_max: usize) -> bool {
        self.is_full && self.bytes + ENTRY_BYTES >= bytes_max
    }

    /// Whether there is room for so many more bytes of a session. Of sessions that say more than a page does the one that says
    /// most gives way, as long as it says more than this one.
    fn makes_room(&mut self, bytes: usize, session: SessionId, bytes_max: usize, now: Micros) -> bool {
        while self.bytes + bytes > bytes_max && !self.is_full {
            let own = self.said.get(&session).copied().unwrap_or_default() + bytes;
            let keeps = own.max(AWARENESS_STATE_BYTES_MAX + ENTRY_BYTES);
            let greediest = self.said.iter().map(|(session, said)| (*said, *session)).max();
            let greediest = greediest.filter(|(said, greediest)| *greediest != session && *said > keeps);
            let before = self.bytes;
            if let Some((_, greediest)) = greediest {
                self.give_way(greediest, keeps, bytes_max.saturating_sub(bytes), now);
            }
            // Looked for once in each message: that costs a look at each session.
            self.is_full = self.bytes == before;
        }
        self.bytes + bytes <= bytes_max
    }

    /// Removes the longest states of a session until it says no more than it keeps, or all say no more than is wanted.
    fn give_way(&mut self, session: SessionId, keeps: usize, wanted: usize, now: Micros) {
        let owned = self.owned.get(&session).into_iter().flatten();
        let states = owned.filter_map(|client| Some((*client, self.states.get(client)?)));
        let states = states.filter(|(_, state)| state.owner == session);
        let mut states: Vec<(usize, u64, u32)> = states
            .map(|(client, state)| (state.json.len(), client, state.clock))
            .collect();
        states.sort_unstable();
        while self.bytes > wanted
            && self.said.get(&session).is_some_and(|said| *said > keeps)
            && let Some((_, client, clock)) = states.pop()
        {
            self.remove(client, clock, now);
        }
    }

    /// Counts the bytes of a state among those of a session.
    fn says(&mut self, session: SessionId, json_bytes: usize) {
        self.bytes += json_bytes + ENTRY_BYTES;
        *self.said.entry(session).or_default() += json_bytes + ENTRY_BYTES;
    }

    fn says_no_more(&mut self, session: SessionId, json_bytes: usize) {
        self.bytes -= json_bytes + ENTRY_BYTES;
        if let Some(said) = self.said.get_mut(&session) {
            *said -= json_bytes + ENTRY_BYTES;
            if *said == 0 {
                self.said.remove(&session);
            }
        }
    }

    fn may_own(&self, session: SessionId, client: u64) -> bool {
        let owned = self.owned.get(&session);
        owned.is_none_or(|owned| owned.contains(&client) || owned.len() < AWARENESS_CLIENTS_PER_SESSION_MAX)
    }

    /// Counts a client among those of a session; false when it has too many.
    fn own(&mut self, session: SessionId, client: u64) -> bool {
        let owned = self.owned.entry(session).or_default();
        if owned.contains(&client) {
            return true;
        }
        if owned.len() >= AWARENESS_CLIENTS_PER_SESSION_MAX {
            return false;
        }
        owned.push(client);
        true
    }

    fn estrange(&mut self, session: SessionId, client: u64) {
        let estranged = self.estranged.entry(session).or_default();
        if estranged.len() < AWARENESS_CLIENTS_PER_SESSION_MAX {
            estranged.insert(client);
        }
    }

    fn reconcile(&mut self, session: SessionId, client: u64) {
        if let Some(estranged) = self.estranged.get_mut(&session) {
            estranged.remove(&client);
            if estranged.is_empty() {
                self.estranged.remove(&session);
            }
        }
    }

    /// What makes a client go on from the clock that is known of it.
    fn gone(&self, client: u64) -> Entry {
        Entry {
            client,
            clock: self.states.get(&client).map_or(0, |state| state.clock),
            state: None,
        }
    }

    /// The session that speaks for this client.
    #[must_use]
    pub fn owner(&self, client: u64) -> Option<SessionId> {
        self.states.get(&client).map(|state| state.owner)
    }

    /// `session` is gone, and its clients with it.
    pub fn leave(&mut self, session: SessionId, now: Micros) {
        self.estranged.remove(&session);
        for client in self.owned.remove(&session).unwrap_or_default() {
            if let Some(state) = self.states.get(&client).filter(|state| state.owner == session) {
                self.remove(client, state.clock, now);
            }
        }
    }

    /// Removes what was not renewed for 30 s, and forgets old removals.
    pub fn expire(&mut self, now: Micros) {
        // Those who came together have it.
        (self.told, self.told_with_gone) = (None, None);
        let expired = |state: &State| state.renewed_us + AWARENESS_EXPIRY_US <= now;
        let clients: Vec<(u64, u32)> = self
            .states
            .iter()
            .filter(|(_, state)| expired(state))
            .map(|(client, state)| (*client, state.clock))
            .collect();
        for (client, clock) in clients {
            self.remove(client, clock, now);
        }
        self.forget_but(|one| one.at_us + REMEMBERED > now);
        self.forgets_above = 0;
    }

    /// Half of those who left is forgotten: who left first.
    fn forget_half(&mut self) {
        let mut left: Vec<Micros> = self.removed.values().map(|one| one.at_us).collect();
        let middle = left.len() / 2;
        if middle > 0 {
            let up_to = *left.select_nth_unstable(middle).1;
            self.forget_but(|one| one.at_us > up_to);
        }
    }

    /// Forgets who left, but for these, and the last ones whose clocks are high.
    fn forget_but(&mut self, is_kept: impl Fn(&Removed) -> bool) {
        let (removed, states) = (&mut self.removed, &self.states);
        let before = removed.len();
        let is_high = |removed: &Removed| removed.clock > AWARENESS_HIGH_CLOCK;
        let mut high: Vec<Micros> = removed
            .values()
            .filter(|one| is_high(one))
            .map(|one| one.at_us)
            .collect();
        high.sort_unstable();
        // Of too many that are high the oldest go.
        let since = high.iter().rev().nth(AWARENESS_HIGH_CLOCKS_MAX).copied();
        let stays = |one: &Removed| is_high(one) && since.is_none_or(|since| one.at_us > since);
        // Nobody was told yet that these have left.
        let changed = &self.changed;
        removed.retain(|client, one| is_kept(one) || stays(one) || changed.contains(client));
        if removed.len() == before {
            return;
        }
        // Who took back a client id that is not remembered any more has it no more.
        for (session, owned) in &mut self.owned {
            let has = |client: &u64| states.get(client).is_some_and(|state| state.owner == *session);
            owned.retain(|client| has(client) || removed.contains_key(client));
        }
    }

    /// Whether a client is here, or was lately.
    pub fn knows(&self, client: u64) -> bool {
        self.states.contains_key(&client) || self.removed.contains_key(&client)
    }

    /// Whether the receivers have something to be told.
    #[must_use]
    pub fn has_changed(&self) -> bool {
        !self.changed.is_empty()
    }

    /// How many clients are here.
    #[must_use]
    pub fn len(&self) -> usize {
        self.states.len()
    }

    /// Whether nobody is here.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.states.is_empty()
    }

    /// The latest state of each client that changed since the last call.
    #[must_use]
    pub fn take_changes(&mut self) -> Vec<Entry> {
        (self.told, self.told_with_gone) = (None, None);
        let changed = std::mem::take(&mut self.changed);
        let entry = |client: u64| match (self.states.get(&client), self.removed.get(&client)) {
            (Some(state), _) => Some(state.entry(client)),
            (None, removed) => removed.map(|removed| removed.entry(client)),
        };
        changed.into_iter().filter_map(entry).collect()
    }

    /// Those of `entries` that a session is told, encoded, when these are not all: it does not hear of client ids of its
    /// own for which another one speaks.
    #[must_use]
    pub fn for_estranged(&self, session: SessionId, entries: &[Entry]) -> Option<States> {
        let estranged = self.estranged.get(&session)?;
        let others: Vec<&Entry> = entries
            .iter()
            .filter(|entry| !estranged.contains(&entry.client))
            .collect();
        (others.len() < entries.len()).then(|| awareness::encode_apart(&others, SYNC_FRAME_BYTES_MAX))
    }

    /// Awareness updates with everybody's state, for a session that is told of changes from now on; `None` when nobody
    /// is here. They are encoded once for all who come before changes are told.
    pub fn everybody(&mut self, session: SessionId) -> Option<Everybody> {
        if let Some(told) = self.told.as_ref().filter(|told| self.may_hear(session, told)) {
            return Some(told.for_one_of_many(self.told_times));
        }
        // What has changed is told to everybody soon.
        let told = self.states.iter().filter(|(client, _)| !self.changed.contains(client));
        let entries: Vec<Entry> = told.map(|(client, state)| state.entry(*client)).collect();
        let made = self.encode_for(session, &entries)?;
        self.told_times += u64::from(made.is_ok());
        Some(share(made, &entries, self.told_times, &mut self.told))
    }

    /// The same with those that left lately, for who may have missed it.
    pub fn everybody_and_gone(&mut self, session: SessionId) -> Option<States> {
        if let Some(told) = self.told_with_gone.as_ref().filter(|told| self.may_hear(session, told)) {
            return Some(told.states.clone());
        }
        let gone = self
            .removed
            .iter()
            .filter(|(client, _)| !self.states.contains_key(client));
        let gone = gone.map(|(client, removed)| removed.entry(*client));
        let here = self.states.iter().map(|(client, state)| state.entry(*client));
        let entries: Vec<Entry> = here.chain(gone).collect();
        let made = self.encode_for(session, &entries)?;
        Some(share(made, &entries, 0, &mut self.told_with_gone).states)
    }

    /// Whether a session may be told what was encoded for others: what it speaks of itself has not changed since then.
    fn may_hear(&self, session: SessionId, told: &Told) -> bool {
        let own = self.owned.get(&session).into_iter().flatten();
        let mut is_new = own.filter(|client| self.changed.contains(client) && told.clients.contains(client));
        is_new.next().is_none() && !self.estranged.contains_key(&session)
    }

    /// What a session is told of `entries`: what all are, or what only it is.
    fn encode_for(&self, session: SessionId, entries: &[Entry]) -> Option<Result<States, States>> {
        if entries.is_empty() {
            return None;
        }
        Some(match self.for_estranged(session, entries) {
            Some(others) => Err(others),
            None => Ok(encode(entries)),
        })
    }

    /// Bytes of memory that those take who left, about.
    pub fn held_bytes(&self) -> usize {
        self.removed.len() * REMOVED_BYTES
    }

    fn remove(&mut self, client: u64, clock: u32, now: Micros) {
        // Its owner keeps it, or coming and going would make any number of removals to remember.
        let Some(state) = self.states.remove(&client) else {
            return;
        };
        self.says_no_more(state.owner, state.json.len());
        let reaches = state.begun.reaches(clock, now);
        let removed = Removed {
            clock: if reaches { clock } else { state.clock },
            person: state.person,
            at_us: now,
            begun: state.begun,
        };
        self.removed.insert(client, removed);
        self.changed.insert(client);
        if self.removed.len() > self.forgets_above.max(REMOVED_MAX + AWARENESS_HIGH_CLOCKS_MAX) {
            self.forget_half();
            // Those of whom nobody was told yet may be many.
            self.forgets_above = 2 * self.removed.len();
        }
    }
}
