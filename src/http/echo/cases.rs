//! The scenarios of the Autobahn test suite (cases 1 to 7 and 10; <https://github.com/crossbario/autobahn-testsuite>):
//! what a client sends, what comes back, and how the connection ends.
//!
//! Two outcomes of ours are others of those that RFC 6455 allows. Several pings are answered once, for the last (F10).
//! A text is judged when it is complete, also one of which an early fragment is no UTF-8 (6.4: "non-strict").

use std::fmt;

pub const CONTINUATION: u8 = 0x0;
pub const TEXT: u8 = 0x1;
pub const BINARY: u8 = 0x2;
pub const CLOSE: u8 = 0x8;
pub const PING: u8 = 0x9;
pub const PONG: u8 = 0xA;

const FIN: u8 = 0x80;

/// One frame.
#[derive(Clone, PartialEq, Eq)]
pub struct Frame {
    /// The first byte of its head.
    pub first: u8,
    pub payload: Vec<u8>,
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = String::from_utf8_lossy(&self.payload[..self.payload.len().min(60)]);
        write!(f, "{:02x} {} {shown:?}", self.first, self.payload.len())
    }
}

impl Frame {
    pub fn is_control(&self) -> bool {
        self.first & 0x08 != 0
    }

    /// Its bytes, as a client writes them.
    pub fn masked(&self) -> Vec<u8> {
        const MASKED: u8 = 0x80;
        let mask = [0x37, 0xFA, 0x21, 0x3D];
        let mut bytes = vec![self.first];
        match self.payload.len() {
            length @ 0..=125 => bytes.push(MASKED | length as u8),
            length @ 126..=65_535 => {
                bytes.push(MASKED | 126);
                bytes.extend((length as u16).to_be_bytes());
            }
            length => {
                bytes.push(MASKED | 127);
                bytes.extend((length as u64).to_be_bytes());
            }
        }
        bytes.extend(mask);
        let masked = self.payload.iter().zip(mask.iter().cycle());
        bytes.extend(masked.map(|(byte, mask)| byte ^ mask));
        bytes
    }
}

/// How the network cuts what is sent.
#[derive(Debug, Clone, Copy)]
pub enum Pieces {
    Whole,
    Frames,
    Of(usize),
}

/// How a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// With this code.
    Code(u16),
    /// With a close frame without one.
    Bare,
}

#[derive(Debug, Clone)]
pub struct Case {
    pub name: String,
    pub pieces: Pieces,
    pub sends: Vec<Frame>,
    /// What comes back before the end.
    expects: Vec<Frame>,
    end: End,
    /// Of its pongs only the last one is sure to come.
    may_skip_pongs: bool,
}

impl Case {
    /// Panics unless this came back. At the path of a wire, no message does: the first one ends the connection.
    pub fn judge(&self, came: &[Frame], wire: Option<&str>) {
        let name = format!("{} {}", wire.unwrap_or_default(), self.name);
        let (mut expects, mut end) = (self.expects.clone(), self.end);
        let message = expects.iter().position(|frame| !frame.is_control());
        if let Some(at) = message.filter(|_| wire.is_some()) {
            end = End::Code(if expects[at].first == FIN | TEXT { 1003 } else { 4400 });
            expects.truncate(at);
        }
        let Some((last, before)) = came.split_last() else {
            panic!("{name}: nothing came back")
        };
        assert_eq!(last.first, FIN | CLOSE, "{name}: {came:?}");
        let ended = match last.payload[..] {
            [] => End::Bare,
            [high, low, ..] => End::Code(u16::from_be_bytes([high, low])),
            [_] => panic!("{name}: half a code"),
        };
        assert_eq!(ended, end, "{name}: {came:?}");
        if self.may_skip_pongs && expects.len() > 1 {
            assert_eq!(before.last(), expects.last(), "{name}: {before:?}");
            let mut rest = expects.iter();
            let in_order = before.iter().all(|came| rest.any(|expected| expected == came));
            assert!(in_order, "{name}: {before:?}");
            return;
        }
        assert_eq!(before, expects, "{name}");
    }

    fn cut(mut self, pieces: Pieces) -> Self {
        self.pieces = pieces;
        self
    }
}

fn frame(first: u8, payload: impl AsRef<[u8]>) -> Frame {
    let payload = payload.as_ref().to_vec();
    Frame { first, payload }
}

fn text(payload: impl AsRef<[u8]>) -> Frame {
    frame(FIN | TEXT, payload)
}

fn close(code: u16, reason: impl AsRef<[u8]>) -> Frame {
    frame(FIN | CLOSE, [&code.to_be_bytes()[..], reason.as_ref()].concat())
}

/// A case that ends with `end` after these have come back.
fn case(name: impl Into<String>, sends: Vec<Frame>, expects: Vec<Frame>, end: End) -> Case {
    Case {
        name: name.into(),
        pieces: Pieces::Whole,
        sends,
        expects,
        end,
        may_skip_pongs: false,
    }
}

/// All is well, and the client closes.
fn fine(name: impl Into<String>, mut sends: Vec<Frame>, expects: Vec<Frame>) -> Case {
    sends.push(close(1000, []));
    case(name, sends, expects, End::Code(1000))
}

fn fails(name: impl Into<String>, sends: Vec<Frame>) -> Case {
    case(name, sends, vec![], End::Code(1002))
}

/// One message in pieces of so many bytes.
fn fragments(opcode: u8, payload: &[u8], length: usize) -> Vec<Frame> {
    let mut frames: Vec<Frame> = payload.chunks(length).map(|piece| frame(CONTINUATION, piece)).collect();
    if frames.is_empty() {
        frames.push(frame(CONTINUATION, []));
    }
    frames[0].first = opcode;
    if let Some(last) = frames.last_mut() {
        last.first |= FIN;
    }
    frames
}

/// Every case.
pub fn all() -> Vec<Case> {
    [
        messages(),
        pings(),
        reserved(),
        fragmented(),
        utf8_in_pieces(),
        utf8(),
        closes(),
        close_codes(),
        long(),
    ]
    .concat()
}

fn messages() -> Vec<Case> {
    let mut cases = Vec::new();
    for (group, opcode, byte) in [(1, TEXT, b'*'), (2, BINARY, 0xFE)] {
        for (at, length) in [0, 125, 126, 127, 128, 65_535, 65_536].into_iter().enumerate() {
            let message = frame(FIN | opcode, vec![byte; length]);
            let name = format!("1.{group}.{} a message of {length} bytes", at + 1);
            cases.push(fine(name, vec![message.clone()], vec![message]));
        }
        let message = frame(FIN | opcode, vec![byte; 65_536]);
        let name = format!("1.{group}.8 a message in pieces of 997 bytes");
        cases.push(fine(name, vec![message.clone()], vec![message]).cut(Pieces::Of(997)));
    }
    cases
}

fn pings() -> Vec<Case> {
    let ping = |payload: &[u8]| frame(FIN | PING, payload);
    let pong = |payload: &[u8]| frame(FIN | PONG, payload);
    let odd: Vec<u8> = vec![0x00, 0xFF, 0xFE, 0xFD, 0xFC, 0xFB, 0x00, 0xFF];
    let answered = |name, payload: &[u8]| fine(name, vec![ping(payload)], vec![pong(payload)]);
    let payloads: Vec<Vec<u8>> = (0..10).map(|n| format!("payload-{n}").into_bytes()).collect();
    let ten = Case {
        may_skip_pongs: true,
        ..fine(
            "2.10 ten pings",
            payloads.iter().map(|payload| ping(payload)).collect(),
            payloads.iter().map(|payload| pong(payload)).collect(),
        )
    };
    vec![
        answered("2.1 a ping without a payload", b""),
        answered("2.2 a ping with a text", b"Hello, world!"),
        answered("2.3 a ping with bytes", &odd),
        answered("2.4 a ping of 125 bytes", &[0xFE; 125]),
        fails("2.5 a ping of 126 bytes", vec![ping(&[0xFE; 126])]),
        answered("2.6 a ping of 125 bytes, byte by byte", &[0xFE; 125]).cut(Pieces::Of(1)),
        fine("2.7 a pong that nobody asked for", vec![pong(b"")], vec![]),
        fine("2.8 a pong with a payload", vec![pong(b"unsolicited")], vec![]),
        fine(
            "2.9 a pong, then a ping",
            vec![pong(b"unsolicited"), ping(b"our ping")],
            vec![pong(b"our ping")],
        ),
        ten.clone(),
        Case {
            name: "2.11 ten pings, byte by byte".to_owned(),
            ..ten.cut(Pieces::Of(1))
        },
    ]
}

/// Reserved bits and opcodes.
fn reserved() -> Vec<Case> {
    let hello = || text("Hello, world!");
    let ping = || frame(FIN | PING, []);
    let behind_text = |name: String, bad: Frame, pieces| {
        let sends = vec![hello(), bad, ping()];
        case(name, sends, vec![hello()], End::Code(1002)).cut(pieces)
    };
    let rsv = |bits: u8, opcode| frame(FIN | bits << 4 | opcode, "Hello, world!");
    let mut cases = vec![
        fails("3.1 reserved bit 3", vec![rsv(1, TEXT)]),
        behind_text("3.2 reserved bit 2 behind a text".into(), rsv(2, TEXT), Pieces::Whole),
        behind_text(
            "3.3 reserved bits 2 and 3, frame by frame".into(),
            rsv(3, TEXT),
            Pieces::Frames,
        ),
        behind_text("3.4 reserved bit 1, byte by byte".into(), rsv(4, TEXT), Pieces::Of(1)),
        fails("3.5 reserved bits of a binary message", vec![rsv(5, BINARY)]),
        fails("3.6 reserved bits of a ping", vec![rsv(6, PING)]),
        fails("3.7 reserved bits of a close frame", vec![rsv(7, CLOSE)]),
    ];
    for (group, opcodes) in [(1, 3..=7), (2, 11..=15)] {
        for (at, opcode) in opcodes.enumerate() {
            let name = format!("4.{group}.{} opcode {opcode}", at + 1);
            let payload = if at % 2 == 1 { "reserved opcode" } else { "" };
            let bad = frame(FIN | opcode, payload);
            cases.push(match at {
                0 | 1 => fails(name, vec![bad]),
                4 => behind_text(name, bad, Pieces::Of(1)),
                _ => behind_text(name, bad, Pieces::Whole),
            });
        }
    }
    cases
}

fn fragmented() -> Vec<Case> {
    let halves = || vec![frame(TEXT, "fragment1"), frame(FIN | CONTINUATION, "fragment2")];
    let echo = || vec![text("fragment1fragment2")];
    let ping = |payload: &str| frame(FIN | PING, payload);
    let pong = |payload: &str| frame(FIN | PONG, payload);
    let with_ping = || {
        let [one, two] = [frame(TEXT, "fragment1"), frame(FIN | CONTINUATION, "fragment2")];
        vec![one, ping("ping payload"), two]
    };
    let stray = |first: u8| vec![frame(first, "non-continuation payload"), text("Hello, world!")];
    let again = |first: u8| {
        let stray = frame(first, "non-continuation payload");
        let mut sends = vec![stray];
        sends.extend(halves());
        [sends.clone(), sends].concat()
    };
    let five = || {
        vec![
            frame(TEXT, "fragment1"),
            frame(CONTINUATION, "fragment2"),
            ping("pongme 1!"),
            frame(CONTINUATION, "fragment3"),
            frame(CONTINUATION, "fragment4"),
            ping("pongme 2!"),
            frame(FIN | CONTINUATION, "fragment5"),
        ]
    };
    let five_back = || {
        let message = text("fragment1fragment2fragment3fragment4fragment5");
        vec![pong("pongme 1!"), pong("pongme 2!"), message]
    };
    let five_whole = |name: &str| Case {
        may_skip_pongs: true,
        ..fine(name, five(), five_back())
    };
    let mut cases = vec![
        fails(
            "5.1 a ping in fragments",
            vec![frame(PING, "fragment1"), frame(FIN | CONTINUATION, "fragment2")],
        ),
        fails(
            "5.2 a pong in fragments",
            vec![frame(PONG, "fragment1"), frame(FIN | CONTINUATION, "fragment2")],
        ),
        case(
            "5.15 a continuation behind a message",
            [halves(), stray(CONTINUATION)].concat(),
            echo(),
            End::Code(1002),
        ),
        fails("5.16 again and again a stray fragment", again(CONTINUATION)),
        fails("5.17 again and again a stray last fragment", again(FIN | CONTINUATION)),
        fails(
            "5.18 a message begins in a message",
            vec![frame(TEXT, "fragment1"), text("fragment2")],
        ),
        five_whole("5.19 five fragments and two pings"),
        five_whole("5.20 five fragments and two pings, frame by frame").cut(Pieces::Frames),
    ];
    for (at, pieces) in [Pieces::Whole, Pieces::Frames, Pieces::Of(1)].into_iter().enumerate() {
        cases.push(fine(format!("5.{} two fragments, {pieces:?}", 3 + at), halves(), echo()).cut(pieces));
        let mut expects = vec![pong("ping payload")];
        expects.extend(echo());
        let name = format!("5.{} a ping between two fragments, {pieces:?}", 6 + at);
        cases.push(fine(name, with_ping(), expects).cut(pieces));
        let name = format!("5.{} a last fragment of nothing, {pieces:?}", 9 + at);
        cases.push(fails(name, stray(FIN | CONTINUATION)).cut(pieces));
        let name = format!("5.{} a fragment of nothing, {pieces:?}", 12 + at);
        cases.push(fails(name, stray(CONTINUATION)).cut(pieces));
    }
    cases
}

fn utf8_in_pieces() -> Vec<Case> {
    let valid = "Hello-µ@ßöäüàá-UTF-8!!";
    let kosme = "κ\u{1f79}σμε";
    let invalid = [kosme.as_bytes(), &[0xED, 0xA0, 0x80], b"edited"].concat();
    let echo = |payload: &str| vec![text(payload)];
    let not_utf8 = |name: &str, sends| case(name, sends, vec![], End::Code(1007));
    let beyond = [b"\xF4", &b"\x90"[..], b"\x80\x80edited"];
    let three = |parts: [&[u8]; 3]| {
        vec![
            frame(TEXT, [kosme.as_bytes(), parts[0]].concat()),
            frame(CONTINUATION, parts[1]),
            frame(FIN | CONTINUATION, parts[2]),
        ]
    };
    let whole = [kosme.as_bytes(), &beyond.concat()].concat();
    vec![
        fine("6.1.1 an empty text", vec![text("")], echo("")),
        fine(
            "6.1.2 an empty text in three fragments",
            vec![frame(TEXT, ""), frame(CONTINUATION, ""), frame(FIN | CONTINUATION, "")],
            echo(""),
        ),
        fine(
            "6.1.3 a text between two empty fragments",
            vec![
                frame(TEXT, ""),
                frame(CONTINUATION, "middle frame payload"),
                frame(FIN | CONTINUATION, ""),
            ],
            echo("middle frame payload"),
        ),
        fine("6.2.1 UTF-8", vec![text(valid)], echo(valid)),
        fine(
            "6.2.2 UTF-8 in two fragments",
            fragments(TEXT, valid.as_bytes(), "Hello-µ@ßöä".len()),
            echo(valid),
        ),
        fine(
            "6.2.3 UTF-8 in fragments of a byte",
            fragments(TEXT, valid.as_bytes(), 1),
            echo(valid),
        ),
        fine(
            "6.2.4 Greek in fragments of a byte",
            fragments(TEXT, kosme.as_bytes(), 1),
            echo(kosme),
        ),
        not_utf8("6.3.1 no UTF-8", vec![text(&invalid)]),
        not_utf8("6.3.2 no UTF-8 in fragments of a byte", fragments(TEXT, &invalid, 1)),
        not_utf8(
            "6.4.1 what cannot become UTF-8, in the second of three fragments",
            three([b"\xF4\x90\x80\x80", b"", b"edited"]),
        )
        .cut(Pieces::Frames),
        not_utf8("6.4.2 what cannot become UTF-8, across two fragments", three(beyond)).cut(Pieces::Frames),
        not_utf8("6.4.3 what cannot become UTF-8, in one frame", vec![text(&whole)]).cut(Pieces::Of(15)),
        not_utf8("6.4.4 what cannot become UTF-8, byte by byte", vec![text(&whole)]).cut(Pieces::Of(1)),
    ]
}

/// 6.5 to 6.23: what is UTF-8, and what is not.
fn utf8() -> Vec<Case> {
    let mut groups: Vec<(u8, Vec<Vec<u8>>)> = vec![
        (
            5,
            ["Hello-µ@ßöäüàá-UTF-8!!", "Hello-µ@ßöä", "üàá-UTF-8!!", "κ\u{1f79}σμε", "€𝄞"]
                .map(|text| text.as_bytes().to_vec())
                .to_vec(),
        ),
        (6, (1..=11).map(|length| "κ\u{1f79}σμε".as_bytes()[..length].to_vec()).collect()),
        (12, (1..=7).map(|length| b"\x80\xBF".iter().copied().cycle().take(length).collect()).collect()),
        (15, vec![
            b"\xC0\xE0\x80\xF0\x80\x80\xF8\x80\x80\x80\xFC\x80\x80\x80\x80\xDF\xEF\xBF\xF7\xBF\xBF\xFB\xBF\xBF\xBF\xFD\xBF\xBF\xBF\xBF".to_vec(),
        ]),
        (23, (0xB9..=0xBF).map(|last| vec![0xEF, 0xBF, last]).collect()),
    ];
    groups[2].1.push((0x80..=0xBF).collect());
    let lonely = [0xC0..=0xDF, 0xE0..=0xEF, 0xF0..=0xF7, 0xF8..=0xFB, 0xFC..=0xFDu8];
    let lonely = lonely.map(|starts| starts.flat_map(|start| [start, b' ']).collect());
    groups.push((13, lonely.to_vec()));
    let planes = (0..=16u32).flat_map(|plane| [plane << 16 | 0xFFFE, plane << 16 | 0xFFFF]);
    let no_characters = planes.filter_map(char::from_u32).map(|c| c.to_string().into_bytes());
    groups.push((22, no_characters.collect()));
    let surrogates = |first: &[u8], second: &[u8]| [first, second].concat();
    let (high, low) = (
        [b"\xED\xA0\x80", b"\xED\xAD\xBF", b"\xED\xAE\x80", b"\xED\xAF\xBF"],
        [b"\xED\xB0\x80", b"\xED\xBF\xBF"],
    );
    let pairs = high
        .iter()
        .flat_map(|high| low.iter().map(|low| surrogates(*high, *low)));
    groups.push((21, pairs.collect()));
    groups.extend(
        LISTED
            .iter()
            .map(|(group, texts)| (*group, texts.iter().map(|text| text.to_vec()).collect())),
    );

    let mut cases = Vec::new();
    for (group, texts) in groups {
        for (at, bytes) in texts.into_iter().enumerate() {
            let (expects, end) = match std::str::from_utf8(&bytes) {
                Ok(valid) => (vec![text(valid)], End::Code(1000)),
                Err(_) => (vec![], End::Code(1007)),
            };
            let case = |name, mut sends: Vec<Frame>| {
                sends.push(close(1000, []));
                case(name, sends, expects.clone(), end)
            };
            let name = format!("6.{group}.{} {bytes:02x?}", at + 1);
            cases.push(case(format!("{name} in fragments"), fragments(TEXT, &bytes, 1)));
            cases.push(case(name, vec![text(bytes)]));
        }
    }
    cases
}

/// The first and the last sequences of each length, cut ones, overlong ones, surrogates.
const LISTED: &[(u8, &[&[u8]])] = &[
    (7, &[b"\x00", b"\xC2\x80", b"\xE0\xA0\x80", b"\xF0\x90\x80\x80"]),
    (8, &[b"\xF8\x88\x80\x80\x80", b"\xFC\x84\x80\x80\x80\x80"]),
    (9, &[b"\x7F", b"\xDF\xBF", b"\xEF\xBF\xBF", b"\xF4\x8F\xBF\xBF"]),
    (
        10,
        &[
            b"\xF7\xBF\xBF\xBF",
            b"\xFB\xBF\xBF\xBF\xBF",
            b"\xFD\xBF\xBF\xBF\xBF\xBF",
        ],
    ),
    (
        11,
        &[
            b"\xED\x9F\xBF",
            b"\xEE\x80\x80",
            b"\xEF\xBF\xBD",
            b"\xF4\x8F\xBF\xBF",
            b"\xF4\x90\x80\x80",
        ],
    ),
    (
        14,
        &[
            b"\xC0",
            b"\xE0\x80",
            b"\xF0\x80\x80",
            b"\xF8\x80\x80\x80",
            b"\xFC\x80\x80\x80\x80",
            b"\xDF",
            b"\xEF\xBF",
            b"\xF7\xBF\xBF",
            b"\xFB\xBF\xBF\xBF",
            b"\xFD\xBF\xBF\xBF\xBF",
        ],
    ),
    (16, &[b"\xFE", b"\xFF", b"\xFE\xFE\xFF\xFF"]),
    (
        17,
        &[
            b"\xC0\xAF",
            b"\xE0\x80\xAF",
            b"\xF0\x80\x80\xAF",
            b"\xF8\x80\x80\x80\xAF",
            b"\xFC\x80\x80\x80\x80\xAF",
        ],
    ),
    (
        18,
        &[
            b"\xC1\xBF",
            b"\xE0\x9F\xBF",
            b"\xF0\x8F\xBF\xBF",
            b"\xF8\x87\xBF\xBF\xBF",
            b"\xFC\x83\xBF\xBF\xBF\xBF",
        ],
    ),
    (
        19,
        &[
            b"\xC0\x80",
            b"\xE0\x80\x80",
            b"\xF0\x80\x80\x80",
            b"\xF8\x80\x80\x80\x80",
            b"\xFC\x80\x80\x80\x80\x80",
        ],
    ),
    (
        20,
        &[
            b"\xED\xA0\x80",
            b"\xED\xAD\xBF",
            b"\xED\xAE\x80",
            b"\xED\xAF\xBF",
            b"\xED\xB0\x80",
            b"\xED\xBE\x80",
            b"\xED\xBF\xBF",
        ],
    ),
];

fn closes() -> Vec<Case> {
    let hello = || text("Hello World!");
    let normal = || close(1000, []);
    let ends = |name: &str, sends| case(name, sends, vec![], End::Code(1000));
    let large = || text(vec![b'*'; 256 * 1024]);
    vec![
        fine("7.1.1 a message, then a close frame", vec![hello()], vec![hello()]),
        ends("7.1.2 two close frames", vec![normal(), normal()]),
        ends(
            "7.1.3 a ping behind a close frame",
            vec![normal(), frame(FIN | PING, [])],
        ),
        ends("7.1.4 a message behind a close frame", vec![normal(), hello()]),
        ends(
            "7.1.5 the last fragment behind a close frame",
            vec![
                frame(TEXT, "fragment1"),
                normal(),
                frame(FIN | CONTINUATION, "fragment2"),
            ],
        ),
        case(
            "7.1.6 a large message, a close frame, a ping",
            vec![large(), hello(), normal(), frame(FIN | PING, [])],
            vec![large(), hello()],
            End::Code(1000),
        ),
        case(
            "7.3.1 a close frame without a code",
            vec![frame(FIN | CLOSE, [])],
            vec![],
            End::Bare,
        ),
        fails("7.3.2 a close frame with half a code", vec![frame(FIN | CLOSE, "a")]),
        ends("7.3.3 a close frame with a code", vec![normal()]),
        ends("7.3.4 a close frame with a reason", vec![close(1000, "Hello World!")]),
        ends("7.3.5 a reason of 123 bytes", vec![close(1000, [b'*'; 123])]),
        fails("7.3.6 a reason of 124 bytes", vec![close(1000, [b'*'; 124])]),
        case(
            "7.5.1 a reason that is no UTF-8",
            vec![close(
                1000,
                b"\xCE\xBA\xE1\xBD\xB9\xCF\x83\xCE\xBC\xCE\xB5\xED\xA0\x80\x65",
            )],
            vec![],
            End::Code(1007),
        ),
    ]
}

fn close_codes() -> Vec<Case> {
    let good = [
        1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999,
    ];
    let bad = [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535];
    let good = good.map(|code| {
        case(
            format!("7.7 code {code}"),
            vec![close(code, [])],
            vec![],
            End::Code(code),
        )
    });
    let bad = bad.map(|code| fails(format!("7.9, 7.13 code {code}"), vec![close(code, [])]));
    [&good[..], &bad[..]].concat()
}

fn long() -> Vec<Case> {
    let message = vec![b'*'; 65_536];
    let name = "10.1.1 a text of 65,536 bytes in fragments of 1,300";
    vec![fine(name, fragments(TEXT, &message, 1_300), vec![text(&message)])]
}
