//! What nodes know of each other through the database: who lives, where, and which documents it has.

use std::sync::{Arc, MutexGuard, PoisonError};

use rustc_hash::FxHashMap;
use uuid::Uuid;

use super::{Node, PostgresStore, link::Trouble, plan::Open};
use crate::{
    id::DocumentId,
    store::{
        Holder, NodeId, StoreError,
        directory::{Directory, Hears, News, Peer, Place, Standing},
    },
};

/// Says that a node lives, and tells how long nobody could have seen that, in seconds: none when it was not known before.
const BEAT: &str = "
with old as (
  select seen from cowrite_node where id = $1
), now as (
  insert into cowrite_node (id, version, address, machine, draining, seen)
  values ($1, $2, $3, $4, $5, clock_timestamp())
  on conflict (id) do update set seen = excluded.seen, address = excluded.address, machine = excluded.machine,
    draining = excluded.draining
  returning seen
)
select extract(epoch from now.seen - old.seen)::float8 from now left join old on true";

const LIVING: &str = "
select id, address, machine, draining from cowrite_node
where id <> $1 and address is not null and seen > statement_timestamp() - interval '5 s'
  and seen < statement_timestamp() + interval '5 s'
order by id";

const PLACE: &str = "
select n.id, n.address, n.machine, n.draining from cowrite_document d join cowrite_node n on n.id = d.node
where d.name = $1 and n.id <> $2 and n.address is not null and n.seen > statement_timestamp() - interval '5 s'
  and n.seen < statement_timestamp() + interval '5 s'";

/// As long ago that nobody takes it for living; if it lives all the same, its next beat says so.
const DEAD: &str = "update cowrite_node set seen = seen - interval '1 hour' where id = $1";

const OWN: &str = "select name, holder, last_seq from cowrite_document where node = $1";

/// Nobody was taken for dead who was not seen for so many seconds.
const UNSEEN_S: f64 = 3.0;
/// Whether documents were lost is looked at each time when this node could have been taken for dead or the database could be
/// another one, once more after that, and every so many beats: a beat may come between the words of another node and their
/// effect.
const LOOK_EVERY: u32 = 30;

/// What a node tells and is told with each beat, if there may be others.
pub struct Stands {
    standing: Standing,
    hears: Hears,
    /// Beats until lost documents are looked for.
    looks_in: u32,
    /// Connections that had been made when that was asked last.
    made: u64,
}

impl Node {
    pub(super) fn stands(&self) -> MutexGuard<'_, Option<Stands>> {
        self.stands.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says that this node lives, unless it has left, and hears of the others.
    pub(super) async fn beat(&self) -> Result<(), Trouble> {
        let _beating = self.beating.lock().await;
        if self.closed.load(std::sync::atomic::Ordering::SeqCst) {
            return Ok(());
        }
        let standing = self.stands().as_ref().map(|stands| stands.standing.clone());
        let began = std::time::Instant::now();
        let told = self.tell(standing.as_ref()).await;
        if standing.is_none() {
            return told.map(drop);
        }
        // Not known counts as long: also by a database that has forgotten this node.
        let unseen = told.as_ref().map_or(f64::MAX, |unseen| unseen.unwrap_or(f64::MAX));
        let may_be_lost = unseen.max(began.elapsed().as_secs_f64()) > UNSEEN_S || self.is_another_database();
        let looks = self.looks(may_be_lost);
        told?;
        let living = self.living().await?;
        self.say(News::Living(living));
        if looks {
            for (document, holder) in self.lost().await? {
                self.say(News::Lost(document, holder));
            }
            if !may_be_lost && let Some(stands) = &mut *self.stands() {
                stands.looks_in = LOOK_EVERY;
            }
        }
        Ok(())
    }

    /// Whether it may be: a connection was made since this was asked, and who is at its other end may have taken over with less
    /// than the one before had acknowledged.
    fn is_another_database(&self) -> bool {
        let made = self.links.made();
        let mut stands = self.stands();
        let before = stands.as_mut().map(|stands| std::mem::replace(&mut stands.made, made));
        before.is_some_and(|before| before != made)
    }

    /// Whether to look for lost documents with this beat. Until that was done it is to be done.
    fn looks(&self, may_be_lost: bool) -> bool {
        let mut stands = self.stands();
        let Some(stands) = &mut *stands else { return false };
        stands.looks_in = if may_be_lost {
            0
        } else {
            stands.looks_in.saturating_sub(1)
        };
        stands.looks_in == 0
    }

    fn say(&self, news: News) {
        let hears = self.stands().as_ref().map(|stands| stands.hears.clone());
        if let Some(hears) = hears {
            hears(news);
        }
    }

    async fn tell(&self, standing: Option<&Standing>) -> Result<Option<f64>, Trouble> {
        let link = self.links.other().await?;
        let tried = self
            .links
            .limited(async {
                let beat = link.prepare_cached(BEAT).await?;
                let address = standing.map(|standing| standing.address.as_str());
                let machine = standing.and_then(|standing| standing.machine.as_deref());
                let draining = standing.is_some_and(|standing| standing.draining);
                let version = env!("CARGO_PKG_VERSION");
                link.query_one(&beat, &[&self.id, &version, &address, &machine, &draining])
                    .await
            })
            .await;
        Ok(self.links.settle(link, tried)?.get(0))
    }

    async fn living(&self) -> Result<Vec<Peer>, Trouble> {
        let link = self.links.other().await?;
        let tried = self
            .links
            .limited(async {
                let living = link.prepare_cached(LIVING).await?;
                link.query(&living, &[&self.id]).await
            })
            .await;
        let rows = self.links.settle(link, tried)?;
        Ok(rows.iter().map(peer).collect())
    }

    /// Documents that this node has open, and that others have taken or the database has less of than it said.
    async fn lost(&self) -> Result<Vec<(DocumentId, Holder)>, Trouble> {
        // First: what is taken or written meanwhile is not compared.
        let open: Vec<(DocumentId, Open)> = {
            let open = self.open();
            open.iter().map(|(document, open)| (document.clone(), *open)).collect()
        };
        let link = self.links.other().await?;
        let tried = self
            .links
            .limited(async {
                let own = link.prepare_cached(OWN).await?;
                link.query(&own, &[&self.id]).await
            })
            .await;
        let rows = self.links.settle(link, tried)?;
        let own: FxHashMap<&str, (i64, i64)> = rows
            .iter()
            .filter_map(|row| Some((row.get(0), (row.get::<_, Option<i64>>(1)?, row.get(2)))))
            .collect();
        let is_kept = |document: &DocumentId, open: &Open| {
            let own = own.get(document.as_str());
            own.is_some_and(|(holder, last_seq)| {
                *holder as u64 == open.holder.number() && *last_seq as u64 >= open.last_seq
            })
        };
        let lost = open.into_iter().filter(|(document, open)| !is_kept(document, open));
        Ok(lost.map(|(document, open)| (document, open.holder)).collect())
    }

    async fn place(&self, document: &DocumentId) -> Result<Place, Trouble> {
        let link = self.links.other().await?;
        let tried = self
            .links
            .limited(async {
                let place = link.prepare_cached(PLACE).await?;
                link.query_opt(&place, &[&document.as_str(), &self.id]).await
            })
            .await;
        let row = self.links.settle(link, tried)?;
        Ok(row.as_ref().map_or(Place::Here, |row| Place::There(peer(row))))
    }

    async fn is_dead(&self, node: NodeId) -> Result<(), Trouble> {
        let link = self.links.other().await?;
        let node = Uuid::from_u128(node.0);
        let tried = self.links.limited(link.execute(DEAD, &[&node])).await;
        self.links.settle(link, tried).map(drop)
    }
}

fn peer(row: &tokio_postgres::Row) -> Peer {
    Peer {
        id: NodeId(row.get::<_, Uuid>(0).as_u128()),
        address: row.get(1),
        machine: row.get(2),
        draining: row.get(3),
    }
}

impl Directory for PostgresStore {
    fn node(&self) -> NodeId {
        NodeId(self.node.id.as_u128())
    }

    fn stands(&self, standing: Standing, hears: Hears) -> Result<(), StoreError> {
        *self.node.stands() = Some(Stands {
            standing,
            hears,
            looks_in: LOOK_EVERY,
            made: self.node.links.made(),
        });
        self.run(|node| async move { node.clone().said(node.beat().await, "say that this node lives") })
    }

    fn place(&self, document: &DocumentId) -> Result<Place, StoreError> {
        let document = document.clone();
        self.run(|node| async move {
            node.clone()
                .said(node.place(&document).await, "ask where a document is")
        })
    }

    fn is_dead(&self, dead: NodeId) -> Result<(), StoreError> {
        self.run(|node| async move { node.clone().said(node.is_dead(dead).await, "say that a node is gone") })
    }
}

impl Node {
    fn said<T>(self: Arc<Self>, tried: Result<T, Trouble>, doing: &'static str) -> Result<T, StoreError> {
        tried.map_err(|trouble| self.links.error(doing, trouble))
    }
}
