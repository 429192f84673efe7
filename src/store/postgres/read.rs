//! Takes and loads, the catalogue, and upkeep.

use std::{collections::BTreeMap, sync::atomic::Ordering, time::Instant};

use bytes::{Bytes, BytesMut};
use tokio_postgres::Row;
use uuid::Uuid;

use super::{
    Node,
    link::{Link, Trouble},
    plan::Open,
};
use crate::{
    id::DocumentId,
    store::{Body, DocumentEntry, EMPTY_UPDATE, Holder, NodeId, Record, Seq, StoreError, StoreStatus, StoredDocument},
};

/// A document is taken when nobody has it, this node has, or whoever has it was not seen for five seconds by the
/// database's clock. What a node says of itself is compared with the start of this statement, so that waiting for a lock
/// makes nobody look dead. Nor does a clock that was set back keep a dead node alive.
///
/// A node that had it for less than two minutes, did not let go of it and was found dead by others (not one that was merely not
/// seen: it may be cut off, or the database away) may have died of it: it is counted. After $4
/// of these (none: 0), each within five minutes of the one before, nobody gets the document for a while, which is longer each
/// time, and of a length that differs between documents that died together: one of them alone is the cause.
const TAKE: &str = "
insert into cowrite_document as d (name, holder, node, taken) values ($1, $2, $3, statement_timestamp())
on conflict (name) do update set (holder, node, taken, crashes, crashed, rests_until) = (
  select excluded.holder, case when c.rests then null else excluded.node end, excluded.taken, c.crashes,
    case when c.has_crashed then statement_timestamp() else d.crashed end,
    case when c.rests then statement_timestamp() + interval '30 s' * (1 + random()) * 2 ^ least(c.crashes - $4, 6)
      else d.rests_until end
  from (
    select b.*, b.has_crashed and $4 > 0 and b.crashes >= $4 as rests
    from (
      select a.has_crashed, case
        when not a.has_crashed then d.crashes
        when greatest(d.crashed, d.rests_until) > statement_timestamp() - interval '5 min' then d.crashes + 1
        else 1 end as crashes
      from (
        select d.holder is not null and d.node is not null and d.node <> excluded.node
          and d.taken > statement_timestamp() - interval '2 min'
          and exists (select from cowrite_node n where n.id = d.node and n.seen < statement_timestamp() - interval '30 min')
          as has_crashed
      ) as a
    ) as b
  ) as c
)
where (d.node is null or d.node = excluded.node or not exists (
  select from cowrite_node n where n.id = d.node and n.seen > statement_timestamp() - interval '5 s'
  and n.seen < statement_timestamp() + interval '5 s'))
and ($4 = 0 or d.rests_until is null or d.rests_until < statement_timestamp())
returning d.id, d.last_seq, d.base_seq,
  (select coalesce(sum(octet_length(r.body)), 0) from cowrite_record r where r.document = d.id and r.seq > d.base_seq)
  + (select coalesce(sum(octet_length(s.body)), 0) from cowrite_snapshot s
     where s.document = d.id and s.seq = d.base_seq),
  case when d.node is null then ceil(extract(epoch from d.rests_until - statement_timestamp()))::bigint end, d.crashes";

/// Who has a document, and for how many seconds it rests.
const WHO: &str = "
select node, ceil(extract(epoch from rests_until - statement_timestamp()))::bigint from cowrite_document where name = $1";

/// How much a load reads.
const BYTES: &str = "
select (select coalesce(sum(octet_length(r.body)), 0) from cowrite_record r
        where r.document = d.id and r.seq > d.base_seq)
  + (select coalesce(sum(octet_length(s.body)), 0) from cowrite_snapshot s
     where s.document = d.id and s.seq = d.base_seq)
from cowrite_document d where d.name = $1";

const LOAD: &str = "
select d.id, d.last_seq, d.base_seq, d.deleted, d.damaged, r.seq, r.crc, r.body, r.at_ms, r.authors, d.changed_ms
from cowrite_document d left join cowrite_record r on r.document = d.id and r.seq > d.base_seq
where d.name = $1 order by r.seq";

const SNAPSHOT: &str = "
select piece, pieces, crc, body, at_ms, authors from cowrite_snapshot where document = $1 and seq = $2 order by piece";

const LIST: &str = "
select name, last_seq, live_bytes, changed_ms, damaged from cowrite_document
where name > $1 and last_seq > 0 and not (deleted and last_seq = base_seq)
order by name limit $2";

const STATUS: &str = "
select count(*) filter (where last_seq > 0 and not (deleted and last_seq = base_seq)),
  count(damaged), coalesce(sum(live_bytes) filter (where not (deleted and last_seq = base_seq)), 0)::bigint,
  (select coalesce(sum(pg_total_relation_size(c.oid)), 0)::bigint from pg_class c
   where c.relnamespace = (select relnamespace from pg_class where oid = 'cowrite_document'::regclass)
     and c.relkind = 'r' and c.relname like 'cowrite\\_%')
from cowrite_document";

/// Most documents that one step of upkeep trims.
pub(super) const TRIM_STEP_MAX: i64 = 50;

/// Nothing of a damaged document goes, so that a person finds all that there is.
const TRIM: &str = "
with due as (
  delete from cowrite_trim t using (
    select c.document, c.upto from cowrite_trim c where c.after < statement_timestamp()
      and not exists (select from cowrite_document o where o.id = c.document and o.damaged is not null)
    order by c.after limit $1 for update of c skip locked
  ) as d where t.document = d.document and t.upto = d.upto
  returning t.document, t.upto
), most as (
  select d.document, max(d.upto) as upto from due d
  join cowrite_document o on o.id = d.document and o.base_seq >= d.upto group by d.document
), records as (
  delete from cowrite_record r using most m where r.document = m.document and r.seq <= m.upto
), snapshots as (
  delete from cowrite_snapshot s using most m where s.document = m.document and s.seq < m.upto
)
select count(*) from due";

/// What a load found.
struct Found {
    id: i64,
    /// Whether it was noted as damaged.
    was_damaged: bool,
    stored: StoredDocument,
    /// Times and authors: of the base, then of the updates.
    notes: Vec<Note>,
}

/// When something was written, in milliseconds, and by whom (JSON).
type Note = (i64, Option<String>);

/// Why a load found nothing.
enum Unread {
    Trouble(Trouble),
    /// The document, and why it cannot be read.
    Damaged(i64, String),
}

impl From<Trouble> for Unread {
    fn from(trouble: Trouble) -> Self {
        Self::Trouble(trouble)
    }
}

fn resting(document: &DocumentId, seconds: Option<i64>) -> StoreError {
    StoreError::Resting {
        document: document.clone(),
        seconds: seconds
            .and_then(|seconds| u64::try_from(seconds).ok())
            .unwrap_or_default()
            .max(1),
    }
}

impl Node {
    pub(super) async fn take(&self, document: &DocumentId, holder: Holder) -> Result<StoredDocument, StoreError> {
        let error = |trouble| self.links.error("take a document in", trouble);
        let link = self.links.other().await.map_err(error)?;
        let tried = self
            .links
            .limited(async {
                let take = link.prepare_cached(TAKE).await?;
                let (name, number) = (document.as_str(), holder.number() as i64);
                let rest_after = i32::try_from(self.options.rest_after).unwrap_or(i32::MAX);
                if let Some(taken) = link.query_opt(&take, &[&name, &number, &self.id, &rest_after]).await? {
                    return Ok(Ok(taken));
                }
                let who = link.prepare_cached(WHO).await?;
                Ok(Err(link.query_opt(&who, &[&name]).await?))
            })
            .await;
        let taken = self.links.settle(link, tried).map_err(error)?;
        let taken = taken.map_err(|row| {
            let (node, seconds) = row
                .map(|row| (row.get::<_, Option<Uuid>>(0), row.get(1)))
                .unwrap_or_default();
            match node {
                None => resting(document, seconds),
                Some(node) => StoreError::Elsewhere {
                    document: document.clone(),
                    node: NodeId(node.as_u128()),
                },
            }
        })?;
        if let Some(seconds) = taken.get::<_, Option<i64>>(4) {
            let crashes: i32 = taken.get(5);
            log::error!(
                "document {document} was opened by {crashes} servers that crashed soon after: nobody opens it for {seconds} s"
            );
            return Err(resting(document, Some(seconds)));
        }
        // Whether it can be read or not: whoever has it may heal it.
        let open = Open {
            id: taken.get(0),
            holder,
            last_seq: taken.get::<_, i64>(1) as Seq,
            base_seq: taken.get::<_, i64>(2) as Seq,
            damaged: false,
        };
        self.open().insert(document.clone(), open);
        match self.find(document, Some(taken.get(3))).await? {
            Some(found) => Ok(found.stored),
            None => Err(error(Trouble::Lost("the document's row is gone".to_owned()))),
        }
    }

    pub(super) async fn load(&self, document: &DocumentId) -> Result<StoredDocument, StoreError> {
        let found = self.find(document, None).await?;
        Ok(found.map(|found| found.stored).unwrap_or_default())
    }

    pub(super) async fn history(&self, document: &DocumentId) -> Result<Vec<Record>, StoreError> {
        let Some(found) = self.find(document, None).await? else {
            return Ok(Vec::new());
        };
        let StoredDocument { snapshot, updates } = found.stored;
        let base = snapshot.map(|(seq, body)| match body == EMPTY_UPDATE {
            true => (seq, Body::Deleted),
            false => (seq, Body::Snapshot(body)),
        });
        let updates = updates.into_iter().map(|(seq, body)| (seq, Body::Update(body)));
        let record = |((seq, body), (at_ms, authors)): ((Seq, Body), Note)| Record {
            document: document.clone(),
            seq,
            at_ms: at_ms as u64,
            authors: authors
                .and_then(|json| serde_json::from_str(&json).ok())
                .unwrap_or_default(),
            body,
            holder: None,
        };
        Ok(base.into_iter().chain(updates).zip(found.notes).map(record).collect())
    }

    /// Reads a document of so many bytes, if that is known.
    async fn find(&self, document: &DocumentId, bytes: Option<i64>) -> Result<Option<Found>, StoreError> {
        match self.read(document, bytes).await {
            Ok(found) => {
                if let Some(found) = found.as_ref().filter(|found| found.was_damaged) {
                    log::info!("document {document} is damaged in the database no more");
                    self.mark(document, found.id, None).await;
                }
                Ok(found)
            }
            Err(Unread::Trouble(trouble)) => Err(self.links.error("read", trouble)),
            Err(Unread::Damaged(id, reason)) => {
                log::error!("document {document} is damaged in the database: {reason}");
                if let Some(open) = self.open().get_mut(document) {
                    open.damaged = true;
                }
                self.mark(document, id, Some(&reason)).await;
                let document = document.clone();
                Err(StoreError::Damaged { document, reason })
            }
        }
    }

    /// Notes whether a document is damaged, for people who look.
    async fn mark(&self, document: &DocumentId, id: i64, reason: Option<&str>) {
        let marked = async {
            let link = self.links.other().await?;
            let mark = "update cowrite_document set damaged = $2 where id = $1 and damaged is distinct from $2";
            let tried = self.links.limited(link.execute(mark, &[&id, &reason])).await;
            self.links.settle(link, tried)
        };
        if let Err(trouble) = marked.await {
            let error = self.links.error("note damage in", trouble);
            log::warn!("whether document {document} is damaged could not be noted: {error}");
        }
    }

    /// How much reading a document reads.
    async fn bytes(&self, document: &DocumentId) -> Result<i64, Trouble> {
        let link = self.links.other().await?;
        let tried = self
            .links
            .limited(async {
                let bytes = link.prepare_cached(BYTES).await?;
                link.query_opt(&bytes, &[&document.as_str()]).await
            })
            .await;
        let row = self.links.settle(link, tried)?;
        Ok(row.map(|row| row.get(0)).unwrap_or_default())
    }

    /// All of a document as of one moment: its row and records in one statement, and its snapshot, which stays for a
    /// while when it is superseded.
    async fn read(&self, document: &DocumentId, bytes: Option<i64>) -> Result<Option<Found>, Unread> {
        let bytes = match bytes {
            Some(bytes) => bytes,
            None => self.bytes(document).await?,
        };
        let link = self.links.other().await?;
        let tried = self
            .links
            .limited_for(usize::try_from(bytes).unwrap_or_default(), async {
                let load = link.prepare_cached(LOAD).await?;
                let rows = link.query(&load, &[&document.as_str()]).await?;
                let base = rows.first().map(|row| (row.get::<_, i64>(0), row.get::<_, i64>(2)));
                let pieces = match base {
                    Some((id, seq)) if seq > 0 => snapshot(&link, id, seq).await?,
                    _ => Vec::new(),
                };
                Ok((rows, pieces))
            })
            .await;
        let (rows, pieces) = self.links.settle(link, tried)?;
        let Some(row) = rows.first() else { return Ok(None) };
        let (id, last_seq, base_seq): (i64, i64, i64) = (row.get(0), row.get(1), row.get(2));
        let damaged = |reason: String| Unread::Damaged(id, reason);
        let (last_seq, base_seq) = (last_seq as Seq, base_seq as Seq);
        let snapshot = match (base_seq, row.get::<_, bool>(3)) {
            (0, false) if pieces.is_empty() => None,
            (_, true) => Some((base_seq, EMPTY_UPDATE)),
            _ => Some((base_seq, joined(&pieces, base_seq).map_err(damaged)?)),
        };
        // Deletions of before had no piece.
        let deletion = || (row.get(10), None);
        let base_note = || {
            pieces
                .first()
                .map_or_else(deletion, |piece| (piece.get(4), piece.get(5)))
        };
        let mut notes: Vec<Note> = snapshot.iter().map(|_| base_note()).collect();
        let mut updates = Vec::with_capacity(rows.len());
        for row in &rows {
            let Some(seq) = row.get::<_, Option<i64>>(5) else { break };
            let (seq, body): (Seq, &[u8]) = (seq as Seq, row.get(7));
            if seq > last_seq {
                return Err(damaged(format!("record {seq} is behind the last, {last_seq}")));
            }
            if i64::from(crc32fast::hash(body)) != row.get::<_, i64>(6) {
                return Err(damaged(format!("record {seq} fails its check")));
            }
            updates.push((seq, Bytes::copy_from_slice(body)));
            notes.push((row.get(8), row.get(9)));
        }
        let expected = base_seq + 1..=last_seq;
        if !updates.iter().map(|(seq, _)| *seq).eq(expected) {
            let there = updates.len();
            return Err(damaged(format!(
                "of the records from {} to {last_seq} there are {there}",
                base_seq + 1
            )));
        }
        Ok(Some(Found {
            id,
            was_damaged: row.get::<_, Option<&str>>(4).is_some(),
            stored: StoredDocument { snapshot, updates },
            notes,
        }))
    }

    pub(super) async fn list(&self, after: Option<&DocumentId>, most: usize) -> Result<Vec<DocumentEntry>, StoreError> {
        let error = |trouble| self.links.error("list", trouble);
        let link = self.links.other().await.map_err(error)?;
        let tried = self
            .links
            .limited(async {
                let list = link.prepare_cached(LIST).await?;
                let after = after.map_or("", DocumentId::as_str);
                link.query(&list, &[&after, &(most as i64)]).await
            })
            .await;
        let rows = self.links.settle(link, tried).map_err(error)?;
        rows.iter().map(entry).collect()
    }

    /// Asks for what the store says about itself, if that is due.
    pub(super) async fn renew_status(&self) -> Result<(), StoreError> {
        let asked = self.status().0;
        if asked.is_some_and(|asked| asked.elapsed() < self.options.status_every) {
            return Ok(());
        }
        self.forget_orders().await?;
        let status = self.ask_status().await?;
        *self.status() = (Some(Instant::now()), status);
        Ok(())
    }

    async fn ask_status(&self) -> Result<StoreStatus, StoreError> {
        let error = |trouble| self.links.error("ask", trouble);
        let link = self.links.other().await.map_err(error)?;
        let tried = self.links.limited(link.query_one(STATUS, &[])).await;
        let row = self.links.settle(link, tried).map_err(error)?;
        let number = |column| row.get::<_, i64>(column) as u64;
        Ok(StoreStatus {
            documents: number(0),
            damaged: number(1),
            live_bytes: number(2),
            disk_bytes: number(3),
            ..StoreStatus::default()
        })
    }

    /// Deletes what was superseded long enough ago, of a few documents; says whether there may be more.
    pub(super) async fn trim(&self) -> Result<bool, StoreError> {
        let error = |trouble| self.links.error("tidy", trouble);
        let link = self.links.other().await.map_err(error)?;
        let step = self.trim_step.load(Ordering::Relaxed);
        let tried = self
            .links
            .limited(async {
                let trim = link.prepare_cached(TRIM).await?;
                link.query_one(&trim, &[&step]).await
            })
            .await;
        // What took too long is tried with less.
        let next = if tried.is_ok() { step * 2 } else { step / 4 };
        self.trim_step.store(next.clamp(1, TRIM_STEP_MAX), Ordering::Relaxed);
        let row = self.links.settle(link, tried).map_err(error)?;
        Ok(row.get::<_, i64>(0) == step)
    }
}

async fn snapshot(link: &Link, id: i64, seq: i64) -> Result<Vec<Row>, tokio_postgres::Error> {
    let statement = link.prepare_cached(SNAPSHOT).await?;
    link.query(&statement, &[&id, &seq]).await
}

/// The pieces of a snapshot in one.
fn joined(rows: &[Row], seq: Seq) -> Result<Bytes, String> {
    let wanted: i32 = rows.first().map_or(0, |row| row.get(1));
    let pieces: BTreeMap<i32, &Row> = rows.iter().map(|row| (row.get(0), row)).collect();
    if wanted == 0 {
        return Err(format!("its snapshot {seq} is missing"));
    }
    let mut all = BytesMut::new();
    for piece in 0..wanted {
        let row = pieces
            .get(&piece)
            .ok_or_else(|| format!("piece {piece} of its snapshot {seq} is missing"))?;
        let body: &[u8] = row.get(3);
        if i64::from(crc32fast::hash(body)) != row.get::<_, i64>(2) {
            return Err(format!("piece {piece} of its snapshot {seq} fails its check"));
        }
        all.extend_from_slice(body);
    }
    Ok(all.freeze())
}

fn entry(row: &Row) -> Result<DocumentEntry, StoreError> {
    let name: &str = row.get(0);
    let document = DocumentId::parse(name)
        .map_err(|error| StoreError::Unusable(format!("the database holds a document of no valid name: {error}")))?;
    Ok(DocumentEntry {
        document,
        last_seq: row.get::<_, i64>(1) as u64,
        bytes: row.get::<_, i64>(2) as u64,
        changed_ms: row.get::<_, i64>(3) as u64,
        damaged: row.get(4),
    })
}
