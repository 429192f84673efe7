//! Writing and reading without a session: one update, taken whole or not at all, and the whole document.

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

impl Room {
    /// Somebody who has no session writes; answered with [`Effect::Written`], at once when it is not taken, otherwise when
    /// it is durable. `id` is no session's; `person` is who writes.
    pub fn write(
        &mut self,
        id: SessionId,
        person: Person,
        update: CheckedUpdate,
        now: Micros,
        effects: &mut Vec<Effect>,
    ) {
        match self.take_whole(id, person, update, now) {
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
        person: Person,
        update: CheckedUpdate,
        now: Micros,
    ) -> Result<Seq, CloseReason> {
        let author = Author {
            session: id,
            person: person.as_ref(),
            joined: now,
            says: None,
        };
        for (client, span) in update.spans() {
            let is_new = span.end > self.document.clocks().next(client);
            if !is_new {
                continue;
            }
            let right = right(&mut self.authorship, &self.sessions, client, author, now);
            if matches!(right, Right::Denied | Right::Ask(_)) {
                let reason =
                    format!("client {client} is somebody who is here: an update is written under an id of its own");
                return Err(CloseReason::Conflict(reason));
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
                self.take(id, person.subject().cloned(), news, now);
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
