//! Who may do what: claims, revocations, credentials, pages, names. The first byte says which.

use cowrite::{
    access::{
        Access, Claims, ClientClaims, Credentials, Expected, Identity, LinkClaims, OriginPolicy, Revocations,
        SUBPROTOCOL, stamp,
    },
    id::DocumentId,
};
use serde_json::Value;

/// A time at which tokens are looked at, in milliseconds since the Unix epoch.
const NOW_MS: u64 = 1_800_000_000_250;
/// What f64 holds exactly, with a digit to spare for a fraction.
const EXACT_MS: u64 = 1 << 43;

/// Any bytes, as what the first one says.
pub fn access(input: &[u8]) {
    let Some((&what, rest)) = input.split_first() else {
        return;
    };
    let Ok(text) = std::str::from_utf8(rest) else { return };
    match what % 6 {
        0 => claims(text),
        1 => {
            client_claims(text);
            link_claims(text);
        }
        2 => revocations(text),
        3 => credentials(text),
        4 => pages(text),
        _ => names(text),
    }
}

/// Claims mean the same when they are written again, and open what their patterns say.
fn claims(text: &str) {
    let Ok(claims) = serde_json::from_str::<Claims>(text) else {
        return;
    };
    let again = serde_json::to_value(&claims).expect("claims are JSON");
    assert_eq!(Claims::try_from(again).expect("what was written is read"), claims);
    let expected = Expected::default();
    let is_good = claims.check(NOW_MS, &expected).is_ok();
    for name in ["notes", "a/b", &claims.sub] {
        let Ok(document) = DocumentId::parse(name) else {
            continue;
        };
        let Some(identity) = claims.identity(&document, expected.leeway_ms) else {
            continue;
        };
        assert_eq!(claims.documents.access_to(&document), Some(identity.access));
        assert!(!is_good || !identity.is_expired(NOW_MS), "who is let in has not ended");
        stamped(&identity);
    }
}

fn client_claims(text: &str) {
    let Ok(value) = serde_json::from_str::<Value>(text) else {
        return;
    };
    let Ok(claims) = ClientClaims::try_from(value) else {
        return;
    };
    let notes = DocumentId::parse("notes").expect("a name");
    let identity = claims.identity(&notes);
    let ends = identity.as_ref().and_then(|identity| identity.expires_at_ms);
    let is_good = claims.check(NOW_MS).is_ok();
    assert!(ends.is_none_or(|ends| is_good == (ends > NOW_MS)));
    let again = serde_json::to_value(&claims).expect("claims are JSON");
    let issued = identity.as_ref().and_then(|identity| identity.issued_at_ms);
    if ends.max(issued).is_some_and(|latest| latest < EXACT_MS) {
        assert_eq!(ClientClaims::try_from(again), Ok(claims));
    }
    if let Some(identity) = identity {
        stamped(&identity);
    }
}

/// A link opens what it says until it ends, and its holder passes on no more.
fn link_claims(text: &str) {
    let Ok(value) = serde_json::from_str::<Value>(text) else {
        return;
    };
    let Ok(claims) = LinkClaims::try_from(value) else {
        return;
    };
    let again = serde_json::to_value(&claims).expect("claims are JSON");
    assert_eq!(LinkClaims::try_from(again), Ok(claims.clone()));
    let identity = claims.identity(&claims.document).expect("its own document");
    assert_eq!(claims.check(NOW_MS).is_ok(), !identity.is_expired(NOW_MS));
    stamped(&identity);
    if let Some(sharing) = claims.sharing(&claims.document) {
        assert!(sharing.access == claims.access && Some(sharing.until_ms) == identity.expires_at_ms);
    }
}

/// What a server says of somebody is what their token says.
fn stamped(identity: &Identity) {
    let state = br#"{"user":{"name":"somebody else","id":7},"cursor":null}"#;
    let Some(stamped) = stamp(identity, 7, state) else {
        return;
    };
    let stamped: Value = serde_json::from_slice(&stamped).expect("it stays JSON");
    let subject = identity.subject.as_deref().expect("who is shown has one");
    let id = if identity.by.is_some() {
        format!("{subject}/7")
    } else {
        subject.to_owned()
    };
    assert_eq!(stamped["user"]["id"].as_str(), Some(&*id));
    if let Some(name) = identity.name.as_deref() {
        assert_eq!(stamped["user"]["name"].as_str(), Some(name));
    }
}

/// The file of revocations.
fn revocations(text: &str) {
    let Ok(revocations) = serde_json::from_str::<Revocations>(text) else {
        return;
    };
    let again = serde_json::to_string(&revocations).expect("JSON");
    assert_eq!(
        serde_json::from_str::<Revocations>(&again).expect("what was written is read"),
        revocations
    );
    let notes = DocumentId::parse("notes").expect("a name");
    let late = Identity {
        subject: Some("ada".into()),
        issued_at_ms: Some(u64::MAX),
        ..Identity::anonymous()
    };
    let early = Identity {
        issued_at_ms: None,
        ..late.clone()
    };
    assert!(
        revocations.leave(&early, &notes) <= revocations.leave(&late, &notes),
        "an older token is no better"
    );
}

/// A line each: a query, an `Authorization` header, subprotocols.
fn credentials(text: &str) {
    let mut lines = text.split('\n');
    let [query, authorization, subprotocols] =
        [lines.next(), lines.next(), lines.next()].map(Option::unwrap_or_default);
    let read = Credentials::read(query, [authorization], [subprotocols]);
    assert!(read.subprotocol.is_none_or(|answer| answer == SUBPROTOCOL));
    if let Ok(Some(token)) = &read.token {
        assert!(!token.is_empty());
        let decoded = percent_encoding(query);
        assert!(
            [decoded.as_str(), authorization, subprotocols]
                .iter()
                .any(|place| place.contains(&**token)),
            "{token:?} was shown"
        );
    }
    if let Err(error) = &read.token {
        let told = error.to_string();
        assert!(told.is_ascii() && !told.contains("token="));
    }
}

fn percent_encoding(query: &str) -> String {
    let mut decoded = Vec::new();
    let mut rest = query.as_bytes();
    while let Some((&byte, behind)) = rest.split_first() {
        let code = behind.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        let code = code.filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
        match code.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(code) if byte == b'%' => {
                decoded.push(code);
                rest = &behind[2..];
            }
            _ => {
                decoded.push(byte);
                rest = behind;
            }
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

/// A line each: `Origin`, `Host`, an allowed origin.
fn pages(text: &str) {
    let mut lines = text.split('\n');
    let (Some(origin), Some(host)) = (lines.next(), lines.next()) else {
        return;
    };
    let same = OriginPolicy::same_origin();
    let is_same = same.check(Some(origin), Some(host)).is_ok();
    if is_same {
        let (origin, host) = (origin.to_ascii_lowercase(), host.to_ascii_lowercase());
        let name = host.rsplit_once(':').map_or(&*host, |(name, port)| {
            if port.bytes().all(|digit| digit.is_ascii_digit()) {
                name
            } else {
                &host
            }
        });
        assert!(origin.starts_with("http"), "{origin:?}");
        assert!(origin.contains(name), "{origin:?} is not {host:?}");
    }
    assert!(same.check(Some(origin), None).is_err(), "no host is no same host");
    assert!(same.check(None, Some(host)).is_ok(), "no browser");
    let loopback = OriginPolicy::same_origin().on_loopback_only();
    let is_here = loopback.check(Some(origin), Some(host)).is_ok();
    assert!(
        !is_here || loopback.check_host(Some(host)).is_ok(),
        "{host:?} is not this machine"
    );
    if let Some(listed) = lines.next()
        && listed != "*"
        && let Ok(policy) = OriginPolicy::parse(&[listed])
    {
        assert!(
            policy.check(Some(listed), Some("elsewhere")).is_ok(),
            "{listed:?} is listed"
        );
        assert!(
            !is_same || policy.check(Some(origin), Some(host)).is_ok(),
            "a list adds"
        );
    }
}

/// A name is what it says, in a path and alone.
fn names(text: &str) {
    let alone = DocumentId::parse(text);
    if let Ok(document) = &alone {
        assert_eq!(document.as_str(), text);
        assert!(document.to_string().chars().all(|c| !c.is_control()));
        let path: String = text.bytes().map(|byte| format!("%{byte:02X}")).collect();
        assert_eq!(DocumentId::from_url_path(&path).as_ref(), Ok(document));
        assert!(
            ClientClaims::new(None, document.clone(), Access::Read, 0, 1)
                .expect("claims")
                .identity(document)
                .is_some()
        );
    }
    if let Ok(document) = DocumentId::from_url_path(text) {
        assert_eq!(DocumentId::parse(document.as_str()), Ok(document));
    }
}
