//! Who somebody is, written into what they say of themselves.
//!
//! Awareness states have a `user` by custom, and others show its name and colour. With tokens the server knows who that is,
//! and says so: `id` is the token's subject (of a link, with the client id, since many may hold it), `name` and `color` are the token's where it has them, and `verified` lists
//! what the server stands for. What else is there is left as it is.

use serde_json::Value;

use super::{Identity, Person};
use crate::protocol::json;

/// The state of a client with the identity in its `user`; `None` when there is nothing to write: the session has no token, the state
/// has no `user`, or that is something of the application's own and no object.
#[must_use]
pub fn stamp(identity: &Identity, client: u64, state: &[u8]) -> Option<Vec<u8>> {
    let id = match identity.person() {
        Person::Named(subject) => subject.to_string(),
        Person::OfLink(subject) => format!("{subject}/{client}"),
        Person::Nobody => return None,
    };
    let mut state = match read(state) {
        Some(Value::Object(state)) => state,
        Some(_) => return None,
        // Nobody is shown what could not be looked into.
        None => return Some(b"{}".to_vec()),
    };
    let user = state.get_mut("user")?.as_object_mut()?;
    let mut verified = vec!["id"];
    user.insert("id".to_owned(), id.into());
    for (field, value) in [("name", &identity.name), ("color", &identity.color)] {
        if let Some(value) = value {
            user.insert(field.to_owned(), (**value).into());
            verified.push(field);
        }
    }
    user.insert("verified".to_owned(), verified.into());
    serde_json::to_vec(&state).ok()
}

/// A state as `JSON.parse` reads it: half of a surrogate pair, which no Rust text holds, is U+FFFD.
fn read(state: &[u8]) -> Option<Value> {
    let repaired = |_| serde_json::from_str(&json::repair(str::from_utf8(state).ok()?)).ok();
    serde_json::from_slice(state).map_or_else(repaired, Some)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn ada() -> Identity {
        Identity {
            subject: Some("ada".into()),
            name: Some("Ada".into()),
            ..Identity::anonymous()
        }
    }

    fn stamped(identity: &Identity, state: &str) -> Option<Value> {
        let stamped = stamp(identity, 7, state.as_bytes())?;
        Some(serde_json::from_slice(&stamped).expect("JSON"))
    }

    #[test]
    fn p23_a_user_is_who_the_token_says_and_the_rest_stays() {
        let claims = r##"{"cursor":{"anchor":7,"x":1.5e300},"user":{"name":"Eve","color":"#123456","id":"root","verified":["name"],"avatar":"a"}}"##;

        let expected = json!({
            "cursor": { "anchor": 7, "x": 1.5e300 },
            "user": { "name": "Ada", "color": "#123456", "id": "ada", "verified": ["id", "name"], "avatar": "a" },
        });
        assert_eq!(stamped(&ada(), claims), Some(expected));
    }

    #[test]
    fn p23_half_of_an_emoji_hides_nobody() {
        let claims = r#"{"user":{"name":"Eve","id":"root","verified":["id","name"]},"note":"\ud83d","key\ude00":10000000000000000000}"#;

        let stamped = stamped(&ada(), claims).expect("it is stamped");

        let user = json!({ "name": "Ada", "id": "ada", "verified": ["id", "name"] });
        assert_eq!(stamped["user"], user);
        assert_eq!(stamped["note"], "\u{fffd}");
    }

    #[test]
    fn p23_where_there_is_no_user_or_no_token_nothing_is_written() {
        for state in [
            "{}",
            r#"{"cursor":1}"#,
            r#"{"user":null}"#,
            r#"{"user":"Eve"}"#,
            r#"{"user":[1]}"#,
            "[]",
            "7",
            "\"user\"",
        ] {
            assert_eq!(stamp(&ada(), 7, state.as_bytes()), None, "{state}");
        }
        assert_eq!(stamp(&Identity::anonymous(), 7, br#"{"user":{"name":"Eve"}}"#), None);
    }
}
