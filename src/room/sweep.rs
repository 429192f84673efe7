//! Looking after sessions that say nothing.

use bytes::Bytes;

use crate::protocol::{close::CloseReason, dialect::Outbound, frame, update::Id};

use super::{
    Effect, MS, Micros, Room, SECOND, authorship::ANSWER_TIME, cadence::presence_pause, fan_out::Greeting,
    outbox::Kind, questions::ANSWER_PATIENCE, session::Session,
};

/// How long before its token ends a client is asked for another one, if its dialect has words for that, and how often.
const TOKEN_AHEAD: Micros = 30 * SECOND;
const TOKEN_PAUSE: Micros = 10 * SECOND;
/// How often sessions are looked after: silence, expiry, presence.
pub(super) const SWEEP: Micros = 5 * SECOND;
/// The same while somebody waits to hear that edits are saved.
pub(super) const SWEEP_WAITING: Micros = SECOND;
/// A session that has no client id of its own, and writes under that of another one that lives, is told so after this.
const TWIN_PATIENCE: Micros = 10 * SECOND;
/// A gap that is open for this long is one that a person should know of.
const GAP_LONG: Micros = 30 * SECOND;
/// Providers reconnect when no message came for 30 s.
const SILENCE_MAX: Micros = 20 * SECOND;
/// y-sweet's client reconnects when its question stays unanswered and nothing else comes for 3 s.
const SILENCE_WAITING_MAX: Micros = 2 * SECOND;
/// A peer of which nothing was heard for this long, in spite of pings, is gone.
const DEAF_MAX: Micros = 75 * SECOND;

impl Room {
    /// Looks after the sessions: those that have too much open, expired tokens, the deaf, the silent, open questions and gaps.
    pub(super) fn sweep(&mut self, now: Micros, effects: &mut Vec<Effect>) {
        self.sweep_due = None;
        self.presence.expire(now);
        self.greeting = Greeting::default();
        self.authorship.forget(now);
        if self.presence.has_changed() {
            self.presence_cadence.gather(now, presence_pause(self.sessions.len()));
        }
        let mut next = now + SWEEP;
        let mut ended = Vec::new();
        let mut asked = Vec::new();
        let mut twins = Vec::new();
        let mut questions = Vec::new();
        let mut newcomers = Vec::new();
        let mut silent = Vec::new();
        let bytes = self.memory_bytes();
        let part = bytes / self.sessions.len().max(1);
        for (id, session) in &mut self.sessions {
            session.charge.is(part);
            if let Err(exceeded) = session.charge.accounts().may_stay(&self.memory, bytes) {
                // The next ones of the same client stay when this was enough.
                session.charge.is(0);
                ended.push((*id, exceeded.into()));
                continue;
            }
            if let Some(expires) = session.expires {
                if expires <= now {
                    let reason = "the token has expired, get a new one".to_owned();
                    ended.push((*id, CloseReason::Unauthenticated(reason)));
                    continue;
                }
                next = next.min(expires);
                let wanted = session.token_wanted.is_none_or(|wanted| wanted + TOKEN_PAUSE <= now);
                if expires <= now + TOKEN_AHEAD && wanted {
                    session.token_wanted = Some(now);
                    session.say(Outbound::TokenWanted);
                }
            }
            if session.outbox.line().heard_ms() * MS + DEAF_MAX <= now {
                ended.push((*id, CloseReason::Overloaded("nothing was heard for 75 s".to_owned())));
                continue;
            }
            if !session.greeted {
                newcomers.push(*id);
            }
            if session.asked_late {
                if session.joined + ANSWER_PATIENCE <= now {
                    silent.push(*id);
                }
                next = next.min(now + SWEEP_WAITING);
            }
            if !session.saving.questions.is_empty() {
                questions.push(*id);
                next = next.min(now + SWEEP_WAITING);
            }
            if let Some(gap) = &mut session.gap {
                let clocks = self.document.clocks();
                let mut withheld = session.withheld.iter().map(|(client, clock)| Id {
                    client: *client,
                    clock: *clock,
                });
                let unwritten = withheld.find(|id| clocks.next(id.client) <= id.clock);
                if let Some(taken) = session.twin.or(unwritten)
                    && gap.since + TWIN_PATIENCE <= now
                    && session.announces == Some(taken.client)
                    && !self.authorship.has_id(*id)
                {
                    twins.push((*id, taken, gap.twin_asked));
                }
                asked.push(*id);
                if !gap.noted && gap.since + GAP_LONG <= now {
                    gap.noted = true;
                    self.counts.gaps_kept_open += 1;
                    log::warn!(
                        "session {} of document {} has edits that build on what nobody has sent for {} s: {}",
                        id.0,
                        self.name,
                        GAP_LONG / SECOND,
                        if gap.unseen_for.is_empty() {
                            "it is not told that it is saved"
                        } else {
                            "it lacks that as well and shows nothing of them"
                        }
                    );
                }
            }
            let waiting = !session.saving.questions.is_empty();
            let patience = if waiting {
                SILENCE_WAITING_MAX
            } else {
                SILENCE_MAX - SWEEP
            };
            if session.sent + patience <= now {
                session.sent = now;
                session.outbox.push(keep_alive(session), Kind::Other);
            }
        }
        for (id, taken, asked) in twins {
            let owner = self.authorship.owner(taken.client);
            let Some(owner) = owner.and_then(|owner| self.sessions.get(&owner)) else {
                continue;
            };
            // One that does not answer may be the same page on a line that died, whatever was under way there.
            let heard = owner.outbox.line().heard_ms() * MS;
            match asked {
                Some(asked) if heard >= asked / MS * MS => {
                    self.counts.conflicts += 1;
                    ended.push((id, CloseReason::conflict(taken)));
                }
                Some(asked) if now < asked + ANSWER_TIME => {}
                _ => {
                    owner.outbox.push(frame::ping(), Kind::Other);
                    let gap = self.sessions.get_mut(&id).and_then(|session| session.gap.as_mut());
                    if let Some(gap) = gap {
                        gap.twin_asked = Some(now);
                    }
                }
            }
            next = next.min(now + SWEEP_WAITING);
        }
        for (id, reason) in ended {
            self.end(id, reason, now, effects);
        }
        for id in questions {
            self.answer_questions_of(id, now);
        }
        for id in newcomers {
            self.greet(id, now);
        }
        for id in silent {
            self.ask_at_last(id, now);
        }
        for id in asked {
            self.ask_for_missing(id, now);
        }
        if self.lagging.is_empty() {
            // What was laid out for those who came together is no longer of use.
            self.cache.clear();
        } else {
            self.cache.tidy();
        }
        if !self.sessions.is_empty() {
            self.sweep_by(next);
        }
    }

    pub(super) fn sweep_by(&mut self, at: Micros) {
        self.sweep_due = Some(self.sweep_due.map_or(at, |due| due.min(at)));
    }
}

/// Something at the level of the application, and a ping that makes the peer's socket answer.
fn keep_alive(session: &Session) -> Bytes {
    let awareness = session.dialect.frame(Outbound::Awareness(&[0])).unwrap_or_default();
    [frame::ping(), awareness].concat().into()
}
