//! Which sessions are one person's.

use std::sync::Arc;

/// Who a session is, as far as one person's sessions can be told from another's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Person<S = Arc<str>> {
    /// Whoever has tokens of this subject: one person.
    Named(S),
    /// Whoever holds the link with this subject. All who do look the same.
    OfLink(S),
    /// Whoever came without a name.
    Nobody,
}

impl<S: AsRef<str>> Person<S> {
    /// Whether both are certainly one person.
    pub fn is(&self, other: &Person<impl AsRef<str>>) -> bool {
        matches!((self, other), (Self::Named(one), Person::Named(other)) if one.as_ref() == other.as_ref())
    }

    /// Whether both may be one person, which nobody can tell.
    pub fn may_be(&self, other: &Person<impl AsRef<str>>) -> bool {
        match (self, other) {
            (Self::OfLink(one), Person::OfLink(other)) => one.as_ref() == other.as_ref(),
            (Self::Nobody, Person::Nobody) => true,
            _ => false,
        }
    }

    /// Whether both are certainly not one person, where somebody who came without a name may have one now.
    pub fn is_not(&self, other: &Person<impl AsRef<str>>) -> bool {
        !matches!(self, Self::Nobody) && !self.is(other) && !self.may_be(other)
    }

    /// Whether this is one person.
    pub fn is_named(&self) -> bool {
        matches!(self, Self::Named(_))
    }

    /// The subject of the token, if there is one.
    pub fn subject(&self) -> Option<&S> {
        match self {
            Self::Named(subject) | Self::OfLink(subject) => Some(subject),
            Self::Nobody => None,
        }
    }
}

impl<'a, S> Person<&'a S> {
    /// The subject of one person, who can be told from everybody else.
    #[must_use]
    pub fn named(self) -> Option<&'a S> {
        match self {
            Self::Named(subject) => Some(subject),
            Self::OfLink(_) | Self::Nobody => None,
        }
    }
}

impl<S: Clone> Person<&S> {
    /// The same, to keep.
    pub fn cloned(self) -> Person<S> {
        match self {
            Self::Named(subject) => Person::Named(subject.clone()),
            Self::OfLink(subject) => Person::OfLink(subject.clone()),
            Self::Nobody => Person::Nobody,
        }
    }
}

impl<S> Person<S> {
    /// The same, lent.
    pub fn as_ref(&self) -> Person<&S> {
        match self {
            Self::Named(subject) => Person::Named(subject),
            Self::OfLink(subject) => Person::OfLink(subject),
            Self::Nobody => Person::Nobody,
        }
    }
}

/// Of a subject that is no link's.
impl<S> From<Option<S>> for Person<S> {
    fn from(subject: Option<S>) -> Self {
        subject.map_or(Self::Nobody, Self::Named)
    }
}
