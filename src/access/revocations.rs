//! Tokens that are no longer good although they have not ended.
//!
//! A revocation names a user, one token (`jti`), a document, or a user in a document, and a moment. It takes all access, or
//! leaves reading. It concerns what was issued up to that
//! moment (`iat`; a token that does not say counts as old), so whoever gets a new token later is welcome. Links go with the
//! tokens that they were made with, also those that were made later, on a server that had not heard of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use serde::{Deserialize, Serialize, Serializer};

use super::{Access, Identity, Shown};
use crate::id::DocumentId;

/// Most revocations that are remembered: the oldest ones go.
const REMEMBERED_MAX: usize = 100_000;

/// Whose tokens.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
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

/// All that are remembered. What it costs to look one up, or to remember one more, does not grow with how many there are but
/// as the depth of a tree does.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "Vec<Revocation>")]
pub struct Revocations {
    all: BTreeMap<Arc<What>, When>,
    /// By the moment up to which tokens were issued: the oldest ones go first.
    by_age: BTreeSet<(u64, Arc<What>)>,
    /// By the moment at which they are forgotten.
    by_end: BTreeSet<(u64, Arc<What>)>,
}

/// What is revoked, and what is left of it.
type What = (Revoked, Option<Access>);

/// The moments of a revocation, as it has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct When {
    at_ms: u64,
    until_ms: u64,
}

impl Revocations {
    /// Remembers some more, and forgets those whose time has passed at `now_ms`. Those of several servers come in any order
    /// and more than once; returns those that revoke more than was revoked.
    pub fn add(&mut self, revocations: impl IntoIterator<Item = Revocation>, now_ms: u64) -> Vec<Revocation> {
        while let Some((until_ms, what)) = self.by_end.first().cloned()
            && until_ms <= now_ms
        {
            self.forget(&what);
        }
        let mut news = Vec::new();
        for revocation in revocations {
            let what = (revocation.revoked.clone(), revocation.leaves);
            let (at_ms, until_ms) = (revocation.at_ms, revocation.until_ms);
            match self.all.get(&what).copied() {
                None => self.remember(what.into(), When { at_ms, until_ms }),
                Some(known) if at_ms > known.at_ms || until_ms > known.until_ms => {
                    // Who says it again shortens nothing.
                    let (at_ms, until_ms) = (at_ms.max(known.at_ms), until_ms.max(known.until_ms));
                    self.forget(&what);
                    self.remember(what.into(), When { at_ms, until_ms });
                }
                Some(_) => continue,
            }
            news.push(revocation);
        }
        while self.all.len() > REMEMBERED_MAX
            && let Some((_, what)) = self.by_age.first().cloned()
        {
            self.forget(&what);
        }
        news
    }

    fn remember(&mut self, what: Arc<What>, when: When) {
        self.by_age.insert((when.at_ms, what.clone()));
        self.by_end.insert((when.until_ms, what.clone()));
        self.all.insert(what, when);
    }

    fn forget(&mut self, what: &What) {
        if let Some((what, When { at_ms, until_ms })) = self.all.remove_entry(what) {
            let mut known = (at_ms, what);
            self.by_age.remove(&known);
            known.0 = until_ms;
            self.by_end.remove(&known);
        }
    }

    /// What of somebody's access to a document is left; `None` is nothing.
    #[must_use]
    pub fn leave(&self, identity: &Identity, document: &DocumentId) -> Option<Access> {
        let names = |token: Shown| {
            let user = token.subject.cloned();
            let member = user.clone().map(|user| Revoked::Member {
                user,
                document: document.clone(),
            });
            let all = [
                user.map(Revoked::User),
                token.name.cloned().map(Revoked::Token),
                Some(Revoked::Document(document.clone())),
                member,
            ];
            all.into_iter().flatten()
        };
        let named = identity.rests_on().flat_map(names);
        // One that leaves writing would take nothing.
        let whats = named.flat_map(|revoked| [(revoked.clone(), None), (revoked, Some(Access::Read))]);
        let concern = |what: What| {
            let revocation = self.revocation(&what)?;
            revocation.concerns(identity, document).then_some(revocation.leaves)
        };
        whats.filter_map(concern).fold(Some(identity.access), Ord::min)
    }

    /// The one of what is revoked.
    fn revocation(&self, what: &What) -> Option<Revocation> {
        let When { at_ms, until_ms } = *self.all.get(what)?;
        let (revoked, leaves) = what.clone();
        Some(Revocation {
            revoked,
            at_ms,
            until_ms,
            leaves,
        })
    }
}

impl From<Vec<Revocation>> for Revocations {
    fn from(all: Vec<Revocation>) -> Self {
        let mut revocations = Self::default();
        revocations.add(all, 0);
        revocations
    }
}

/// A list, oldest first.
impl Serialize for Revocations {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let all = self.by_age.iter().filter_map(|(_, what)| self.revocation(what));
        serializer.collect_seq(all)
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

    #[test]
    fn a20_what_a_look_up_costs_does_not_grow_with_how_much_was_revoked() {
        let revoked = |count: u64| {
            let mut all = Revocations::default();
            let one = |n: u64| {
                let revoked = match n % 4 {
                    0 => Revoked::User(format!("user {n}").into()),
                    1 => Revoked::Token(format!("token {n}").into()),
                    2 => Revoked::Document(named(&format!("document {n}"))),
                    _ => Revoked::Member {
                        user: "ada".into(),
                        document: named(&format!("document {n}")),
                    },
                };
                Revocation {
                    at_ms: n,
                    until_ms: u64::MAX,
                    ..revocation(revoked)
                }
            };
            all.add((0..count).map(one), 0);
            all
        };
        let (few, mut many) = (revoked(100), revoked(REMEMBERED_MAX as u64));
        let fastest = |all: &Revocations| {
            let times = (0..5).map(|_| {
                let begun = std::time::Instant::now();
                for _ in 0..50 {
                    assert_eq!(
                        all.leave(&holder("ada", Some("t1"), Some(1)), &named("d")),
                        Some(Access::Write)
                    );
                }
                begun.elapsed()
            });
            times.min().expect("some")
        };

        let times = fastest(&many).as_secs_f64() / fastest(&few).as_secs_f64();

        assert!(times < 20.0, "{times} times as long for a thousand times as many");
        assert_eq!(many.leave(&holder("user 4", None, Some(4)), &named("d")), None);
        assert_eq!(many.leave(&holder("ada", None, Some(7)), &named("document 7")), None);
        // The oldest ones go.
        let last = Revocation {
            at_ms: u64::MAX,
            until_ms: u64::MAX,
            ..revocation(Revoked::User("eve".into()))
        };
        many.add([last], 0);
        assert_eq!(many.all.len(), REMEMBERED_MAX);
        assert_eq!((many.by_age.len(), many.by_end.len()), (REMEMBERED_MAX, REMEMBERED_MAX));
        assert_eq!(
            many.leave(&holder("user 0", None, Some(0)), &named("d")),
            Some(Access::Write)
        );
        assert_eq!(many.leave(&holder("eve", None, None), &named("d")), None);
    }
}
