//! A set of keys that changes while the server runs (RFC 7517).
//!
//! A thread reads it every few minutes, and when a token names a key that is not in it. What cannot be read, or holds no
//! key that can be used, changes nothing: the last good set is kept.

use std::{
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc::{self, Receiver, RecvTimeoutError, Sender},
    },
    time::{Duration, Instant},
};

use serde_json::Value;
use tokio::sync::watch;

use super::{KeyError, Source, SourceError, TokenKey};

/// Most keys of a set: each may be tried for a token that does not say which.
const KEYS_MAX: usize = 64;
/// How far looks that tokens ask for are apart, and how much of that can be saved up.
const PACE: Duration = Duration::from_secs(10);
const SAVED_MAX: Duration = Duration::from_secs(30);
/// How often an issuer that is down is asked again: at first, and at most.
const AGAIN: Duration = Duration::from_secs(1);
const AGAIN_MAX: Duration = Duration::from_secs(60);
/// Most who wait for a look at once: each holds a connection.
const WAITING_MAX: usize = 100;
/// How long somebody waits for a look: for its turn, and for the issuer.
const WAITS: Duration = Duration::from_secs(25);

/// A set of keys, and what keeps it up to date.
#[derive(Debug)]
pub struct Jwks {
    source: Source,
    every: Duration,
    keys: RwLock<Arc<[TokenKey]>>,
    /// The last look failed.
    is_away: AtomicBool,
    waiting: AtomicUsize,
    asks: Mutex<Option<Sender<()>>>,
    /// When the last look that has ended began.
    looked: watch::Sender<Option<Instant>>,
}

impl Jwks {
    /// A set that is read every so often, once it was [started](Self::start). A file is read at once.
    ///
    /// # Errors
    /// The file cannot be read, or holds no key.
    pub fn new(source: Source, every: Duration) -> Result<Arc<Self>, JwksError> {
        let keys = match source.is_file() {
            true => keys(&source.read()?)?,
            false => Vec::new(),
        };
        Ok(Arc::new(Self {
            source,
            every,
            is_away: AtomicBool::new(keys.is_empty()),
            waiting: AtomicUsize::new(0),
            keys: RwLock::new(keys.into()),
            asks: Mutex::new(None),
            looked: watch::Sender::new(None),
        }))
    }

    /// Reads the set for the first time, and starts to look for changes. That the issuer is down is said and waited out.
    ///
    /// # Errors
    /// No thread can be started.
    pub fn start(self: &Arc<Self>) -> std::io::Result<()> {
        let began = Instant::now();
        let is_good = self.update(true);
        let (asks, asked) = mpsc::channel();
        *self.asks.lock().unwrap_or_else(PoisonError::into_inner) = Some(asks);
        let weak = Arc::downgrade(self);
        let keeps = move || {
            let mut pace = Pace::new(began);
            let mut failures = u32::from(!is_good);
            let mut began = began;
            loop {
                let Some(every) = weak.upgrade().map(|set| set.wait(failures)) else {
                    return;
                };
                let due = (began + every).saturating_duration_since(Instant::now());
                match asked.recv_timeout(due) {
                    Ok(()) => std::thread::sleep(pace.take(Instant::now())),
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => return,
                }
                forget(&asked);
                let Some(set) = weak.upgrade() else { return };
                began = Instant::now();
                failures = match set.update(failures == 0) {
                    true => 0,
                    false => failures.saturating_add(1),
                };
                set.looked.send_replace(Some(began));
            }
        };
        std::thread::Builder::new()
            .name("jwks".to_owned())
            .spawn(keeps)
            .map(drop)
    }

    /// The keys of now.
    #[must_use]
    pub fn keys(&self) -> Arc<[TokenKey]> {
        self.keys.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether it cannot be told that a key is none of the issuer's: the last look failed, or too many wait for the next one.
    #[must_use]
    pub fn is_away(&self) -> bool {
        self.is_away.load(Ordering::Relaxed) || self.waiting.load(Ordering::Relaxed) >= WAITING_MAX
    }

    /// Why there is no key, if there is none.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        let is_empty = self.keys().is_empty();
        is_empty.then(|| format!("the issuer's keys could not be fetched yet from {}", self.source))
    }

    /// Has the set read again, and waits until a look that began after now has ended. How often that is done has a bound, so
    /// it may take a while. Where too many wait already, it does not.
    pub async fn look(&self) {
        let before = self.waiting.fetch_add(1, Ordering::Relaxed);
        let waits = Waits(&self.waiting);
        if before < WAITING_MAX {
            self.wait_for_look().await;
        }
        drop(waits);
    }

    async fn wait_for_look(&self) {
        let now = Instant::now();
        let mut looked = self.looked.subscribe();
        {
            let asks = self.asks.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(Ok(())) = asks.as_ref().map(|asks| asks.send(())) else {
                return;
            };
        }
        let done = looked.wait_for(|looked| looked.is_some_and(|began| began >= now));
        let _ = tokio::time::timeout(WAITS, done).await;
    }

    /// How long after the last look the next one is due.
    fn wait(&self, failures: u32) -> Duration {
        match failures {
            0 => self.every,
            _ => self
                .every
                .min(AGAIN_MAX)
                .min(AGAIN * 2_u32.saturating_pow(failures - 1)),
        }
    }

    /// Reads the set; true if that went well. Failures are said once, until it goes well again.
    fn update(&self, is_news: bool) -> bool {
        match self
            .source
            .read()
            .map_err(JwksError::from)
            .and_then(|bytes| keys(&bytes))
        {
            Ok(keys) => {
                if self.is_away.swap(false, Ordering::Relaxed) {
                    log::info!("the keys of {} are here: {}", self.source, keys.len());
                }
                *self.keys.write().unwrap_or_else(PoisonError::into_inner) = keys.into();
                true
            }
            Err(error) => {
                self.is_away.store(true, Ordering::Relaxed);
                let then = match self.keys().is_empty() {
                    true => "nobody with a token of theirs is let in until they are here",
                    false => "the last ones are kept",
                };
                if is_news {
                    log::error!("the keys of {} cannot be read: {error}; {then}", self.source);
                }
                false
            }
        }
    }
}

/// Counts somebody who waits, also one who gives up.
struct Waits<'a>(&'a AtomicUsize);

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// How often tokens may have the set read again: a few times at once, and then every ten seconds.
#[derive(Debug)]
struct Pace {
    saved: Duration,
    since: Instant,
}

impl Pace {
    fn new(now: Instant) -> Self {
        Self {
            saved: SAVED_MAX,
            since: now,
        }
    }

    /// How long one more look has to wait, which is counted.
    fn take(&mut self, now: Instant) -> Duration {
        self.saved = (self.saved + now.saturating_duration_since(self.since)).min(SAVED_MAX);
        let wait = PACE.saturating_sub(self.saved);
        self.saved = self.saved.saturating_sub(PACE);
        self.since = now + wait;
        wait
    }
}

/// All who have asked so far are served by one look.
fn forget(asked: &Receiver<()>) {
    while asked.try_recv().is_ok() {}
}

/// The keys of a set that can be used; the others are named.
fn keys(set: &[u8]) -> Result<Vec<TokenKey>, JwksError> {
    let set: Value = serde_json::from_slice(set).map_err(|_| JwksError::NotASet)?;
    let all = set.get("keys").and_then(Value::as_array).ok_or(JwksError::NotASet)?;
    if all.len() > KEYS_MAX {
        return Err(JwksError::TooMany(all.len()));
    }
    let mut usable = Vec::new();
    let mut first_error = None;
    for (number, key) in all.iter().enumerate() {
        match TokenKey::from_jwk(key) {
            Ok(key) => usable.push(key),
            Err(error) => {
                log::debug!("key {number} of the set is left out: {error}");
                first_error.get_or_insert(error);
            }
        }
    }
    match (usable.is_empty(), first_error) {
        (false, _) => Ok(usable),
        (true, Some(error)) => Err(JwksError::NoKey(error)),
        (true, None) => Err(JwksError::Empty),
    }
}

/// Why there is no set of keys; for the operator.
#[derive(Debug, thiserror::Error)]
pub enum JwksError {
    /// It cannot be read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// Not JSON, or without `keys`.
    #[error("it is no JWKS: {{\"keys\": [...]}}")]
    NotASet,
    /// How many.
    #[error("it has {0} keys, and {KEYS_MAX} are allowed")]
    TooMany(usize),
    /// It has none.
    #[error("it has no keys")]
    Empty,
    /// None that can be used; why not the first of them.
    #[error("it has no key that can be used; of the first, {0}")]
    NoKey(KeyError),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t11_looks_that_tokens_ask_for_keep_a_pace() {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let mut pace = Pace::new(start);
        let mut waits = |second| pace.take(after(second)).as_secs();

        assert_eq!([waits(0), waits(0), waits(0)], [0, 0, 0], "three at once");
        assert_eq!(waits(0), 10);
        assert_eq!(waits(10), 10, "as long as they are asked for");
        assert_eq!(waits(25), 5);
        assert_eq!(waits(1_000), 0);
        assert_eq!(
            [waits(1_000), waits(1_000), waits(1_000)],
            [0, 0, 10],
            "and no more are saved up"
        );
    }

    #[test]
    fn t12_a_set_is_its_usable_keys() {
        const P256: &str = r#"{"kty":"EC","crv":"P-256","kid":"k",
            "x":"WKn-ZIGevcwGIyyrzFoZNBdaq9_TsqzGl96oc0CWuis","y":"y77t-RvAHRKTsSGdIYUfweuOvwrvDD-Q3Hv5J0fSKbE"}"#;
        let read = |keys_text: &str| keys(format!(r#"{{"keys":[{keys_text}]}}"#).as_bytes());
        let refused = |text: &str| read(text).expect_err("no keys").to_string();

        let good = read(&format!(r#"{{"kty":"oct","k":"AAAA"}},{P256},[]"#)).expect("one key");
        assert_eq!((good.len(), good[0].id()), (1, Some("k")));
        for (text, said) in [
            ("", "it has no keys"),
            (r#"{"kty":"oct","k":"AAAA"}"#, "shared secret"),
            (&P256.replace("P-256", "P-384"), "none of"),
            (&P256.replace("\"kid\":", "\"alg\":\"ES384\",\"kid\":"), "none of"),
            (&P256.replace("\"kid\":", "\"alg\":\"HS256\",\"kid\":"), "none of"),
            (
                &P256.replace("\"kid\":", "\"use\":\"enc\",\"kid\":"),
                "not for verifying",
            ),
            (
                &P256.replace("\"kid\":", "\"key_ops\":[\"sign\"],\"kid\":"),
                "not for verifying",
            ),
            (&P256.replace("\"kid\":", "\"d\":\"AAAA\",\"kid\":"), "private key"),
            (r#"{"kty":"RSA","n":"AQAB","e":"AQAB"}"#, "the RSA key has 17 bits"),
            (
                &format!(r#"{{"kty":"RSA","n":"{}","e":"AQ"}}"#, "_".repeat(341) + "w"),
                "none of",
            ),
            (
                &format!(r#"{{"kty":"RSA","n":"{}","e":"AQAB"}}"#, "_".repeat(800)),
                "none of",
            ),
            ("null", "it is no JWK"),
        ] {
            assert!(refused(text).contains(said), "{text}: {}", refused(text));
        }
        for text in ["", "[]", "{}", r#"{"keys":{}}"#] {
            assert!(matches!(keys(text.as_bytes()), Err(JwksError::NotASet)), "{text}");
        }
    }
}
