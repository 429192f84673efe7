//! A wire that says what it hears, for tests: handshake, reading, writing and closing are those of every line, and
//! whatever a line takes can be seen.
//!
//! `cases` are the scenarios of the Autobahn test suite; the client of the tests here writes bytes and reads frames.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    sync::Arc,
    time::Duration,
};

use actix_web::{
    HttpRequest, HttpResponse,
    web::{Bytes, Data, Payload},
};
use tokio::sync::oneshot;

use crate::{
    config::ServeConfig,
    protocol::{frame, frame_reader::Received},
    room::outbox::{Kind, Outbox},
    server::Application,
};

use super::{
    Shared, admission,
    line::{self, Open, OutboxBody, Reader},
};

mod cases;

pub(super) use cases::{BINARY, CLOSE, Frame};
use cases::{Case, Pieces, TEXT};

/// `GET /echo`.
pub async fn connect(request: HttpRequest, payload: Payload, shared: Data<Shared>) -> actix_web::Result<HttpResponse> {
    let response = line::handshake(&request, &admission::credentials(&request)).await?;
    let outbox = Arc::new(Outbox::alone(2 * shared.outbox_bytes_max));
    let visit = shared.doorkeeper.connects(None).expect("nobody counts");
    let body = OutboxBody::new(outbox.clone(), Open::count(&shared, visit));
    actix_web::rt::spawn(answer(Reader::new(payload, outbox.clone(), &shared), outbox.clone()));
    Ok(line::begins(response, body, outbox))
}

async fn answer(mut reader: Reader, outbox: Arc<Outbox>) {
    loop {
        match reader.receive().await {
            Ok(Some(Received::Binary(message))) => outbox.push(frame::binary(&[&message]), Kind::Other),
            Ok(Some(Received::Text(message))) => outbox.push(text(&message), Kind::Other),
            Ok(Some(Received::Ping(payload))) => outbox.pong(&payload),
            Ok(Some(Received::Pong(_))) => {}
            Ok(Some(Received::Close(code))) => break outbox.echo_close(code),
            Ok(None) => break,
            Err(reason) => break outbox.close(&reason),
        }
    }
    outbox.hang_up();
}

/// The server has no other use for text.
fn text(message: &[u8]) -> Bytes {
    let mut bytes = frame::binary(&[message]).to_vec();
    bytes[0] = 0x80 | TEXT;
    bytes.into()
}

/// A client that was upgraded.
pub(super) fn connected(address: SocketAddr, path: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).expect("a connection");
    stream.set_nodelay(true).expect("no delay");
    let patience = Some(Duration::from_secs(20));
    stream.set_read_timeout(patience).expect("a time to wait");
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).expect("sent");
    let (mut answer, mut byte) = (Vec::new(), [0]);
    while !answer.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).expect("an answer");
        answer.push(byte[0]);
    }
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.starts_with("HTTP/1.1 101 "), "{path}: {answer}");
    stream
}

/// Writes what a case sends. A server that has heard enough need not read the rest.
fn send(stream: &mut TcpStream, case: &Case) -> io::Result<()> {
    let bytes: Vec<u8> = case.sends.iter().flat_map(Frame::masked).collect();
    match case.pieces {
        Pieces::Whole => stream.write_all(&bytes),
        Pieces::Frames => case
            .sends
            .iter()
            .try_for_each(|frame| stream.write_all(&frame.masked())),
        Pieces::Of(length) => bytes.chunks(length).try_for_each(|piece| stream.write_all(piece)),
    }
}

/// All frames up to the end of the connection.
pub(super) fn receive(stream: &mut TcpStream) -> io::Result<Vec<Frame>> {
    let mut frames = Vec::new();
    loop {
        let mut head = [0; 2];
        match stream.read_exact(&mut head) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(frames),
            Err(error) => return Err(error),
        }
        let extended = match head[1] {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let mut length = [0; 8];
        stream.read_exact(&mut length[8 - extended..])?;
        let length = match extended {
            0 => u64::from(head[1]),
            _ => u64::from_be_bytes(length),
        };
        let mut payload = vec![0; length as usize];
        stream.read_exact(&mut payload)?;
        frames.push(Frame {
            first: head[0],
            payload,
        });
    }
}

/// What the server answers to a case; the messages of a wire are left out.
fn outcome(address: SocketAddr, path: &str, case: &Case) -> io::Result<Vec<Frame>> {
    let mut stream = connected(address, path);
    let _ = send(&mut stream, case);
    receive(&mut stream)
}

/// The outcomes of all cases, one after the other, at a path of a server of its own.
async fn outcomes(path: &'static str) -> Vec<(Case, io::Result<Vec<Frame>>)> {
    let data = tempfile::tempdir().expect("a folder");
    let listen = "127.0.0.1:0".parse().expect("an address");
    let application = Application::build(ServeConfig::new(listen, data.path())).expect("it starts");
    let address = application.address();
    let (stop, stops) = oneshot::channel::<()>();
    let stopping = async {
        let _ = stops.await;
        "the test has ended"
    };
    let server = actix_web::rt::spawn(application.run_until(stopping, Duration::from_secs(10)));
    let outcomes = actix_web::web::block(move || {
        let outcome = |case| (outcome(address, path, &case), case);
        let outcomes = cases::all().into_iter().map(outcome);
        outcomes.map(|(outcome, case)| (case, outcome)).collect()
    });
    let outcomes = outcomes.await.expect("no panic");
    drop(stop);
    server.await.expect("no panic").expect("it stops");
    outcomes
}

#[actix_web::test]
async fn h10_autobahns_cases_have_their_outcome() {
    let outcomes = outcomes("/echo").await;

    assert!(outcomes.len() > 250, "{} cases", outcomes.len());
    for (case, outcome) in outcomes {
        let outcome = outcome.unwrap_or_else(|error| panic!("{}: {error}", case.name));
        case.judge(&outcome, None);
    }
}

/// A wire takes no text, and what is no message of it ends the connection.
async fn ends_like_the_echo(path: &'static str) {
    for (case, outcome) in outcomes(path).await {
        let mut outcome = outcome.unwrap_or_else(|error| panic!("{path} {}: {error}", case.name));
        outcome.retain(Frame::is_control);
        case.judge(&outcome, Some(path));
    }
}

#[actix_web::test]
async fn h11_y_websockets_wire_ends_as_the_echo_does() {
    ends_like_the_echo("/ws/cases").await;
}

#[actix_web::test]
async fn h11_y_sweets_wire_ends_as_the_echo_does() {
    ends_like_the_echo("/d/cases/ws/cases").await;
}

#[actix_web::test]
async fn h11_hocuspocus_wire_ends_as_the_echo_does() {
    ends_like_the_echo("/hocuspocus").await;
}
