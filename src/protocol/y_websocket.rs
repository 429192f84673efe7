//! The wire of y-websocket 1.x to 4.x: `varUint type, payload`, one message or more in a WebSocket message.
//!
//! Source: y-websocket `src/y-websocket.js`, y-protocols `sync.js` and `awareness.js`. Message 102
//! is y-sweet's sync status (`@y-sweet/client`), which a stock provider takes a handler for.

use bytes::{Buf, Bytes};
use smallvec::SmallVec;

use super::{
    awareness,
    close::CloseReason,
    dialect::{Head, Inbound, Outbound},
    lib0::{Malformed, Reader, write_var_uint},
    update::{CheckedUpdate, Clocks},
};

const SYNC: u64 = 0;
const AWARENESS: u64 = 1;
const AUTH: u64 = 2;
const QUERY_AWARENESS: u64 = 3;
const SAVED: u64 = 102;

const SYNC_STEP1: u64 = 0;
const SYNC_STEP2: u64 = 1;
const SYNC_UPDATE: u64 = 2;

const PERMISSION_DENIED: u64 = 0;

/// What a reader is told.
const READ_ONLY: &str = "read-only: your edits are not taken";

/// Most messages in one WebSocket message: providers send a few.
const MESSAGES_MAX: usize = 1_024;

/// Longest payload of a 102, in bytes: one var-uint.
const SAVED_BYTES_MAX: usize = 16;

/// Parses the first message of a binary one.
///
/// # Errors
/// The reason to close the connection with.
pub fn parse(mut message: Bytes) -> Result<Inbound, CloseReason> {
    take(&mut message)
}

/// Parses all messages of a binary one; gives each to `heard`, with its length in bytes.
///
/// # Errors
/// The reason to close the connection with.
pub fn parse_all(mut message: Bytes, mut heard: impl FnMut(Inbound, usize)) -> Result<(), CloseReason> {
    for _ in 0..MESSAGES_MAX {
        let before = message.len();
        let inbound = take(&mut message)?;
        heard(inbound, before - message.len());
        if message.is_empty() {
            return Ok(());
        }
    }
    let reason = format!("more than {MESSAGES_MAX} messages in one");
    Err(CloseReason::Malformed(reason))
}

/// Takes the next message off the front of a binary one. Of a kind that is not known nobody knows where it ends: it is
/// the last.
fn take(message: &mut Bytes) -> Result<Inbound, CloseReason> {
    let mut reader = Reader::new(message);
    let inbound = read(message, &mut reader)?;
    let end = match inbound {
        Inbound::Ignored => message.len(),
        _ => reader.position(),
    };
    message.advance(end);
    Ok(inbound)
}

fn read(message: &Bytes, reader: &mut Reader<'_>) -> Result<Inbound, Malformed> {
    Ok(match reader.var_uint()? {
        SYNC => match reader.var_uint()? {
            SYNC_STEP1 => Inbound::SyncStep1(Clocks::decode(reader.var_bytes()?)?),
            step @ (SYNC_STEP2 | SYNC_UPDATE) => {
                let update = message.slice_ref(reader.var_bytes()?);
                Inbound::Update {
                    update: CheckedUpdate::check(update)?,
                    answer: step == SYNC_STEP2,
                }
            }
            _ => return Err(reader.malformed("a sync message is 0, 1 or 2")),
        },
        AWARENESS => Inbound::Awareness(awareness::decode(&message.slice_ref(reader.var_bytes()?))?),
        QUERY_AWARENESS => answer_of_y_sweet(message, reader).map_or(Inbound::AwarenessQuery, Inbound::Awareness),
        SAVED => {
            let payload = reader.var_bytes()?;
            if payload.len() > SAVED_BYTES_MAX {
                return Err(reader.malformed("message 102 carries one var-uint"));
            }
            Inbound::SavedQuery(Bytes::copy_from_slice(payload))
        }
        _ => Inbound::Ignored,
    })
}

/// y-sweet's client answers a question for presence with the number of the question.
fn answer_of_y_sweet(message: &Bytes, reader: &mut Reader<'_>) -> Option<SmallVec<[awareness::Entry; 1]>> {
    let mut ahead = reader.clone();
    let states = message.slice_ref(ahead.var_bytes().ok()?);
    ahead.finish().ok()?;
    let entries = awareness::decode(&states).ok()?;
    *reader = ahead;
    Some(entries)
}

/// What precedes the payload of a message, and the payload; `None` when there are no words for it here.
pub(super) fn message(message: Outbound<'_>) -> Option<(Head, &[u8])> {
    let (numbers, payload): (&[u64], &[u8]) = match message {
        Outbound::SyncStep1(state_vector) => (&[SYNC, SYNC_STEP1], state_vector),
        Outbound::SyncStep2(update) => (&[SYNC, SYNC_STEP2], update),
        Outbound::Update(update) => (&[SYNC, SYNC_UPDATE], update),
        Outbound::Awareness(states) => (&[AWARENESS], states),
        Outbound::Saved(payload) => (&[SAVED], payload),
        Outbound::ReadOnly | Outbound::Admitted { may_write: false } => {
            (&[AUTH, PERMISSION_DENIED], READ_ONLY.as_bytes())
        }
        Outbound::Denied(reason) => (&[AUTH, PERMISSION_DENIED], reason.as_bytes()),
        Outbound::Admitted { may_write: true }
        | Outbound::TokenWanted
        | Outbound::Taken(_)
        | Outbound::Stateless(_) => return None,
    };
    let mut head = Head::with_capacity(16);
    for number in numbers.iter().chain([&(payload.len() as u64)]) {
        write_var_uint(&mut head, *number);
    }
    Some((head, payload))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(message: &[u8]) -> Result<Vec<Inbound>, CloseReason> {
        let mut all = Vec::new();
        parse_all(Bytes::copy_from_slice(message), |inbound, _| all.push(inbound))?;
        Ok(all)
    }

    const UPDATE: &[u8] = &[0, 2, 11, 1, 1, 1, 0, 4, 1, 1, b't', 1, b'x', 0];

    #[test]
    fn e52_what_an_application_says_of_its_own_is_ignored() {
        for own in [&[100][..], &[2, 0], &[4, 255, 255], &[0xFF, 0xFF, 3, 0, 0]] {
            let heard = all(&[UPDATE, own].concat()).unwrap();
            assert!(
                matches!(heard[..], [Inbound::Update { .. }, Inbound::Ignored]),
                "{heard:?}"
            );
        }
    }

    #[test]
    fn e27_each_message_of_several_in_one_counts() {
        let step1: &[u8] = &[0, 0, 1, 0];
        let three = all(&[step1, UPDATE, &[102, 1, 7]].concat()).expect("well-formed");

        assert!(matches!(
            &three[..],
            [Inbound::SyncStep1(_), Inbound::Update { answer: false, .. }, Inbound::SavedQuery(seven)] if **seven == [7]
        ));
        let cut = all(&[step1, &UPDATE[..8]].concat());
        assert!(
            matches!(cut, Err(CloseReason::Malformed(_))),
            "what is cut is not dropped silently"
        );
        assert!(all(&[3; MESSAGES_MAX]).is_ok());
        assert!(matches!(all(&[3; MESSAGES_MAX + 1]), Err(CloseReason::Malformed(_))));
    }

    #[test]
    fn the_answer_of_y_sweets_client_to_a_question_for_presence_is_presence() {
        let states = [1, 7, 1, 2, b'{', b'}'];
        let answer = all(&[&[3, states.len() as u8], &states[..]].concat()).expect("well-formed");

        assert!(matches!(&answer[..], [Inbound::Awareness(entries)] if entries[0].client == 7));
        assert!(matches!(
            &all(&[3]).expect("well-formed")[..],
            [Inbound::AwarenessQuery]
        ));
    }
}
