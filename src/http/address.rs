//! Where the server is, as its clients see it: a proxy may stand between them, end TLS and serve other paths beside.

use std::fmt;

use actix_web::http::Uri;

/// The address of the server's root, without a slash at the end.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicUrl {
    is_secure: bool,
    /// Host, port if it is not the scheme's, and path.
    rest: String,
}

impl PublicUrl {
    /// Reads an http or https URL.
    ///
    /// # Errors
    /// What to write instead.
    pub fn parse(url: &str) -> Result<Self, String> {
        Self::read(url).ok_or_else(|| "write https://host, https://host:port or https://host/path".to_owned())
    }

    /// The root of a server that was reached by this `Host`, with TLS or without; `None` when that is none.
    #[must_use]
    pub fn of_host(host: &str, is_secure: bool) -> Option<Self> {
        let scheme = if is_secure { "https" } else { "http" };
        Self::read(&format!("{scheme}://{host}")).filter(|url| !url.rest.contains('/'))
    }

    fn read(url: &str) -> Option<Self> {
        if url.contains(['?', '#', '@']) {
            return None;
        }
        let uri: Uri = url.parse().ok()?;
        let is_secure = match uri.scheme_str()? {
            "http" => false,
            "https" => true,
            _ => return None,
        };
        let authority = uri.authority().filter(|authority| !authority.host().is_empty())?;
        Some(Self {
            is_secure,
            rest: format!("{authority}{}", uri.path().trim_end_matches('/')),
        })
    }

    /// The address of a path, which begins with a slash.
    #[must_use]
    pub fn http(&self, path: &str) -> String {
        let scheme = if self.is_secure { "https" } else { "http" };
        format!("{scheme}://{}{path}", self.rest)
    }

    /// The same for a WebSocket.
    #[must_use]
    pub fn socket(&self, path: &str) -> String {
        let scheme = if self.is_secure { "wss" } else { "ws" };
        format!("{scheme}://{}{path}", self.rest)
    }
}

impl fmt::Debug for PublicUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.http(""))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn x25_a_public_url_is_the_root_of_all_addresses() {
        let addresses = |url| {
            let url = PublicUrl::parse(url).expect("a URL");
            (url.http("/d/a"), url.socket("/d/a/ws"))
        };
        let both = |http: &str, socket: &str| (http.to_owned(), socket.to_owned());

        assert_eq!(
            addresses("https://docs.example"),
            both("https://docs.example/d/a", "wss://docs.example/d/a/ws")
        );
        assert_eq!(
            addresses("http://docs.example:8080/team/cowrite/"),
            both(
                "http://docs.example:8080/team/cowrite/d/a",
                "ws://docs.example:8080/team/cowrite/d/a/ws"
            )
        );
    }

    #[test]
    fn x25_what_is_no_root_is_refused() {
        for url in [
            "",
            "docs.example",
            "/cowrite",
            "ws://docs.example",
            "https://",
            "https://user@docs.example",
            "https://docs.example/?a",
            "https://docs.example/#a",
            "https://docs example",
        ] {
            assert!(PublicUrl::parse(url).is_err(), "{url}");
        }
    }

    #[test]
    fn x25_without_one_the_host_that_was_asked_for_is_the_root() {
        let http = |host| PublicUrl::of_host(host, false).map(|url| url.http("/d/a"));

        assert_eq!(http("docs.example"), Some("http://docs.example/d/a".to_owned()));
        assert_eq!(http("[::1]:8080"), Some("http://[::1]:8080/d/a".to_owned()));
        for host in ["", "a/b", "a b", "user@a", "a?b", "a#b", "a\"b"] {
            assert_eq!(http(host), None, "{host}");
        }
    }
}
