//! The wire of Hocuspocus' providers 2 to 4: `varString address, varUint type, payload`, many documents on one socket.
//!
//! Source: `@hocuspocus/provider` `MessageReceiver.ts` and `OutgoingMessages`, `@hocuspocus/common` `auth.ts`. An address
//! is a document's name, or (4.x, `sessionAwareness`) a name and a session's, with a NUL between them.
//!
//! Providers 2 and 3 throw at types that they do not know, and a provider that is sent CLOSE (7) stays attached and never
//! comes back: the server sends neither 7 nor 9.

use bytes::Bytes;

use crate::{
    id::DocumentId,
    limits::{DOCUMENT_ID_BYTES_MAX, UPDATE_HERE_BYTES_MAX},
};

use super::{
    awareness,
    close::CloseReason,
    dialect::{Head, Inbound, Outbound},
    lib0::{Malformed, Reader, write_var_bytes, write_var_uint},
    update::CheckedUpdate,
    update::Clocks,
};

const SYNC: u64 = 0;
const AWARENESS: u64 = 1;
const AUTH: u64 = 2;
const QUERY_AWARENESS: u64 = 3;
const STATELESS: u64 = 5;
const BROADCAST_STATELESS: u64 = 6;
const CLOSE: u64 = 7;
const SYNC_STATUS: u64 = 8;
/// A provider's answer to a ping, which has no address.
const PONG: [u8; 1] = [10];

const SYNC_STEP1: u64 = 0;
const SYNC_STEP2: u64 = 1;
const SYNC_UPDATE: u64 = 2;

/// Of a provider that says its version, when its words are said again.
const VERSION: &[u8] = b"4.0.0";

const TOKEN: u64 = 0;
const PERMISSION_DENIED: u64 = 1;
const AUTHENTICATED: u64 = 2;

/// What a message that waits costs beside its payload, in bytes: its place in a list, and a share of what it lies in.
const UNREAD_COST: usize = 128;

/// The longest address, in bytes: a document's name and a session's.
const ADDRESS_BYTES_MAX: usize = DOCUMENT_ID_BYTES_MAX + 128;

/// To whom a message is, as it is on the wire. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Address(Bytes);

impl Address {
    /// The same with bytes of its own, to be kept: as it comes it is a part of a message, which may be large.
    #[must_use]
    pub fn kept(&self) -> Self {
        Self(Bytes::copy_from_slice(&self.0))
    }

    /// How long it is, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.0.len()
    }

    /// Whether it names a session beside the document.
    #[must_use]
    pub fn has_session(&self) -> bool {
        self.0.contains(&0)
    }

    /// The document's name.
    #[must_use]
    pub fn document(&self) -> &str {
        let text = Reader::new(&self.0).var_string().unwrap_or_default();
        text.split_once('\0').map_or(text, |(document, _)| document)
    }
}

/// What a provider sent.
#[derive(Debug)]
pub enum Said {
    /// Something about one document. The address lies in the message ([`Address::kept`]).
    To(Address, Message),
    /// Something that needs no answer.
    Nothing,
}

/// What a provider says about one document.
#[derive(Debug)]
pub enum Message {
    /// "This is who I am."
    Auth {
        /// The token; empty when the provider has none.
        token: String,
        /// Providers from 4.0 on say their version.
        has_version: bool,
    },
    /// "I have left this document."
    Close,
    /// Anything else. It is not read before somebody may say it.
    Other(Unread),
}

impl Message {
    /// The same, with bytes of its own where it was not read: a slice would keep the whole buffer that it was read into.
    #[must_use]
    pub fn kept(self) -> Self {
        match self {
            Self::Other(unread) => Self::Other(Unread {
                payload: Bytes::copy_from_slice(&unread.payload),
                ..unread
            }),
            read => read,
        }
    }
}

/// A message that was not read.
#[derive(Debug, Clone)]
pub struct Unread {
    kind: u64,
    payload: Bytes,
}

/// Takes one binary message apart.
///
/// # Errors
/// The reason to close the connection with.
pub fn parse(message: &Bytes) -> Result<Said, CloseReason> {
    if **message == PONG {
        return Ok(Said::Nothing);
    }
    take_apart(message).map_err(CloseReason::from)
}

/// Whether a provider begins a conversation with this: a token, or a question for a document.
#[must_use]
pub fn begins(message: &Bytes) -> bool {
    match take_apart(message) {
        Ok(Said::To(address, message)) if DocumentId::parse(address.document()).is_ok() => match message {
            Message::Auth { .. } => true,
            Message::Other(unread) => unread.asks_for_document(),
            Message::Close => false,
        },
        _ => false,
    }
}

fn take_apart(message: &Bytes) -> Result<Said, Malformed> {
    let mut reader = Reader::new(message);
    let text = reader.var_string()?;
    if text.len() > ADDRESS_BYTES_MAX {
        return Err(reader.malformed("the name of the document is too long"));
    }
    let address = Address(message.slice(..reader.position()));
    let kind = reader.var_uint()?;
    let said = match kind {
        AUTH => {
            if reader.var_uint()? != TOKEN {
                return Err(reader.malformed("a client sends a token"));
            }
            let token = reader.var_string()?.to_owned();
            let has_version = reader.remaining() > 0;
            Message::Auth { token, has_version }
        }
        CLOSE => Message::Close,
        SYNC | AWARENESS | QUERY_AWARENESS | STATELESS => Message::Other(Unread {
            kind,
            payload: message.slice(reader.position()..),
        }),
        BROADCAST_STATELESS => return Err(reader.malformed("only servers send this")),
        _ => return Ok(Said::Nothing),
    };
    Ok(Said::To(address, said))
}

impl Unread {
    /// The message, as it came.
    #[must_use]
    pub fn again(&self, address: &Address) -> Bytes {
        let mut message = head(address, &[self.kind]).to_vec();
        message.extend_from_slice(&self.payload);
        message.into()
    }

    /// What it costs while it waits, in bytes of memory.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.payload.len() + UNREAD_COST
    }

    /// Whether reading it takes long.
    #[must_use]
    pub fn takes_long(&self) -> bool {
        self.payload.len() > UPDATE_HERE_BYTES_MAX
    }

    /// Whether it asks for the document. A provider sends that right behind its token, if it has one.
    #[must_use]
    pub fn asks_for_document(&self) -> bool {
        self.kind == SYNC && self.payload.first() == Some(&(SYNC_STEP1 as u8))
    }

    /// Reads it.
    ///
    /// # Errors
    /// The reason to end the session with, or the whole connection.
    pub fn read(&self) -> Result<Inbound, CloseReason> {
        self.inbound().map_err(CloseReason::from)
    }

    fn inbound(&self) -> Result<Inbound, Malformed> {
        let mut reader = Reader::new(&self.payload);
        Ok(match self.kind {
            SYNC => match reader.var_uint()? {
                SYNC_STEP1 => Inbound::SyncStep1(Clocks::decode(reader.var_bytes()?)?),
                step @ (SYNC_STEP2 | SYNC_UPDATE) => {
                    let update = self.payload.slice_ref(reader.var_bytes()?);
                    Inbound::Update {
                        update: CheckedUpdate::check(update)?,
                        answer: step == SYNC_STEP2,
                    }
                }
                _ => return Err(reader.malformed("a sync message is 0, 1 or 2")),
            },
            AWARENESS => Inbound::Awareness(awareness::decode(&self.payload.slice_ref(reader.var_bytes()?))?),
            QUERY_AWARENESS => Inbound::AwarenessQuery,
            _ => {
                reader.var_string()?;
                Inbound::Stateless(self.payload.slice(..reader.position()))
            }
        })
    }
}

/// What precedes the payload of a message, and the payload; `None` when there are no words for it here.
pub(super) fn message<'a>(address: &Address, message: Outbound<'a>) -> Option<(Head, &'a [u8])> {
    let (numbers, payload): (&[u64], &[u8]) = match message {
        Outbound::SyncStep1(state_vector) => (&[SYNC, SYNC_STEP1], state_vector),
        Outbound::SyncStep2(update) => (&[SYNC, SYNC_STEP2], update),
        Outbound::Update(update) => (&[SYNC, SYNC_UPDATE], update),
        Outbound::Awareness(states) => (&[AWARENESS], states),
        Outbound::Admitted { may_write: true } => (&[AUTH, AUTHENTICATED], b"read-write"),
        Outbound::Admitted { may_write: false } => (&[AUTH, AUTHENTICATED], b"readonly"),
        Outbound::Denied(reason) => (&[AUTH, PERMISSION_DENIED], reason.as_bytes()),
        Outbound::TokenWanted => return Some((head(address, &[AUTH, TOKEN]), &[])),
        Outbound::Taken(taken) => return Some((head(address, &[SYNC_STATUS, u64::from(taken)]), &[])),
        Outbound::Stateless(text) => return Some((head(address, &[STATELESS]), text)),
        Outbound::Saved(_) | Outbound::ReadOnly => return None,
    };
    let mut head = head(address, numbers);
    write_var_uint(&mut head, payload.len() as u64);
    Some((head, payload))
}

fn head(address: &Address, numbers: &[u64]) -> Head {
    let mut head = Head::with_capacity(address.0.len() + 16);
    head.extend_from_slice(&address.0);
    numbers.iter().for_each(|number| write_var_uint(&mut head, *number));
    head
}

/// What a client says who it is, again; see [`Message::Auth`].
#[must_use]
pub fn auth(address: &Address, token: &str, has_version: bool) -> Bytes {
    let mut message = head(address, &[AUTH, TOKEN]).to_vec();
    write_var_bytes(&mut message, token.as_bytes());
    if has_version {
        write_var_bytes(&mut message, VERSION);
    }
    message.into()
}

/// That a client has left a document.
#[must_use]
pub fn close(address: &Address) -> Bytes {
    Bytes::copy_from_slice(&head(address, &[CLOSE]))
}

/// The address of a document, as a provider without `sessionAwareness` writes it.
#[must_use]
pub fn address_of(document: &str) -> Address {
    let mut bytes = Vec::new();
    write_var_bytes(&mut bytes, document.as_bytes());
    Address(bytes.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::dialect::Dialect;

    fn unhex(text: &str) -> Bytes {
        let digits: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
        let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
        digits.chunks(2).filter_map(byte).collect()
    }

    fn to_doc1(hex: &str) -> Message {
        let bytes = unhex(&format!("04646f6331 {hex}"));
        match parse(&bytes).expect("well-formed") {
            Said::To(address, message) => {
                assert_eq!((address.document(), &address), ("doc1", &address_of("doc1")));
                message
            }
            Said::Nothing => panic!("it says something"),
        }
    }

    fn inbound(hex: &str) -> Inbound {
        match to_doc1(hex) {
            Message::Other(unread) => unread.read().expect("well-formed"),
            other => panic!("{other:?}"),
        }
    }

    /// What real providers of 4.8 and 3.4 sent.
    #[test]
    fn what_providers_send_is_understood() {
        let auth = to_doc1("02 00 06 736563726574 05 342e382e30");
        assert!(matches!(auth, Message::Auth { token, has_version: true } if token == "secret"));
        let auth = to_doc1("02 00 00");
        assert!(matches!(auth, Message::Auth { token, has_version: false } if token.is_empty()));
        assert!(matches!(to_doc1("07"), Message::Close));
        assert!(matches!(inbound("00 00 03 010702"), Inbound::SyncStep1(had) if had.next(7) == 2));
        let update = inbound("00 02 0a 01010702840701012100");
        assert!(matches!(update, Inbound::Update { answer: false, .. }));
        let answer = inbound("00 01 0c 010107000401017402686900");
        assert!(matches!(answer, Inbound::Update { answer: true, .. }));
        assert!(matches!(inbound("01 06 01 07 00 02 7b7d"), Inbound::Awareness(_)));
        assert!(matches!(inbound("05 05 70696e6721"), Inbound::Stateless(text) if text == b"\x05ping!"[..]));
        assert!(matches!(parse(&unhex("0a")), Ok(Said::Nothing)));
    }

    #[test]
    fn n7_what_a_provider_said_can_be_said_again() {
        for hex in [
            "00 00 03 010702",
            "00 02 0a 01010702840701012100",
            "01 06 01 07 00 02 7b7d",
            "03",
            "05 05 70696e6721",
        ] {
            let Message::Other(unread) = to_doc1(hex) else {
                panic!("it is kept: {hex}")
            };
            let said = unhex(&format!("04646f6331 {hex}"));
            assert_eq!(unread.again(&address_of("doc1")), said);
        }
        for has_version in [true, false] {
            let Ok(Said::To(
                address,
                Message::Auth {
                    token,
                    has_version: has,
                },
            )) = parse(&auth(&address_of("doc1"), "secret", has_version))
            else {
                panic!("it is one")
            };
            assert_eq!((address.document(), &*token, has), ("doc1", "secret", has_version));
        }
        let closed = parse(&close(&address_of("doc1")));
        assert!(matches!(closed, Ok(Said::To(_, Message::Close))));
    }

    #[test]
    fn an_address_may_carry_a_session() {
        let bytes = unhex("10 646f633100 3373357866386a33687373 07");
        let Ok(Said::To(address, Message::Close)) = parse(&bytes) else {
            panic!("it is one")
        };

        assert_eq!(address.document(), "doc1");
        assert_ne!(address, address_of("doc1"));
        let denied = Dialect::Hocuspocus {
            address,
            has_version: true,
        };
        let frame = denied.frame(Outbound::Denied("nope")).expect("words");
        assert_eq!(
            frame[2..],
            unhex("10 646f633100 3373357866386a33687373 02 01 04 6e6f7065")
        );
    }

    /// What the real server of 4.7 sent.
    #[test]
    fn what_is_sent_is_what_the_real_server_sends() {
        let dialect = Dialect::Hocuspocus {
            address: address_of("doc1"),
            has_version: false,
        };
        let sends = |message, hex: &str| {
            let frame = dialect.frame(message).expect("words");
            assert_eq!(frame[2..], unhex(&format!("04646f6331 {hex}")), "{message:?}");
        };

        sends(Outbound::Admitted { may_write: true }, "02 02 0a 726561642d7772697465");
        sends(Outbound::Admitted { may_write: false }, "02 02 08 726561646f6e6c79");
        sends(Outbound::SyncStep1(&[0]), "00 00 01 00");
        sends(Outbound::SyncStep2(&[0, 0]), "00 01 02 0000");
        sends(Outbound::Taken(true), "08 01");
        sends(Outbound::Taken(false), "08 00");
        sends(Outbound::Stateless(b"\x05ping!"), "05 05 70696e6721");
        sends(Outbound::TokenWanted, "02 00");
        sends(Outbound::Denied("nope"), "02 01 04 6e6f7065");
        assert_eq!(dialect.frame(Outbound::ReadOnly), None);
    }

    #[test]
    fn p6_a_message_without_a_payload_counts_while_it_waits() {
        let Message::Other(unread) = to_doc1("03") else {
            panic!("it is kept")
        };
        assert!(
            unread.bytes() > 0,
            "any number of these may wait for a document that is being opened"
        );
    }

    #[test]
    fn what_is_no_message_is_a_protocol_error() {
        let long = [&[0xFF, 0x7F][..], &[b'a'; 16_383], &[7]].concat();
        for bytes in [
            unhex(""),
            unhex("04646f63"),
            unhex("02fffe 07"),
            unhex("04646f6331"),
            unhex("04646f6331 06 01 61"),
            unhex("04646f6331 02 01 00"),
            long.into(),
        ] {
            assert!(
                matches!(parse(&bytes), Err(CloseReason::Malformed(_))),
                "{:?}",
                bytes.get(..20)
            );
        }
    }
}
