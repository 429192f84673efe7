//! Tokens that are no longer good although they have not ended.
//!
//! A revocation names a user, one token (`jti`), a document, or a user in a document, and a moment. It takes all access, or
//! leaves reading. It concerns what was issued up to that
//! moment (`iat`; a token that does not say counts as old), so whoever gets a new token later is welcome. Links go with the
//! tokens that they were made with, also those that were made later, on a server that had not heard of it.

use std::sync::Arc;

use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};

use super::{Access, Identity, Shown};
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
        identity.rests_on().any(|token| self.is_meant(token, document))
    }

    fn is_meant(&self, token: Shown<'_>, document: &DocumentId) -> bool {
        let is_old = token.issued_at_ms.is_none_or(|issued| issued <= self.at_ms);
        match &self.revoked {
            Revoked::User(user) => is_old && token.subject == Some(user),
            Revoked::Token(name) => token.name == Some(name),
            Revoked::Document(revoked) => is_old && document == revoked,
            Revoked::Member {
                user,
                document: revoked,
            } => is_old && document == revoked && token.subject == Some(user),
        }
    }
}

/// All that are remembered, oldest first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Revocations(Vec<Revocation>);

impl Revocations {
    /// Remembers some more, and forgets those whose time has passed at `now_ms`. Those of several servers come in any order
    /// and more than once; returns those that revoke more than was revoked.
    pub fn add(&mut self, revocations: impl IntoIterator<Item = Revocation>, now_ms: u64) -> Vec<Revocation> {
        self.0.retain(|known| known.until_ms > now_ms);
        let what = |revocation: &Revocation| (revocation.revoked.clone(), revocation.leaves);
        let known = self.0.iter().enumerate();
        let mut places: FxHashMap<_, usize> = known.map(|(place, known)| (what(known), place)).collect();
        let mut news = Vec::new();
        for revocation in revocations {
            let Some(place) = places.get(&what(&revocation)) else {
                places.insert(what(&revocation), self.0.len());
                self.0.push(revocation.clone());
                news.push(revocation);
                continue;
            };
            // Who says it again shortens nothing.
            let known = &mut self.0[*place];
            if revocation.at_ms > known.at_ms || revocation.until_ms > known.until_ms {
                known.at_ms = known.at_ms.max(revocation.at_ms);
                known.until_ms = known.until_ms.max(revocation.until_ms);
                news.push(revocation);
            }
        }
        self.0.sort_by_key(|known| known.at_ms);
        self.0.drain(..self.0.len().saturating_sub(REMEMBERED_MAX));
        news
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

    /// Somebody with a link that `ada` made of her token t1, and `link:one` shared again; both were issued at `shared_at_s`.
    fn of_a_link_of(shared_at_s: u64, issued_at_ms: u64) -> Identity {
        let by = |sub: &str, jti: Option<&str>, iat| Sharer {
            sub: sub.into(),
            jti: jti.map(Into::into),
            iat,
        };
        Identity {
            by: Some(
                vec![
                    by("ada", Some("t1"), Some(shared_at_s)),
                    by("link:one", Some("one"), Some(shared_at_s)),
                ]
                .into(),
            ),
            ..holder("link:two", Some("two"), Some(issued_at_ms))
        }
    }

    fn of_a_link(issued_at_ms: u64) -> Identity {
        of_a_link_of(9, issued_at_ms)
    }

    #[test]
    fn t21_a_link_that_is_made_later_goes_with_the_token_that_it_was_made_with() {
        let revocations = [
            Revoked::User("ada".into()),
            Revoked::User("link:one".into()),
            Revoked::Document(named("d")),
            Revoked::Member {
                user: "ada".into(),
                document: named("d"),
            },
        ];
        for revoked in revocations {
            let concerns = |identity: Identity| revocation(revoked.clone()).concerns(&identity, &named("d"));
            let undated = |identity: Identity| {
                let by = identity.by.iter().flat_map(|by| by.iter().cloned());
                let by = by.map(|sharer| Sharer { iat: None, ..sharer });
                Identity {
                    by: Some(by.collect()),
                    ..identity
                }
            };

            assert!(concerns(of_a_link_of(1, 9_999)), "{revoked:?}: of an old token");
            assert!(
                !concerns(of_a_link_of(2, 9_999)),
                "{revoked:?}: of one that was issued later"
            );
            assert!(
                concerns(undated(of_a_link_of(2, 9_999))),
                "{revoked:?}: nobody knows when"
            );
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
        all.add([lowers], 1_000);

        assert_eq!(all.leave(&of_a_link(1_000), &named("d")), Some(Access::Read));
        assert_eq!(all.leave(&of_a_link(1_001), &named("d")), Some(Access::Write));
    }

    #[test]
    fn a8_a_revocation_is_forgotten_when_its_time_has_passed() {
        let mut all = Revocations::default();
        all.add([revocation(Revoked::User("ada".into()))], 1_000);
        all.add([revocation(Revoked::User("bob".into()))], 4_999);
        assert_eq!(all.leave(&holder("ada", None, None), &named("d")), None);

        all.add([revocation(Revoked::User("eve".into()))], 5_000);

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
        let earlier = Revocation {
            at_ms: 900,
            ..long.clone()
        };
        assert_eq!(all.add([long.clone()], 1_000), std::slice::from_ref(&long));
        assert_eq!(all.add([short, earlier, long], 1_000), []);
        assert_eq!(all.leave(&holder("ada", None, Some(950)), &named("d")), None);

        all.add([revocation(Revoked::User("eve".into()))], 2_001);

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

        all.add([lowers(member.clone())], 1_000);
        assert_eq!(left(&all, "ada", "d"), Some(Access::Read));
        assert_eq!(left(&all, "ada", "e"), Some(Access::Write));
        assert_eq!(left(&all, "bob", "d"), Some(Access::Write));

        all.add([revocation(member.clone())], 1_000);
        all.add([lowers(member)], 1_000);
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
