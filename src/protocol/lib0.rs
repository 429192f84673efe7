//! lib0, the byte format under every Yjs message: variable-length integers, strings and buffers.
//!
//! Reading is stricter than lib0 itself. A number is accepted only in the one form that lib0 writes
//! (no padding zeros) and only up to 2^53 - 1, so that Yjs, yrs and this server cannot read different
//! things from the same bytes. A length or a count never exceeds the bytes that remain.
//! Whatever a peer sends, reading ends in a value or in [`Malformed`], never in a panic.

use thiserror::Error;

/// The largest integer that JavaScript holds exactly, and so the largest that lib0 reads: 2^53 - 1.
pub const SAFE_INTEGER_MAX: u64 = (1 << 53) - 1;

/// Bytes that no honest client sends. The caller closes the session; the bytes go nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("malformed at byte {at}: {what}")]
pub struct Malformed {
    /// Offset of the offending byte in the checked buffer.
    pub at: usize,
    /// What is wrong, in words for a log or a close reason.
    pub what: &'static str,
    /// The bytes are whole, and it is what they say that is not taken: a client that keeps it must not send it again.
    pub refused: bool,
}

impl Malformed {
    /// `what` is wrong at byte `at`.
    pub fn new(at: usize, what: &'static str) -> Self {
        Self {
            at,
            what,
            refused: false,
        }
    }
}

/// A cursor over bytes from outside.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// Starts at the first byte.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Starts at byte `at`; past the end there is nothing to read.
    pub fn starting_at(bytes: &'a [u8], at: usize) -> Self {
        Self {
            bytes,
            at: at.min(bytes.len()),
        }
    }

    /// The same bytes, from an earlier position on.
    pub fn back_to(&self, at: usize) -> Self {
        Self::starting_at(self.bytes, at)
    }

    /// Offset of the next byte.
    #[inline]
    pub fn position(&self) -> usize {
        self.at
    }

    /// Bytes not yet read.
    #[inline]
    pub fn remaining(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// The error `what`, located here.
    #[cold]
    pub fn malformed(&self, what: &'static str) -> Malformed {
        Malformed::new(self.at, what)
    }

    /// The error `what` of bytes that are whole, located here.
    #[cold]
    pub fn refused(&self, what: &'static str) -> Malformed {
        Malformed {
            refused: true,
            ..self.malformed(what)
        }
    }

    /// Refuses bytes after the end of what was expected.
    pub fn finish(&self) -> Result<(), Malformed> {
        if self.remaining() == 0 {
            Ok(())
        } else {
            Err(self.malformed("bytes after the end"))
        }
    }

    /// One byte.
    #[inline]
    pub fn byte(&mut self) -> Result<u8, Malformed> {
        match self.bytes.get(self.at) {
            Some(&byte) => {
                self.at += 1;
                Ok(byte)
            }
            None => Err(self.malformed("cut off")),
        }
    }

    /// `len` bytes.
    #[inline]
    pub fn take(&mut self, len: usize) -> Result<&'a [u8], Malformed> {
        match self.bytes[self.at..].get(..len) {
            Some(slice) => {
                self.at += len;
                Ok(slice)
            }
            None => Err(self.malformed("a length beyond the end")),
        }
    }

    /// `varUint`: at most 2^53 - 1, in its shortest form.
    #[inline]
    pub fn var_uint(&mut self) -> Result<u64, Malformed> {
        let byte = self.byte()?;
        if byte < 0x80 {
            Ok(u64::from(byte))
        } else {
            self.var_uint_rest(u64::from(byte & 0x7f))
        }
    }

    fn var_uint_rest(&mut self, low: u64) -> Result<u64, Malformed> {
        let mut value = low;
        // Seven bits a byte: 2^53 - 1 takes eight bytes.
        for shift in [7, 14, 21, 28, 35, 42, 49] {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                if byte == 0 {
                    return Err(self.malformed("a padded integer"));
                }
                if value > SAFE_INTEGER_MAX {
                    return Err(self.malformed("an integer beyond 2^53 - 1"));
                }
                return Ok(value);
            }
        }
        Err(self.malformed("an integer beyond 2^53 - 1"))
    }

    /// A `varUint` that fits in 32 bits.
    #[inline]
    pub fn var_u32(&mut self) -> Result<u32, Malformed> {
        let value = self.var_uint()?;
        u32::try_from(value).map_err(|_| self.malformed("an integer beyond 2^32 - 1"))
    }

    /// `varInt`: magnitude at most 2^53 - 1, in its shortest form. JavaScript's -0 reads as 0.
    pub fn var_int(&mut self) -> Result<i64, Malformed> {
        let first = self.byte()?;
        let mut value = u64::from(first & 0x3f);
        let mut more = first >= 0x80;
        let mut shift = 6;
        while more {
            if shift > 48 {
                return Err(self.malformed("an integer beyond 2^53 - 1"));
            }
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            more = byte >= 0x80;
            if !more && byte == 0 {
                return Err(self.malformed("a padded integer"));
            }
            shift += 7;
        }
        if value > SAFE_INTEGER_MAX {
            return Err(self.malformed("an integer beyond 2^53 - 1"));
        }
        let value = value as i64;
        Ok(if first & 0x40 == 0 { value } else { -value })
    }

    /// How many entries follow, each of at least `entry_bytes_min` bytes.
    #[inline]
    pub fn count(&mut self, entry_bytes_min: usize) -> Result<usize, Malformed> {
        let count = self.var_uint()?;
        if count > (self.remaining() / entry_bytes_min) as u64 {
            return Err(self.malformed("a count beyond the end"));
        }
        Ok(count as usize)
    }

    /// `varBytes`: a length and as many bytes.
    #[inline]
    pub fn var_bytes(&mut self) -> Result<&'a [u8], Malformed> {
        let len = self.count(1)?;
        self.take(len)
    }

    /// `varString`: a length in bytes and as many bytes of UTF-8.
    #[inline]
    pub fn var_string(&mut self) -> Result<&'a str, Malformed> {
        let bytes = self.var_bytes()?;
        utf8(bytes).ok_or_else(|| self.malformed("a string that is not UTF-8"))
    }
}

/// The text, if `bytes` are UTF-8.
#[inline]
pub fn utf8(bytes: &[u8]) -> Option<&str> {
    if bytes.len() < 64 {
        std::str::from_utf8(bytes).ok()
    } else {
        simdutf8::basic::from_utf8(bytes).ok()
    }
}

/// Length of `text` in UTF-16 code units, which is what Yjs counts.
#[inline]
pub fn utf16_len(text: &[u8]) -> usize {
    // A character starts at every byte that continues none; one beyond the BMP takes two units. Counting in
    // bytes, chunk by chunk, is what the compiler turns into vector code.
    let units = |chunk: &[u8]| {
        let count = |sum: u8, &byte: &u8| sum + u8::from((byte as i8) >= -0x40) + u8::from(byte >= 0xf0);
        usize::from(chunk.iter().fold(0, count))
    };
    text.chunks(64).map(units).sum()
}

/// Appends a `varUint`.
#[inline]
pub fn write_var_uint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends a `varInt`.
pub fn write_var_int(out: &mut Vec<u8>, value: i64) {
    let sign = if value < 0 { 0x40 } else { 0 };
    let mut rest = value.unsigned_abs();
    let more = if rest > 0x3f { 0x80 } else { 0 };
    out.push(more | sign | (rest as u8 & 0x3f));
    rest >>= 6;
    if more != 0 {
        write_var_uint(out, rest);
    }
}

/// Appends a length and `bytes`: `varBytes`, and `varString` of UTF-8.
#[inline]
pub fn write_var_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    write_var_uint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// How many bytes `write_var_uint` appends.
#[inline]
pub fn var_uint_len(value: u64) -> usize {
    (64 - (value | 1).leading_zeros() as usize).div_ceil(7)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uint(bytes: &[u8]) -> Result<u64, &'static str> {
        Reader::new(bytes).var_uint().map_err(|e| e.what)
    }

    #[test]
    fn g1_integers_are_read_up_to_two_to_the_53_and_not_beyond() {
        for value in [0, 1, 127, 128, 16_383, 16_384, u64::from(u32::MAX), SAFE_INTEGER_MAX] {
            let mut out = Vec::new();
            write_var_uint(&mut out, value);

            assert_eq!(uint(&out), Ok(value));
            assert_eq!(out.len(), var_uint_len(value));
        }
        let mut beyond = Vec::new();
        write_var_uint(&mut beyond, SAFE_INTEGER_MAX + 1);
        assert_eq!(uint(&beyond), Err("an integer beyond 2^53 - 1"));
        assert_eq!(uint(&[0xff; 12]), Err("an integer beyond 2^53 - 1"));
    }

    #[test]
    fn g1_a_padded_integer_is_refused() {
        assert_eq!(uint(&[0x81, 0x00]), Err("a padded integer"));
        assert_eq!(
            Reader::new(&[0x81, 0x00]).var_int().map_err(|e| e.what),
            Err("a padded integer")
        );
    }

    #[test]
    fn g1_signed_integers_come_back_as_written() {
        let edge = SAFE_INTEGER_MAX as i64;
        for value in [0, 1, -1, 63, 64, -64, 8_191, 8_192, -(1 << 31), edge, -edge] {
            let mut out = Vec::new();
            write_var_int(&mut out, value);

            assert_eq!(Reader::new(&out).var_int(), Ok(value));
        }
        let mut beyond = Vec::new();
        write_var_int(&mut beyond, edge + 1);
        assert!(Reader::new(&beyond).var_int().is_err());
    }

    #[test]
    fn g2_a_length_beyond_the_end_is_refused() {
        assert!(Reader::new(&[3, b'a', b'b']).var_bytes().is_err());
        assert_eq!(Reader::new(&[2, b'a', b'b']).var_bytes(), Ok(&b"ab"[..]));
        assert!(Reader::new(&[1, 0xff]).var_string().is_err());
    }

    #[test]
    fn utf16_length_counts_what_javascript_counts() {
        for text in ["", "a", "ä€😀", "Zażółć gęślą jaźń😀ありがとうございます"] {
            assert_eq!(utf16_len(text.as_bytes()), text.encode_utf16().count());
        }
    }
}
