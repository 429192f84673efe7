//! The fuzzer of the door and the struct store: `scripts/fuzz` runs it.
//!
//! libFuzzer invents bytes and keeps those that reach code which nothing reached before; `judge` says what must be true
//! of what comes out. A panic is a finding. `make test` puts what is in `corpus` through the same judge
//! (`tests/gate/corpus.rs`), without libFuzzer.

#[path = "../judge/mod.rs"]
pub mod judge;

/// libFuzzer ends the process at any panic. One of yrs, which shows content on a thread of its own (rule V5), and one of
/// the library that reads LevelDB, which the import catches, is an answer and no finding.
pub fn let_libraries_panic() {
    let abort = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let is_of_leveldb = panic.location().is_some_and(|at| at.file().contains("leveldb-"));
        if std::thread::current().name() != Some("content") && !is_of_leveldb {
            abort(panic);
        }
    }));
}
