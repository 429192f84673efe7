//! A WebSocket that is carried to the node of its document and back.
//!
//! Bytes go both ways unread. Of what the owner sends it is known where a frame ends, so that a client whose owner is gone, or
//! whose own node stops, is told to come back (1012) as on one node. So that it can be told in the middle of a frame, too, a
//! frame is held back until it is whole, unless it is large.

use std::{
    pin::{Pin, pin},
    task::{Context, Poll},
};

use actix_web::{
    body::{BodySize, MessageBody},
    error::PayloadError,
    rt::net::TcpStream,
    web::{Bytes, BytesMut, Data, Payload},
};
use futures_util::{Stream, StreamExt};
use tokio::{io::AsyncWriteExt, net::tcp::OwnedWriteHalf, sync::oneshot};

use crate::{
    nodes::Peer,
    protocol::{close::CloseReason, frame},
};

use super::{Shared, line::Open, socket::ReadHalf, upgrade};

/// Of a frame of so many bytes at most, head included, its client is sent nothing before all of it has come from the owner. What
/// rooms send comes in smaller ones as a rule.
const HELD_BYTES_MAX: u64 = 64 * 1024;

/// Begins to carry for a client, whose bytes are `payload`. `early`: what the owner has sent behind its answer. Returns what
/// the client is sent.
pub fn begin(
    owner_stream: TcpStream,
    early: Bytes,
    owner: Peer,
    payload: Payload,
    open: Open,
    shared: &Data<Shared>,
) -> Carried {
    let (read, write) = owner_stream.into_split();
    let (lives, dies) = oneshot::channel();
    shared.metrics.carried.inc();
    actix_web::rt::spawn(carry(shared.clone(), owner, payload, write, dies));
    let nodes = shared.nodes.clone();
    Carried {
        incoming: Box::pin(upgrade::incoming(ReadHalf::Plain(read), early)),
        seam: Seam::default(),
        stops: Box::pin(async move {
            match nodes {
                Some(nodes) => nodes.ends().await,
                None => std::future::pending().await,
            }
        }),
        stage: Stage::Carries,
        shared: shared.clone(),
        open,
        _lives: lives,
    }
}

/// Carries what a client sends, until it or the owner ends, or the owner is known to be gone.
async fn carry(
    shared: Data<Shared>,
    owner: Peer,
    mut payload: Payload,
    mut write: OwnedWriteHalf,
    dies: oneshot::Receiver<()>,
) {
    let Some(nodes) = &shared.nodes else { return };
    let sends = async {
        while let Some(Ok(bytes)) = payload.next().await {
            if write.write_all(&bytes).await.is_err() {
                return;
            }
        }
        let _ = write.shutdown().await;
    };
    let gone = {
        let mut gone = pin!(nodes.is_gone(owner.id));
        tokio::select! {
            () = gone.as_mut() => true,
            // All that had arrived of a client that is gone by now counts.
            () = sends => tokio::select! {
                () = gone => true,
                _ = dies => false,
            },
        }
    };
    if gone {
        // Ends the other direction, too.
        let _ = socket2::SockRef::from(write.as_ref()).shutdown(std::net::Shutdown::Both);
    }
}

/// What the owner sends to a client.
pub struct Carried {
    incoming: Pin<Box<dyn Stream<Item = Result<Bytes, PayloadError>>>>,
    seam: Seam,
    /// Ready when this node lets go of what it carries.
    stops: Pin<Box<dyn Future<Output = ()>>>,
    stage: Stage,
    shared: Data<Shared>,
    open: Open,
    /// Dropped when nobody reads it any more.
    _lives: oneshot::Sender<()>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Carries,
    /// The client is told to come back as soon as the frame that it is being sent has ended.
    Ends,
    Over,
}

impl Carried {
    /// What follows when nothing more is taken from the owner.
    fn last(&mut self) -> Option<Bytes> {
        self.stage = Stage::Over;
        self.seam.is_between().then(|| frame::close(&CloseReason::Restarting))
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        loop {
            if self.stage == Stage::Over {
                return Poll::Ready(None);
            }
            if self.stage == Stage::Ends && self.seam.is_between() {
                return Poll::Ready(self.last());
            }
            match self.incoming.as_mut().poll_next(cx) {
                Poll::Ready(Some(Ok(piece))) => {
                    let goes = self.seam.take(piece, self.stage == Stage::Ends);
                    if !goes.is_empty() {
                        return Poll::Ready(Some(goes));
                    }
                }
                Poll::Ready(_) => return Poll::Ready(self.last()),
                Poll::Pending if self.stage == Stage::Carries && self.stops.as_mut().poll(cx).is_ready() => {
                    self.stage = Stage::Ends;
                }
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

impl MessageBody for Carried {
    type Error = actix_web::Error;

    fn size(&self) -> BodySize {
        BodySize::Stream
    }

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        let next = self.poll(cx);
        next.map(|piece| piece.map(|piece| Ok(self.open.sent(piece))))
    }
}

impl Drop for Carried {
    fn drop(&mut self) {
        self.shared.metrics.carried.dec();
    }
}

/// Where in the owner's frames (RFC 6455, 5.2; they are not masked) its client is.
#[derive(Debug, Default)]
struct Seam {
    head: [u8; 10],
    head_bytes: usize,
    /// Bytes of the frame, head included, and how many of them it still has.
    bytes: u64,
    left: u64,
    /// It is a close frame.
    closes: bool,
    /// The owner has closed.
    has_closed: bool,
    /// The beginning of a frame that is held back.
    held: BytesMut,
}

impl Seam {
    /// What of a piece the client is sent now, with what was held back before it. `ends`: nothing behind a frame that ends here.
    fn take(&mut self, mut piece: Bytes, ends: bool) -> Bytes {
        let whole = self.pass(&piece);
        let ends = ends && whole > 0 && !self.has_closed;
        let later = if ends || self.holds() {
            piece.split_off(whole)
        } else {
            Bytes::new()
        };
        let goes = if self.held.is_empty() || piece.is_empty() {
            piece
        } else {
            // With its buffer: a connection that is silent has none.
            let mut held = std::mem::take(&mut self.held);
            held.extend_from_slice(&piece);
            held.freeze()
        };
        if ends {
            *self = Self::default();
        } else {
            self.held.extend_from_slice(&later);
        }
        goes
    }

    /// These bytes follow; returns how many of them there are up to the end of the last frame that ends in them.
    fn pass(&mut self, bytes: &[u8]) -> usize {
        let (mut at, mut whole) = (0, 0);
        while at < bytes.len() {
            if self.left > 0 {
                let taken = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len() - at);
                self.left -= taken as u64;
                at += taken;
            } else {
                self.head[self.head_bytes] = bytes[at];
                self.head_bytes += 1;
                at += 1;
                self.read_head();
            }
            if self.is_at_end() {
                whole = at;
                self.has_closed |= self.closes;
            }
        }
        whole
    }

    fn read_head(&mut self) {
        let short = self.head[1] & 0x7f;
        let (head_bytes, left) = match short {
            126 => (4, u64::from(u16::from_be_bytes([self.head[2], self.head[3]]))),
            127 => (
                10,
                self.head[2..].iter().fold(0, |left, byte| left << 8 | u64::from(*byte)),
            ),
            _ => (2, u64::from(short)),
        };
        if self.head_bytes < head_bytes {
            return;
        }
        self.closes = self.head[0] & 0x0f == 8;
        self.bytes = head_bytes as u64 + left;
        self.left = left;
        self.head_bytes = 0;
        self.head = Default::default();
    }

    fn is_at_end(&self) -> bool {
        self.head_bytes == 0 && self.left == 0
    }

    /// Whether a frame has begun that is held back.
    fn holds(&self) -> bool {
        let is_small = self.head_bytes > 0 || self.bytes <= HELD_BYTES_MAX;
        !self.is_at_end() && is_small
    }

    /// Whether a frame may follow that is not the owner's.
    fn is_between(&self) -> bool {
        (self.is_at_end() || self.holds()) && !self.has_closed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Frames of an owner, the bytes of all, and where each ends.
    fn frames() -> (Bytes, Vec<usize>) {
        let sizes = [0, 1, 125, 126, 300, 65_000, 65_535, 65_536, 70_000, 3];
        let frames = sizes.map(|bytes| frame::binary(&[&vec![0x88; bytes]]));
        let ends = frames.iter().scan(0, |end, frame| {
            *end += frame.len();
            Some(*end)
        });
        (frames.concat().into(), ends.collect())
    }

    const STEPS: [usize; 7] = [1, 2, 3, 7, 1_000, 65_536, 1_000_000];

    #[test]
    fn n61_where_a_frame_of_an_owner_ends_is_known_however_it_is_cut() {
        let (all, ends) = frames();
        for step in STEPS {
            let (mut seam, mut at) = (Seam::default(), 0);
            for piece in all.chunks(step) {
                let whole = seam.pass(piece);
                let last = ends.iter().rev().find(|end| **end > at && **end <= at + piece.len());
                assert_eq!(whole, last.map_or(0, |end| end - at), "of {step} at {at}");
                at += piece.len();
                assert_eq!(seam.is_at_end(), ends.contains(&at), "of {step} at {at}");
            }
        }
    }

    #[test]
    fn n61_a_client_is_in_the_middle_of_large_frames_alone() {
        let (all, ends) = frames();
        for step in STEPS {
            let (mut seam, mut sent) = (Seam::default(), Vec::new());
            for at in (0..all.len()).step_by(step) {
                let piece = all.slice(at..all.len().min(at + step));
                sent.extend_from_slice(&seam.take(piece, false));
                let is_between = sent.is_empty() || ends.contains(&sent.len());
                assert_eq!(seam.is_between(), is_between, "of {step} at {at}");
                let next = ends.iter().find(|end| **end > sent.len()).unwrap_or(&0);
                let begun = ends.iter().rev().find(|end| **end <= sent.len()).unwrap_or(&0);
                assert!(
                    is_between || next - begun > HELD_BYTES_MAX as usize,
                    "of {step} at {at}"
                );
                assert!(seam.held.len() < HELD_BYTES_MAX as usize);
            }
            assert!(sent == all, "of {step}");
            assert_eq!(seam.held.capacity(), 0, "of {step}");
        }
    }

    #[test]
    fn n61_nothing_is_sent_behind_a_frame_that_ends_when_the_client_is_to_come_back() {
        let large = frame::binary(&[&vec![1; 70_000]]);
        let small = frame::binary(&[&[1; 300]]);
        let all: Bytes = [large.clone(), small].concat().into();
        let mut seam = Seam::default();
        assert_eq!(seam.take(all.slice(..1_000), false).len(), 1_000);
        assert_eq!(seam.take(all.slice(1_000..2_000), true).len(), 1_000);
        assert!(!seam.is_between());

        let rest = seam.take(all.slice(2_000..all.len() - 100), true);
        assert!(rest == large.slice(2_000..), "{}", rest.len());
        assert!(seam.is_between());
    }

    #[test]
    fn n61_nothing_follows_when_an_owner_has_closed() {
        let mut seam = Seam::default();
        assert!(seam.is_between());
        let close = frame::close(&CloseReason::Restarting);
        assert!(seam.take(close.slice(..5), false).is_empty());
        assert!(seam.is_between(), "it is not told yet");
        assert_eq!(seam.take(close.slice(5..), false), close);
        assert!(!seam.is_between() && seam.is_at_end());
    }
}
