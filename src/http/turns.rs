//! Those who send much take turns.
//!
//! A thread polls whatever is ready, one after the other. Fifty connections that send without end would each have a batch
//! between an edit and those who wait for it. So of those connections one has a batch, then everybody else goes on with what has
//! come, and then the next one has its batch.

use std::{sync::Arc, time::Duration};

use actix_web::rt::time::sleep;
use tokio::{sync::Semaphore, task::yield_now};

use crate::budgets::Memory;

/// Rounds of the thread's queue between two batches: in so many an edit that has come is read, taken, and written to others.
const ROUNDS: usize = 3;

thread_local! {
    static TURNS: Arc<Semaphore> = Arc::new(Semaphore::new(1));
}

/// How long a turn takes at least while memory is short: what is not read takes none.
const SHORT_OF_MEMORY: Duration = Duration::from_millis(10);

/// Waits for this connection's turn on this thread. First come, first served.
pub async fn comes() {
    comes_after(Duration::ZERO).await;
}

/// The same for what takes memory.
pub async fn comes_within(memory: &Memory) {
    let is_short = memory.is_short();
    comes_after(if is_short { SHORT_OF_MEMORY } else { Duration::ZERO }).await;
}

async fn comes_after(pause: Duration) {
    let turns = TURNS.with(Arc::clone);
    let _next = turns.acquire().await;
    if !pause.is_zero() {
        sleep(pause).await;
    }
    for _ in 0..ROUNDS {
        yield_now().await;
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::RefCell, rc::Rc};

    use super::*;

    #[actix_web::test]
    async fn h12_between_two_of_those_who_send_much_everybody_else_goes_on() {
        let order: Rc<RefCell<Vec<char>>> = Rc::default();
        let greedy = (0..10).map(|_| {
            let order = order.clone();
            actix_web::rt::spawn(async move {
                for _ in 0..3 {
                    comes().await;
                    order.borrow_mut().push('g');
                }
            })
        });
        let greedy: Vec<_> = greedy.collect();
        let person = actix_web::rt::spawn({
            let order = order.clone();
            async move {
                for _ in 0..20 {
                    order.borrow_mut().push('p');
                    yield_now().await;
                }
            }
        });
        person.await.expect("it runs");
        let between = order.borrow().iter().filter(|one| **one == 'g').count();
        assert!((1..=20 / ROUNDS + 1).contains(&between), "{between}");
        for one in greedy {
            one.await.expect("it runs");
        }
        assert_eq!(order.borrow().iter().filter(|one| **one == 'g').count(), 30);
    }

    #[actix_web::test]
    async fn h12_who_no_longer_waits_is_passed_over() {
        let mut first = Box::pin(comes());
        let mut gone = Box::pin(comes());
        assert!(futures_util::poll!(&mut first).is_pending());
        assert!(futures_util::poll!(&mut gone).is_pending());
        let next = actix_web::rt::spawn(comes());
        yield_now().await;

        drop(gone);
        drop(first);

        next.await.expect("it is its turn");
    }

    #[actix_web::test]
    async fn h12_while_memory_is_short_those_who_send_much_are_read_slowly() {
        let memory = Memory::new(1_000, 0);
        let rounds = async |memory: &Memory| {
            let mut turn = Box::pin(comes_within(memory));
            let mut rounds = 0;
            while futures_util::poll!(&mut turn).is_pending() {
                rounds += 1;
                yield_now().await;
            }
            rounds
        };
        assert!(rounds(&memory).await <= 2 * ROUNDS);

        memory.uses(900);

        assert!(rounds(&memory).await > 2 * ROUNDS);
    }
}
