//! The `documents` claim: which pattern matches a document's name, and which match decides.
//!
//! `*` stands for any run of characters, `/` and nothing included; there is no escape, so a name
//! that holds a literal `*` is reached by patterns that cover it. Matching takes time linear in
//! pattern and name: the parts between the stars are looked for from left to right, and the first
//! place that fits is always good enough because a star may swallow the rest.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Access;
use crate::{
    id::DocumentId,
    limits::{GRANTS_MAX, PATTERN_BYTES_MAX},
};

/// Up to 128 patterns, each of 1 to 512 bytes, and what each of them allows.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "Value")]
pub struct Grants(BTreeMap<String, Access>);

impl Grants {
    /// Checks the bounds of pairs of pattern and access.
    ///
    /// # Errors
    /// [`GrantsError`]; a pattern that comes twice is refused, since one of the two would be ignored.
    pub fn new(pairs: impl IntoIterator<Item = (String, Access)>) -> Result<Self, GrantsError> {
        let mut grants = BTreeMap::new();
        for (pattern, access) in pairs {
            if grants.len() == GRANTS_MAX {
                return Err(GrantsError::TooMany);
            }
            if pattern.is_empty() || pattern.len() > PATTERN_BYTES_MAX {
                return Err(GrantsError::PatternLength(pattern.len()));
            }
            if grants.insert(pattern, access).is_some() {
                return Err(GrantsError::Repeated);
            }
        }
        Ok(Self(grants))
    }

    /// What these grants allow in one document; `None` is nothing (rule A2).
    #[must_use]
    pub fn access_to(&self, document: &DocumentId) -> Option<Access> {
        let name = document.as_str();
        let matching = self.0.iter().filter(|(pattern, _)| matches(pattern, name));

        // Of equal lengths the more restrictive access decides, hence the reversed order.
        let (_, access) =
            matching.max_by_key(|(pattern, access)| (Length::of(pattern), std::cmp::Reverse(**access)))?;
        Some(*access)
    }
}

/// Patterns of document names, without what they allow.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Patterns(Vec<String>);

impl Patterns {
    /// Checks the bounds of the patterns.
    ///
    /// # Errors
    /// [`GrantsError`].
    pub fn new(patterns: impl IntoIterator<Item = String>) -> Result<Self, GrantsError> {
        let patterns: Vec<String> = patterns.into_iter().collect();
        match patterns
            .iter()
            .find(|pattern| pattern.is_empty() || pattern.len() > PATTERN_BYTES_MAX)
        {
            Some(pattern) => Err(GrantsError::PatternLength(pattern.len())),
            None => Ok(Self(patterns)),
        }
    }

    /// Whether one of them covers the name of `document` (rule A2).
    #[must_use]
    pub fn cover(&self, document: &DocumentId) -> bool {
        self.0.iter().any(|pattern| matches(pattern, document.as_str()))
    }
}

/// How long a pattern is: characters other than `*`; of as many, the one without any `*` is longer.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Length {
    characters: usize,
    is_exact: bool,
}

impl Length {
    fn of(pattern: &str) -> Self {
        Self {
            characters: pattern.chars().filter(|&c| c != '*').count(),
            is_exact: !pattern.contains('*'),
        }
    }
}

/// Whether `pattern` covers the whole of `name`, in time linear in both.
fn matches(pattern: &str, name: &str) -> bool {
    let Some((prefix, rest)) = pattern.split_once('*') else {
        return pattern == name;
    };
    let Some(name) = name.strip_prefix(prefix) else {
        return false;
    };
    let (middle, suffix) = rest.rsplit_once('*').unwrap_or(("", rest));
    let Some(mut name) = name.strip_suffix(suffix) else {
        return false;
    };
    for part in middle.split('*') {
        let Some(at) = name.find(part) else {
            return false;
        };
        name = &name[at + part.len()..];
    }
    true
}

/// Why a `documents` claim is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GrantsError {
    /// More than 128 patterns.
    #[error("the token's `documents` claim has more than {GRANTS_MAX} patterns: use `*` to join some")]
    TooMany,
    /// The length in bytes.
    #[error("a pattern of the token's `documents` claim is {0} bytes long, allowed are 1 to {PATTERN_BYTES_MAX}")]
    PatternLength(usize),
    /// One pattern twice.
    #[error("a pattern of the token's `documents` claim comes twice: keep one")]
    Repeated,
    /// Not a map from pattern to access.
    #[error("the token's `documents` claim must map patterns to \"write\" or \"read\"")]
    Form,
}

impl TryFrom<Value> for Grants {
    type Error = GrantsError;

    fn try_from(value: Value) -> Result<Self, Self::Error> {
        let Value::Object(map) = value else {
            return Err(GrantsError::Form);
        };
        let pair = |(pattern, access)| match serde_json::from_value(access) {
            Ok(access) => Ok((pattern, access)),
            Err(_) => Err(GrantsError::Form),
        };
        Self::new(map.into_iter().map(pair).collect::<Result<Vec<_>, _>>()?)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn access(pairs: &[(&str, Access)], document: &str) -> Option<Access> {
        let grants = Grants::new(pairs.iter().map(|(pattern, access)| ((*pattern).to_owned(), *access)));
        grants
            .expect("valid grants")
            .access_to(&DocumentId::parse(document).expect("a valid name"))
    }

    #[test]
    fn a2_a_star_matches_any_run_of_characters_slashes_and_nothing_included() {
        let matching = [
            "*",
            "**",
            "notes/*",
            "*/b",
            "notes/*/b",
            "n*s/*b",
            "notes/a/b*",
            "notes/a/b",
            "*a*",
        ];
        let other = [
            "",
            "notes",
            "notes/",
            "*/a",
            "notes/a/b/*",
            "n*x*b",
            "notes/a/b*b",
            "Notes/*",
            "notes/a/?",
        ];

        for pattern in matching {
            assert!(matches(pattern, "notes/a/b"), "{pattern}");
        }
        for pattern in other {
            assert!(!matches(pattern, "notes/a/b"), "{pattern}");
        }
    }

    #[test]
    fn a2_parts_of_a_pattern_never_share_characters_of_the_name() {
        assert!(!matches("aba*aba", "aba"));
        assert!(!matches("aba*aba", "ababa"));
        assert!(matches("aba*aba", "abaaba"));
        assert!(!matches("*ab*ba*", "aba"));
    }

    #[test]
    fn a2_the_longest_matching_pattern_decides() {
        let grants = [
            ("*", Access::Read),
            ("notes/*", Access::Write),
            ("notes/private/*", Access::Read),
        ];

        assert_eq!(access(&grants, "todo"), Some(Access::Read));
        assert_eq!(access(&grants, "notes/a"), Some(Access::Write));
        assert_eq!(access(&grants, "notes/private/a"), Some(Access::Read));
    }

    #[test]
    fn a2_stars_add_no_length_and_an_exact_name_is_longest() {
        assert_eq!(
            access(&[("a*****", Access::Write), ("ab*", Access::Read)], "abc"),
            Some(Access::Read)
        );
        assert_eq!(
            access(&[("abc*", Access::Read), ("abc", Access::Write)], "abc"),
            Some(Access::Write)
        );
        assert_eq!(
            access(&[("*ü", Access::Write), ("ab*", Access::Read)], "abü"),
            Some(Access::Read)
        );
    }

    #[test]
    fn a2_of_equally_long_patterns_the_more_restrictive_decides() {
        assert_eq!(
            access(&[("ab*", Access::Write), ("*bc", Access::Read)], "abc"),
            Some(Access::Read)
        );
        assert_eq!(
            access(&[("ab*", Access::Read), ("*bc", Access::Write)], "abc"),
            Some(Access::Read)
        );
    }

    #[test]
    fn a2_no_match_is_no_access() {
        assert_eq!(access(&[], "a"), None);
        assert_eq!(access(&[("b*", Access::Write)], "a"), None);
    }

    #[test]
    fn a2_a_hostile_pattern_costs_no_more_than_its_length() {
        let pattern = format!("{}b", "a*".repeat(255));
        let name = "a".repeat(512);

        // A backtracking matcher would not return within the age of the universe.
        assert!(!matches(&pattern, &name));
    }

    #[test]
    fn a1_the_documents_claim_is_bounded() {
        let pairs = |count: usize| (0..count).map(|n| (n.to_string(), Access::Read));
        let pattern = |bytes: usize| [("x".repeat(bytes), Access::Read)];

        assert!(Grants::new(pairs(GRANTS_MAX)).is_ok());
        assert_eq!(Grants::new(pairs(GRANTS_MAX + 1)), Err(GrantsError::TooMany));
        assert!(Grants::new(pattern(PATTERN_BYTES_MAX)).is_ok());
        assert_eq!(Grants::new(pattern(0)), Err(GrantsError::PatternLength(0)));
        assert_eq!(
            Grants::new(pattern(PATTERN_BYTES_MAX + 1)),
            Err(GrantsError::PatternLength(513))
        );
    }

    proptest! {
        #[test]
        fn a2_matching_agrees_with_the_definition(pattern in "[ab*]{0,9}", name in "[ab]{0,9}") {
            fn defined(pattern: &[u8], name: &[u8]) -> bool {
                match pattern {
                    [] => name.is_empty(),
                    [b'*', rest @ ..] => (0..=name.len()).any(|run| defined(rest, &name[run..])),
                    [byte, rest @ ..] => name.first() == Some(byte) && defined(rest, &name[1..]),
                }
            }

            prop_assert_eq!(matches(&pattern, &name), defined(pattern.as_bytes(), name.as_bytes()));
        }
    }
}
