//! The tables, and how they come to be. Steps only add, so that a node of the version before works on meanwhile.

use tokio_postgres::{Client, Error};

/// What each version adds to the one before; a step that was released is never changed.
pub const STEPS: &[&str] = &[
    "
create table cowrite_node (
  id uuid primary key,
  version text not null,
  seen timestamptz not null
);
create table cowrite_document (
  id bigint generated always as identity primary key,
  name text collate \"C\" not null unique,
  holder bigint,
  node uuid,
  taken timestamptz,
  last_seq bigint not null default 0,
  base_seq bigint not null default 0,
  live_bytes bigint not null default 0,
  changed_ms bigint not null default 0,
  deleted boolean not null default false,
  damaged text
) with (fillfactor = 60);
create index cowrite_document_node on cowrite_document (node) where node is not null;
create table cowrite_record (
  document bigint not null,
  seq bigint not null,
  holder bigint not null,
  at_ms bigint not null,
  crc bigint not null,
  authors text,
  body bytea not null,
  primary key (document, seq)
) partition by hash (document);
do $$ begin
  for part in 0..15 loop
    execute format('create table cowrite_record_%s partition of cowrite_record
      for values with (modulus 16, remainder %s)', part, part);
    execute format('alter table cowrite_record_%s alter column body set storage external', part);
  end loop;
end $$;
create table cowrite_snapshot (
  document bigint not null,
  seq bigint not null,
  piece int not null,
  pieces int not null,
  at_ms bigint not null,
  crc bigint not null,
  authors text,
  body bytea not null,
  primary key (document, seq, piece)
);
alter table cowrite_snapshot alter column body set storage external;
create table cowrite_trim (
  document bigint not null,
  upto bigint not null,
  after timestamptz not null,
  primary key (document, upto)
);
create index cowrite_trim_after on cowrite_trim (after);
",
    "
alter table cowrite_node add column address text, add column machine text,
  add column draining boolean not null default false;
",
    "
alter table cowrite_node add column since timestamptz not null default clock_timestamp();
create table cowrite_order (
  id bigint generated always as identity primary key,
  at timestamptz not null default clock_timestamp(),
  until_ms bigint not null,
  what text not null
);
",
    "
alter table cowrite_document add column crashes int not null default 0, add column crashed timestamptz,
  add column rests_until timestamptz;
",
];

/// The version that the tables have; none when there are none.
pub async fn version(client: &Client) -> Result<Option<i32>, Error> {
    let there = client
        .query_one("select to_regclass('cowrite_schema') is not null", &[])
        .await?;
    if !there.get::<_, bool>(0) {
        return Ok(None);
    }
    let row = client
        .query_one("select coalesce(max(version), 0) from cowrite_schema", &[])
        .await?;
    Ok(Some(row.get(0)))
}

/// Applies the steps that are not there, all or none; returns the version before and after.
pub async fn upgrade(client: &mut Client, steps: &[&str]) -> Result<(Option<i32>, i32), Error> {
    let transaction = client.transaction().await?;
    // Two who do it at once would collide in the catalogue; the number is this project's.
    transaction
        .batch_execute("select pg_advisory_xact_lock(7246114)")
        .await?;
    let before = version(transaction.client()).await?;
    if before.is_none() {
        transaction
            .batch_execute(
                "create table cowrite_schema (version int primary key, made timestamptz not null default now())",
            )
            .await?;
    }
    let mut now = before.unwrap_or_default();
    for (version, step) in (1..)
        .zip(steps)
        .filter(|(version, _)| *version > before.unwrap_or_default())
    {
        transaction.batch_execute(step).await?;
        transaction
            .execute("insert into cowrite_schema (version) values ($1)", &[&version])
            .await?;
        now = version;
    }
    transaction.commit().await?;
    Ok((before, now))
}
