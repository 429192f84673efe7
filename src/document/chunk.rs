//! The bytes of a block. They are shared with whoever encodes them elsewhere, and copied when they change meanwhile.
//!
//! Most clients of a document that many wrote to wrote little. What such a one wrote has its place in the block itself: two
//! allocations for ten bytes would take six times as much.

use std::{ops::Deref, sync::Arc};

/// So many bytes have room in the block itself.
const FEW_BYTES: usize = 22;
/// What an allocator takes for the head of shared bytes.
const SHARED_BYTES: usize = 48;

/// Bytes of consecutive structs.
#[derive(Debug, Clone)]
pub(super) enum Chunk {
    /// They are here.
    Few { len: u8, bytes: [u8; FEW_BYTES] },
    /// They are elsewhere.
    Shared(Arc<Vec<u8>>),
}

impl Chunk {
    /// None yet, and room for `len`; `alone` is whether there may be few of them.
    pub fn with_room(len: usize, alone: bool) -> Self {
        if alone && len <= FEW_BYTES {
            return Self::Few {
                len: 0,
                bytes: [0; FEW_BYTES],
            };
        }
        Self::Shared(Arc::new(Vec::with_capacity(len)))
    }

    /// These.
    pub fn of(mut bytes: Vec<u8>) -> Self {
        bytes.shrink_to_fit();
        Self::Shared(Arc::new(bytes))
    }

    /// Appends some.
    #[inline]
    pub fn extend(&mut self, more: &[u8]) {
        if let Self::Few { len, bytes } = self {
            let from = usize::from(*len);
            if let Some(room) = bytes.get_mut(from..from + more.len()) {
                room.copy_from_slice(more);
                *len += more.len() as u8;
                return;
            }
        }
        self.edit().extend_from_slice(more);
    }

    /// They are to be changed.
    #[inline]
    pub fn edit(&mut self) -> &mut Vec<u8> {
        if let Self::Few { .. } = self {
            *self = Self::Shared(Arc::new(self.to_vec()));
        }
        match self {
            Self::Shared(bytes) => Arc::make_mut(bytes),
            Self::Few { .. } => unreachable!("they were moved"),
        }
    }

    /// They will change seldom: what they have to spare is given back. They are shared from now on.
    pub fn settle(&mut self) {
        let spares = match self {
            Self::Shared(bytes) => bytes.capacity() > bytes.len(),
            Self::Few { .. } => true,
        };
        if spares {
            self.edit().shrink_to_fit();
        }
    }

    /// Gives back what they have to spare; `alone` is whether there may be few of them.
    pub fn shrink(&mut self, alone: bool) {
        if alone && self.len() <= FEW_BYTES {
            let mut few = Self::with_room(self.len(), alone);
            few.extend(self);
            *self = few;
        } else {
            self.settle();
        }
    }

    /// Bytes of memory that it takes elsewhere.
    #[inline]
    pub fn held_bytes(&self) -> usize {
        match self {
            Self::Few { .. } => 0,
            Self::Shared(bytes) => SHARED_BYTES + bytes.capacity(),
        }
    }

    /// What [`Chunk::held_bytes`] is for so many chunks that are settled and have `bytes` together.
    #[inline]
    pub fn settled_bytes(chunks: usize, bytes: usize) -> usize {
        chunks * SHARED_BYTES + bytes
    }
}

impl Deref for Chunk {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        match self {
            Self::Few { len, bytes } => &bytes[..usize::from(*len)],
            Self::Shared(bytes) => bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn l71_few_bytes_take_no_memory_of_their_own() {
        assert_eq!(size_of::<Chunk>(), 24);
        let mut chunk = Chunk::with_room(9, true);
        chunk.extend(b"123456789");
        assert_eq!((&chunk[..], chunk.held_bytes()), (&b"123456789"[..], 0));
        chunk.extend(&[b'a'; 13]);
        assert_eq!((chunk.len(), chunk.held_bytes()), (22, 0));
        let shared = chunk.clone();

        chunk.extend(b"b");

        assert_eq!(chunk.len(), 23);
        assert!(chunk.held_bytes() >= 23 + SHARED_BYTES);
        chunk.settle();
        assert_eq!(chunk.held_bytes(), Chunk::settled_bytes(1, 23));
        assert_eq!((shared.len(), shared.held_bytes()), (22, 0));
        chunk.edit().truncate(2);
        chunk.shrink(false);
        assert_eq!(
            (&chunk[..], chunk.held_bytes()),
            (&b"12"[..], Chunk::settled_bytes(1, 2))
        );
        chunk.shrink(true);
        assert_eq!((&chunk[..], chunk.held_bytes()), (&b"12"[..], 0));
    }
}
