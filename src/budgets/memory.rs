//! What the process holds, and who is refused when that is much.
//!
//! What is used is measured by the shell and noted here: documents, outboxes, answers, unfinished messages and unsaved edits
//! together, with what the estimates of each would leave out. As it grows, first no more documents are opened but small ones, then those go
//! who make it hold most; edits are refused in large documents before they are in small ones, and at last everywhere.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

use rustc_hash::FxHashMap;

use crate::protocol::close::Exceeded;

use super::{Counted, Network, Tally};

/// From these shares of the bound on, in percent: who has too much open opens no more; documents that nobody has open are
/// refused, and who has too much open goes; who does not read goes.
const FULL: usize = 70;
const OPENING: usize = 85;
const GREEDY: usize = 92;
/// What a document takes for each byte that is stored of it, while it is opened.
pub const LOADING_COST: usize = 3;
/// From `OPENING` on, a document takes edits up to this part of what is free.
const GROWING_SHARE: usize = 8;
/// From this share on, what was taken since the last look is added to what was seen then.
const FILLING: usize = 50;
/// Documents that take at most one part in so many of the bound take edits until `RESERVE` percent above it, so that what others
/// have the server hold for a moment is not paid by them.
const SMALL_PART: usize = 1_000;
const RESERVE: usize = 25;
/// Of what answers may take together, those to odd questions have half.
const ODD_SHARE: usize = 2;
/// Of what they may take, those of one document have this part, and odd ones for one network: who does not read what it asks for
/// keeps nobody elsewhere from an answer.
const DOCUMENT_SHARE: usize = 4;
const NETWORK_SHARE: usize = 8;

/// What is held while answers and snapshots are encoded is this part of all at most.
const MAKING_PART: usize = 8;

/// What a process takes between two looks at it is this part of all at most, or nearly so.
const MARGIN_PART: usize = 16;

/// When somebody who was refused comes back, in microseconds.
const AGAIN: u64 = 10_000_000;

/// What the process may hold, and holds.
#[derive(Debug)]
pub struct Memory {
    max: usize,
    used: AtomicUsize,
    /// What edits may have made documents take, and small documents of that.
    taken: Since,
    taken_small: Since,
    /// What is held for a moment.
    moments: Since,
    answers: Pot,
    /// What of them is for whom comes from there.
    networks: Mutex<FxHashMap<Network, usize>>,
    making: Pot,
    documents: Arc<Tally>,
    outboxes: Arc<Tally>,
}

impl Memory {
    /// The process may hold `max` bytes, `answers_max` of them in answers that are on their way to readers.
    #[must_use]
    pub fn new(max: usize, answers_max: usize) -> Arc<Self> {
        Arc::new(Self {
            max,
            used: AtomicUsize::new(0),
            taken: Since::default(),
            taken_small: Since::default(),
            moments: Since::default(),
            answers: Pot::of(answers_max),
            networks: Mutex::default(),
            making: Pot::of(max / MAKING_PART),
            documents: Arc::default(),
            outboxes: Arc::default(),
        })
    }

    /// The same for a process that is measured from time to time: a part of `max` is left free for what it takes in between.
    #[must_use]
    pub fn of_process(max: usize, answers_max: usize) -> Arc<Self> {
        Self::new(max - max / MARGIN_PART, answers_max)
    }

    /// Whatever there is.
    #[must_use]
    pub fn unbounded() -> Arc<Self> {
        Self::new(usize::MAX, usize::MAX)
    }

    /// It holds so many bytes now.
    pub fn uses(&self, bytes: usize) {
        for since in [&self.taken, &self.taken_small, &self.moments] {
            since.is_seen();
        }
        self.used.store(bytes, Relaxed);
    }

    /// What it holds at most: what was seen, and what was taken since then.
    fn uses_now(&self) -> usize {
        self.used()
            .saturating_add(self.taken.more())
            .saturating_add(self.moments.more())
    }

    /// So many bytes are held until what is returned is dropped.
    #[must_use]
    pub fn holds(&self, bytes: usize) -> Counted {
        let mut held = Counted::of(self.moments.sum.clone());
        held.is(bytes);
        held
    }

    /// An edit was taken that makes a document of `document_bytes` take at most `bytes` more.
    pub fn takes(&self, bytes: usize, document_bytes: usize) {
        self.taken.sum.add(bytes);
        if self.is_small(bytes, document_bytes) {
            self.taken_small.sum.add(bytes);
        }
    }

    /// A document was opened that takes `bytes`.
    pub fn opens(&self, bytes: usize) {
        self.taken.sum.add(bytes);
    }

    fn is_small(&self, bytes: usize, document_bytes: usize) -> bool {
        document_bytes.saturating_add(bytes) <= self.max / SMALL_PART
    }

    /// How many bytes it held when that was last looked at.
    #[must_use]
    pub fn used(&self) -> usize {
        self.used.load(Relaxed)
    }

    /// How many bytes it may hold.
    #[must_use]
    pub fn max(&self) -> usize {
        self.max
    }

    /// How many bytes answers take.
    #[must_use]
    pub fn answers(&self) -> usize {
        self.answers.bytes.load(Relaxed)
    }

    /// Whether there is so little left that only what is needed is held.
    #[must_use]
    pub fn is_short(&self) -> bool {
        self.used() > self.percent(FILLING) && self.uses_now() > self.percent(OPENING)
    }

    /// Whether it may become short: who takes much takes no more.
    #[must_use]
    pub fn fills(&self) -> bool {
        self.uses_now() > self.percent(FULL)
    }

    /// How many bytes the documents weigh that are open.
    #[must_use]
    pub fn documents(&self) -> &Arc<Tally> {
        &self.documents
    }

    /// How many bytes wait to be read by connections.
    #[must_use]
    pub fn outboxes(&self) -> &Arc<Tally> {
        &self.outboxes
    }

    /// Whether a document that nobody has open may be opened. `stored` says how many bytes of it are stored, if that is known:
    /// who comes to a small one is refused later than who comes to a large one.
    ///
    /// # Errors
    /// It is full, for a document of this size.
    pub fn may_open(&self, stored: impl FnOnce() -> Option<u64>) -> Result<(), Exceeded> {
        if !self.is_short() {
            return Ok(());
        }
        if let Some(bytes) = stored().map(loading_bytes)
            && self.is_small(bytes, 0)
            && self.uses_now().saturating_add(bytes) <= self.max
        {
            // It is not loaded yet, and others may come before it is.
            self.opens(bytes);
            return Ok(());
        }
        Err(full())
    }

    /// Whether a document that might be opened may be loaded now that it is its turn: those that were opened with it may have
    /// taken what there was.
    ///
    /// # Errors
    /// It is full, for a document of this size.
    pub fn may_load(&self, stored: impl FnOnce() -> Option<u64>) -> Result<(), Exceeded> {
        if !self.is_short() {
            return Ok(());
        }
        let is_small = stored().is_some_and(|stored| self.is_small(loading_bytes(stored), 0));
        if is_small && self.uses_now() <= self.max {
            return Ok(());
        }
        Err(full())
    }

    /// How much the greediest are to give back, in bytes.
    #[must_use]
    pub fn excess(&self) -> usize {
        self.used().saturating_sub(self.percent(GREEDY))
    }

    /// Whether an edit may be taken that makes its document take at most `bytes` more than `document_bytes`: as memory fills,
    /// first the large ones take no more, so that who makes documents grow is refused before others are. What was taken since the
    /// last look, and what is held for a moment, counts as well. The small ones have a reserve, of which nothing but what they
    /// took since the last look is taken off: what others do must not refuse them by an estimate.
    ///
    /// # Errors
    /// It is full, for a document of this size.
    pub fn may_edit(&self, bytes: usize, document_bytes: usize) -> Result<(), Exceeded> {
        let seen = self.used();
        if seen <= self.percent(FILLING) {
            return Ok(());
        }
        let used = self.uses_now().saturating_add(bytes);
        if used <= self.percent(OPENING) {
            return Ok(());
        }
        let has_share = used <= self.max && document_bytes <= (self.max - used) / GROWING_SHARE;
        let has_reserve = || {
            let used = seen.saturating_add(self.taken_small.more()).saturating_add(bytes);
            self.is_small(bytes, document_bytes) && used <= self.max.saturating_add(self.percent(RESERVE))
        };
        if has_share || has_reserve() {
            return Ok(());
        }
        let what = "the server's memory is used up, keep the edits";
        Err(Exceeded::new("memory_for_edits", what, AGAIN))
    }

    /// Room for an answer, given back when the last part of it is; `None` when others have to get theirs first. An odd one is
    /// for nobody else. Where no other is on its way there is room for any.
    #[must_use]
    pub fn answer(self: &Arc<Self>, bytes: usize, is_odd: bool, asker: &Asker<'_>) -> Option<Share> {
        let most = if is_odd {
            self.answers.max / ODD_SHARE
        } else {
            self.answers.max
        };
        let network = asker.network.filter(|_| is_odd);
        let mut networks = self.networks();
        let has_room = |held: usize, share: usize| held == 0 || held.saturating_add(bytes) <= most / share;
        let of_network = network.map_or(0, |network| networks.get(&network).copied().unwrap_or(0));
        let of_document = &asker.document[usize::from(is_odd)];
        if !has_room(of_document.load(Relaxed), DOCUMENT_SHARE) || !has_room(of_network, NETWORK_SHARE) {
            return None;
        }
        let mut share = self.share(|memory| &memory.answers, bytes, most)?;
        if let Some(network) = network {
            networks.insert(network, of_network + bytes);
        }
        drop(networks);
        of_document.fetch_add(bytes, Relaxed);
        share.of = Some(Of {
            network,
            document: asker.document.clone(),
            is_odd,
        });
        Some(share)
    }

    fn networks(&self) -> MutexGuard<'_, FxHashMap<Network, usize>> {
        self.networks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Room for what is held while something is encoded, likewise.
    #[must_use]
    pub fn makes(self: &Arc<Self>, bytes: usize) -> Option<Share> {
        self.share(|memory| &memory.making, bytes, self.making.max)
    }

    fn share(self: &Arc<Self>, pot: fn(&Self) -> &Pot, bytes: usize, most: usize) -> Option<Share> {
        pot(self).takes(bytes, most).then(|| Share {
            memory: self.clone(),
            pot,
            held: self.holds(bytes),
            of: None,
        })
    }

    fn percent(&self, percent: usize) -> usize {
        self.max / 100 * percent
    }
}

/// What a document of which so much is stored takes while it is opened.
fn loading_bytes(stored: u64) -> usize {
    let stored = usize::try_from(stored).unwrap_or(usize::MAX);
    stored.saturating_mul(LOADING_COST)
}

fn full() -> Exceeded {
    Exceeded::new("memory", "the server's memory is used up", AGAIN)
}

/// A sum, and what it was when memory was last looked at.
#[derive(Debug, Default)]
struct Since {
    sum: Arc<Tally>,
    seen: AtomicUsize,
}

impl Since {
    fn is_seen(&self) {
        self.seen.store(self.sum.sum(), Relaxed);
    }

    /// How much more it is since then.
    fn more(&self) -> usize {
        self.sum.sum().saturating_sub(self.seen.load(Relaxed))
    }
}

/// What some of the same kind take together.
#[derive(Debug)]
struct Pot {
    bytes: AtomicUsize,
    max: usize,
}

impl Pot {
    fn of(max: usize) -> Self {
        Self {
            bytes: AtomicUsize::new(0),
            max,
        }
    }

    /// Whether there is room within `most`, which is taken.
    fn takes(&self, bytes: usize, most: usize) -> bool {
        let has_room = |held: usize| held == 0 || held.saturating_add(bytes) <= most;
        let add = |held: usize| has_room(held).then(|| held.saturating_add(bytes));
        self.bytes.fetch_update(Relaxed, Relaxed, add).is_ok()
    }
}

/// A part of a [`Pot`], until this is dropped.
#[derive(Debug)]
pub struct Share {
    memory: Arc<Memory>,
    pot: fn(&Memory) -> &Pot,
    held: Counted,
    /// Of which network's and which document's part it is, too.
    of: Option<Of>,
}

#[derive(Debug)]
struct Of {
    network: Option<Network>,
    document: Arc<OfDocument>,
    is_odd: bool,
}

/// For whom an answer is.
#[derive(Debug)]
pub struct Asker<'a> {
    /// Where who asks comes from, if that is counted.
    pub network: Option<Network>,
    /// What answers of its document take.
    pub document: &'a Arc<OfDocument>,
}

/// What answers of one document take, in bytes: those that many ask for, and odd ones.
pub type OfDocument = [AtomicUsize; 2];

impl Drop for Share {
    fn drop(&mut self) {
        let pot = (self.pot)(&self.memory);
        let bytes = self.held.count();
        pot.bytes.fetch_sub(bytes, Relaxed);
        let Some(of) = self.of.take() else {
            return;
        };
        of.document[usize::from(of.is_odd)].fetch_sub(bytes, Relaxed);
        if let Some(network) = of.network {
            let mut networks = self.memory.networks();
            let held = networks.entry(network).or_default();
            *held = held.saturating_sub(bytes);
            if *held == 0 {
                networks.remove(&network);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn l54_as_memory_fills_documents_are_refused_then_the_greedy_go_then_edits() {
        let memory = Memory::new(1_000, 0);
        let state = |used: usize| {
            memory.uses(used);
            (
                memory.may_open(|| None).is_ok(),
                memory.excess(),
                memory.may_edit(0, 0).is_ok(),
            )
        };
        assert_eq!(state(0), (true, 0, true));
        assert_eq!(state(850), (true, 0, true));
        assert_eq!(state(851), (false, 0, true));
        assert_eq!(state(1_000), (false, 80, true));
        assert_eq!(state(1_250), (false, 330, true));
        assert_eq!(state(1_251), (false, 331, false));
        assert_eq!(state(100), (true, 0, true), "it comes back");
        let open = Memory::unbounded();
        open.uses(usize::MAX / 2);
        assert!(open.may_open(|| None).is_ok() && open.may_edit(1, usize::MAX).is_ok() && open.excess() == 0);
    }

    #[test]
    fn l54_a_sixteenth_is_left_free_for_what_is_taken_between_two_looks() {
        let memory = Memory::of_process(1_600, 0);
        memory.uses(1_275);
        assert!(memory.may_open(|| None).is_ok() && memory.excess() == 0);
        memory.uses(1_276);
        assert!(memory.may_open(|| None).is_err());
        memory.uses(1_500);
        assert_eq!(memory.excess(), 120);
    }

    #[test]
    fn l83_as_memory_fills_small_documents_are_opened_longer_than_large_ones() {
        let memory = Memory::new(1_000_000, 0);
        let opens = |used: usize, stored: Option<u64>| {
            memory.uses(used);
            memory.may_open(|| stored).is_ok()
        };
        assert!(opens(850_000, Some(900_000)), "whatever it is");
        assert!(opens(860_000, Some(333)) && opens(860_000, Some(0)));
        assert!(!opens(860_000, Some(334)) && !opens(860_000, None));
        assert!(opens(999_001, Some(333)) && !opens(999_002, Some(333)));
        memory.uses(990_000);
        let opened = (0..100).filter(|_| memory.may_open(|| Some(333)).is_ok()).count();
        assert_eq!(opened, 10, "those that are not loaded yet count");
        assert!(memory.may_load(|| Some(333)).is_ok(), "they are in it themselves");
        assert!(memory.may_load(|| Some(334)).is_err() && memory.may_load(|| None).is_err());
        memory.opens(1_000);
        assert!(memory.may_load(|| Some(333)).is_err());
        memory.uses(850_000);
        assert!(memory.may_load(|| None).is_ok());
    }

    #[test]
    fn l67_as_memory_fills_large_documents_take_no_more_edits_before_small_ones() {
        let memory = Memory::new(1_000_000, 0);
        let largest = |used: usize| {
            memory.uses(used);
            (0..300_000)
                .step_by(100)
                .rfind(|bytes| memory.may_edit(0, *bytes).is_ok())
        };
        assert_eq!(largest(850_000), Some(299_900), "whatever it is");
        assert_eq!(largest(860_000), Some(17_500));
        assert_eq!(largest(920_000), Some(10_000));
        assert_eq!(largest(990_000), Some(1_200));
        assert_eq!(largest(1_000_000), Some(1_000), "small ones have a reserve");
        assert_eq!(largest(1_250_000), Some(1_000));
        assert_eq!(largest(1_250_001), None);
        assert_eq!(largest(500_000), Some(299_900), "it comes back");
    }

    #[test]
    fn l67_what_was_taken_since_the_last_look_counts() {
        let memory = Memory::new(1_000_000, 0);
        memory.uses(800_000);
        let mut taken = 0;
        while memory.may_edit(30_000, 2_000).is_ok() {
            memory.takes(30_000, 2_000);
            taken += 1;
        }
        assert_eq!(taken, 6);
        assert!(memory.may_edit(500, 500).is_ok(), "a small one has room");
        assert!(memory.may_edit(500, 10_000).is_err(), "in a small document");
        assert!(memory.may_edit(25_000, 0).is_err(), "by little");

        memory.uses(810_000);

        assert!(memory.may_edit(30_000, 0).is_ok(), "what they took was seen");
        memory.uses(400_000);
        memory.takes(1_000_000, 0);
        assert!(memory.may_edit(1_000_000, usize::MAX).is_ok(), "there is plenty");
    }

    #[test]
    fn l74_what_is_held_for_a_moment_counts_before_it_is_seen() {
        let memory = Memory::new(1_000_000, 0);
        memory.uses(800_000);
        let held = memory.holds(40_000);
        assert!(memory.may_open(|| None).is_ok() && !memory.is_short());

        let more = memory.holds(20_000);

        assert!(memory.may_open(|| None).is_err() && memory.is_short());
        assert!(memory.may_edit(0, 20_000).is_err());
        drop(more);
        assert!(memory.may_open(|| None).is_ok() && memory.may_edit(0, 20_000).is_ok());
        memory.uses(840_000);
        assert!(memory.may_open(|| None).is_ok(), "it was seen");
        drop(held);
        memory.opens(20_000);
        assert!(
            memory.may_open(|| None).is_err(),
            "what a document takes that was opened"
        );
        memory.uses(500_000);
        memory.opens(1_000_000);
        assert!(!memory.is_short(), "there is plenty");
    }

    #[test]
    fn l67_what_others_are_estimated_to_hold_refuses_no_small_document() {
        let memory = Memory::new(1_000_000, 0);
        memory.uses(900_000);
        let _held = memory.holds(500_000);
        memory.takes(500_000, 100_000);
        memory.opens(500_000);
        assert!(memory.may_edit(100, 2_000).is_err());

        let mut taken = 0;
        while memory.may_edit(500, 500).is_ok() {
            memory.takes(500, 500);
            taken += 1;
        }
        assert_eq!(taken, 700, "what small ones take is in their reserve");

        memory.uses(1_249_500);
        assert!(memory.may_edit(500, 500).is_ok());
        memory.uses(1_249_600);
        assert!(memory.may_edit(500, 500).is_err(), "it is there in fact");
    }

    #[test]
    fn l73_what_is_encoded_together_has_its_part_of_memory() {
        let memory = Memory::new(8_000, 0);
        let large = memory.makes(5_000);
        assert!(large.is_some(), "where there is no other");
        assert!(memory.makes(1).is_none());
        drop(large);
        let many: Vec<_> = (0..20).map_while(|_| memory.makes(100)).collect();
        assert_eq!(many.len(), 10);
        drop(many);
        assert!(memory.makes(1_000).is_some());
    }

    #[test]
    fn l53_answers_take_their_share_of_memory_and_give_it_back() {
        let memory = Memory::new(usize::MAX, 1_000);
        let answer = |bytes: usize, is_odd: bool| {
            let asker = Asker {
                network: None,
                document: &Arc::default(),
            };
            memory.answer(bytes, is_odd, &asker)
        };
        let large = answer(5_000, true);
        assert!(large.is_some(), "where there is no other");
        assert!(answer(1, false).is_none());
        drop(large);
        let odd: Vec<_> = (0..10).map_while(|_| answer(100, true)).collect();
        assert_eq!(odd.len(), 5);
        let full: Vec<_> = (0..10).map_while(|_| answer(100, false)).collect();
        assert_eq!(full.len(), 5, "who asks what many ask is not kept out by odd ones");
        assert_eq!(memory.answers(), 1_000);
        drop((odd, full));
        assert_eq!(memory.answers(), 0);
    }

    #[test]
    fn l53_who_does_not_read_keeps_nobody_elsewhere_from_an_answer() {
        let memory = Memory::new(usize::MAX, 8_000);
        let network = |last: u8| Some(Network::of([192, 0, 2, last].into()));
        let [here, there] = [0, 1].map(|_| Arc::<OfDocument>::default());
        let holds = |is_odd: bool, network: Option<Network>, document: &Arc<OfDocument>| -> Vec<Share> {
            let asker = Asker { network, document };
            (0..100).map_while(|_| memory.answer(100, is_odd, &asker)).collect()
        };
        let hoard = holds(true, network(1), &here);
        assert_eq!(hoard.len(), 5, "an eighth of half");
        let others = [
            holds(true, network(1), &there),
            holds(true, network(2), &here),
            holds(true, None, &here),
        ];
        assert_eq!(
            others.each_ref().map(Vec::len),
            [0, 5, 0],
            "a quarter of half is for one document"
        );
        let elsewhere = holds(true, network(3), &there);
        assert_eq!(elsewhere.len(), 5);
        let full = [&here, &there].map(|document| holds(false, network(1), document));
        assert_eq!(full.each_ref().map(Vec::len), [20, 20], "a quarter of all");

        drop((hoard, others, elsewhere, full));
        assert!(memory.answers() == 0 && memory.networks().is_empty());
        assert!(
            [here, there]
                .iter()
                .flat_map(|of| of.iter())
                .all(|bytes| bytes.load(Relaxed) == 0)
        );
    }
}
