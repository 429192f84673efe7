//! Orders: what an operator tells one server and all that share a store have to hear, also those that start later.

use super::StoreError;

/// An order's number; later ones have larger numbers.
pub type OrderNumber = i64;

/// Where orders are kept. All calls wait for the store: never make them on an arbiter thread.
pub trait Orders: Send + Sync + 'static {
    /// Gives an order (JSON) to all servers, also to those that start until `until_ms` (milliseconds since the Unix epoch).
    /// It is durable when this returns.
    ///
    /// # Errors
    /// As [`super::Store::commit`]: it may have been given all the same, and is harmless to give again.
    fn give(&self, what: &str, until_ms: u64) -> Result<(), StoreError>;

    /// The orders behind a number that still hold, oldest first. All of them once more when the store has come back with
    /// less than that number: an order is obeyed twice without harm.
    ///
    /// # Errors
    /// As [`super::Store::load`].
    fn behind(&self, number: OrderNumber) -> Result<Vec<(OrderNumber, String)>, StoreError>;
}
