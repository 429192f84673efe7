//! Parsed names: whoever holds one of these types holds a name that was checked.

use std::{
    fmt::{self, Write},
    sync::Arc,
};

use percent_encoding::percent_decode_str;
use serde::{Deserialize, Serialize};

use crate::limits::DOCUMENT_ID_BYTES_MAX;

/// The name of a document: 1 to 512 bytes of UTF-8 without control characters; `/` is allowed.
///
/// Cheap to clone (shared).
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DocumentId(Arc<str>);

impl DocumentId {
    /// Checks a name that is already decoded.
    ///
    /// # Errors
    /// [`InvalidDocumentId`] names the rule that was broken.
    pub fn parse(name: &str) -> Result<Self, InvalidDocumentId> {
        if name.is_empty() {
            return Err(InvalidDocumentId::Empty);
        }
        if name.len() > DOCUMENT_ID_BYTES_MAX {
            return Err(InvalidDocumentId::TooLong(name.len()));
        }
        if let Some(control) = name.chars().find(|c| c.is_control()) {
            return Err(InvalidDocumentId::Control(control));
        }
        Ok(Self(name.into()))
    }

    /// Percent-decodes a raw URL path once, then checks it. `%2F` and `/` name the same document.
    ///
    /// # Errors
    /// [`InvalidDocumentId`], also when the decoded bytes are not UTF-8.
    pub fn from_url_path(raw: &str) -> Result<Self, InvalidDocumentId> {
        let decoded = percent_decode_str(raw)
            .decode_utf8()
            .map_err(|_| InvalidDocumentId::NotUtf8)?;
        Self::parse(&decoded)
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for DocumentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

/// For logs and lists: what is invisible, or turns the writing direction of what follows, is escaped.
impl fmt::Display for DocumentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in self.0.chars() {
            if is_deceptive(character) {
                write!(f, "{}", character.escape_unicode())?;
            } else {
                f.write_char(character)?;
            }
        }
        Ok(())
    }
}

fn is_deceptive(character: char) -> bool {
    matches!(
        character,
        '\u{61C}' | '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{2069}' | '\u{FEFF}'
    )
}

impl TryFrom<String> for DocumentId {
    type Error = InvalidDocumentId;

    fn try_from(name: String) -> Result<Self, Self::Error> {
        Self::parse(&name)
    }
}

impl From<DocumentId> for String {
    fn from(id: DocumentId) -> Self {
        id.0.as_ref().to_owned()
    }
}

/// Why a text is not a document name; the message says what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidDocumentId {
    /// No name at all.
    #[error("the document name is empty: put 1 to {DOCUMENT_ID_BYTES_MAX} bytes after /ws/")]
    Empty,
    /// The length in bytes.
    #[error("the document name is {0} bytes long, the longest allowed is {DOCUMENT_ID_BYTES_MAX}")]
    TooLong(usize),
    /// The first control character.
    #[error("the document name holds the control character {0:?}: remove it")]
    Control(char),
    /// The percent-decoded bytes are not UTF-8.
    #[error("the document name is not UTF-8 after percent-decoding: encode it with encodeURIComponent")]
    NotUtf8,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_deceives_the_eye_is_escaped_where_it_is_shown() {
        let name = DocumentId::parse("in\u{202E}txt.exe\u{200B} ärger").expect("a name");

        assert_eq!(name.to_string(), r"in\u{202e}txt.exe\u{200b} ärger");
        assert_eq!(name.as_str(), "in\u{202E}txt.exe\u{200B} ärger");
    }
}
