//! Which web pages may connect. WebSockets are not under CORS: any page on the web can open one to
//! any server, with whatever the network position of its reader allows, unless the server looks at
//! `Origin` itself.
//!
//! The server often stands behind a proxy that ends TLS (fly.io does), so it cannot know the scheme
//! that the browser saw. It takes the scheme from `Origin` and compares host and port with `Host`;
//! a `Host` without a port means the default port of that scheme.

use std::{fmt, net::IpAddr};

/// Which `Origin` headers are accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OriginPolicy {
    allowed: Allowed,
    hosts: Hosts,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Allowed {
    Any,
    /// The same origin, and these.
    Same(Vec<Listed>),
}

/// An origin that is allowed by name.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Listed {
    Page(Origin),
    /// What the shell of an app sends (`capacitor://localhost`, `chrome-extension://…`, `null`), in lower case.
    Shell(String),
}

impl Listed {
    fn parse(text: &str) -> Option<Self> {
        if let Some(origin) = Origin::parse(text) {
            return Some(Self::Page(origin));
        }
        let is_shell = text == "null"
            || text.split_once("://").is_some_and(|(scheme, rest)| {
                let is_word = |text: &str, others: &[u8]| {
                    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || others.contains(&b))
                };
                !matches!(scheme, "http" | "https" | "ws" | "wss") && is_word(scheme, b"+-.") && is_word(rest, b"-._:")
            });
        is_shell.then(|| Self::Shell(text.to_ascii_lowercase()))
    }
}

/// What `Host` may say for the same-origin rule to hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hosts {
    All,
    Loopback,
}

impl OriginPolicy {
    /// The pages that this server itself serves, and no others.
    #[must_use]
    pub const fn same_origin() -> Self {
        Self {
            allowed: Allowed::Same(Vec::new()),
            hosts: Hosts::All,
        }
    }

    /// The same origin and those listed, each as `https://host[:port]`; `*` is every origin.
    ///
    /// # Errors
    /// [`InvalidOrigin`] names the first entry that is no origin.
    pub fn parse<T: AsRef<str>>(listed: &[T]) -> Result<Self, InvalidOrigin> {
        if listed.iter().any(|origin| origin.as_ref() == "*") {
            return Ok(Self {
                allowed: Allowed::Any,
                hosts: Hosts::All,
            });
        }
        let origins = listed.iter().map(|origin| {
            Listed::parse(origin.as_ref()).ok_or_else(|| InvalidOrigin(origin.as_ref().chars().take(80).collect()))
        });
        Ok(Self {
            allowed: Allowed::Same(origins.collect::<Result<_, _>>()?),
            hosts: Hosts::All,
        })
    }

    /// Lets the same-origin rule hold only for `Host`s that are this machine (`localhost`,
    /// `127.0.0.0/8`, `[::1]`): a server that is open because only this machine reaches it must not
    /// be reached by a page whose name was rebound to 127.0.0.1.
    #[must_use]
    pub fn on_loopback_only(self) -> Self {
        Self {
            hosts: Hosts::Loopback,
            ..self
        }
    }

    /// Judges the `Origin` and `Host` headers of an upgrade request. No `Origin` is no browser.
    ///
    /// # Errors
    /// [`OriginRefused`]: close with 4403 and its reason.
    pub fn check(&self, origin: Option<&str>, host: Option<&str>) -> Result<(), OriginRefused> {
        let (Some(origin), Allowed::Same(listed)) = (origin, &self.allowed) else {
            return Ok(());
        };
        let asks = Listed::parse(origin);
        let is_same = match &asks {
            Some(Listed::Page(page)) => host.is_some_and(|host| self.is_same(page, host)),
            _ => false,
        };
        if is_same || asks.is_some_and(|asks| listed.contains(&asks)) {
            Ok(())
        } else {
            Err(OriginRefused::of(origin))
        }
    }

    /// Judges the `Host` header of a request that is none to upgrade. Browsers tell the `Origin` of such a request only
    /// when it goes elsewhere, and a page whose name was rebound to this machine believes that it stays.
    ///
    /// # Errors
    /// [`OriginRefused`]: answer 403.
    pub fn check_host(&self, host: Option<&str>) -> Result<(), OriginRefused> {
        let (Allowed::Same(listed), Hosts::Loopback) = (&self.allowed, self.hosts) else {
            return Ok(());
        };
        let origin = format!("http://{}", host.unwrap_or_default());
        let may = |page: Origin| is_loopback(&page.host) || listed.contains(&Listed::Page(page));
        if Origin::parse(&origin).is_some_and(may) {
            Ok(())
        } else {
            Err(OriginRefused::of(&origin))
        }
    }

    fn is_same(&self, origin: &Origin, host: &str) -> bool {
        let Some(host) = Authority::parse(host, origin.scheme) else {
            return false;
        };
        match self.hosts {
            Hosts::All => host.is_of(origin),
            // Whoever can serve a page on this machine can reach an open server on it anyway: the development server of
            // a front end has another port.
            Hosts::Loopback => is_loopback(&origin.host) && is_loopback(&host.host),
        }
    }
}

/// Scheme, host and port of a page (RFC 6454); the host in lower case, the port always known.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Origin {
    scheme: Scheme,
    host: String,
    port: u16,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scheme {
    Http,
    Https,
}

struct Authority {
    host: String,
    port: u16,
}

impl Origin {
    fn parse(text: &str) -> Option<Self> {
        let (scheme, authority) = text.split_once("://")?;
        let scheme = match scheme.to_ascii_lowercase().as_str() {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            _ => return None,
        };
        let Authority { host, port } = Authority::parse(authority, scheme)?;
        Some(Self { scheme, host, port })
    }
}

impl Authority {
    fn parse(text: &str, scheme: Scheme) -> Option<Self> {
        let default_port = match scheme {
            Scheme::Http => 80,
            Scheme::Https => 443,
        };
        let (host, port) = match text.rsplit_once(':') {
            // A colon inside brackets belongs to an IPv6 address.
            Some((host, port)) if !port.ends_with(']') => (host, port.parse().ok()?),
            _ => (text, default_port),
        };
        let is_host = match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
            None => !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b)),
        };
        is_host.then(|| Self {
            host: host.to_ascii_lowercase(),
            port,
        })
    }

    fn is_of(&self, origin: &Origin) -> bool {
        self.host == origin.host && self.port == origin.port
    }
}

fn is_loopback(host: &str) -> bool {
    let address = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(host);
    let is_address = address
        .parse::<IpAddr>()
        .is_ok_and(|address| address.to_canonical().is_loopback());
    is_address || host == "localhost" || host.ends_with(".localhost")
}

/// An entry of the allow list that is no origin (up to 80 characters of it).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidOrigin(String);

impl fmt::Display for InvalidOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "`{}` is not an origin: write https://host or https://host:port without a path, the name of an app's shell \
             (capacitor://localhost, null), or *",
            self.0
        )
    }
}

impl std::error::Error for InvalidOrigin {}

/// The page that asks is neither of this server nor allowed by name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("this page may not connect; the operator can allow it: --allow-origin {0}")]
pub struct OriginRefused(pub String);

/// The longest origin that is told: a host has 253 characters at most.
const ORIGIN_CHARS_MAX: usize = 300;

impl OriginRefused {
    fn of(origin: &str) -> Self {
        Self(
            origin
                .chars()
                .filter(|c| !c.is_control())
                .take(ORIGIN_CHARS_MAX)
                .collect(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_same(origin: &str, host: &str) -> bool {
        OriginPolicy::same_origin().check(Some(origin), Some(host)).is_ok()
    }

    #[test]
    fn a6_a_page_of_this_server_may_connect_also_behind_a_proxy_that_ends_tls() {
        assert!(is_same("http://127.0.0.1:8080", "127.0.0.1:8080"));
        assert!(is_same("https://app.example", "app.example"));
        assert!(is_same("https://app.example", "app.example:443"));
        assert!(is_same("http://app.example", "app.example:80"));
        assert!(is_same("https://App.Example:443", "app.example"));
        assert!(is_same("http://[::1]:8080", "[::1]:8080"));
        assert!(is_same("http://[::1]", "[::1]"));
    }

    #[test]
    fn a6_other_hosts_ports_and_opaque_origins_may_not() {
        assert!(!is_same("https://evil.example", "app.example"));
        assert!(!is_same("https://app.example.evil.example", "app.example"));
        assert!(!is_same("https://evil.example/app.example", "app.example"));
        assert!(!is_same("https://app.example@evil.example", "app.example"));
        assert!(!is_same("http://127.0.0.1:3000", "127.0.0.1:8080"));
        assert!(!is_same("http://app.example:443", "app.example"));
        assert!(!is_same("https://app.example", "app.example:80"));
        assert!(!is_same("null", "app.example"));
        assert!(!is_same("", ""));
        assert!(!is_same("https://", ""));
        assert!(!is_same("chrome-extension://abc", "abc"));
        assert_eq!(
            OriginPolicy::same_origin().check(Some("https://app.example"), None),
            refused("https://app.example")
        );
    }

    fn refused(origin: &str) -> Result<(), OriginRefused> {
        Err(OriginRefused(origin.to_owned()))
    }

    #[test]
    fn a6_the_shells_of_apps_are_allowed_by_name() {
        let shells = [
            "capacitor://localhost",
            "tauri://localhost",
            "vscode-webview://1a2b-3c",
            "chrome-extension://abcdef",
            "null",
        ];
        for shell in shells {
            let policy = OriginPolicy::parse(&[shell]).expect("origins");
            assert_eq!(policy.check(Some(shell), Some("app.example")), Ok(()));
            assert_eq!(
                policy.check(Some("capacitor://other"), Some("app.example")),
                refused("capacitor://other")
            );
            assert!(
                OriginPolicy::same_origin()
                    .check(Some(shell), Some("app.example"))
                    .is_err()
            );
        }
    }

    #[test]
    fn a6_no_origin_is_no_browser() {
        assert_eq!(OriginPolicy::same_origin().check(None, Some("app.example")), Ok(()));
        assert_eq!(OriginPolicy::same_origin().check(None, None), Ok(()));
    }

    #[test]
    fn a6_listed_origins_are_allowed_beside_the_same_origin() {
        let policy = OriginPolicy::parse(&["https://wiki.example", "http://localhost:5173"]).expect("origins");

        assert_eq!(
            policy.check(Some("https://wiki.example:443"), Some("app.example")),
            Ok(())
        );
        assert_eq!(policy.check(Some("http://localhost:5173"), Some("app.example")), Ok(()));
        assert_eq!(policy.check(Some("https://app.example"), Some("app.example")), Ok(()));
        assert_eq!(
            policy.check(Some("http://wiki.example"), Some("app.example")),
            refused("http://wiki.example")
        );
        assert_eq!(
            policy.check(Some("https://sub.wiki.example"), Some("app.example")),
            refused("https://sub.wiki.example")
        );
    }

    #[test]
    fn a6_a_star_allows_every_origin() {
        let policy = OriginPolicy::parse(&["*"]).expect("a star");

        assert_eq!(policy.check(Some("https://any.example"), Some("app.example")), Ok(()));
        assert_eq!(policy.check(Some("null"), None), Ok(()));
    }

    #[test]
    fn a6_an_entry_that_is_no_origin_is_refused_by_name() {
        for entry in [
            "app.example",
            "https://app.example/",
            "https://*.example",
            "Null",
            "",
            "ws://app.example",
            "capacitor://",
            "chrome-extension://abc/page.html",
        ] {
            assert_eq!(OriginPolicy::parse(&[entry]), Err(InvalidOrigin(entry.to_owned())));
        }
    }

    #[test]
    fn x30_without_an_origin_the_host_of_an_open_server_is_this_machine() {
        let policy = OriginPolicy::same_origin().on_loopback_only();

        for host in ["localhost:8080", "127.0.0.1:8080", "[::1]:8080", "LOCALHOST"] {
            assert_eq!(policy.check_host(Some(host)), Ok(()), "{host}");
        }
        for host in [
            Some("evil.example:8080"),
            Some("127.0.0.1.evil.example"),
            Some(""),
            None,
        ] {
            assert!(policy.check_host(host).is_err(), "{host:?}");
        }
        assert_eq!(OriginPolicy::same_origin().check_host(Some("app.example")), Ok(()));
        assert_eq!(
            policy.check_host(Some("evil.example:8080")),
            refused("http://evil.example:8080")
        );
        let listed = OriginPolicy::parse(&["http://docs.example:8080"]).expect("an origin");
        assert_eq!(listed.on_loopback_only().check_host(Some("docs.example:8080")), Ok(()));
        let any = OriginPolicy::parse(&["*"]).expect("a star").on_loopback_only();
        assert_eq!(any.check_host(Some("app.example")), Ok(()));
    }

    #[test]
    fn a7_a_name_that_was_rebound_to_this_machine_is_not_the_same_origin() {
        let policy = OriginPolicy::same_origin().on_loopback_only();

        for host in [
            "localhost:8080",
            "127.0.0.1:8080",
            "[::1]:8080",
            "cowrite.localhost:8080",
        ] {
            assert_eq!(
                policy.check(Some(&format!("http://{host}")), Some(host)),
                Ok(()),
                "{host}"
            );
        }
        for host in ["evil.example:8080", "localhost.evil.example:8080", "192.168.0.2:8080"] {
            assert_eq!(
                policy.check(Some(&format!("http://{host}")), Some(host)),
                refused(&format!("http://{host}")),
                "{host}"
            );
        }
    }

    #[test]
    fn a7_pages_of_this_machine_may_connect_to_an_open_server_on_it() {
        let policy = OriginPolicy::same_origin().on_loopback_only();

        assert_eq!(
            policy.check(Some("http://localhost:5173"), Some("127.0.0.1:8080")),
            Ok(())
        );
        assert_eq!(
            policy.check(Some("http://127.0.0.1:3000"), Some("localhost:8080")),
            Ok(())
        );
        assert!(
            policy
                .check(Some("http://localhost:5173"), Some("evil.example:8080"))
                .is_err()
        );
        assert!(
            policy
                .check(Some("http://evil.example"), Some("127.0.0.1:8080"))
                .is_err()
        );
        assert!(
            !is_same("http://localhost:5173", "localhost:8080"),
            "a server with tokens"
        );
    }
}
