//! Standbys that are waited for, and a database that is killed: these change the whole server, and run one after the other.

use super::{super::link::LEFT_MAX, *};

/// The server waits for a standby of this name, until this is dropped.
struct Waits(DatabaseUrl);

impl Waits {
    fn for_standby(name: &str) -> Self {
        let direct = DatabaseUrl::parse(&std::env::var("TEST_POSTGRES_DIRECT").unwrap()).unwrap();
        let this = Self(direct.clone());
        let waits = format!("alter system set synchronous_standby_names = '{name}'");
        sql(&direct, &waits).unwrap();
        sql(&direct, "select pg_reload_conf()").unwrap();
        until("it is so", || {
            number(
                &direct,
                "select length(current_setting('synchronous_standby_names'))::bigint",
            ) == name.len() as i64
        });
        this
    }

    fn waiting(&self) -> i64 {
        number(
            &self.0,
            "select count(*) from pg_stat_activity where wait_event = 'SyncRep'",
        )
    }

    /// Processes that are busy with what somebody asked.
    fn busy(&self) -> i64 {
        let busy = "select count(*) from pg_stat_activity
                    where state = 'active' and backend_type = 'client backend' and pid <> pg_backend_pid()";
        number(&self.0, busy)
    }

    /// Ends those that wait, as an operator might; what they wrote is there then.
    fn end_waits(&self, how: &str) {
        let ends = format!("select {how}(pid) from pg_stat_activity where wait_event = 'SyncRep'");
        sql(&self.0, &ends).unwrap();
    }
}

impl Drop for Waits {
    fn drop(&mut self) {
        let _ = sql(&self.0, "alter system reset synchronous_standby_names");
        let _ = sql(&self.0, "select pg_reload_conf()");
    }
}

fn until(what: &str, is_so: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !is_so() {
        assert!(Instant::now() < end, "never: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// Repeats a commit while its waits are ended; how often it was acknowledged.
fn acknowledged(store: &PostgresStore, waits: &Waits, batch: &[Record]) -> usize {
    let mut taken = 0;
    for how in [
        "pg_terminate_backend",
        "pg_cancel_backend",
        "pg_terminate_backend",
        "pg_cancel_backend",
    ] {
        thread::scope(|scope| {
            let tries = scope.spawn(|| store.commit(batch).is_ok_and(|refusals| refusals.is_empty()));
            until("it waits, or has given up", || {
                waits.waiting() > 0 || tries.is_finished()
            });
            waits.end_waits(how);
            taken += usize::from(tries.join().unwrap());
        });
    }
    taken
}

#[test]
#[ignore = "needs a database, and makes it wait"]
fn alone_r25_what_is_found_counts_only_when_a_standby_has_something_behind_it() {
    let folder = tempfile::tempdir().unwrap();
    let limit = Duration::from_secs(2);
    let store = PostgresStore::open(&made(folder.path()), Options { limit, ..options() }).unwrap();
    let holder = holder();
    store.take(&id("a"), holder).unwrap();
    store.commit_all(&[of(holder, update("a", 1, "one"))]).unwrap();
    let waits = Waits::for_standby("nobody");
    let mut batch = vec![of(holder, update("a", 2, "two"))];

    assert_eq!(acknowledged(&store, &waits, &batch), 0);
    let there = number(&made_already(folder.path()), "select max(seq) from cowrite_record");
    assert_eq!(there, 2, "it is there, and the standby may not have it");
    batch.push(of(holder, snapshot("a", 2, "both")));
    assert_eq!(acknowledged(&store, &waits, &batch), 0);

    drop(waits);
    until_taken(&store, &batch);
    assert_eq!(store.load(&id("a")).unwrap(), stored(Some((2, "both")), &[]));
}

fn made_already(folder: &Path) -> DatabaseUrl {
    url_of(&server(), folder)
}

#[test]
#[ignore = "needs a database, and makes it wait"]
fn alone_r26_connections_that_were_given_up_do_not_pile_up() {
    let folder = tempfile::tempdir().unwrap();
    let limit = Duration::from_millis(400);
    let store = PostgresStore::open(&made(folder.path()), Options { limit, ..options() }).unwrap();
    let holders = [holder(), holder()];
    store.take(&id("a"), holders[0]).unwrap();
    let waits = Waits::for_standby("nobody");
    let batch = [of(holders[0], update("a", 1, "one"))];

    let mut most = 0;
    for _ in 0..3 * LEFT_MAX {
        thread::scope(|scope| {
            let [one, two] = [0, 1].map(|number| {
                let (store, batch) = (&store, &batch);
                scope.spawn(move || match number {
                    0 => store.commit(batch).is_ok(),
                    _ => store.take(&id(&uuid::Uuid::new_v4().to_string()), holders[1]).is_ok(),
                })
            });
            assert!(!one.join().unwrap() && !two.join().unwrap(), "nothing is acknowledged");
        });
        most = most.max(waits.busy());
    }

    assert!(most > 4, "{most} are busy");
    // Some that are to end may not have ended yet.
    let may = LEFT_MAX + 2 * (LANES + OTHERS);
    assert!(most <= may as i64, "{most} are busy, {may} may be");
    drop(waits);
    until_taken(&store, &batch);
    assert_eq!(store.load(&id("a")).unwrap(), stored(None, &[(1, "one")]));
}

#[test]
#[ignore = "needs a database"]
fn alone_r31_a_node_that_vanishes_in_a_transaction_does_not_keep_the_document() {
    let folder = tempfile::tempdir().unwrap();
    let url = made(folder.path());
    let wire = Wire::to(&server());
    let limit = Duration::from_secs(2);
    let one = PostgresStore::open(&wire.url(folder.path()), Options { limit, ..options() }).unwrap();
    let two = PostgresStore::open(&url, options()).unwrap();
    let holder = holder();
    one.take(&id("a"), holder).unwrap();
    one.commit_all(&[of(holder, update("a", 1, "one"))]).unwrap();
    // What heals a document takes several statements.
    sql(&url, "update cowrite_record set crc = crc + 1").unwrap();
    assert!(matches!(one.take(&id("a"), holder), Err(StoreError::Damaged { .. })));
    wire.fault(Fault::Slow, true);
    let heals = thread::spawn(move || drop(one.commit(&[of(holder, snapshot("a", 1, "one"))])));
    let schema = schema_of(folder.path());
    let holds = format!(
        "select count(*) from pg_locks l join pg_class c on c.oid = l.relation
         join pg_stat_activity a on a.pid = l.pid
         where c.relnamespace = '{schema}'::regnamespace and c.relname = 'cowrite_document'
           and l.mode = 'RowExclusiveLock' and a.state = 'idle in transaction'"
    );
    until("it holds the document", || number(&url, &holds) > 0);
    wire.fault(Fault::Gone, true);

    // It is dead after five seconds, and what it holds is free a little later.
    let end = Instant::now() + Duration::from_secs(30);
    let taken = loop {
        match two.take(&id("a"), self::holder()) {
            Err(StoreError::Elsewhere { .. } | StoreError::Io { .. }) if Instant::now() < end => {
                thread::sleep(Duration::from_millis(50));
            }
            taken => break taken,
        }
    };

    assert!(matches!(taken, Err(StoreError::Damaged { .. })), "{taken:?}");
    // Its thread waits for the link as long as this process lives.
    drop(heals);
}

#[test]
#[ignore = "needs a database and its standby, and kills both"]
fn failover_r25_what_was_acknowledged_is_there_after_a_failover() {
    let folder = tempfile::tempdir().unwrap();
    let [primary, standby] = ["TEST_POSTGRES", "TEST_POSTGRES_STANDBY"].map(|name| std::env::var(name).unwrap());
    made(folder.path());
    let port = |url: &str| url.rsplit_once('/').unwrap().0.rsplit_once(':').unwrap().1.to_owned();
    let hosts = format!("127.0.0.1:{},127.0.0.1:{}", port(&primary), port(&standby));
    let both = url_of(&format!("postgres://cowrite@{hosts}/postgres"), folder.path());
    let limit = Duration::from_secs(2);
    let store = PostgresStore::open(&both, Options { limit, ..options() }).unwrap();
    let holder = holder();
    store.take(&id("a"), holder).unwrap();
    let waits = Waits::for_standby("*");
    store.commit_all(&[of(holder, update("a", 1, "one"))]).unwrap();
    let run = |name: &str| {
        let script = std::env::var("TEST_POSTGRES_RESTART").unwrap().replace("restart", name);
        assert!(Command::new(script).status().unwrap().success());
    };
    run("stop-standby");
    let batch = [of(holder, update("a", 2, "two"))];

    let taken = acknowledged(&store, &waits, &batch);
    run("fail-over");

    let found = PostgresStore::open(&url_of(&standby, folder.path()), options()).unwrap();
    let found = found.load(&id("a")).unwrap().last_seq();
    assert!(taken == 0 || found == 2, "acknowledged {taken} times, and lost");
    until_taken(&store, &batch);
    assert_eq!(store.load(&id("a")).unwrap(), stored(None, &[(1, "one"), (2, "two")]));
    std::mem::forget(waits);
}
