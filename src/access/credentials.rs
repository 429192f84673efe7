//! Where a request may carry its token, and what to answer to the offered subprotocols.
//!
//! Browsers cannot set headers on a WebSocket, so there are three places: `?token=`,
//! `Authorization: Bearer`, and the subprotocol pair `cowrite, bearer.<jwt>`. No place comes before
//! another: the same token in several is one token, different tokens are refused, because guessing
//! which of them was meant would be a decision about access.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

/// The subprotocol that is answered to clients that offer it.
pub const SUBPROTOCOL: &str = "cowrite";

const BEARER_SUBPROTOCOL: &str = "bearer.";

/// What a request says about who is asking.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credentials<'a> {
    /// The one token, not yet verified; an error must reach the client even if the request is
    /// upgraded first (close code 4401).
    pub token: Result<Option<Cow<'a, str>>, CredentialsError>,
    /// The subprotocol to answer with: [`SUBPROTOCOL`] if it was offered. Never the token.
    pub subprotocol: Option<&'static str>,
}

impl<'a> Credentials<'a> {
    /// Reads the raw query string, the `Authorization` headers and the `Sec-WebSocket-Protocol`
    /// headers (each of which may list several, separated by commas).
    ///
    /// Empty tokens count as absent, and so do authorization schemes other than `Bearer`.
    #[must_use]
    pub fn read(
        query: &'a str,
        authorizations: impl IntoIterator<Item = &'a str>,
        subprotocols: impl IntoIterator<Item = &'a str>,
    ) -> Self {
        let offered: Vec<&str> = subprotocols
            .into_iter()
            .flat_map(|header| header.split(',').map(str::trim))
            .collect();
        let subprotocol = offered.contains(&SUBPROTOCOL).then_some(SUBPROTOCOL);

        let from_query = query.split('&').filter_map(|pair| pair.strip_prefix("token="));
        let from_headers = authorizations.into_iter().filter_map(bearer).map(Cow::Borrowed);
        let from_subprotocols = offered.iter().filter_map(|name| name.strip_prefix(BEARER_SUBPROTOCOL));
        let mut tokens = from_query
            .map(|token| percent_decode_str(token).decode_utf8_lossy())
            .chain(from_headers)
            .chain(from_subprotocols.clone().map(Cow::Borrowed))
            .filter(|token| !token.is_empty());

        let first = tokens.next();
        let token = if tokens.any(|token| Some(&token) != first.as_ref()) {
            Err(CredentialsError::Conflict)
        } else if subprotocol.is_none() && from_subprotocols.clone().next().is_some() {
            Err(CredentialsError::NoSubprotocol)
        } else {
            Ok(first)
        };
        Self { token, subprotocol }
    }
}

impl Credentials<'_> {
    /// The one token that is shown, if any.
    ///
    /// # Errors
    /// What to tell the client.
    pub fn shown(&self) -> Result<Option<&str>, String> {
        match &self.token {
            Ok(token) => Ok(token.as_deref()),
            Err(error) => Err(error.to_string()),
        }
    }
}

/// The token of an `Authorization` header's value, when its scheme is `Bearer` (in any case).
fn bearer(header: &str) -> Option<&str> {
    let (scheme, token) = header.trim().split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// Why no token can be read from a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CredentialsError {
    /// Two places hold different tokens.
    #[error("the request carries two different tokens: send one")]
    Conflict,
    /// Nothing could be answered to the client but its own token.
    #[error("the subprotocol `bearer.<token>` came alone: offer `cowrite` with it")]
    NoSubprotocol,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(query: &str, authorization: &str, subprotocols: &str) -> Result<Option<String>, CredentialsError> {
        Credentials::read(query, [authorization], [subprotocols])
            .token
            .map(|token| token.map(Cow::into_owned))
    }

    #[test]
    fn t5_a_token_is_read_from_query_header_or_subprotocol() {
        let jwt = Ok(Some("a.b.c".to_owned()));

        assert_eq!(token("token=a.b.c", "", ""), jwt);
        assert_eq!(token("x=1&token=a%2Eb.c&y", "", ""), jwt);
        assert_eq!(token("", "Bearer a.b.c", ""), jwt);
        assert_eq!(token("", "bearer  a.b.c ", ""), jwt);
        assert_eq!(token("", "", "cowrite, bearer.a.b.c"), jwt);
        assert_eq!(token("", "", "bearer.a.b.c,cowrite"), jwt);
    }

    #[test]
    fn t5_what_is_no_token_is_none() {
        assert_eq!(token("", "", ""), Ok(None));
        assert_eq!(token("token=", "Bearer ", "cowrite, bearer."), Ok(None));
        assert_eq!(token("mytoken=a&Token=b", "Basic dTpw", "graphql-ws"), Ok(None));
    }

    #[test]
    fn t5_the_same_token_twice_is_one_and_different_tokens_are_refused() {
        assert_eq!(
            token("token=a", "Bearer a", "cowrite, bearer.a"),
            Ok(Some("a".to_owned()))
        );
        assert_eq!(token("token=a&token=b", "", ""), Err(CredentialsError::Conflict));
        assert_eq!(token("token=a", "Bearer b", ""), Err(CredentialsError::Conflict));
        assert_eq!(
            token("", "Bearer a", "cowrite, bearer.b"),
            Err(CredentialsError::Conflict)
        );
    }

    #[test]
    fn t5_cowrite_is_answered_when_offered_and_a_token_never() {
        let answered = |headers: &[&'static str]| Credentials::read("", [], headers.iter().copied()).subprotocol;

        assert_eq!(answered(&["cowrite, bearer.a.b.c"]), Some("cowrite"));
        assert_eq!(answered(&["bearer.a.b.c", "cowrite"]), Some("cowrite"));
        assert_eq!(answered(&["bearer.a.b.c"]), None);
        assert_eq!(answered(&[]), None);
        assert_eq!(token("", "", "bearer.a.b.c"), Err(CredentialsError::NoSubprotocol));
    }
}
