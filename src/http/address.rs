//! Where the server is, as its clients see it: a proxy may stand between them, end TLS and serve other paths beside.

use std::{fmt, sync::Arc};

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

    /// The same, with a path behind it.
    #[must_use]
    pub fn below(mut self, base_path: &BasePath) -> Self {
        self.rest.push_str(base_path.as_str());
        self
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

    /// Whether it ends with the path that the server is below.
    #[must_use]
    pub fn is_at(&self, base_path: &BasePath) -> bool {
        let path = self.rest.find('/').map_or("", |at| &self.rest[at..]);
        path.ends_with(base_path.as_str())
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

/// The path that everything which people and their pages ask for is below; by default the root.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BasePath(Option<Arc<str>>);

/// What is asked for by an operator's machines stays at the root: a proxy that passes the base path on publishes none of it.
const OPERATORS: [&str; 6] = ["admin", "healthz", "livez", "metrics", "readyz", "version"];

impl BasePath {
    /// Reads a path; a slash at its end says nothing.
    ///
    /// # Errors
    /// What to write instead.
    pub fn parse(text: &str) -> Result<Self, String> {
        const FORM: &str = "write a path like /collab or /tools/collab, of letters, digits and `-._~`";
        let path = text.strip_prefix('/').ok_or(FORM)?.trim_end_matches('/');
        if path.is_empty() {
            return Ok(Self::default());
        }
        let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
        let is_segment = |segment: &str| !matches!(segment, "" | "." | "..") && segment.bytes().all(is_plain);
        if path.len() > 256 || !path.split('/').all(is_segment) {
            return Err(FORM.to_owned());
        }
        let first = path.split('/').next().unwrap_or_default();
        if OPERATORS.contains(&first) {
            return Err(format!("/{first} is what an operator asks for: choose another path"));
        }
        Ok(Self(Some(format!("/{path}").into())))
    }

    /// The path without a slash at its end: empty, or `/collab`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_deref().unwrap_or_default()
    }

    /// What of a path is below it, with the slash; `None` when it is elsewhere.
    #[must_use]
    pub fn strip<'a>(&self, path: &'a str) -> Option<&'a str> {
        path.strip_prefix(self.as_str()).filter(|below| below.starts_with('/'))
    }
}

impl fmt::Display for BasePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_deref().unwrap_or("/"))
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

    #[test]
    fn c12_a_base_path_is_plain_segments() {
        let parsed = |text| BasePath::parse(text).map(|base| base.as_str().to_owned());

        for (text, base) in [("/", ""), ("/collab", "/collab"), ("/a/b-1._~/", "/a/b-1._~")] {
            assert_eq!(parsed(text), Ok(base.to_owned()), "{text}");
        }
        for text in [
            "",
            "collab",
            "/a//b",
            "/a/../b",
            "/./a",
            "/a b",
            "/a%2Fb",
            "/a?b",
            "/a#b",
            "/ä",
            "https://a/b",
        ] {
            assert!(parsed(text).is_err(), "{text}");
        }
        assert!(parsed("/metrics").is_err_and(|said| said.contains("choose another")));
        assert!(parsed("/admin/collab").is_err_and(|said| said.contains("choose another")));
        assert_eq!(parsed("/metrics-of-us"), Ok("/metrics-of-us".to_owned()));
    }

    #[test]
    fn c12_what_is_below_a_base_path_begins_with_a_slash() {
        let collab = BasePath::parse("/collab").expect("a path");

        assert_eq!(collab.strip("/collab/ws/a%2Fb"), Some("/ws/a%2Fb"));
        assert_eq!(collab.strip("/collab/"), Some("/"));
        for elsewhere in ["/collab", "/collaborate", "/", "/ws/a", "/Collab/", "/%63ollab/"] {
            assert_eq!(collab.strip(elsewhere), None, "{elsewhere}");
        }
        assert_eq!(BasePath::default().strip("/ws/a"), Some("/ws/a"));
    }
}
