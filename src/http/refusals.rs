//! What anybody on the network can make the server say, as often as they like: said a few times a second, or once.

use std::{
    collections::HashSet,
    sync::{LazyLock, Mutex, PoisonError},
};

use crate::{access::OriginRefused, actor::clock};

/// How many refusals are logged in a second.
const PER_SECOND: u32 = 10;
/// Of how many origins it is remembered that they were logged.
const ORIGINS_MAX: usize = 100;

/// The current second, and how many it has had.
static SAID: Mutex<(u64, u32)> = Mutex::new((0, 0));
static ORIGINS: LazyLock<Mutex<HashSet<String>>> = LazyLock::new(Mutex::default);

/// Whether one more refusal may be logged now.
#[must_use]
pub fn may_be_said() -> bool {
    let mut said = SAID.lock().unwrap_or_else(PoisonError::into_inner);
    is_within(&mut said, clock::now() / 1_000_000)
}

fn is_within(said: &mut (u64, u32), second: u64) -> bool {
    if said.0 != second {
        *said = (second, 0);
    }
    said.1 = said.1.saturating_add(1);
    said.1 <= PER_SECOND
}

/// Logs that pages of an origin may not connect, once for each: whoever runs the server may have to allow it.
pub fn of_origin(refused: &OriginRefused) {
    let mut origins = ORIGINS.lock().unwrap_or_else(PoisonError::into_inner);
    if origins.len() < ORIGINS_MAX && origins.insert(refused.0.clone()) {
        log::warn!("{refused}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_second_has_its_own_few() {
        let mut said = (0, 0);
        for second in [7, 8, 1_000_000] {
            let count = (0..10_000).filter(|_| is_within(&mut said, second)).count();
            assert_eq!(count as u32, PER_SECOND);
        }
    }
}
