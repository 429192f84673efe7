//! All nodes of a database, for people: who lives, and how many documents each has.

use tokio_postgres::Row;
use uuid::Uuid;

use super::{
    engine, fit,
    link::{DatabaseUrl, LIMIT, Links},
};
use crate::store::{NodeId, StoreError};

const NODES: &str = "
select n.id, n.address, n.machine, n.version, n.draining,
  n.seen > statement_timestamp() - interval '5 s' and n.seen < statement_timestamp() + interval '5 s',
  (extract(epoch from n.since) * 1000)::bigint, (extract(epoch from n.seen) * 1000)::bigint,
  (select count(*) from cowrite_document d where d.node = n.id)
from cowrite_node n
order by n.since, n.id";

/// What a node is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It serves.
    Living,
    /// It lives, and is stopping.
    Draining,
    /// It was not seen for five seconds, or found dead: others take its documents.
    Dead,
}

/// A node as the database knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// Which.
    pub id: NodeId,
    /// `HOST:PORT`, where others reach it; a server that is alone on the database has none.
    pub address: Option<String>,
    /// Its name at fly.io.
    pub machine: Option<String>,
    /// The version of its program.
    pub version: String,
    /// What it is at.
    pub state: State,
    /// When it came, by the database's clock, in milliseconds since the Unix epoch.
    pub since_ms: u64,
    /// When it last said that it lives, in the same way. One that was found dead by others counts an hour earlier.
    pub seen_ms: u64,
    /// Documents that it has open.
    pub documents: u64,
}

/// All nodes, the longest there first. One that is dead is forgotten after a day, one that has stopped at once.
///
/// # Errors
/// As [`super::PostgresStore::open`].
pub fn nodes(url: &DatabaseUrl) -> Result<Vec<Known>, StoreError> {
    let links = Links::new(url, 1, 1, LIMIT)?;
    engine()?.run(async move {
        fit(&links).await?;
        let error = |trouble| links.error("list the nodes", trouble);
        let link = links.other().await.map_err(error)?;
        let tried = links.limited(link.query(NODES, &[])).await;
        let rows = links.settle(link, tried).map_err(error)?;
        Ok(rows.iter().map(known).collect())
    })
}

fn known(row: &Row) -> Known {
    let number = |column: usize| u64::try_from(row.get::<_, i64>(column)).unwrap_or_default();
    Known {
        id: NodeId(row.get::<_, Uuid>(0).as_u128()),
        address: row.get(1),
        machine: row.get(2),
        version: row.get(3),
        state: match (row.get(5), row.get(4)) {
            (false, _) => State::Dead,
            (true, true) => State::Draining,
            (true, false) => State::Living,
        },
        since_ms: number(6),
        seen_ms: number(7),
        documents: number(8),
    }
}
