//! What clients say, on each wire, and what is said to them. The first byte says which wire.

use bytes::Bytes;
use cowrite::protocol::{
    awareness,
    close::CloseReason,
    dialect::{Dialect, Inbound, Outbound},
    hocuspocus::{self, Address, Message, Said},
    lib0::Reader,
    y_websocket,
};

/// Any bytes, as one binary message of a client.
pub fn dialect(input: &[u8]) {
    let Some((&wire, message)) = input.split_first() else {
        return;
    };
    let message = Bytes::copy_from_slice(message);
    if wire % 2 == 0 {
        of_y_websocket(&message);
    } else {
        of_hocuspocus(&message);
    }
}

/// All messages of one are those that are read one by one, and none is longer than what came.
fn of_y_websocket(message: &Bytes) {
    let (mut all, mut read) = (Vec::new(), 0);
    let end = y_websocket::parse_all(message.clone(), |inbound, bytes| {
        all.push((inbound, read));
        read += bytes;
    });
    assert!(read <= message.len());
    for (inbound, at) in &all {
        let alone = y_websocket::parse(message.slice(*at..)).expect("it was read");
        assert!(says(&alone) == says(inbound), "{inbound:?}");
        for dialect in [Dialect::YWebsocket, Dialect::YSweet] {
            goes_back(&dialect, inbound, |payload| {
                says(&y_websocket::parse(payload).expect("what is sent is read"))
            });
        }
    }
    match end {
        Ok(()) => assert_eq!(read, message.len()),
        Err(reason) => is_of_the_wire(&reason),
    }
    // An address of another wire is told so, and must not break on it.
    let _ = hocuspocus::begins(message);
}

/// The address is that of the document, to the byte.
fn of_hocuspocus(message: &Bytes) {
    let (address, message) = match hocuspocus::parse(message) {
        Ok(Said::To(address, message)) => (address, message),
        Ok(Said::Nothing) => return,
        Err(reason) => return is_of_the_wire(&reason),
    };
    assert!(!address.document().contains('\0'));
    assert!(address.has_session() || hocuspocus::address_of(address.document()) == address);
    let dialect = Dialect::Hocuspocus {
        address: address.clone(),
        has_version: true,
    };
    let denied = payload(&dialect.frame(Outbound::Denied("no")).expect("words"));
    let mut reader = Reader::new(&denied);
    reader.var_string().expect("the address");
    let mut expected = reader.clone();
    assert_eq!((expected.var_uint(), expected.var_uint()), (Ok(2), Ok(1)));
    let Message::Other(unread) = message else { return };
    assert!(unread.bytes() > 0, "what waits costs something");
    match unread.read() {
        Ok(inbound) => {
            assert!(!unread.asks_for_document() || matches!(inbound, Inbound::SyncStep1(_)));
            goes_back(&dialect, &inbound, |payload| read_by(&address, &payload));
        }
        Err(reason) => is_of_the_wire(&reason),
    }
}

fn read_by(address: &Address, message: &Bytes) -> Option<Vec<u8>> {
    match hocuspocus::parse(message) {
        Ok(Said::To(to, Message::Other(unread))) => {
            assert_eq!(to, *address, "it goes to whom it is for");
            says(&unread.read().expect("what is sent is read"))
        }
        other => panic!("{other:?}"),
    }
}

/// What the server says to others is read as what was said to it.
fn goes_back(dialect: &Dialect, inbound: &Inbound, read: impl Fn(Bytes) -> Option<Vec<u8>>) {
    let Some(said) = says(inbound) else { return };
    let outbound = match inbound {
        Inbound::Update { answer: true, .. } => Outbound::SyncStep2(&said),
        Inbound::Update { answer: false, .. } => Outbound::Update(&said),
        Inbound::Awareness(_) => Outbound::Awareness(&said),
        Inbound::Stateless(_) => Outbound::Stateless(&said),
        Inbound::SyncStep1(_) => Outbound::SyncStep1(&said),
        Inbound::SavedQuery(_) => Outbound::Saved(&said),
        Inbound::AwarenessQuery | Inbound::Pong(_) | Inbound::Ignored => return,
    };
    if let Some(frame) = dialect.frame(outbound) {
        assert_eq!(read(payload(&frame)).as_ref(), Some(&said), "{outbound:?}");
    }
}

/// The payload of what a client said, as it goes to others.
fn says(inbound: &Inbound) -> Option<Vec<u8>> {
    Some(match inbound {
        Inbound::Update { update, .. } => update.bytes().to_vec(),
        Inbound::Awareness(entries) => awareness::encode(entries.iter()),
        Inbound::Stateless(text) | Inbound::SavedQuery(text) => text.to_vec(),
        Inbound::SyncStep1(clocks) => clocks.encode_state_vector(),
        Inbound::AwarenessQuery | Inbound::Pong(_) | Inbound::Ignored => return None,
    })
}

/// The payload of a WebSocket frame.
fn payload(frame: &Bytes) -> Bytes {
    frame.slice(match frame[1] {
        126 => 4..,
        127 => 10..,
        _ => 2..,
    })
}

/// Nobody is sent away as if the line were broken for what a message says.
fn is_of_the_wire(reason: &CloseReason) {
    assert!(
        matches!(reason, CloseReason::Malformed(_) | CloseReason::Refused(_)),
        "{reason:?}"
    );
}
