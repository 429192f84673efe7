//! Tokens that are no longer good although they have not ended.
//!
//! A revocation names a user, one token (`jti`), a document, or a user in a document, and a moment. It takes all access, or
//! leaves reading. It concerns what was issued up to that
//! moment (`iat`; a token that does not say counts as old), so whoever gets a new token later is welcome. Links that were made
//! up to that moment go with whoever made them, and with the token that they were made with.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Access, Identity};
use crate::id::DocumentId;

/// Most revocations that are remembered: the oldest ones go.
const REMEMBERED_MAX: usize = 100_000;

/// Whose tokens.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Revoked {
    /// Those of this subject.
    User(Arc<str>),
    /// The one with this `jti`.
    Token(Arc<str>),
    /// Those that open this document, there.
    Document(DocumentId),
    /// Those of a user, in one document.
    Member {
        /// Whose.
        user: Arc<str>,
        /// Where.
        document: DocumentId,
    },
}

/// One revocation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revocation {
    /// Whose tokens.
    pub revoked: Revoked,
    /// Issued up to here, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// Until when it is remembered, in milliseconds since the Unix epoch.
    pub until_ms: u64,
    /// What they may do all the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leaves: Option<Access>,
}

impl Revocation {
    /// Whether somebody is meant, in a document.
    #[must_use]
    pub fn concerns(&self, identity: &Identity, document: &DocumentId) -> bool {
        let is_by = |user| identity.answerable().any(|(subject, _)| subject == Some(user));
        let is_meant = match &self.revoked {
            Revoked::User(user) => is_by(user),
            Revoked::Token(token) => return identity.answerable().any(|(_, name)| name == Some(token)),
            Revoked::Document(revoked) => document == revoked,
            Revoked::Member {
                user,
                document: revoked,
            } => document == revoked && is_by(user),
        };
        is_meant && identity.issued_at_ms.is_none_or(|issued| issued <= self.at_ms)
    }
}

/// All that are remembered, oldest first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Revocations(Vec<Revocation>);

impl Revocations {
    /// Remembers one more, and forgets those whose time has passed at `now_ms`.
    pub fn add(&mut self, mut revocation: Revocation, now_ms: u64) {
        let wanted = (revocation.revoked.clone(), revocation.leaves);
        let is_same = |known: &Revocation| (&known.revoked, known.leaves) == (&wanted.0, wanted.1);
        // Who says it again shortens nothing.
        let known = self.0.iter().filter(|known| is_same(known)).map(|known| known.until_ms);
        let until_ms = known.max().unwrap_or_default();
        self.0.retain(|known| known.until_ms > now_ms && !is_same(known));
        revocation.until_ms = revocation.until_ms.max(until_ms);
        if self.0.len() >= REMEMBERED_MAX {
            self.0.remove(0);
        }
        self.0.push(revocation);
    }

    /// What of somebody's access to a document is left; `None` is nothing.
    #[must_use]
    pub fn leave(&self, identity: &Identity, document: &DocumentId) -> Option<Access> {
        let concerns = |revocation: &&Revocation| revocation.concerns(identity, document);
        let left = self.0.iter().filter(concerns).map(|revocation| revocation.leaves);
        left.fold(Some(identity.access), Ord::min)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::Sharer;

    fn named(name: &str) -> DocumentId {
        DocumentId::parse(name).expect("a name")
    }

    fn holder(user: &str, token: Option<&str>, issued_at_ms: Option<u64>) -> Identity {
        Identity {
            subject: Some(user.into()),
            token: token.map(Into::into),
            issued_at_ms,
            ..Identity::anonymous()
        }
    }

    fn revocation(revoked: Revoked) -> Revocation {
        Revocation {
            revoked,
            at_ms: 1_000,
            until_ms: 5_000,
            leaves: None,
        }
    }

    #[test]
    fn a8_what_was_issued_before_is_concerned_and_what_was_issued_after_is_not() {
        let user = revocation(Revoked::User("ada".into()));
        let token = revocation(Revoked::Token("t1".into()));
        let document = revocation(Revoked::Document(named("d")));

        assert!(user.concerns(&holder("ada", None, Some(1_000)), &named("x")));
        assert!(
            user.concerns(&holder("ada", None, None), &named("x")),
            "nobody knows when"
        );
        assert!(!user.concerns(&holder("ada", None, Some(1_001)), &named("x")));
        assert!(!user.concerns(&holder("bob", None, None), &named("x")));
        assert!(token.concerns(&holder("ada", Some("t1"), Some(9_999)), &named("x")));
        assert!(!token.concerns(&holder("ada", Some("t2"), None), &named("x")));
        assert!(!token.concerns(&holder("ada", None, None), &named("x")));
        assert!(document.concerns(&holder("ada", None, Some(1)), &named("d")));
        assert!(!document.concerns(&holder("ada", None, Some(1)), &named("e")));
        assert!(!document.concerns(&holder("ada", None, Some(2_000)), &named("d")));
    }

    /// Somebody with a link that `ada` made of her token t1, and `link:one` shared again.
    fn of_a_link(issued_at_ms: u64) -> Identity {
        let by = |sub: &str, jti: Option<&str>| Sharer {
            sub: sub.into(),
            jti: jti.map(Into::into),
        };
        Identity {
            by: Some(vec![by("ada", Some("t1")), by("link:one", Some("one"))].into()),
            ..holder("link:two", Some("two"), Some(issued_at_ms))
        }
    }

    #[test]
    fn t16_whoever_revokes_somebody_ends_what_they_shared_before_and_what_was_shared_in_turn() {
        let concerns = |revoked, issued_at_ms| revocation(revoked).concerns(&of_a_link(issued_at_ms), &named("d"));
        let member = |user: &str, document| Revoked::Member {
            user: user.into(),
            document: named(document),
        };

        for user in ["ada", "link:one", "link:two"] {
            assert!(concerns(Revoked::User(user.into()), 1_000), "{user}");
            assert!(
                !concerns(Revoked::User(user.into()), 1_001),
                "{user} got a token later, and shares again"
            );
            assert!(concerns(member(user, "d"), 1_000), "{user}");
            assert!(!concerns(member(user, "e"), 1_000), "{user}");
        }
        for token in ["t1", "one", "two"] {
            assert!(concerns(Revoked::Token(token.into()), 9_999), "{token}");
        }
        assert!(!concerns(Revoked::User("bob".into()), 1_000));
        assert!(!concerns(Revoked::Token("t2".into()), 1_000));
    }

    #[test]
    fn t16_a_link_reads_only_when_whoever_shared_it_may_only_read() {
        let mut all = Revocations::default();
        let lowers = Revocation {
            leaves: Some(Access::Read),
            ..revocation(Revoked::User("ada".into()))
        };
        all.add(lowers, 1_000);

        assert_eq!(all.leave(&of_a_link(1_000), &named("d")), Some(Access::Read));
        assert_eq!(all.leave(&of_a_link(1_001), &named("d")), Some(Access::Write));
    }

    #[test]
    fn a8_a_revocation_is_forgotten_when_its_time_has_passed() {
        let mut all = Revocations::default();
        all.add(revocation(Revoked::User("ada".into())), 1_000);
        all.add(revocation(Revoked::User("bob".into())), 4_999);
        assert_eq!(all.leave(&holder("ada", None, None), &named("d")), None);

        all.add(revocation(Revoked::User("eve".into())), 5_000);

        assert_eq!(all.leave(&holder("ada", None, None), &named("d")), Some(Access::Write));
        let text = serde_json::to_string(&all).expect("JSON");
        assert_eq!(text, r#"[{"revoked":{"user":"eve"},"at_ms":1000,"until_ms":5000}]"#);
        assert_eq!(serde_json::from_str::<Revocations>(&text).expect("read"), all);
    }

    #[test]
    fn a8_who_revokes_again_for_a_shorter_time_shortens_nothing() {
        let mut all = Revocations::default();
        let long = revocation(Revoked::User("ada".into()));
        let short = Revocation {
            until_ms: 2_000,
            ..long.clone()
        };
        all.add(long, 1_000);
        all.add(short, 1_000);

        all.add(revocation(Revoked::User("eve".into())), 2_001);

        assert_eq!(all.leave(&holder("ada", None, None), &named("d")), None);
    }

    #[test]
    fn a13_reading_may_be_left_and_less_is_not_given_back() {
        let lowers = |revoked| Revocation {
            leaves: Some(Access::Read),
            ..revocation(revoked)
        };
        let member = Revoked::Member {
            user: "ada".into(),
            document: named("d"),
        };
        let left =
            |all: &Revocations, user: &str, document: &str| all.leave(&holder(user, None, None), &named(document));
        let mut all = Revocations::default();

        all.add(lowers(member.clone()), 1_000);
        assert_eq!(left(&all, "ada", "d"), Some(Access::Read));
        assert_eq!(left(&all, "ada", "e"), Some(Access::Write));
        assert_eq!(left(&all, "bob", "d"), Some(Access::Write));

        all.add(revocation(member.clone()), 1_000);
        all.add(lowers(member), 1_000);
        assert_eq!(left(&all, "ada", "d"), None);
        let text = serde_json::to_string(&all).expect("JSON");
        assert!(
            text.contains(
                r#"{"revoked":{"member":{"user":"ada","document":"d"}},"at_ms":1000,"until_ms":5000,"leaves":"read"}"#
            ),
            "{text}"
        );
        assert_eq!(serde_json::from_str::<Revocations>(&text).expect("read"), all);
    }
}
