//! What two nodes say to each other before the first byte of a client: who they are, and that both have the secret.
//!
//! ```text
//! owner   cowrite 1 NODE NONCE
//! sender  NODE NONCE CLIENT PROOF      (CLIENT: on whose behalf, see Said)
//! owner   PROOF
//! ```
//!
//! Each proof covers all that was said before, and both nonces are new, so nothing that was overheard is of use later, and
//! neither clocks nor the secret travel. What follows is neither encrypted nor signed: the network is trusted.

use std::{io, net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    time::timeout,
};
use uuid::Uuid;

use super::ClusterSecret;
use crate::store::NodeId;

/// How long a greeting may take.
pub const PATIENCE: Duration = Duration::from_secs(5);
/// The longest line of it, in bytes.
const LINE_BYTES_MAX: usize = 256;
const VERSION: &str = "cowrite 1";

/// On whose behalf a node connects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Said {
    /// A client's, who connected from there. A client of a Unix socket or of the process itself has no address.
    Client(Option<SocketAddr>),
    /// The same, for one document of a WebSocket that has others: the sending node counts that WebSocket, and has judged
    /// its token.
    Document(Option<SocketAddr>),
    /// Its own.
    Node,
}

impl Said {
    /// Where the client is.
    #[must_use]
    pub fn client(self) -> Option<SocketAddr> {
        match self {
            Self::Client(address) | Self::Document(address) => address,
            Self::Node => None,
        }
    }

    fn words(self) -> String {
        let address =
            |address: Option<SocketAddr>| address.map_or_else(|| "-".to_owned(), |address| address.to_string());
        match self {
            Self::Client(from) => format!("client={}", address(from)),
            Self::Document(from) => format!("document={}", address(from)),
            Self::Node => "node".to_owned(),
        }
    }

    fn read(words: &str) -> Option<Self> {
        let (kind, address) = words.split_once('=').unwrap_or((words, "-"));
        let address = match address {
            "-" => None,
            address => Some(address.parse().ok()?),
        };
        match kind {
            "client" => Some(Self::Client(address)),
            "document" => Some(Self::Document(address)),
            "node" => Some(Self::Node),
            _ => None,
        }
    }
}

/// Who has connected, and on whose behalf.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Greeted {
    /// The node that has.
    pub by: NodeId,
    /// For whom.
    pub said: Said,
}

/// Why two nodes do not talk.
#[derive(Debug, thiserror::Error)]
pub enum Stranger {
    /// The connection broke, or nothing came in time.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The other side is no node, or a node of another version.
    #[error("it does not answer as a node of this version")]
    NoNode,
    /// Another node is there than the one that was looked for.
    #[error("another node answers there ({0})")]
    Another(NodeId),
    /// The secrets differ, or the connection ended where a node that is not convinced ends it.
    #[error("it has another --cluster-secret, or the connection to it broke")]
    Secret,
}

fn opening(owner: &str, nonce: &str) -> String {
    format!("{VERSION} {owner} {nonce}")
}

fn words(role: &str, opening: &str, from: &str, nonce: &str, said: &str) -> String {
    format!("{role}\n{opening}\n{from} {nonce} {said}")
}

/// Greets a node that has just connected; returns which it is, and on whose behalf it did.
///
/// # Errors
/// [`Stranger`]: the connection is to be closed.
pub async fn receive(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    own: NodeId,
    secret: &ClusterSecret,
) -> Result<Greeted, Stranger> {
    in_time(async {
        let opening = opening(&own.to_string(), &Uuid::new_v4().to_string());
        write_line(stream, &opening).await?;
        let line = read_line(stream).await?;
        let [from, nonce, said, proof] = parts(&line)?;
        if !secret.is_proven(&words("sender", &opening, from, nonce, said), proof) {
            return Err(Stranger::Secret);
        }
        let by = Uuid::parse_str(from).map_err(|_| Stranger::NoNode)?;
        let greeted = Greeted {
            by: NodeId(by.as_u128()),
            said: Said::read(said).ok_or(Stranger::NoNode)?,
        };
        write_line(stream, &secret.proof(&words("owner", &opening, from, nonce, said))).await?;
        Ok(greeted)
    })
    .await
}

/// Greets the node `to`, which was just connected to. No byte of a client was written if this fails.
///
/// # Errors
/// [`Stranger`].
pub async fn send(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    own: NodeId,
    to: NodeId,
    secret: &ClusterSecret,
    said: Said,
) -> Result<(), Stranger> {
    in_time(async {
        let opening = read_line(stream).await?;
        let owner = opening
            .strip_prefix(VERSION)
            .and_then(|rest| rest.trim_start().split(' ').next())
            .ok_or(Stranger::NoNode)?
            .to_owned();
        let (from, nonce, said) = (own.to_string(), Uuid::new_v4().to_string(), said.words());
        let proof = secret.proof(&words("sender", &opening, &from, &nonce, &said));
        write_line(stream, &format!("{from} {nonce} {said} {proof}")).await?;
        // Who closes instead was not convinced.
        let answer = read_line(stream).await.map_err(|stranger| match stranger {
            Stranger::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof => Stranger::Secret,
            other => other,
        })?;
        if !secret.is_proven(&words("owner", &opening, &from, &nonce, &said), &answer) {
            return Err(Stranger::Secret);
        }
        match Uuid::parse_str(&owner) {
            Ok(owner) if owner.as_u128() == to.0 => Ok(()),
            Ok(owner) => Err(Stranger::Another(NodeId(owner.as_u128()))),
            Err(_) => Err(Stranger::NoNode),
        }
    })
    .await
}

async fn in_time<T>(greets: impl Future<Output = Result<T, Stranger>>) -> Result<T, Stranger> {
    let late = || Stranger::Io(io::ErrorKind::TimedOut.into());
    timeout(PATIENCE, greets).await.unwrap_or_else(|_| Err(late()))
}

fn parts(line: &str) -> Result<[&str; 4], Stranger> {
    let parts: Vec<&str> = line.split(' ').collect();
    parts.try_into().map_err(|_| Stranger::NoNode)
}

async fn write_line(stream: &mut (impl AsyncWrite + Unpin), line: &str) -> io::Result<()> {
    stream.write_all(format!("{line}\n").as_bytes()).await
}

/// Reads a line, and not one byte behind it.
async fn read_line(stream: &mut (impl AsyncRead + Unpin)) -> Result<String, Stranger> {
    let mut line = Vec::new();
    loop {
        match stream.read_u8().await? {
            b'\n' => return String::from_utf8(line).map_err(|_| Stranger::NoNode),
            _ if line.len() >= LINE_BYTES_MAX => return Err(Stranger::NoNode),
            byte => line.push(byte),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{DuplexStream, duplex};

    use super::*;

    const OWN: NodeId = NodeId(1);
    const TO: NodeId = NodeId(2);

    fn secret(letter: &str) -> ClusterSecret {
        ClusterSecret::parse(&letter.repeat(32)).expect("32 bytes")
    }

    async fn greet(
        sender: &str,
        owner: &str,
        to: NodeId,
        said: Said,
    ) -> (Result<(), Stranger>, Result<Greeted, Stranger>) {
        let (mut a, mut b) = duplex(1024);
        let (sender, owner) = (secret(sender), secret(owner));
        let receives = async {
            let received = receive(&mut b, TO, &owner).await;
            drop(b);
            received
        };
        tokio::join!(send(&mut a, OWN, to, &sender, said), receives)
    }

    #[actix_web::test]
    async fn n4_both_prove_the_secret_and_the_owner_hears_whose_connection_it_is() {
        let address = Some("[2001:db8::7]:80".parse().expect("an address"));
        for said in [
            Said::Client(address),
            Said::Client(None),
            Said::Document(address),
            Said::Node,
        ] {
            let (sent, received) = greet("a", "a", TO, said).await;
            assert!(sent.is_ok(), "{sent:?}");
            assert_eq!(received.expect("it is convinced"), Greeted { by: OWN, said });
        }
    }

    #[actix_web::test]
    async fn n4_another_secret_is_refused_on_both_sides() {
        let (sent, received) = greet("a", "b", TO, Said::Node).await;

        assert!(matches!(sent, Err(Stranger::Secret)), "{sent:?}");
        assert!(matches!(received, Err(Stranger::Secret)), "{received:?}");
    }

    #[actix_web::test]
    async fn n4_an_owner_without_the_secret_is_told_nothing_of_a_client() {
        let (mut a, mut b) = duplex(1024);
        let ours = secret("a");
        let pretends = async {
            write_line(&mut b, &opening(&TO.to_string(), "1"))
                .await
                .expect("written");
            let line = read_line(&mut b).await.expect("a line");
            // It sends back what it was sent.
            let proof = line.split(' ').next_back().expect("a proof").to_owned();
            write_line(&mut b, &proof).await.expect("written");
            read_line(&mut b).await
        };
        let sends = async {
            let sent = send(&mut a, OWN, TO, &ours, Said::Client(None)).await;
            drop(a);
            sent
        };
        let (sent, more): (_, Result<String, _>) = tokio::join!(sends, pretends);

        assert!(matches!(sent, Err(Stranger::Secret)), "{sent:?}");
        assert!(more.is_err(), "{more:?}");
    }

    #[actix_web::test]
    async fn n8_another_node_at_the_address_is_found_out() {
        let (sent, _) = greet("a", "a", NodeId(3), Said::Node).await;

        assert!(matches!(sent, Err(Stranger::Another(TO))), "{sent:?}");
    }

    #[actix_web::test]
    async fn n4_what_was_overheard_is_of_no_use() {
        async fn overhear(stream: &mut DuplexStream) -> String {
            let (mut a, mut b) = duplex(1024);
            let ours = secret("a");
            let relays = async {
                let opening = read_line(stream).await.expect("an opening");
                write_line(&mut b, &opening).await.expect("written");
                read_line(&mut b).await.expect("an answer")
            };
            tokio::select! {
                _ = send(&mut a, OWN, TO, &ours, Said::Node) => panic!("nobody answers it"),
                line = relays => line,
            }
        }
        let ours = secret("a");
        let (mut first, mut at_first) = duplex(1024);
        let line = tokio::select! {
            _ = receive(&mut at_first, TO, &ours) => panic!("nothing was sent to it"),
            line = overhear(&mut first) => line,
        };

        let (mut again, mut at_again) = duplex(1024);
        let replays = async {
            read_line(&mut again).await.expect("another opening");
            write_line(&mut again, &line).await.expect("written");
        };
        let (received, ()) = tokio::join!(receive(&mut at_again, TO, &ours), replays);

        assert!(matches!(received, Err(Stranger::Secret)), "{received:?}");
    }

    #[actix_web::test]
    async fn n4_what_is_no_greeting_is_bounded() {
        let (mut a, mut b) = duplex(1024);
        let ours = secret("a");
        let floods = async {
            let _ = a.write_all(&[b'x'; 2 * LINE_BYTES_MAX]).await;
        };
        let (received, ()) = tokio::join!(receive(&mut b, TO, &ours), floods);

        assert!(matches!(received, Err(Stranger::NoNode)), "{received:?}");
    }
}
