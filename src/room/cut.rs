//! A large answer, whole and in pieces.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use bytes::Bytes;

use crate::{
    budgets::Share,
    limits::{SYNC_FRAME_BYTES_MAX, SYNC_WHOLE_BYTES_MAX},
    protocol::update::{CheckedUpdate, Sizes, apart, seal},
};

use super::ENCODE_HERE_BYTES_MAX;

/// A large update that a document encoded. Readers share it: it is in memory as long as one of them, or a message that waits for a
/// line, has it.
#[derive(Debug)]
pub struct Cut {
    bytes: usize,
    /// Until it is in pieces, if it is so large that it is not held twice.
    whole: Mutex<Option<Bytes>>,
    pieces: OnceLock<Vec<Piece>>,
    /// Its part of what all answers may take, if it is very large.
    share: Option<Share>,
}

impl Cut {
    /// All of `whole`.
    #[must_use]
    pub fn of(whole: Bytes, share: Option<Share>) -> Arc<Self> {
        Arc::new(Self {
            bytes: whole.len(),
            whole: Mutex::new(Some(whole)),
            pieces: OnceLock::new(),
            share,
        })
    }

    /// How many bytes it has.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// All of it as one message, unless it is in pieces.
    #[must_use]
    pub fn whole(self: &Arc<Self>) -> Option<Bytes> {
        let whole = self.lock().clone()?;
        let cut = self.clone();
        Some(Bytes::from_owner(Message { whole, _cut: cut }))
    }

    /// Whether it takes a part of what all answers may take: then nobody keeps it who does not need it.
    #[must_use]
    pub fn is_counted(&self) -> bool {
        self.share.is_some()
    }

    /// Whether its pieces are there already.
    #[must_use]
    pub fn has_pieces(&self) -> bool {
        self.pieces.get().is_some()
    }

    /// All of it in messages of at most about a megabyte, which take effect together, with the last (G41). The first call takes
    /// some milliseconds for each megabyte.
    #[must_use]
    pub fn pieces(&self) -> &[Piece] {
        self.pieces.get_or_init(|| {
            // Others look at it meanwhile.
            let whole = self.lock().clone().unwrap_or_default();
            let sizes = Sizes {
                // What may be sent whole is cut because that would take too long.
                each: SYNC_WHOLE_BYTES_MAX.min(whole.len() / 2),
                last: Sizes::of(SYNC_FRAME_BYTES_MAX).last,
            };
            // What a document encodes passes the check.
            let checked = CheckedUpdate::check(whole.clone());
            let pieces = checked.map_or_else(|_| vec![whole], |checked| seal(&checked, sizes));
            if self.bytes > ENCODE_HERE_BYTES_MAX {
                *self.lock() = None;
            }
            pieces.into_iter().map(Piece::of).collect()
        })
    }

    fn lock(&self) -> MutexGuard<'_, Option<Bytes>> {
        self.whole.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One of the pieces, which is cut further for slow lines, once for all of them.
#[derive(Debug)]
pub struct Piece {
    bytes: Bytes,
    small: OnceLock<Vec<Bytes>>,
}

impl Piece {
    fn of(bytes: Bytes) -> Self {
        let small = OnceLock::new();
        Self { bytes, small }
    }

    /// How many bytes it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// It as one message.
    #[must_use]
    pub fn bytes(&self) -> Bytes {
        self.bytes.clone()
    }

    /// The same in messages of [`SYNC_FRAME_BYTES_MAX`], of which nothing takes effect (that is not for the last piece).
    #[must_use]
    pub fn small(&self) -> &[Bytes] {
        self.small.get_or_init(|| {
            let checked = CheckedUpdate::check(self.bytes.clone());
            checked.map_or_else(|_| vec![self.bytes()], |checked| apart(&checked, SYNC_FRAME_BYTES_MAX))
        })
    }
}

/// As long as a message of it is on its way, it counts.
struct Message {
    whole: Bytes,
    _cut: Arc<Cut>,
}

impl AsRef<[u8]> for Message {
    fn as_ref(&self) -> &[u8] {
        &self.whole
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        budgets::{Asker, Memory, OfDocument},
        protocol::lib0::write_var_bytes,
    };

    fn nobody(document: &Arc<OfDocument>) -> Asker<'_> {
        Asker {
            network: None,
            document,
        }
    }

    fn update(bytes: usize) -> Bytes {
        let mut update = vec![1, 1, 5, 0, 4, 1, 1, b't'];
        write_var_bytes(&mut update, &vec![b'x'; bytes]);
        update.push(0);
        update.into()
    }

    #[test]
    fn l53_a_large_answer_counts_as_long_as_a_message_of_it_is_on_its_way_and_is_not_held_twice() {
        let memory = Memory::new(usize::MAX, 10 << 20);
        let large = update(3 << 20);
        let cut = Cut::of(
            large.clone(),
            memory.answer(large.len(), false, &nobody(&Arc::default())),
        );
        let message = cut.whole().unwrap();
        assert!(message == large && memory.answers() == large.len());

        assert!(!cut.has_pieces() && cut.pieces().len() > 3);

        assert!(cut.has_pieces() && cut.whole().is_none());
        drop(cut);
        assert_eq!(memory.answers(), large.len(), "it is on its way");
        drop(message);
        assert_eq!(memory.answers(), 0);
        let small = Cut::of(update(60_000), None);
        assert!(small.pieces().len() > 1 && small.whole().is_some());
    }
}
