//! Tests of what waits for a helper: what takes long to read, on each wire and without a session.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    sync::mpsc,
    time::{Duration, Instant},
};

use actix_web::web::Data;
use tokio::sync::oneshot;

use crate::{
    access::{Access, ClientClaims},
    actor::clock,
    config::{Admission, ServeConfig},
    id::DocumentId,
    protocol::lib0::write_var_bytes,
    room::outbox::Outbox,
    server::{Application, HELPERS},
    token::{Keys, ServerToken},
};

use super::{
    Shared,
    echo::{BINARY, CLOSE, Frame, connected, receive},
    session,
};

/// What a test does with a server of its own that has one thread, in a thread that may block.
async fn with_server(
    choose: impl FnOnce(&mut ServeConfig),
    test: impl FnOnce(SocketAddr, Data<Shared>) + Send + 'static,
) {
    let data = tempfile::tempdir().expect("a folder");
    let mut config = ServeConfig::new("127.0.0.1:0".parse().expect("an address"), data.path());
    config.threads = 1;
    choose(&mut config);
    let application = Application::build(config).expect("it starts");
    let (address, shared) = (application.address(), application.shared().clone());
    let (stop, stops) = oneshot::channel::<()>();
    let stopping = async {
        let _ = stops.await;
        "the test has ended"
    };
    let server = actix_web::rt::spawn(application.run_until(stopping, Duration::from_secs(10)));
    let tested = actix_web::web::block(move || test(address, shared)).await;
    drop(stop);
    server.await.expect("no panic").expect("it stops");
    tested.expect("no panic");
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(
            started.elapsed() < Duration::from_secs(60),
            "still waiting until {what}"
        );
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Keeps the helpers that read busy until what is returned is dropped.
fn occupied(shared: &Shared) -> Vec<mpsc::Sender<()>> {
    let occupied = shared.registry.occupied(HELPERS);
    until("all helpers are busy", || shared.registry.waiting() == 0);
    occupied
}

/// A request with a body that was sent, and is not answered yet.
fn posted(address: SocketAddr, target: &str, token: &str, body: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(address).expect("a connection");
    let patience = Some(Duration::from_secs(20));
    stream.set_read_timeout(patience).expect("a time to wait");
    let head = format!(
        "POST {target} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n\
         Content-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(&[head.as_bytes(), body].concat()).expect("sent");
    stream
}

/// The status of its answer.
fn status(mut stream: TcpStream) -> u16 {
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer[9..12].parse().expect("a status")
}

fn say(stream: &mut TcpStream, payload: Vec<u8>) {
    let frame = Frame {
        first: 0x80 | BINARY,
        payload,
    };
    stream.write_all(&frame.masked()).expect("sent");
}

/// The code that a line is closed with, in what is left to read of it.
fn code(mut stream: TcpStream) -> u16 {
    let frames = receive(&mut stream).expect("it ends");
    let last = frames.last().expect("a frame");
    assert_eq!(last.first, 0x80 | CLOSE, "{frames:?}");
    u16::from_be_bytes([last.payload[0], last.payload[1]])
}

const SERVER_TOKEN: &str = "a-server-token-of-at-least-thirty-two-bytes";
const OPERATOR_TOKEN: &str = "an-operator-token-of-at-least-thirty-two-bytes";

/// A letter of client 1 in a new document.
const LETTER: &[u8] = &[1, 1, 1, 0, 4, 1, 1, b't', 1, b'x', 0];

/// So many letters of client 2.
fn paste(letters: usize) -> Vec<u8> {
    let mut update = vec![1, 1, 2, 0, 4, 1, 1, b't'];
    write_var_bytes(&mut update, &vec![b'y'; letters]);
    update.push(0);
    update
}

/// What is as large, and no update.
fn rubbish() -> Vec<u8> {
    vec![0xFF; 100_000]
}

/// A message with an update.
fn message(head: &[u8], update: &[u8]) -> Vec<u8> {
    let mut message = head.to_vec();
    write_var_bytes(&mut message, update);
    message
}

/// Hocuspocus' name of a document, and what kind of message follows.
fn to(document: &str, kind: &[u8]) -> Vec<u8> {
    let mut head = Vec::new();
    write_var_bytes(&mut head, document.as_bytes());
    head.extend_from_slice(kind);
    head
}

#[actix_web::test]
async fn l32_what_is_large_is_read_where_it_delays_nobody_on_each_wire() {
    let test = |address, shared: Data<Shared>| {
        // While helpers are busy it waits for one, and who has only this thread goes on. That it is none is found by reading.
        let read_elsewhere = |what: &str, sends: &mut dyn FnMut()| {
            let busy = occupied(&shared);
            sends();
            until(what, || shared.registry.waiting() == 1);
            let quick = posted(address, "/d/quick/update", "", LETTER);
            assert_eq!(status(quick), 200, "{what}");
            drop(busy);
        };

        let mut sent = None;
        read_elsewhere("a body waits", &mut || {
            sent = Some(posted(address, "/d/a/update", "", &rubbish()));
        });
        assert_eq!(status(sent.expect("it was sent")), 400);

        let mut line = connected(address, "/ws/a");
        read_elsewhere("a message waits", &mut || {
            say(&mut line, message(&[0, 2], &rubbish()));
        });
        assert_eq!(code(line), 4400);

        let mut line = connected(address, "/hocuspocus");
        say(&mut line, message(&to("a", &[2, 0]), b""));
        until("it has joined", || {
            shared.registry.has(&DocumentId::parse("a").expect("a name"))
        });
        read_elsewhere("a message of many documents' line waits", &mut || {
            say(&mut line, message(&to("a", &[0, 2]), &rubbish()));
        });
        assert_eq!(code(line), 4400);
    };
    with_server(|_| {}, test).await;
}

#[actix_web::test]
async fn h4_what_waits_to_be_read_is_bounded_for_all_together() {
    const LETTERS: usize = 300_000;
    let test = |address, shared: Data<Shared>| {
        let waits = || shared.unfinished.bytes();
        let busy = occupied(&shared);
        for number in 1..=3 {
            let mut line = connected(address, "/ws/a");
            say(&mut line, message(&[0, 2], &paste(LETTERS)));
            until("it waits", || shared.registry.waiting() == number);
        }
        assert!(waits() > 3 * LETTERS, "{} bytes", waits());

        let mut line = connected(address, "/ws/b");
        say(&mut line, message(&[0, 2], &paste(LETTERS)));
        assert_eq!(code(line), 1013);
        assert_eq!(status(posted(address, "/d/b/update", "", &paste(LETTERS))), 503);
        let mut small = connected(address, "/ws/b");
        say(&mut small, message(&[0, 2], LETTER));

        drop(busy);
        until("nothing waits", || waits() == 0);
        assert_eq!(status(posted(address, "/d/b/update", "", &paste(LETTERS))), 200);
        drop(small);
    };
    with_server(|config| config.unfinished_bytes_max = 1 << 20, test).await;
}

#[actix_web::test]
async fn a8_an_update_that_waited_to_be_read_is_not_taken_when_its_token_was_revoked_meanwhile() {
    let server = ServerToken::parse(SERVER_TOKEN).expect("a token");
    let document = DocumentId::parse("a").expect("a name");
    let now_ms = clock::wall_ms();
    let claims = ClientClaims::new(Some("ada"), document, Access::Write, now_ms, now_ms + 600_000).expect("claims");
    let token = server.mint(&claims);
    let keys = Keys {
        issuer: None,
        server: Some(server.clone()),
        links: None,
    };
    let test = move |address, shared: Data<Shared>| {
        let busy = occupied(&shared);
        let sent = posted(address, "/d/a/update", &token, &paste(100_000));
        until("it waits", || shared.registry.waiting() == 1);

        let revokes = posted(address, "/admin/revoke", OPERATOR_TOKEN, br#"{"user":"ada"}"#);
        assert_eq!(status(revokes), 200);
        drop(busy);

        assert_eq!(status(sent), 403);
    };
    let operator = ServerToken::parse(OPERATOR_TOKEN).expect("a token");
    with_server(
        |config| {
            config.admission = Admission::Tokens(keys);
            config.admin_token = Some(operator);
        },
        test,
    )
    .await;
}

#[actix_web::test]
async fn h8_what_is_read_elsewhere_is_read_at_the_expense_of_its_line() {
    const SPENT: u64 = 5_000;
    let data = tempfile::tempdir().expect("a folder");
    let config = ServeConfig::new("127.0.0.1:0".parse().expect("an address"), data.path());
    let application = Application::build(config).expect("it starts");
    let (shared, outbox) = (application.shared(), Outbox::alone(1 << 20));
    let reads = || {
        let began = clock::thread_cpu();
        while clock::thread_cpu() < began + SPENT {}
        7
    };

    let (read, waits) = session::aside(shared, outbox.line(), 1_000, reads)
        .await
        .expect("it is read");

    assert_eq!(read, 7);
    assert!(outbox.line().spent() >= SPENT);
    assert_eq!(shared.unfinished.bytes(), 1_000, "it is not heard yet");
    drop(waits);
    assert_eq!(shared.unfinished.bytes(), 0);
}

#[actix_web::test]
async fn h4_what_waits_to_be_read_counts_also_when_nobody_waits_for_it_any_more() {
    let data = tempfile::tempdir().expect("a folder");
    let config = ServeConfig::new("127.0.0.1:0".parse().expect("an address"), data.path());
    let application = Application::build(config).expect("it starts");
    let (shared, outbox) = (application.shared(), Outbox::alone(1 << 20));
    let busy = occupied(shared);
    let mut reads = Box::pin(session::aside(shared, outbox.line(), 1_000, || ()));
    let mut checks = Box::pin(session::checked(paste(50_000).into(), None, shared));
    assert!(futures_util::poll!(reads.as_mut()).is_pending());
    assert!(futures_util::poll!(checks.as_mut()).is_pending());

    drop((reads, checks));

    assert!(shared.unfinished.bytes() > 51_000, "{}", shared.unfinished.bytes());
    drop(busy);
    until("it was read", || shared.unfinished.bytes() == 0);
}

#[actix_web::test]
async fn l4_who_waits_for_a_helper_is_not_silent() {
    let data = tempfile::tempdir().expect("a folder");
    let config = ServeConfig::new("127.0.0.1:0".parse().expect("an address"), data.path());
    let application = Application::build(config).expect("it starts");
    let (shared, outbox) = (application.shared(), Outbox::alone(1 << 20));
    let busy = shared.registry.occupied(HELPERS);

    let reads = session::aside(shared, outbox.line(), 1_000, || ());
    let hears = async {
        while outbox.line().heard_ms() == 0 {
            actix_web::rt::time::sleep(Duration::from_millis(10)).await;
        }
        drop(busy);
    };
    let both = futures_util::future::join(reads, hears);

    let (read, ()) = actix_web::rt::time::timeout(Duration::from_secs(60), both)
        .await
        .expect("it is heard of");
    assert!(read.is_ok());
}
