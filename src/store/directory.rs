//! What the nodes that share a store know of each other through it.

use std::sync::Arc;

use super::{Holder, NodeId, StoreError};
use crate::id::DocumentId;

/// How other nodes reach a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Which.
    pub id: NodeId,
    /// `HOST:PORT`, where it talks to nodes.
    pub address: String,
    /// Its name at fly.io.
    pub machine: Option<String>,
    /// It is stopping.
    pub draining: bool,
}

/// Where a document lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// Nobody has it who lives, or this node has: it can be taken here.
    Here,
    /// There.
    There(Peer),
}

/// What this node tells the others of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// `HOST:PORT`, where others reach it.
    pub address: String,
    /// Its name at fly.io.
    pub machine: Option<String>,
    /// It is stopping.
    pub draining: bool,
}

/// What a node hears of the others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// Who lives beside this node, as of now.
    Living(Vec<Peer>),
    /// Another node has taken a document from this holder, or the store came back with less of it than it had committed.
    Lost(DocumentId, Holder),
}

/// Who is told news; called on the store's thread, and does not wait.
pub type Hears = Arc<dyn Fn(News) + Send + Sync>;

/// What the nodes know of each other through the store that they share. All calls block on the store.
pub trait Directory: Send + Sync + 'static {
    /// Which node this is.
    fn node(&self) -> NodeId;

    /// From now on, each second: says that this node lives, and how others reach it, and tells `hears` what it hears. Called
    /// again when the standing changes; when this returns the others know it, and `hears` knows of them.
    ///
    /// # Errors
    /// The store cannot be reached; it is tried again each second.
    fn stands(&self, standing: Standing, hears: Hears) -> Result<(), StoreError>;

    /// Where a document lives.
    ///
    /// # Errors
    /// The store cannot be reached.
    fn place(&self, document: &DocumentId) -> Result<Place, StoreError>;

    /// A node was found dead: others may take its documents at once. One that lives all the same is back within a second.
    ///
    /// # Errors
    /// The store cannot be reached.
    fn is_dead(&self, node: NodeId) -> Result<(), StoreError>;
}
