//! What hostile clients do. Each attack is the life of one client: it ends when its connection does, and begins anew.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

use crate::wire;

use super::{
    line::{End, Line},
    poison,
};

/// A hostile client, with what it knows.
pub struct Mallory {
    pub number: usize,
    pub server: SocketAddr,
    /// May write to documents that begin with its name, and to those that are attacked from within.
    pub writer: String,
    /// May read the documents of honest people, and the large one.
    pub reader: String,
    /// Documents of honest people that it may write to.
    pub attacked: usize,
    /// All of theirs, which it may read.
    pub honest: usize,
    pub over: Arc<AtomicBool>,
    pub dice: AtomicU64,
    pub life: Life,
}

/// What one kind of client has done, and was told.
#[derive(Debug, Default)]
pub struct Life {
    pub lives: AtomicU64,
    pub messages: AtomicU64,
    pub ends: Mutex<BTreeMap<End, u64>>,
}

/// The large document.
pub const LARGE: &str = "large";
/// Names of honest people's documents begin with this.
pub const BUSY: &str = "busy";

/// An attack.
pub struct Attack {
    pub name: &'static str,
    run: fn(&Mallory) -> Result<(), End>,
}

impl Mallory {
    /// Lives until all is over.
    pub fn lives(&self, attack: &Attack) {
        while !self.is_over() {
            self.life.lives.fetch_add(1, Relaxed);
            if let Err(end) = (attack.run)(self)
                && end != End::Over
            {
                *self
                    .life
                    .ends
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .entry(end)
                    .or_default() += 1;
            }
            thread::sleep(Duration::from_millis(2));
        }
    }

    pub fn is_over(&self) -> bool {
        self.over.load(Relaxed)
    }

    pub fn has_said(&self, messages: usize) {
        self.life.messages.fetch_add(messages as u64, Relaxed);
    }

    /// Its address.
    pub fn from(&self) -> Ipv4Addr {
        Ipv4Addr::new(198, 51, 100, self.number as u8)
    }

    fn draw(&self) -> u64 {
        let step = |state: u64| {
            state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407)
        };
        let before = self.dice.fetch_update(Relaxed, Relaxed, |state| Some(step(state)));
        before.unwrap_or_default() >> 17
    }

    /// A client id that nobody else has, as a rule.
    fn client(&self) -> u64 {
        10_000 + self.draw() % 1_000_000_000
    }

    /// A document of its own.
    fn own(&self, name: &str) -> String {
        format!("m{}-{name}", self.number)
    }

    fn ws(&self, document: &str, token: &str) -> String {
        format!("/ws/{document}?token={token}")
    }

    /// At a document of its own.
    fn at_own(&self, name: &str) -> Result<Line<'_>, End> {
        Line::open(self, &self.ws(&self.own(name), &self.writer))
    }

    /// As a writer among honest people.
    fn among_honest(&self) -> Result<Line<'_>, End> {
        let document = format!("{BUSY}-{}", self.draw() % self.attacked as u64);
        Line::open(self, &self.ws(&document, &self.writer))
    }

    /// As a reader of honest people.
    fn watching_honest(&self) -> Result<Line<'_>, End> {
        let document = format!("{BUSY}-{}", self.draw() % self.honest as u64);
        Line::open(self, &self.ws(&document, &self.reader))
    }

    /// On Hocuspocus' wire, with a token for `document`.
    fn hocuspocus(&self, document: &str, token: &str) -> Result<(Line<'_>, Vec<u8>), End> {
        let mut line = Line::open(self, "/hocuspocus")?;
        let mut address = Vec::new();
        wire::var_bytes(&mut address, document.as_bytes());
        line.say(&auth(&address, token))?;
        Ok((line, address))
    }
}

fn auth(address: &[u8], token: &str) -> Vec<u8> {
    let mut out = address.to_vec();
    out.extend([2, 0]);
    wire::var_bytes(&mut out, token.as_bytes());
    wire::var_bytes(&mut out, b"4.7.0");
    out
}

fn update(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    wire::sync(&mut out, 2, bytes);
    out
}

fn step1(vector: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    wire::sync(&mut out, 0, vector);
    out
}

fn presence(client: u64, clock: u64, json: &[u8]) -> Vec<u8> {
    let mut payload = vec![1];
    wire::var_uint(&mut payload, client);
    wire::var_uint(&mut payload, clock);
    wire::var_bytes(&mut payload, json);
    let mut out = vec![1];
    wire::var_bytes(&mut out, &payload);
    out
}

/// All attacks. Of fifty clients, each is two or three.
pub static ALL: &[Attack] = &[
    Attack {
        name: "pings nobody reads the answers of",
        run: pings,
    },
    Attack {
        name: "questions (102) likewise",
        run: questions,
    },
    Attack {
        name: "messages that never end",
        run: unfinished,
    },
    Attack {
        name: "empty fragments",
        run: fragments,
    },
    Attack {
        name: "slow readers of a large document",
        run: slow_readers,
    },
    Attack {
        name: "odd state vectors",
        run: odd_vectors,
    },
    Attack {
        name: "100,000 values of one key",
        run: contested,
    },
    Attack {
        name: "20,000 neighbouring values",
        run: neighbours,
    },
    Attack {
        name: "20,000 client ids, and more",
        run: crowds,
    },
    Attack {
        name: "deletions of what is not there",
        run: holes,
    },
    Attack {
        name: "theft of client ids",
        run: thief_of_ids,
    },
    Attack {
        name: "theft of presence, overflowing clocks",
        run: thief_of_presence,
    },
    Attack {
        name: "presence of 60 kB",
        run: loud_presence,
    },
    Attack {
        name: "__proto__, and deep values",
        run: prototypes,
    },
    Attack {
        name: "RSV bits and other broken frames",
        run: broken_frames,
    },
    Attack {
        name: "rubbish",
        run: rubbish,
    },
    Attack {
        name: "handshakes without a token",
        run: handshakes,
    },
    Attack {
        name: "tokens in a loop",
        run: tokens,
    },
    Attack {
        name: "half-open connections",
        run: half_open,
    },
    Attack {
        name: "huge frames",
        run: huge,
    },
    Attack {
        name: "documents opened and left",
        run: comers,
    },
    Attack {
        name: "stateless messages",
        run: stateless,
    },
    Attack {
        name: "a thousand documents on a socket",
        run: many_documents,
    },
    Attack {
        name: "documents by HTTP, and bodies",
        run: http,
    },
];

fn pings(of: &Mallory) -> Result<(), End> {
    let mut line = of.at_own("pings")?;
    let mut pings = Vec::new();
    for _ in 0..256 {
        wire::client_frame(&mut pings, 9, &[], &[7; 125]);
    }
    loop {
        of.has_said(256);
        line.raw(&pings)?;
    }
}

fn questions(of: &Mallory) -> Result<(), End> {
    let mut line = of.at_own("questions")?;
    let mut question = vec![102];
    wire::var_bytes(&mut question, &[1; 16]);
    loop {
        line.say_all(&[&question[..]; 64])?;
    }
}

/// Twenty connections, each with most of a message.
fn unfinished(of: &Mallory) -> Result<(), End> {
    let mut lines = Vec::new();
    for n in 0..20 {
        let mut line = of.at_own(&format!("unfinished-{n}"))?;
        let mut head = Vec::new();
        wire::frame_head(&mut head, 2, 0x80, 15 << 20);
        head.extend([0; 4]);
        line.raw(&head)?;
        lines.push(line);
    }
    let piece = vec![0; 256 * 1024];
    for _ in 0..48 {
        for line in &mut lines {
            line.raw(&piece)?;
        }
    }
    loop {
        for line in &mut lines {
            line.raw(&[0])?;
            line.drain()?;
        }
    }
}

fn fragments(of: &Mallory) -> Result<(), End> {
    let mut line = of.at_own("fragments")?;
    // A first fragment, and empty ones that continue it.
    line.raw(&[0x02, 0x81, 0, 0, 0, 0, 0])?;
    let empty = [0x00, 0x80, 0, 0, 0, 0].repeat(1_000);
    loop {
        of.has_said(1_000);
        line.raw(&empty)?;
    }
}

/// Ten connections that ask again and again, and read nothing.
fn slow_readers(of: &Mallory) -> Result<(), End> {
    let mut lines = Vec::new();
    for _ in 0..10 {
        lines.push(Line::open(of, &of.ws(LARGE, &of.reader))?);
    }
    for _ in 0..100 {
        for line in &mut lines {
            line.say(&step1(&[0]))?;
        }
        if of.is_over() {
            return Err(End::Over);
        }
        thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}

fn odd_vectors(of: &Mallory) -> Result<(), End> {
    let mut line = if of.number.is_multiple_of(2) {
        Line::open(of, &of.ws(LARGE, &of.reader))?
    } else {
        of.watching_honest()?
    };
    loop {
        let vector = poison::odd_vector(of.draw(), 1 + of.draw() % 2_000);
        line.say(&step1(&vector))?;
        line.drain()?;
    }
}

fn contested(of: &Mallory) -> Result<(), End> {
    let mut line = of.at_own(&format!("contested-{}", of.draw() % 4))?;
    loop {
        line.say(&update(&poison::contested(of.client(), 100_000)))?;
        line.drain()?;
    }
}

fn neighbours(of: &Mallory) -> Result<(), End> {
    let mut line = of.at_own(&format!("neighbours-{}", of.draw() % 4))?;
    loop {
        line.say(&update(&poison::neighbours(of.client(), 20_000)))?;
        line.drain()?;
    }
}

/// A document that ever more clients wrote to, and that is asked for again.
fn crowds(of: &Mallory) -> Result<(), End> {
    let mut line = of.at_own("crowds")?;
    for _ in 0..20 {
        line.say(&update(&poison::crowd(of.client(), 20_000)))?;
        line.say(&step1(&[0]))?;
        line.drain()?;
    }
    Ok(())
}

fn holes(of: &Mallory) -> Result<(), End> {
    let mut line = of.at_own("holes")?;
    loop {
        let (client, count) = (of.client(), 50_000);
        line.say(&update(&poison::letter(client, 0)))?;
        line.say(&update(&poison::holes(client, count)))?;
        line.drain()?;
    }
}

/// For each update of somebody else, what that somebody would write next.
fn thief_of_ids(of: &Mallory) -> Result<(), End> {
    let mut line = of.among_honest()?;
    line.say(&step1(&[0]))?;
    loop {
        let Some(message) = line.hear()? else { continue };
        let [0, 2, ref update @ ..] = message[..] else { continue };
        let mut rest = update;
        let Some(body) = wire::read_var_bytes(&mut rest) else {
            continue;
        };
        let Some((client, clock)) = first_author(body) else {
            continue;
        };
        for next in [8, 9, 16, 24, 1_000] {
            line.say(&self::update(&poison::letter(client, clock + next)))?;
        }
    }
}

/// The first client of an update, and its first clock.
fn first_author(mut update: &[u8]) -> Option<(u64, u64)> {
    let clients = wire::read_var_uint(&mut update)?;
    wire::read_var_uint(&mut update)?;
    (clients > 0).then_some(())?;
    Some((wire::read_var_uint(&mut update)?, wire::read_var_uint(&mut update)?))
}

/// Says in others' names that they have gone, and who they are.
fn thief_of_presence(of: &Mallory) -> Result<(), End> {
    let mut line = if of.number.is_multiple_of(2) {
        of.among_honest()?
    } else {
        of.watching_honest()?
    };
    line.say(&step1(&[0]))?;
    loop {
        let Some(message) = line.hear()? else { continue };
        let [1, ref states @ ..] = message[..] else { continue };
        let mut rest = states;
        let Some(mut body) = wire::read_var_bytes(&mut rest) else {
            continue;
        };
        let count = wire::read_var_uint(&mut body);
        let (Some(1..), Some(client), Some(clock)) =
            (count, wire::read_var_uint(&mut body), wire::read_var_uint(&mut body))
        else {
            continue;
        };
        line.say_all(&[
            &presence(client, clock + 1, b"null"),
            &presence(client, clock + 2, br#"{"user":{"name":"Mallory","id":"h1"}}"#),
            &presence(client, u64::from(u32::MAX), b"null"),
            &presence(client, 1 << 32, b"{}"),
            &presence(client, (1 << 53) - 1, b"{}"),
        ])?;
    }
}

fn loud_presence(of: &Mallory) -> Result<(), End> {
    let mut line = of.watching_honest()?;
    let client = of.client();
    for clock in 1.. {
        let json = format!(r#"{{"user":{{"name":"{}"}},"n":{clock}}}"#, "L".repeat(60_000));
        line.say(&presence(client, clock, json.as_bytes()))?;
    }
    Ok(())
}

fn prototypes(of: &Mallory) -> Result<(), End> {
    let mut line = of.among_honest()?;
    for key in ["__proto__", "constructor", "prototype", "toString", "\u{0}"] {
        line.say(&update(&poison::keyed(of.client(), key)))?;
        line.say(&presence(
            of.client(),
            1,
            format!(r#"{{"{key}":{{"{key}":1}}}}"#).as_bytes(),
        ))?;
        line.drain()?;
    }
    line.say(&presence(of.client(), 1, &poison::nested(30_000)))?;
    line.drain()
}

fn broken_frames(of: &Mallory) -> Result<(), End> {
    let mut line = of.at_own("frames")?;
    let frames: [&[u8]; 12] = [
        &[0xc2, 0x81, 0, 0, 0, 0, 0],
        &[0xf2, 0x81, 0, 0, 0, 0, 0],
        // Not masked.
        &[0x82, 1, 0],
        // Opcodes that are none.
        &[0x83, 0x80, 0, 0, 0, 0],
        &[0x8f, 0x80, 0, 0, 0, 0],
        // A ping in two parts, and one that is too long.
        &[0x09, 0x80, 0, 0, 0, 0],
        &[0x89, 0xfe, 1, 0, 0, 0, 0, 0],
        // Continues nothing.
        &[0x80, 0x80, 0, 0, 0, 0],
        // Closes with a code that is none, with one byte, with text that is none.
        &[0x88, 0x82, 0, 0, 0, 0, 0, 0],
        &[0x88, 0x81, 0, 0, 0, 0, 3],
        &[0x88, 0x83, 0, 0, 0, 0, 3, 0xe8, 0xff],
        &[0x81, 0x81, 0, 0, 0, 0, 0xff],
    ];
    line.raw(frames[(of.draw() % frames.len() as u64) as usize])?;
    of.has_said(1);
    for _ in 0..20 {
        line.drain()?;
    }
    Ok(())
}

fn rubbish(of: &Mallory) -> Result<(), End> {
    let mut line = of.among_honest()?;
    loop {
        line.say(&poison::rubbish(of.draw()))?;
        line.drain()?;
    }
}

/// On every wire, with a token that is none and without one.
fn handshakes(of: &Mallory) -> Result<(), End> {
    let document = format!("{BUSY}-0");
    let path = match of.draw() % 5 {
        0 => format!("/ws/{document}"),
        1 => of.ws(&document, "eyJhbGciOiJub25lIn0.e30."),
        2 => format!("/d/{document}/ws/{document}?token=x"),
        3 => of.ws(&document, &of.writer[..of.writer.len() - 4]),
        _ => format!("/nowhere/{document}"),
    };
    of.has_said(1);
    let mut line = Line::open(of, &path)?;
    line.drain()?;
    line.drain()
}

/// Good and bad tokens, one behind the other, on a Hocuspocus socket.
fn tokens(of: &Mallory) -> Result<(), End> {
    let (mut line, address) = of.hocuspocus(&of.own("tokens"), &of.writer)?;
    let good = auth(&address, &of.writer);
    let bad = auth(&address, &of.writer[..of.writer.len() - 4]);
    let keeps_to_good = of.draw().is_multiple_of(2);
    loop {
        line.say_all(&[&good[..]; 32])?;
        if !keeps_to_good {
            line.say(&bad)?;
            line.drain()?;
        }
    }
}

/// Three hundred connections with half a request.
fn half_open(of: &Mallory) -> Result<(), End> {
    let mut lines = Vec::new();
    for n in 0..300 {
        let mut line = Line::tcp(of)?;
        if n % 3 > 0 && line.raw(b"GET /ws/x HTTP/1.1\r\nHost: x\r\nX-A: ").is_err() {
            continue;
        }
        of.has_said(1);
        lines.push(line);
    }
    for _ in 0..300 {
        if of.is_over() {
            return Err(End::Over);
        }
        for line in &mut lines {
            let _ = line.raw(b"a");
        }
        thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

fn huge(of: &Mallory) -> Result<(), End> {
    let mut line = of.at_own("huge")?;
    match of.draw() % 3 {
        0 => {
            let mut head = Vec::new();
            wire::frame_head(&mut head, 2, 0x80, 1 << 40);
            head.extend([0; 4]);
            line.raw(&head)?;
        }
        1 => line.say(&vec![0; (16 << 20) + 1])?,
        _ => line.say(&update(&vec![0xff; 15 << 20]))?,
    }
    of.has_said(1);
    for _ in 0..40 {
        line.drain()?;
    }
    Ok(())
}

/// A document that nobody has heard of, with a letter in it, and away.
fn comers(of: &Mallory) -> Result<(), End> {
    let mut line = of.at_own(&format!("new-{}", of.draw()))?;
    line.say(&update(&poison::letter(of.client(), 0)))?;
    line.hear().map(drop)
}

fn stateless(of: &Mallory) -> Result<(), End> {
    let document = format!("{BUSY}-{}", of.draw() % of.attacked as u64);
    let (mut line, address) = of.hocuspocus(&document, &of.writer)?;
    let mut text = address;
    text.push(5);
    wire::var_bytes(&mut text, &[b's'; 4_096]);
    loop {
        line.say_all(&[&text[..]; 16])?;
    }
}

/// Attaches to a thousand, asks each for all, and begins anew. Before that, as much as it may without a token.
fn many_documents(of: &Mallory) -> Result<(), End> {
    let (mut line, _) = of.hocuspocus(LARGE, &of.reader)?;
    for n in 0..1_000 {
        let mut address = Vec::new();
        wire::var_bytes(&mut address, of.own(&format!("many-{n}")).as_bytes());
        let ask = [&address[..], &step1(&[0])].concat();
        line.say_all(&[&auth(&address, &of.writer), &ask])?;
    }
    line.drain()?;
    let mut line = Line::open(of, "/hocuspocus")?;
    for n in 0.. {
        let mut early = Vec::new();
        wire::var_bytes(&mut early, of.own(&format!("early-{}", n % 90)).as_bytes());
        early.extend(update(&vec![0; 64 * 1024]));
        line.say(&early)?;
        line.drain()?;
    }
    Ok(())
}

fn http(of: &Mallory) -> Result<(), End> {
    let mut line = Line::tcp(of)?;
    of.has_said(1);
    let head = match of.draw() % 4 {
        // Asked for, and not read.
        0 => format!(
            "GET /d/{LARGE}/as-update?token={} HTTP/1.1\r\nHost: x\r\n\r\n",
            of.reader
        )
        .repeat(20),
        1 => format!(
            "POST /d/{}/update?token={} HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n",
            of.own("http"),
            of.writer
        ),
        2 => format!(
            "POST /d/{}/update?token={} HTTP/1.1\r\nHost: x\r\nContent-Length: 15000000\r\n\r\n",
            of.own("http"),
            of.writer
        ),
        _ => format!(
            "GET /{} HTTP/1.1\r\nHost: x\r\nCookie: {}\r\n\r\n",
            "x".repeat(5_000),
            "y".repeat(20_000)
        ),
    };
    line.raw(head.as_bytes())?;
    let piece = vec![0xee; 64 * 1024];
    for _ in 0..20 {
        if head.starts_with("POST") {
            line.raw(&piece)?;
        } else {
            thread::sleep(Duration::from_millis(100));
        }
        if of.is_over() {
            return Err(End::Over);
        }
    }
    line.listen()
}
