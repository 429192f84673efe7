//! What the holder of a token may pass on of a document, and to which link.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Access, ClaimsError, Grants, LinkClaims, seconds, text};
use crate::{
    id::DocumentId,
    limits::{LINK_S_MAX, SHARERS_MAX},
};

/// The `share` claim: its holder may make links.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Share {
    /// In which documents, and for what at most; `None` is all that the token opens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub documents: Option<Grants>,
    /// How long a link may live, in seconds; `None` is until the token ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds: Option<u64>,
    /// Whether the holder of a link may be let make links in turn.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub again: bool,
}

impl TryFrom<Value> for Share {
    type Error = ClaimsError;

    fn try_from(claim: Value) -> Result<Self, Self::Error> {
        const FORM: ClaimsError = ClaimsError::Form {
            claim: "share",
            form: "an object of `documents`, `seconds` and `again`",
        };
        let Value::Object(mut fields) = claim else {
            return Err(FORM);
        };
        // `null` is no way to leave something out: what somebody's program does not know would allow everything.
        let mut take = |name: &str| fields.remove(name);
        let share = Self {
            documents: take("documents").map(Grants::try_from).transpose()?,
            seconds: take("seconds")
                .map(|value| seconds("share", &value).map_err(|_| FORM))
                .transpose()?,
            again: take("again")
                .map(|value| value.as_bool().ok_or(FORM))
                .transpose()?
                .unwrap_or_default(),
        };
        // What is misspelt here would allow more than was meant.
        if fields.is_empty() { Ok(share) } else { Err(FORM) }
    }
}

/// Somebody by whom a link came.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sharer {
    /// Who: the subject of the token that it was made with.
    pub sub: Arc<str>,
    /// That token's `jti`, if it had one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jti: Option<Arc<str>>,
    /// When that token was issued, in seconds since the Unix epoch, if it said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iat: Option<u64>,
}

impl Sharer {
    /// Checks what another one of our servers may have written.
    pub(super) fn check(&self) -> Result<(), ClaimsError> {
        for one in [Some(&self.sub), self.jti.as_ref()].into_iter().flatten() {
            text("by", &Value::from(&**one))?;
        }
        Ok(())
    }
}

/// What the holder of a token may pass on of one document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sharing {
    /// What a link may do at most.
    pub access: Access,
    /// When a link ends at the latest, in milliseconds since the Unix epoch.
    pub until_ms: u64,
    /// Whether links may be shared again.
    pub again: bool,
    /// By whom the link comes, the holder of this token last.
    pub by: Vec<Sharer>,
}

/// What somebody asks for who shares.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asked {
    /// What is shared.
    pub document: DocumentId,
    /// What the link's holder may do; `None` is reading.
    pub access: Option<Access>,
    /// How long it lives, in seconds; `None` is as long as may be.
    pub seconds: Option<u64>,
    /// Whether the link's holder may share it again.
    #[serde(default)]
    pub share: bool,
}

impl Sharing {
    /// The link that is asked for, made at `now_ms` (milliseconds since the Unix epoch) under the name `jti`, if it is no more than
    /// may be shared.
    ///
    /// # Errors
    /// [`ShareError`]: what it is beyond that.
    pub fn link(self, asked: Asked, jti: Arc<str>, now_ms: u64) -> Result<LinkClaims, ShareError> {
        let now_s = now_ms / 1_000;
        let longest_s = (self.until_ms / 1_000).saturating_sub(now_s).min(LINK_S_MAX);
        let seconds = asked.seconds.unwrap_or(longest_s);
        let access = asked.access.unwrap_or(Access::Read);
        if longest_s == 0 {
            return Err(ShareError::Ends);
        }
        if access > self.access {
            return Err(ShareError::OnlyReading);
        }
        if seconds > longest_s {
            return Err(ShareError::TooLong(longest_s));
        }
        if seconds == 0 {
            return Err(ShareError::NoTime);
        }
        if asked.share && !self.again {
            return Err(ShareError::NotAgain);
        }
        if self.by.len() > SHARERS_MAX {
            return Err(ShareError::TooFar);
        }
        Ok(LinkClaims {
            jti,
            iat: now_s,
            exp: now_s.saturating_add(seconds),
            document: asked.document,
            access,
            share: asked.share,
            by: self.by.into(),
        })
    }
}

/// Why something cannot be shared; for whoever asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ShareError {
    /// No `share` claim, or one for other documents.
    #[error("the token may not share this document: whoever made it can allow that with a `share` claim")]
    NotAllowed,
    /// Writing was asked for.
    #[error("the token may share this document for reading only: ask for \"access\": \"read\"")]
    OnlyReading,
    /// The longest, in seconds.
    #[error("a link that this token makes may live for {0} s at most: ask for fewer \"seconds\"")]
    TooLong(u64),
    /// It would have ended before it was made.
    #[error("a link lives for a second at least: ask for more \"seconds\"")]
    NoTime,
    /// The token has no second left.
    #[error("the token ends now, and links with it: get a new one")]
    Ends,
    /// A link that makes links was asked for.
    #[error("links that this token makes may not be shared again: leave \"share\" out")]
    NotAgain,
    /// The link is one of a link of a link.
    #[error("this is a link of a link, {SHARERS_MAX} times over: ask one of those for a link who shared it before")]
    TooFar,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::access::{Claims, Identity};

    const NOW_S: u64 = 1_800_000_000;
    const NOW_MS: u64 = NOW_S * 1_000;

    fn named(name: &str) -> DocumentId {
        DocumentId::parse(name).expect("a name")
    }

    fn ada(share: Value) -> Claims {
        let claims = json!({
            "sub": "ada", "jti": "t1", "exp": NOW_S + 900, "documents": { "team/*": "write", "team/handbook": "read" },
            "share": share,
        });
        Claims::try_from(claims).expect("claims")
    }

    fn asks(document: &str) -> Asked {
        Asked {
            document: named(document),
            access: None,
            seconds: None,
            share: false,
        }
    }

    fn link(claims: &Claims, asked: Asked) -> Result<LinkClaims, ShareError> {
        let sharing = claims.sharing(&asked.document, NOW_MS).ok_or(ShareError::NotAllowed)?;
        sharing.link(asked, "l1".into(), NOW_MS)
    }

    fn again(link: &LinkClaims, asked: Asked) -> Result<LinkClaims, ShareError> {
        let sharing = link.sharing(&asked.document).ok_or(ShareError::NotAllowed)?;
        sharing.link(asked, "l2".into(), NOW_MS)
    }

    #[test]
    fn t14_the_claim_is_read_and_anything_else_in_it_makes_the_token_invalid() {
        let read = |share: Value| Claims::try_from(json!({ "sub": "ada", "exp": 1, "share": share }));
        let whole = json!({ "documents": { "*": "read" }, "seconds": 60, "again": true });
        let share = read(whole.clone()).expect("a claim").share.expect("it is there");

        assert_eq!(serde_json::to_value(&share).expect("JSON"), whole);
        assert_eq!(read(json!({})).expect("a claim").share, Some(Share::default()));
        assert_eq!(read(Value::Null).expect("no claim").share, None);
        for bad in [
            json!(true),
            json!("read"),
            json!([]),
            json!({ "seconds": "60" }),
            json!({ "seconds": -1 }),
            json!({ "again": 1 }),
            json!({ "document": { "*": "read" } }),
            json!({ "documents": { "*": "all" } }),
            json!({ "documents": ["*"] }),
        ] {
            assert!(read(bad.clone()).is_err(), "{bad}");
        }
    }

    #[test]
    fn t23_what_is_null_is_not_left_out() {
        for field in ["documents", "seconds", "again"] {
            let claims = json!({ "sub": "ada", "exp": 1, "share": { field: null } });
            assert!(Claims::try_from(claims).is_err(), "{field}");
        }
    }

    #[test]
    fn t15_without_the_claim_nothing_is_shared() {
        let claims = Claims {
            share: None,
            ..ada(json!({}))
        };

        assert_eq!(link(&claims, asks("team/a")), Err(ShareError::NotAllowed));
    }

    #[test]
    fn t15_a_link_opens_one_document_by_its_very_name() {
        let claims = ada(json!({}));
        let made = link(&claims, asks("team/*")).expect("a link");

        assert!(made.identity(&named("team/*")).is_some());
        assert_eq!(made.identity(&named("team/a")), None);
        assert_eq!(link(&claims, asks("private/a")), Err(ShareError::NotAllowed));
    }

    #[test]
    fn t15_a_pattern_in_the_claim_never_opens_more_than_the_token() {
        let wide = ada(json!({ "documents": { "*": "write" } }));
        let narrow = ada(json!({ "documents": { "team/a*": "write", "team/ab": "read" } }));
        let writing = |document| Asked {
            access: Some(Access::Write),
            ..asks(document)
        };

        assert_eq!(link(&wide, asks("private/a")), Err(ShareError::NotAllowed));
        assert_eq!(link(&wide, writing("team/handbook")), Err(ShareError::OnlyReading));
        assert_eq!(link(&narrow, asks("team/b")), Err(ShareError::NotAllowed));
        assert_eq!(link(&narrow, writing("team/ab")), Err(ShareError::OnlyReading));
        assert_eq!(link(&narrow, writing("team/a")).expect("a link").access, Access::Write);
    }

    #[test]
    fn t15_writing_is_not_shared_by_whoever_may_share_reading_and_reading_is_what_is_not_said() {
        let reading = ada(json!({ "documents": { "*": "read" } }));
        let writes = |access| Asked {
            access: Some(access),
            ..asks("team/a")
        };

        assert_eq!(link(&reading, writes(Access::Write)), Err(ShareError::OnlyReading));
        assert!(link(&reading, writes(Access::Read)).is_ok());
        assert_eq!(
            link(&ada(json!({})), asks("team/a")).expect("a link").access,
            Access::Read
        );
    }

    #[test]
    fn t15_a_link_ends_with_the_token_unless_the_claim_says_how_long() {
        let lives = |share: Value, seconds| {
            let asked = Asked {
                seconds,
                ..asks("team/a")
            };
            link(&ada(share), asked).map(|link| link.exp - NOW_S)
        };

        assert_eq!(lives(json!({}), None), Ok(900));
        assert_eq!(lives(json!({}), Some(60)), Ok(60));
        assert_eq!(lives(json!({}), Some(901)), Err(ShareError::TooLong(900)));
        assert_eq!(lives(json!({ "seconds": 86_400 }), Some(86_400)), Ok(86_400));
        assert_eq!(
            lives(json!({ "seconds": 86_400 }), Some(86_401)),
            Err(ShareError::TooLong(86_400))
        );
        assert_eq!(lives(json!({ "seconds": 60 }), None), Ok(60));
        assert_eq!(lives(json!({ "seconds": u64::MAX }), None), Ok(LINK_S_MAX));
        assert_eq!(
            lives(json!({ "seconds": u64::MAX }), Some(u64::MAX)),
            Err(ShareError::TooLong(LINK_S_MAX))
        );
        assert_eq!(lives(json!({}), Some(0)), Err(ShareError::NoTime));
    }

    #[test]
    fn t15_a_token_that_ends_shares_nothing_that_would_have_ended() {
        let claims = Claims {
            exp: NOW_S,
            ..ada(json!({}))
        };

        assert_eq!(link(&claims, asks("team/a")), Err(ShareError::Ends));
    }

    #[test]
    fn t15_a_link_is_shared_again_only_where_that_was_allowed_and_asked_for() {
        let onward = Asked {
            share: true,
            ..asks("team/a")
        };
        let allowed = ada(json!({ "again": true }));

        assert_eq!(link(&ada(json!({})), onward.clone()), Err(ShareError::NotAgain));
        let plain = link(&allowed, asks("team/a")).expect("a link");
        assert_eq!(again(&plain, asks("team/a")), Err(ShareError::NotAllowed));

        let first = Asked {
            seconds: Some(60),
            ..onward.clone()
        };
        let first = link(&allowed, first).expect("a link");
        let second = again(&first, asks("team/a")).expect("a link of a link");
        assert_eq!((second.exp, second.access), (first.exp, Access::Read));
        assert_eq!(again(&first, asks("team/b")), Err(ShareError::NotAllowed));
        let writing = Asked {
            access: Some(Access::Write),
            ..asks("team/a")
        };
        assert_eq!(again(&first, writing), Err(ShareError::OnlyReading));
        let longer = Asked {
            seconds: Some(61),
            ..asks("team/a")
        };
        assert_eq!(again(&first, longer), Err(ShareError::TooLong(60)));

        let mut last = first;
        for _ in 1..SHARERS_MAX {
            last = again(&last, onward.clone()).expect("one more");
        }
        assert_eq!(again(&last, onward), Err(ShareError::TooFar));
    }

    #[test]
    fn t16_a_links_holder_is_somebody_of_the_link_and_says_by_whom_it_came() {
        let made = link(&ada(json!({})), asks("team/a")).expect("a link");
        let sharer = Sharer {
            sub: "ada".into(),
            jti: Some("t1".into()),
            iat: None,
        };
        let expected = Identity {
            subject: Some("link:l1".into()),
            access: Access::Read,
            expires_at_ms: Some((NOW_S + 900) * 1_000),
            token: Some("l1".into()),
            issued_at_ms: Some(NOW_MS),
            by: Some(vec![sharer].into()),
            ..Identity::anonymous()
        };

        assert_eq!(made.identity(&named("team/a")), Some(expected));
    }
}
