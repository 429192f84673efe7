//! Messages that are not complete, and what waits for what it is about: bounded for all connections together (H4).
//!
//! Where that is too much, the one goes that has the largest part of it, of whoever comes from where the most of it is: nobody
//! keeps others from being heard by what it begins and does not end.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError, Weak,
    atomic::{AtomicUsize, Ordering},
};

use rustc_hash::FxHashMap;
use tokio::sync::Notify;

use crate::{
    budgets::Network,
    protocol::close::CloseReason,
    room::{Micros, outbox::Outbox},
};

/// What a connection may have begun and not completed, however much that is of all, in bytes.
const UNFINISHED_SPARED: usize = 64 * 1024;
/// Whoever has begun less is not told to go for others.
const SMALL: usize = 4 * 1024;
/// A message that takes longer than this comes with so many bytes a second at least, all in all, and within each such time
/// but one.
const SLOW_AFTER: Micros = 30_000_000;
const RATE_MIN: u64 = 512;

/// What of all connections' messages has arrived and is not complete, in bytes.
#[derive(Debug)]
pub struct Unfinished {
    bytes: AtomicUsize,
    bytes_max: usize,
    large: Mutex<Large>,
}

/// Those parts that are not small.
#[derive(Debug, Default)]
struct Large {
    next: u64,
    parts: FxHashMap<u64, Part>,
    /// Those that were told to go and are not gone, in bytes.
    leaving: FxHashMap<u64, usize>,
}

#[derive(Debug)]
struct Part {
    bytes: usize,
    owner: Owner,
}

/// Whose a part is.
#[derive(Debug, Clone)]
struct Owner {
    /// Where it comes from; each counts alone where that is not known.
    network: Option<Network>,
    end: End,
}

/// How it is told to go.
#[derive(Debug, Clone)]
enum End {
    Line(Weak<Outbox>),
    Body(Weak<Notify>),
}

impl Unfinished {
    /// Never more than about `bytes_max`.
    #[must_use]
    pub fn new(bytes_max: usize) -> Arc<Self> {
        Arc::new(Self {
            bytes: AtomicUsize::new(0),
            bytes_max,
            large: Mutex::default(),
        })
    }

    /// How many bytes that are.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    fn large(&self) -> MutexGuard<'_, Large> {
        self.large.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends those away who have more than this part, the greediest first, until the rest is not too much. False, and nobody
    /// goes, when they have not enough.
    fn makes_room(&self, part: Option<u64>, bytes: usize) -> bool {
        let mut large = self.large();
        let leaving: usize = large.leaving.values().sum();
        let mut too_much = self.bytes().saturating_sub(leaving).saturating_sub(self.bytes_max);
        let mut go = Vec::new();
        for (id, has) in large.greedier_than(part, bytes) {
            if too_much == 0 {
                break;
            }
            too_much = too_much.saturating_sub(has);
            go.push(id);
        }
        if too_much > 0 {
            return false;
        }
        let mut owners = Vec::new();
        for id in go {
            if let Some(gone) = large.parts.remove(&id) {
                large.leaving.insert(id, gone.bytes);
                owners.push(gone.owner);
            }
        }
        drop(large);
        owners.iter().for_each(Owner::goes);
        true
    }
}

impl Large {
    /// Those parts that come from where more does than this one, or are larger where as much does, the greediest first: which, and
    /// how many bytes.
    fn greedier_than(&self, part: Option<u64>, bytes: usize) -> Vec<(u64, usize)> {
        let mut together: FxHashMap<Network, usize> = FxHashMap::default();
        for part in self.parts.values() {
            if let Some(network) = part.owner.network {
                *together.entry(network).or_default() += part.bytes;
            }
        }
        let rank = |part: &Part| {
            let network = part.owner.network.and_then(|network| together.get(&network));
            (network.copied().unwrap_or(part.bytes), part.bytes)
        };
        let own = part.and_then(|part| self.parts.get(&part)).map_or((bytes, bytes), rank);
        let others = self.parts.iter().filter(|(id, _)| Some(**id) != part);
        let mut greedier: Vec<(u64, &Part)> = others
            .filter(|(_, part)| rank(part) > own)
            .map(|(id, part)| (*id, part))
            .collect();
        greedier.sort_unstable_by_key(|(_, part)| std::cmp::Reverse(rank(part)));
        greedier.into_iter().map(|(id, part)| (id, part.bytes)).collect()
    }
}

impl Owner {
    fn goes(&self) {
        match &self.end {
            End::Line(outbox) => {
                if let Some(outbox) = outbox.upgrade() {
                    outbox.give_up(&too_much());
                }
            }
            End::Body(ends) => {
                if let Some(ends) = ends.upgrade() {
                    ends.notify_one();
                }
            }
        }
    }
}

/// What those are told who go.
#[must_use]
pub fn too_much() -> CloseReason {
    CloseReason::Overloaded("too many messages are on their way: come back in 5 s".to_owned())
}

/// One connection's part of [`Unfinished`].
#[derive(Debug)]
pub struct Begun {
    all: Arc<Unfinished>,
    bytes: usize,
    owner: Option<Owner>,
    /// Its place among the large ones.
    part: Option<u64>,
    coming: Option<Coming>,
}

/// How a message comes that is not complete.
#[derive(Debug)]
struct Coming {
    since: Micros,
    /// Since when it is looked whether it goes on, and what there was then.
    window: Micros,
    bytes: usize,
    /// It did not in the last such time. Any line may be silent for a while.
    stood: bool,
}

impl Begun {
    /// Nothing of it, by somebody who cannot be told to go.
    #[must_use]
    pub fn of(all: &Arc<Unfinished>) -> Self {
        Self {
            all: all.clone(),
            bytes: 0,
            owner: None,
            part: None,
            coming: None,
        }
    }

    /// Nothing of it, by the line of `outbox`.
    #[must_use]
    pub fn on(all: &Arc<Unfinished>, outbox: &Arc<Outbox>) -> Self {
        let mut begun = Self::of(all);
        begun.owner = Some(Owner {
            network: outbox.line().network(),
            end: End::Line(Arc::downgrade(outbox)),
        });
        begun
    }

    /// Nothing of it, by the body of a request that comes from there, which is to end when it is told so.
    #[must_use]
    pub fn of_body(all: &Arc<Unfinished>, network: Option<Network>) -> (Self, Arc<Notify>) {
        let ends = Arc::new(Notify::new());
        let mut begun = Self::of(all);
        begun.owner = Some(Owner {
            network,
            end: End::Body(Arc::downgrade(&ends)),
        });
        (begun, ends)
    }

    /// How many bytes it is.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// So much waits now for what it is about, however long that takes.
    ///
    /// # Errors
    /// The reason to close with: all together is too much, and nobody has more of it.
    pub fn wait(&mut self, bytes: usize) -> Result<(), CloseReason> {
        let all = &self.all;
        let grows_by = bytes.saturating_sub(self.bytes);
        let together = all.bytes.fetch_add(grows_by, Ordering::Relaxed) + grows_by;
        all.bytes.fetch_sub(self.bytes.saturating_sub(bytes), Ordering::Relaxed);
        self.bytes = bytes;
        self.is_known()?;
        // One alone is never too much: whoever comes back with it would be refused for ever.
        let has_others = together > bytes;
        let is_too_much = grows_by > 0 && together > self.all.bytes_max && bytes > UNFINISHED_SPARED && has_others;
        if is_too_much && !self.all.makes_room(self.part, bytes) {
            return Err(too_much());
        }
        Ok(())
    }

    /// Those who are told to go are found among those that are not small.
    fn is_known(&mut self) -> Result<(), CloseReason> {
        let is_large = self.bytes > SMALL;
        if !is_large && self.part.is_none() {
            return Ok(());
        }
        let Some(owner) = &self.owner else { return Ok(()) };
        let mut large = self.all.large();
        let id = match self.part {
            Some(id) => id,
            None => {
                large.next += 1;
                large.next
            }
        };
        if large.leaving.contains_key(&id) {
            return Err(too_much());
        }
        if is_large {
            self.part = Some(id);
            let part = large.parts.entry(id).or_insert_with(|| Part {
                bytes: 0,
                owner: owner.clone(),
            });
            part.bytes = self.bytes;
        } else {
            self.part = None;
            large.parts.remove(&id);
        }
        Ok(())
    }

    /// So much is not complete now.
    ///
    /// # Errors
    /// As for [`Begun::wait`]; or it comes too slowly.
    pub fn are(&mut self, bytes: usize, now: Micros) -> Result<(), CloseReason> {
        self.wait(bytes)?;
        if bytes == 0 {
            self.coming = None;
            return Ok(());
        }
        let coming = self.coming.get_or_insert(Coming {
            since: now,
            window: now,
            bytes,
            stood: false,
        });
        if coming.is_too_slow(bytes, now) {
            let reason = "a message came too slowly: come back in 5 s".to_owned();
            return Err(CloseReason::Overloaded(reason));
        }
        Ok(())
    }
}

impl Coming {
    fn is_too_slow(&mut self, bytes: usize, now: Micros) -> bool {
        let stands = |bytes: usize, takes: Micros| takes > SLOW_AFTER && (bytes as u64) < takes / 1_000_000 * RATE_MIN;
        if stands(bytes, now - self.since) {
            return true;
        }
        let takes = now - self.window;
        if takes <= SLOW_AFTER {
            return false;
        }
        let stood = stands(bytes.saturating_sub(self.bytes), takes);
        let again = stood && self.stood;
        (self.window, self.bytes, self.stood) = (now, bytes, stood);
        again
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        self.all.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
        if let Some(id) = self.part {
            let mut large = self.all.large();
            large.parts.remove(&id);
            large.leaving.remove(&id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    use crate::room::outbox::Line;

    const SECOND: Micros = 1_000_000;

    #[test]
    fn h4_what_is_not_complete_is_bounded_for_all_together() {
        let all = Unfinished::new(1_000_000);
        let mut many: Vec<Begun> = (0..10).map(|_| Begun::of(&all)).collect();
        assert!(many.iter_mut().all(|begun| begun.are(100_000, 0) == Ok(())));
        let (mut small, mut large) = (Begun::of(&all), Begun::of(&all));

        assert_eq!(small.are(UNFINISHED_SPARED, 0), Ok(()));
        assert!(matches!(
            large.are(UNFINISHED_SPARED + 1, 0),
            Err(CloseReason::Overloaded(_))
        ));
        drop(large);
        assert!(matches!(many[0].are(100_001, 0), Err(CloseReason::Overloaded(_))));
        assert_eq!(many[0].are(0, 0), Ok(()), "what shrinks is welcome");
        many.truncate(5);
        assert_eq!(many[1].are(500_000, 0), Ok(()));
        drop((many, small));

        assert_eq!(all.bytes.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn h4_one_message_alone_is_never_too_much() {
        let all = Unfinished::new(1_000_000);
        let mut one = Begun::of(&all);
        assert!((1..50).all(|part| one.are(part * 100_000, 0) == Ok(())));
        let mut other = Begun::of(&all);
        assert_eq!(other.are(UNFINISHED_SPARED, 0), Ok(()));
        assert!(matches!(one.are(5_000_000, 0), Err(CloseReason::Overloaded(_))));
    }

    /// A connection from there, or from nowhere.
    fn from(all: &Arc<Unfinished>, network: Option<&str>) -> (Begun, Arc<Outbox>) {
        let line = Line::new(usize::MAX);
        if let Some(network) = network {
            line.comes_from(Network::of(network.parse().unwrap()), Arc::default());
        }
        let outbox = Arc::new(Outbox::new(line));
        (Begun::on(all, &outbox), outbox)
    }

    #[test]
    fn h4_who_begins_much_makes_room_for_those_who_begin_less() {
        let all = Unfinished::new(1_000_000);
        let mut hoard: Vec<_> = (0..5).map(|_| from(&all, Some("192.0.2.1"))).collect();
        assert!(hoard.iter_mut().all(|(begun, _)| begun.are(200_000, 0) == Ok(())));
        let (mut single, held) = from(&all, None);
        let (mut honest, outbox) = from(&all, Some("192.0.2.2"));
        assert_eq!(single.are(UNFINISHED_SPARED, 0), Ok(()));

        assert_eq!(honest.are(300_000, 0), Ok(()));

        let gone = hoard.iter().filter(|(_, outbox)| outbox.is_closing()).count();
        assert_eq!(gone, 2, "so many that there is room");
        assert_eq!(honest.are(500_000, 0), Ok(()), "they come from one place");
        assert!(
            matches!(honest.are(900_000, 0), Err(CloseReason::Overloaded(_))),
            "now it has the most"
        );
        assert!(!outbox.is_closing() && !held.is_closing());
        for (begun, outbox) in &mut hoard {
            assert_eq!(begun.are(200_000, 0).is_err(), outbox.is_closing());
        }
        drop((hoard, single, honest));
        assert_eq!(all.bytes(), 0);
        assert!(all.large().parts.is_empty() && all.large().leaving.is_empty());
    }

    #[test]
    fn h4_nobody_goes_where_that_makes_no_room() {
        let all = Unfinished::new(1_000_000);
        // Each has less than is spared.
        let mut many: Vec<_> = (0..20).map(|_| from(&all, Some("192.0.2.1"))).collect();
        assert!(many.iter_mut().all(|(begun, _)| begun.are(60_000, 0) == Ok(())));
        let (mut honest, larger) = from(&all, Some("192.0.2.2"));
        assert_eq!(honest.are(70_000, 0), Ok(()), "they come from one place");
        assert_eq!(many.iter().filter(|(_, outbox)| outbox.is_closing()).count(), 5);
        let (mut huge, _) = from(&all, Some("192.0.2.3"));
        assert!(huge.are(2_000_000, 0).is_err());
        assert!(!larger.is_closing());
        assert_eq!(many.iter().filter(|(_, outbox)| outbox.is_closing()).count(), 5);
    }

    #[test]
    fn h4_the_body_of_a_request_is_told_to_end() {
        let all = Unfinished::new(1_000_000);
        let (mut body, ends) = Begun::of_body(&all, None);
        assert_eq!(body.are(900_000, 0), Ok(()));
        let (mut honest, _outbox) = from(&all, None);
        assert_eq!(honest.are(200_000, 0), Ok(()));
        assert!(ends.notified().now_or_never().is_some());
        assert!(body.are(900_001, 0).is_err());
    }

    #[test]
    fn h4_a_message_that_stands_still_is_not_waited_for() {
        let all = Unfinished::new(1 << 30);
        let (mut stalls, mut pauses) = (Begun::of(&all), Begun::of(&all));
        assert_eq!(stalls.are(16_000_000, 0), Ok(()));
        let ended = (1..1_000).find(|minute| stalls.are(16_000_000 + *minute as usize, minute * 60 * SECOND).is_err());
        assert_eq!(ended, Some(2), "a byte a minute");
        // A tunnel, three times.
        let mut bytes = 0;
        for minute in 0..6 {
            bytes += 100_000;
            assert_eq!(pauses.are(bytes, minute * 100 * SECOND), Ok(()));
            for second in 1..50 {
                bytes += 2_000;
                assert_eq!(pauses.are(bytes, (minute * 100 + second) * SECOND), Ok(()));
            }
        }
    }

    #[test]
    fn h4_a_message_may_take_long_and_not_for_ever() {
        let all = Unfinished::new(1 << 30);
        // 2 kB/s, of a message of 10 MB.
        let mut slow = Begun::of(&all);
        assert!((1..5_000).all(|second| slow.are(2_000 * second as usize, second * SECOND) == Ok(())));
        // A byte a second.
        let mut trickle = Begun::of(&all);
        let ended = (1..100).find(|second| trickle.are(*second as usize, second * SECOND).is_err());
        assert_eq!(ended, Some(32));
        // Each message begins anew.
        let mut many = Begun::of(&all);
        for second in 1..100 {
            assert_eq!(many.are(1, second * SECOND), Ok(()));
            assert_eq!(many.are(0, second * SECOND), Ok(()));
        }
    }
}
