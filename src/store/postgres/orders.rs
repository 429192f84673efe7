//! Orders for all servers on a database.

use super::{Node, PostgresStore};
use crate::store::{
    StoreError,
    orders::{OrderNumber, Orders},
};

/// One is given at a time, so that nobody who has seen a number misses a smaller one that was still on its way. The lock's
/// number is this project's.
const GIVE: &str = "
insert into cowrite_order (until_ms, what)
select $1, $2 from (select pg_advisory_xact_lock(7246115)) as alone";

const BEHIND: &str = "
select id, what from cowrite_order
where (id > $1 or $1 > (select coalesce(max(id), 0) from cowrite_order))
  and until_ms > extract(epoch from statement_timestamp()) * 1000
order by id";

/// Orders that hold no more, for a minute already, so that clocks may differ.
const FORGET: &str =
    "delete from cowrite_order where until_ms < extract(epoch from statement_timestamp()) * 1000 - 60000";

impl Node {
    async fn give(&self, what: &str, until_ms: i64) -> Result<(), StoreError> {
        let error = |trouble| self.links.error("write", trouble);
        let link = self.links.other().await.map_err(error)?;
        let tried = self
            .links
            .limited(async {
                let give = link.prepare_cached(GIVE).await?;
                link.execute(&give, &[&until_ms, &what]).await
            })
            .await;
        self.links.settle(link, tried).map(drop).map_err(error)
    }

    async fn behind(&self, number: OrderNumber) -> Result<Vec<(OrderNumber, String)>, StoreError> {
        let error = |trouble| self.links.error("read", trouble);
        let link = self.links.other().await.map_err(error)?;
        let tried = self
            .links
            .limited(async {
                let behind = link.prepare_cached(BEHIND).await?;
                link.query(&behind, &[&number]).await
            })
            .await;
        let rows = self.links.settle(link, tried).map_err(error)?;
        Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
    }

    /// Forgets the orders whose time is over.
    pub(super) async fn forget_orders(&self) -> Result<(), StoreError> {
        let error = |trouble| self.links.error("tidy", trouble);
        let link = self.links.other().await.map_err(error)?;
        let tried = self.links.limited(link.execute(FORGET, &[])).await;
        self.links.settle(link, tried).map(drop).map_err(error)
    }
}

impl Orders for PostgresStore {
    fn give(&self, what: &str, until_ms: u64) -> Result<(), StoreError> {
        let (what, until_ms) = (what.to_owned(), i64::try_from(until_ms).unwrap_or(i64::MAX));
        self.run(|node| async move { node.give(&what, until_ms).await })
    }

    fn behind(&self, number: OrderNumber) -> Result<Vec<(OrderNumber, String)>, StoreError> {
        self.run(|node| async move { node.behind(number).await })
    }
}
