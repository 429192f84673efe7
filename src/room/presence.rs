//! Who is here: the awareness states of one document, latest wins.
//!
//! Yjs awareness is a map from client id to (clock, JSON). The room keeps it so that newcomers see
//! everybody at once, so that a closed connection's cursors go, and so that nobody speaks for
//! somebody else: a client id belongs to the session that first used it. Providers re-send every
//! state that they receive, so an entry that is not newer is dropped without a word.
//!
//! What must stay true: `changed` holds every client whose state the receivers have not been told
//! yet; a client in `states` has an owner that is a session of this room.

use bytes::Bytes;
use rustc_hash::{FxHashMap, FxHashSet};
use smallvec::SmallVec;

use crate::{
    limits::{AWARENESS_CLIENTS_PER_SESSION_MAX, AWARENESS_EXPIRY_US},
    protocol::awareness::{self, Entry},
};

use super::{Micros, session::SessionId};

/// The awareness of one document.
#[derive(Debug, Default)]
pub struct Presence {
    states: FxHashMap<u64, State>,
    /// The clock at which a client was removed, so that a late copy does not bring it back.
    removed: FxHashMap<u64, Removed>,
    changed: FxHashSet<u64>,
    /// The clients in `states` by owner, and those that it took back and that are in `removed`.
    owned: FxHashMap<SessionId, SmallVec<[u64; 2]>>,
    /// Bytes of all states.
    bytes: usize,
}

/// What a state costs each receiver beside its JSON text, in bytes.
const ENTRY_BYTES: usize = 16;

#[derive(Debug)]
struct State {
    clock: u32,
    json: Bytes,
    owner: SessionId,
    renewed_us: Micros,
}

impl State {
    fn new(clock: u32, json: &Bytes, owner: SessionId, now: Micros) -> Self {
        // Copied: a slice would keep the whole buffer that it was read into.
        Self {
            clock,
            json: Bytes::copy_from_slice(json),
            owner,
            renewed_us: now,
        }
    }

    fn entry(&self, client: u64) -> Entry {
        Entry {
            client,
            clock: self.clock,
            state: Some(self.json.clone()),
        }
    }
}

#[derive(Debug)]
struct Removed {
    clock: u32,
    at_us: Micros,
}

impl Presence {
    /// Takes what `session` says; returns how many entries were refused because the client id
    /// belongs to another session, because this session uses too many, or because all states together
    /// would exceed `bytes_max`: every newcomer must be told all of them.
    pub fn hear(&mut self, session: SessionId, entries: &[Entry], bytes_max: usize, now: Micros) -> usize {
        let mut refused = 0;
        for entry in entries {
            match self.states.get_mut(&entry.client) {
                Some(state) if state.owner != session => {
                    refused += usize::from(entry.clock > state.clock);
                }
                Some(state) => match &entry.state {
                    None if entry.clock >= state.clock => {
                        let clock = entry.clock;
                        self.remove(entry.client, clock, now);
                    }
                    Some(json) if entry.clock > state.clock => {
                        let bytes = self.bytes - state.json.len() + json.len();
                        if json.len() > state.json.len() && bytes > bytes_max {
                            refused += 1;
                            continue;
                        }
                        self.bytes = bytes;
                        *state = State::new(entry.clock, json, session, now);
                        self.changed.insert(entry.client);
                    }
                    _ => {}
                },
                None => {
                    let Some(json) = &entry.state else { continue };
                    if self
                        .removed
                        .get(&entry.client)
                        .is_some_and(|removed| entry.clock <= removed.clock)
                    {
                        continue;
                    }
                    let owned = self.owned.entry(session).or_default();
                    let is_new = !owned.contains(&entry.client);
                    let bytes = self.bytes + json.len() + ENTRY_BYTES;
                    if (is_new && owned.len() >= AWARENESS_CLIENTS_PER_SESSION_MAX) || bytes > bytes_max {
                        refused += 1;
                        continue;
                    }
                    if is_new {
                        owned.push(entry.client);
                    }
                    self.bytes = bytes;
                    self.removed.remove(&entry.client);
                    self.states
                        .insert(entry.client, State::new(entry.clock, json, session, now));
                    self.changed.insert(entry.client);
                }
            }
        }
        refused
    }

    /// The session whose client this is.
    #[must_use]
    pub fn owner(&self, client: u64) -> Option<SessionId> {
        self.states.get(&client).map(|state| state.owner)
    }

    /// `session` is gone, and its clients with it.
    pub fn leave(&mut self, session: SessionId, now: Micros) {
        for client in self.owned.remove(&session).unwrap_or_default() {
            if let Some(state) = self.states.get(&client).filter(|state| state.owner == session) {
                self.remove(client, state.clock, now);
            }
        }
    }

    /// Removes what was not renewed for 30 s, and forgets old removals.
    pub fn expire(&mut self, now: Micros) {
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
        let (removed, states) = (&mut self.removed, &self.states);
        let before = removed.len();
        removed.retain(|_, removed| removed.at_us + 2 * AWARENESS_EXPIRY_US > now);
        if removed.len() < before {
            for (session, owned) in &mut self.owned {
                let has = |client: &u64| states.get(client).is_some_and(|state| state.owner == *session);
                owned.retain(|client| has(client) || removed.contains_key(client));
            }
        }
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

    /// An awareness update with the latest state of each client that changed since the last call.
    #[must_use]
    pub fn take_changes(&mut self) -> Bytes {
        let changed = std::mem::take(&mut self.changed);
        let entries: Vec<Entry> = changed
            .into_iter()
            .filter_map(|client| match (self.states.get(&client), self.removed.get(&client)) {
                (Some(state), _) => Some(state.entry(client)),
                (None, Some(removed)) => Some(Entry {
                    client,
                    clock: removed.clock,
                    state: None,
                }),
                (None, None) => None,
            })
            .collect();
        awareness::encode(entries.iter()).into()
    }

    /// An awareness update with everybody's state, for a newcomer; `None` when nobody is here.
    #[must_use]
    pub fn everybody(&self) -> Option<Bytes> {
        if self.states.is_empty() {
            return None;
        }
        let entries: Vec<Entry> = self.states.iter().map(|(client, state)| state.entry(*client)).collect();
        Some(awareness::encode(entries.iter()).into())
    }

    /// The same with those that left lately, for who may have missed it.
    #[must_use]
    pub fn everybody_and_gone(&self) -> Option<Bytes> {
        let gone = self
            .removed
            .iter()
            .filter(|(client, _)| !self.states.contains_key(client));
        let gone = gone.map(|(client, removed)| Entry {
            client: *client,
            clock: removed.clock,
            state: None,
        });
        let entries: Vec<Entry> = self
            .states
            .iter()
            .map(|(client, state)| state.entry(*client))
            .chain(gone)
            .collect();
        (!entries.is_empty()).then(|| awareness::encode(entries.iter()).into())
    }

    fn remove(&mut self, client: u64, clock: u32, now: Micros) {
        // Its owner keeps it, or coming and going would make any number of removals to remember.
        if let Some(state) = self.states.remove(&client) {
            self.bytes -= state.json.len() + ENTRY_BYTES;
        }
        self.removed.insert(client, Removed { clock, at_us: now });
        self.changed.insert(client);
    }
}
