//! Commits and releases.

use deadpool_postgres::GenericClient;
use rustc_hash::{FxHashMap, FxHashSet};
use tokio_postgres::{Error, error::SqlState};
use uuid::Uuid;

use super::{
    Node,
    link::{Link, Trouble, told},
    plan::{Group, Looked, PART_BYTES, Planned, Share, groups, parts, plan},
};
use crate::{
    id::DocumentId,
    store::{Body, Holder, Record, Refusals, Release, StoreError, holder::NOT_THE_HOLDERS, record},
};

/// A snapshot lies in pieces of so many bytes.
const PIECE_BYTES: usize = 1024 * 1024;
/// How often a document that does not move is looked at.
const ROUNDS: usize = 4;
/// Superseded records stay for so many seconds, so that whoever is reading them finds them.
const TRIM_AFTER_S: f64 = 60.0;

/// The body of a deletion's piece.
const NOTHING: &[u8] = &[0, 0];

/// One statement: rows of documents move if they are as this node believes, and records of those are written. A record that
/// is there at a position that its document's row has not reached is none.
const COMMIT: &str = "
with moved as (
  update cowrite_document d set
    last_seq = greatest(d.last_seq, b.upto),
    base_seq = greatest(d.base_seq, coalesce(b.base, 0)),
    deleted = coalesce(b.deleted, d.deleted),
    live_bytes = case when b.base is null then d.live_bytes + b.bytes else b.bytes end,
    changed_ms = greatest(d.changed_ms, b.changed),
    damaged = case when b.base >= b.upto then null else d.damaged end
  from unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[],
    $8::boolean[]) as b(id, holder, needs, upto, base, bytes, changed, deleted)
  where d.id = b.id and d.holder = b.holder and d.last_seq = b.needs
  returning d.id, b.base
), written as (
  insert into cowrite_record (document, seq, holder, at_ms, crc, authors, body)
  select r.document, r.seq, r.holder, r.at_ms, r.crc, r.authors, r.body
  from unnest($9::bigint[], $10::bigint[], $11::bigint[], $12::bigint[], $13::bigint[], $14::text[], $15::bytea[])
    as r(document, seq, holder, at_ms, crc, authors, body)
  join moved m on m.id = r.document
  on conflict (document, seq) do update
    set holder = excluded.holder, at_ms = excluded.at_ms, crc = excluded.crc, authors = excluded.authors,
      body = excluded.body
), shot as (
  insert into cowrite_snapshot (document, seq, piece, pieces, at_ms, crc, authors, body)
  select s.document, s.seq, s.piece, s.pieces, s.at_ms, s.crc, s.authors, s.body
  from unnest($16::bigint[], $17::bigint[], $18::int[], $19::int[], $20::bigint[], $21::bigint[], $22::text[],
    $23::bytea[]) as s(document, seq, piece, pieces, at_ms, crc, authors, body)
  join moved m on m.id = s.document
  on conflict (document, seq, piece) do update
    set pieces = excluded.pieces, at_ms = excluded.at_ms, crc = excluded.crc, authors = excluded.authors,
      body = excluded.body
), trimmed as (
  insert into cowrite_trim (document, upto, after)
  select m.id, m.base, statement_timestamp() + make_interval(secs => $24)
  from moved m where m.base is not null
  on conflict (document, upto) do nothing
)
select id from moved";

/// The same for what is most of all: records of documents alone, none of which is there. That costs half as much.
const APPEND: &str = "
with moved as (
  update cowrite_document d set
    last_seq = greatest(d.last_seq, b.upto),
    live_bytes = d.live_bytes + b.bytes,
    changed_ms = greatest(d.changed_ms, b.changed)
  from unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[])
    as b(id, holder, needs, upto, bytes, changed)
  where d.id = b.id and d.holder = b.holder and d.last_seq = b.needs
  returning d.id
), written as (
  insert into cowrite_record (document, seq, holder, at_ms, crc, authors, body)
  select r.document, r.seq, r.holder, r.at_ms, r.crc, r.authors, r.body
  from unnest($7::bigint[], $8::bigint[], $9::bigint[], $10::bigint[], $11::bigint[], $12::text[], $13::bytea[])
    as r(document, seq, holder, at_ms, crc, authors, body)
  join moved m on m.id = r.document
)
select id from moved";

/// More pieces of a snapshot.
const PIECES: &str = "
insert into cowrite_snapshot (document, seq, piece, pieces, at_ms, crc, authors, body)
select s.document, s.seq, s.piece, s.pieces, s.at_ms, s.crc, s.authors, s.body
from unnest($1::bigint[], $2::bigint[], $3::int[], $4::int[], $5::bigint[], $6::bigint[], $7::text[],
  $8::bytea[]) as s(document, seq, piece, pieces, at_ms, crc, authors, body)
on conflict (document, seq, piece) do update
  set pieces = excluded.pieces, at_ms = excluded.at_ms, crc = excluded.crc, authors = excluded.authors,
    body = excluded.body";

/// What lies behind the last position of a document that is healed.
const STRAYS: &str = "delete from cowrite_record where document = $1 and seq > $2";

/// A document's row that a take alone has made.
const FORGET: &str = "
delete from cowrite_document d using unnest($1::text[], $2::bigint[]) as r(name, holder)
where d.name = r.name and d.holder = r.holder and d.last_seq = 0";

const RELEASE: &str = "
update cowrite_document d set holder = null, node = r.next, crashes = 0, crashed = null, rests_until = null
from unnest($1::text[], $2::bigint[], $3::uuid[]) as r(name, holder, next)
where d.name = r.name and d.holder = r.holder";

/// Documents that are released in one statement.
const RELEASES_MAX: usize = 4_096;

/// The columns of a statement.
#[derive(Default)]
struct Columns<'a> {
    ids: Vec<i64>,
    holders: Vec<i64>,
    needs: Vec<i64>,
    uptos: Vec<i64>,
    bases: Vec<Option<i64>>,
    bytes: Vec<i64>,
    changed: Vec<i64>,
    deleted: Vec<Option<bool>>,
    records: Rows<'a>,
    snapshots: Rows<'a>,
    pieces: (Vec<i32>, Vec<i32>),
}

/// The columns of records.
#[derive(Default)]
struct Rows<'a> {
    documents: Vec<i64>,
    seqs: Vec<i64>,
    holders: Vec<i64>,
    at_ms: Vec<i64>,
    crcs: Vec<i64>,
    authors: Vec<Option<String>>,
    bodies: Vec<&'a [u8]>,
}

impl<'a> Rows<'a> {
    fn push(&mut self, document: i64, holder: Holder, record: &Record, body: &'a [u8]) {
        self.documents.push(document);
        self.seqs.push(signed(record.seq));
        self.holders.push(holder.number() as i64);
        self.at_ms.push(signed(record.at_ms));
        self.crcs.push(i64::from(crc32fast::hash(body)));
        self.authors.push(authors(record));
        self.bodies.push(body);
    }
}

/// As Postgres counts; a position or a time beyond that does not occur.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// As JSON; none for anonymous ones.
fn authors(record: &Record) -> Option<String> {
    (!record.authors.is_empty())
        .then(|| serde_json::to_string(&*record.authors).ok())
        .flatten()
}

impl<'a> Columns<'a> {
    fn of(shares: &[&Share<'a>]) -> Self {
        let mut columns = Self::default();
        for share in shares {
            columns.push(share);
        }
        columns
    }

    fn push(&mut self, share: &Share<'a>) {
        let (id, holder) = (share.open.id, share.open.holder);
        let times = share.updates.iter().chain(&share.base).map(|record| record.at_ms);
        self.ids.push(id);
        self.holders.push(holder.number() as i64);
        self.needs.push(signed(share.open.last_seq));
        self.uptos.push(signed(share.upto));
        self.bases.push(share.base_seq().map(signed));
        self.bytes.push(share.live_bytes() as i64);
        self.changed.push(signed(times.max().unwrap_or_default()));
        self.deleted
            .push(share.base.map(|base| matches!(base.body, Body::Deleted)));
        for update in &share.updates {
            self.records.push(id, holder, update, record::body_of(update));
        }
        let Some(base) = share.base else { return };
        // A deletion has its time and authors in a piece, too.
        let body = match &base.body {
            Body::Deleted => NOTHING,
            _ => record::body_of(base),
        };
        let pieces = body.len().div_ceil(PIECE_BYTES).max(1);
        for piece in 0..pieces {
            let end = body.len().min((piece + 1) * PIECE_BYTES);
            self.snapshots.push(id, holder, base, &body[piece * PIECE_BYTES..end]);
            self.pieces.0.push(piece as i32);
            self.pieces.1.push(pieces as i32);
        }
    }
}

impl Node {
    pub(super) async fn commit(&self, records: &[Record]) -> Result<Refusals, StoreError> {
        let mut refused = Refusals::default();
        for mut part in parts(groups(records)) {
            // Nothing follows on what was refused.
            part.retain(|group| group.records.first().is_some_and(|first| !refused.cover(first)));
            self.commit_part(&part, &mut refused).await?;
        }
        Ok(refused)
    }

    async fn commit_part(&self, groups: &[Group<'_>], refused: &mut Refusals) -> Result<(), StoreError> {
        let mut looked: FxHashMap<usize, Looked> = FxHashMap::default();
        let mut rest: Vec<usize> = (0..groups.len()).collect();
        for _ in 0..ROUNDS {
            let (mut shares, mut look) = (Vec::new(), Vec::new());
            {
                let open = self.open();
                for number in rest.drain(..) {
                    let group = &groups[number];
                    match plan(number, group, open.get(group.document), looked.get(&number), refused) {
                        Planned::Share(share) => shares.push(share),
                        Planned::Nothing => {}
                        Planned::Look => look.push(number),
                    }
                }
            }
            look.extend(self.write(groups, shares, refused).await?);
            if look.is_empty() {
                return Ok(());
            }
            for number in look {
                let found = self.look(&groups[number], refused).await;
                if let Some(found) = found.map_err(|trouble| self.links.error("read", trouble))? {
                    looked.insert(number, found);
                    rest.push(number);
                }
            }
        }
        for number in rest {
            if let Some(first) = groups[number].records.first() {
                refused.refuse(first, "it was written by somebody else meanwhile");
            }
        }
        Ok(())
    }

    /// Writes the shares; returns the groups of those that did not move.
    async fn write<'a>(
        &self,
        groups: &[Group<'a>],
        shares: Vec<Share<'a>>,
        refused: &mut Refusals,
    ) -> Result<Vec<usize>, StoreError> {
        let mut still = Vec::new();
        let mut waiting: Vec<Vec<&Share>> = statements(&shares);
        waiting.reverse();
        while let Some(chunk) = waiting.pop() {
            let mut link = self
                .links
                .lane()
                .await
                .map_err(|trouble| self.links.error("write", trouble))?;
            let bytes = chunk.iter().map(|share| share.bytes()).sum();
            let tried = self.links.limited_for(bytes, self.execute(&mut link, &chunk)).await;
            match self.links.settle(link, tried) {
                Ok(moved) => {
                    for share in chunk {
                        if moved.contains(&share.open.id) {
                            self.moved(groups[share.group].document, share);
                        } else {
                            still.push(share.group);
                        }
                    }
                }
                // Data that the database cannot hold: one document's alone.
                Err(Trouble::Refused(why)) if matches!(&why.code().code()[..2], "22" | "23") => match &chunk[..] {
                    [one] => {
                        if let Some(first) = groups[one.group].records.first() {
                            refused.refuse(first, format!("the database refuses it: {}", told(&why)));
                        }
                    }
                    several => {
                        let (left, right) = several.split_at(several.len() / 2);
                        waiting.extend([right.to_vec(), left.to_vec()]);
                    }
                },
                Err(trouble) => return Err(self.links.error("write", trouble)),
            }
        }
        Ok(still)
    }

    /// Which documents moved.
    async fn execute(&self, link: &mut Link, chunk: &[&Share<'_>]) -> Result<FxHashSet<i64>, Error> {
        let mut columns = Columns::of(chunk);
        if chunk.iter().all(|share| share.base.is_none()) {
            let appended = append(&**link, &columns).await;
            let is_there = |error: &Error| error.code() == Some(&SqlState::UNIQUE_VIOLATION);
            if !appended.as_ref().is_err_and(is_there) {
                return appended;
            }
        }
        let [share] = chunk else {
            return self.move_rows(&**link, &columns).await;
        };
        if !share.is_alone() {
            return self.move_rows(&**link, &columns).await;
        }
        let (snapshot, pieces) = (
            std::mem::take(&mut columns.snapshots),
            std::mem::take(&mut columns.pieces),
        );
        let transaction = link.client().transaction().await?;
        let moved = self.move_rows(&transaction, &columns).await?;
        if moved.is_empty() {
            transaction.rollback().await?;
            return Ok(moved);
        }
        let strays = transaction.prepare_cached(STRAYS).await?;
        transaction
            .execute(&strays, &[&share.open.id, &signed(share.upto)])
            .await?;
        write_pieces(&transaction, &snapshot, &pieces).await?;
        transaction.commit().await?;
        Ok(moved)
    }

    async fn move_rows(&self, client: &impl GenericClient, columns: &Columns<'_>) -> Result<FxHashSet<i64>, Error> {
        let statement = client.prepare_cached(COMMIT).await?;
        let (r, s) = (&columns.records, &columns.snapshots);
        let after = TRIM_AFTER_S.max(self.options.keep_history.as_secs_f64());
        let rows = client
            .query(
                &statement,
                &[
                    &columns.ids,
                    &columns.holders,
                    &columns.needs,
                    &columns.uptos,
                    &columns.bases,
                    &columns.bytes,
                    &columns.changed,
                    &columns.deleted,
                    &r.documents,
                    &r.seqs,
                    &r.holders,
                    &r.at_ms,
                    &r.crcs,
                    &r.authors,
                    &r.bodies,
                    &s.documents,
                    &s.seqs,
                    &columns.pieces.0,
                    &columns.pieces.1,
                    &s.at_ms,
                    &s.crcs,
                    &s.authors,
                    &s.bodies,
                    &after,
                ],
            )
            .await?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }

    /// The database has it.
    fn moved(&self, document: &DocumentId, share: &Share) {
        let mut open = self.open();
        let known = open.get_mut(document).filter(|known| known.holder == share.open.holder);
        if let Some(known) = known {
            known.last_seq = known.last_seq.max(share.upto);
            known.base_seq = known.base_seq.max(share.base_seq().unwrap_or_default());
            known.damaged &= share.base_seq() != Some(share.upto);
        }
    }

    /// What the database holds of a document of which something may be stored already; none, and refused, when it is not
    /// the holder's any more.
    async fn look(&self, group: &Group<'_>, refused: &mut Refusals) -> Result<Option<Looked>, Trouble> {
        let Some(first) = group.records.first() else {
            return Ok(None);
        };
        let open = self.open().get(group.document).copied();
        let open = open.filter(|open| Some(open.holder) == first.holder);
        let Some(open) = open else {
            refused.refuse(first, NOT_THE_HOLDERS);
            return Ok(None);
        };
        let seqs = || group.records.iter().map(|record| record.seq);
        let (from, upto) = (seqs().min().unwrap_or_default(), seqs().max().unwrap_or_default());
        let bytes = group.records.iter().map(|record| record::body_of(record).len()).sum();
        let link = self.links.lane().await?;
        let tried = self
            .links
            .limited_for(bytes, async {
                let look = link.prepare_cached(
                    "select d.last_seq, d.base_seq, r.seq, r.body from cowrite_document d
                 left join cowrite_record r on r.document = d.id and r.seq between $3 and least($4, d.last_seq)
                 where d.id = $1 and d.holder = $2",
                );
                let holder = open.holder.number() as i64;
                let (from, upto) = (signed(from), signed(upto));
                link.query(&look.await?, &[&open.id, &holder, &from, &upto]).await
            })
            .await;
        let rows = self.links.settle(link, tried)?;
        let Some(row) = rows.first() else {
            refused.refuse(first, NOT_THE_HOLDERS);
            return Ok(None);
        };
        if let Some(known) = self
            .open()
            .get_mut(group.document)
            .filter(|known| known.holder == open.holder)
        {
            known.last_seq = row.get::<_, i64>(0) as u64;
            known.base_seq = row.get::<_, i64>(1) as u64;
        }
        let stored = rows.iter().filter_map(|row| {
            let seq: Option<i64> = row.get(2);
            Some((seq? as u64, bytes::Bytes::copy_from_slice(row.get(3))))
        });
        Ok(Some(Looked {
            stored: stored.collect(),
        }))
    }

    pub(super) async fn release(&self, releases: &[Release]) -> Result<(), StoreError> {
        let mut done = Ok(());
        for some in releases.chunks(RELEASES_MAX) {
            let released = self.release_some(some).await;
            done = done.and(released.map_err(|trouble| self.links.error("release documents in", trouble)));
        }
        done
    }

    async fn release_some(&self, releases: &[Release]) -> Result<(), Trouble> {
        let (unused, rest): (Vec<&Release>, Vec<&Release>) = {
            let mut open = self.open();
            releases.iter().partition(|release| {
                let is_his = open
                    .get(&release.document)
                    .is_some_and(|known| known.holder == release.holder);
                let known = is_his.then(|| open.remove(&release.document)).flatten();
                release.next.is_none() && known.is_some_and(|known| known.last_seq == 0)
            })
        };
        let link = self.links.lane().await?;
        let tried = self
            .links
            .limited(async {
                if !unused.is_empty() {
                    let forget = link.prepare_cached(FORGET).await?;
                    let (names, holders, _) = columns(&unused);
                    link.execute(&forget, &[&names, &holders]).await?;
                }
                // Somebody may have written all the same, by a commit whose answer was lost.
                let all: Vec<&Release> = rest.into_iter().chain(unused).collect();
                let release = link.prepare_cached(RELEASE).await?;
                let (names, holders, next) = columns(&all);
                link.execute(&release, &[&names, &holders, &next]).await
            })
            .await;
        self.links.settle(link, tried).map(drop)
    }
}

/// Moves rows and writes their records. A record that is there is an error, and nothing is done then.
async fn append(client: &impl GenericClient, columns: &Columns<'_>) -> Result<FxHashSet<i64>, Error> {
    let statement = client.prepare_cached(APPEND).await?;
    let r = &columns.records;
    let rows = client
        .query(
            &statement,
            &[
                &columns.ids,
                &columns.holders,
                &columns.needs,
                &columns.uptos,
                &columns.bytes,
                &columns.changed,
                &r.documents,
                &r.seqs,
                &r.holders,
                &r.at_ms,
                &r.crcs,
                &r.authors,
                &r.bodies,
            ],
        )
        .await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// Names, holders and who is to have them.
fn columns<'a>(releases: &[&'a Release]) -> (Vec<&'a str>, Vec<i64>, Vec<Option<Uuid>>) {
    let mut columns = (Vec::new(), Vec::new(), Vec::new());
    for release in releases {
        columns.0.push(release.document.as_str());
        columns.1.push(release.holder.number() as i64);
        columns.2.push(release.next.map(|next| Uuid::from_u128(next.0)));
    }
    columns
}

/// Writes a snapshot, some pieces at a time.
async fn write_pieces(
    client: &impl GenericClient,
    rows: &Rows<'_>,
    (piece, pieces): &(Vec<i32>, Vec<i32>),
) -> Result<(), Error> {
    let statement = client.prepare_cached(PIECES).await?;
    let all = rows.documents.len();
    for from in (0..all).step_by(PART_BYTES / PIECE_BYTES) {
        let some = from..all.min(from + PART_BYTES / PIECE_BYTES);
        client
            .execute(
                &statement,
                &[
                    &&rows.documents[some.clone()],
                    &&rows.seqs[some.clone()],
                    &&piece[some.clone()],
                    &&pieces[some.clone()],
                    &&rows.at_ms[some.clone()],
                    &&rows.crcs[some.clone()],
                    &&rows.authors[some.clone()],
                    &&rows.bodies[some],
                ],
            )
            .await?;
    }
    Ok(())
}

/// Shares that go together.
fn statements<'s, 'a>(shares: &'s [Share<'a>]) -> Vec<Vec<&'s Share<'a>>> {
    let mut chunks: Vec<Vec<&Share>> = Vec::new();
    let mut bytes = 0;
    let mut closed = true;
    for share in shares {
        bytes += share.bytes();
        match chunks.last_mut() {
            Some(chunk) if bytes <= PART_BYTES && !closed && !share.is_alone() => chunk.push(share),
            _ => {
                bytes = share.bytes();
                closed = share.is_alone();
                chunks.push(vec![share]);
            }
        }
    }
    chunks
}
