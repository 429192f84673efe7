//! Writing and reading without a session: one update, taken whole or not at all, and the whole document.

use smallvec::SmallVec;

use crate::{
    access::Person,
    document::{State, Verdict},
    protocol::{close::CloseReason, update::CheckedUpdate},
    store::Seq,
};

use super::{
    Effect, Micros, Room,
    authorship::{Author, Right},
    editing::right,
    session::SessionId,
};

/// Who writes without a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WrittenBy {
    /// A person, under client ids of its own.
    Person(Person),
    /// The server itself, which gives back what the document held once: under whichever client ids that was, and whoever is
    /// here.
    Server,
}

impl Room {
    /// Somebody who has no session writes; answered with [`Effect::Written`], at once when it is not taken, otherwise when
    /// it is durable. `id` is no session's.
    pub fn write(
        &mut self,
        id: SessionId,
        by: WrittenBy,
        update: CheckedUpdate,
        now: Micros,
        effects: &mut Vec<Effect>,
    ) {
        match self.take_whole(id, &by, update, now) {
            Ok(needs) => self.writes.push((needs, id)),
            Err(reason) => effects.push(Effect::Written {
                write: id,
                result: Err(reason),
            }),
        }
        self.tell_writers(effects);
    }

    /// Takes an update if nothing is missing before it; the record that must be durable then.
    fn take_whole(
        &mut self,
        id: SessionId,
        by: &WrittenBy,
        update: CheckedUpdate,
        now: Micros,
    ) -> Result<Seq, CloseReason> {
        let person = match by {
            WrittenBy::Person(person) => person.as_ref(),
            WrittenBy::Server => Person::Nobody,
        };
        let author = Author {
            session: id,
            person,
            joined: now,
            says: None,
            network: None,
        };
        let mut begun: SmallVec<[u64; 1]> = SmallVec::new();
        let mut followed: SmallVec<[(u64, u32); 1]> = SmallVec::new();
        for (client, span) in update.spans() {
            let next = self.document.clocks().next(client);
            if span.end <= next {
                continue;
            }
            let right = match by {
                WrittenBy::Person(_) => right(&mut self.authorship, &self.sessions, client, author, now),
                WrittenBy::Server => Right::Followed,
            };
            match right {
                Right::Granted => {}
                Right::Followed if next == 0 => begun.push(client),
                Right::Followed => followed.push((client, next)),
                Right::Denied | Right::Ask(_) => {
                    let reason =
                        format!("client {client} is somebody who is here: an update is written under an id of its own");
                    return Err(CloseReason::Conflict(reason));
                }
            }
        }
        match self.document.judge(update) {
            Verdict::Refused(why) => Err(CloseReason::Refused(format!("the update is not Yjs: {why}"))),
            Verdict::Conflict(known) => {
                self.counts.conflicts += 1;
                Err(CloseReason::conflict(known))
            }
            Verdict::News(news) if !news.is_partial() => {
                self.may_take(news.update())?;
                for (client, next) in followed {
                    if !self.authorship.doubt(client, next, &author) && *by != WrittenBy::Server {
                        let reason = "too many client ids are written under by others: write under one of your own";
                        return Err(CloseReason::Overloaded(reason.to_owned()));
                    }
                }
                // Of several they are others', as a rule, and passed on.
                if let [client] = begun[..] {
                    self.authorship.begin(client, person);
                }
                self.take(id, person.subject().copied().cloned(), news, now);
                Ok(Seq::MAX)
            }
            Verdict::Nothing | Verdict::News(_) => {
                self.counts.updates_with_gaps += 1;
                let reason = "the update refers to what this document does not have: send all of it";
                Err(CloseReason::Refused(reason.to_owned()))
            }
            Verdict::Known if self.batch.updates.is_empty() => Ok(self.journal.appended),
            Verdict::Known => Ok(Seq::MAX),
        }
    }

    /// Those whose writes are durable are to be told.
    pub fn tell_writers(&mut self, effects: &mut Vec<Effect>) {
        let durable = self.journal.durable;
        self.writes.retain(|(needs, write)| {
            let is_durable = *needs <= durable;
            if is_durable {
                effects.push(Effect::Written {
                    write: *write,
                    result: Ok(()),
                });
            }
            !is_durable
        });
    }

    /// The document as it is, to be encoded elsewhere.
    #[must_use]
    pub fn read(&self) -> State {
        self.document.state()
    }
}
