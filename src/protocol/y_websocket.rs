//! The wire of y-websocket 1.x to 3.x: `varUint type, payload`, one message per WebSocket message.
//!
//! Source: y-websocket `src/y-websocket.js`, y-protocols `sync.js` and `awareness.js`. Message 102
//! is y-sweet's sync status (`@y-sweet/client`), which a stock provider takes a handler for.

use bytes::Bytes;

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

/// Longest payload of a 102, in bytes: one var-uint.
const SAVED_BYTES_MAX: usize = 16;

/// Parses one binary message. Bytes after the message are ignored, as the JavaScript readers do.
///
/// # Errors
/// The reason to close the connection with.
pub fn parse(message: Bytes) -> Result<Inbound, CloseReason> {
    read(&message).map_err(CloseReason::from)
}

fn read(message: &Bytes) -> Result<Inbound, Malformed> {
    let mut reader = Reader::new(message);
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
        QUERY_AWARENESS => Inbound::AwarenessQuery,
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
