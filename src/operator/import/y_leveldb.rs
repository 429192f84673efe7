//! y-leveldb 0.1 and 0.2, which y-websocket's own server keeps documents with: a LevelDB database.
//!
//! A key is a list of parts, each a byte 0 and a var-string, or a byte 1 and a `u32` in big endian. `["v1", name, "update",
//! clock]` is an update; clocks follow one on another. `["v1_sv", name]` is a state vector, which every document has;
//! `["v1", name, "meta", key]` is whatever an application put there.
//!
//! LevelDB cannot be opened without writing (a log that was not closed goes into a table), and the library leaves out what
//! is damaged without a word. So it sees the disk through [`overlay::ReadOnly`]: what it writes stays in memory, and what it reads
//! is checked on the way.

mod overlay;

use std::{
    collections::BTreeSet,
    panic::{self, AssertUnwindSafe},
    path::Path,
    rc::Rc,
};

use rusty_leveldb::{DB, LdbIterator, Options, StatusCode};

use self::overlay::{NoFilter, ReadOnly};
use super::{Draft, Failure, Found, Visit};
use crate::protocol::lib0::{Malformed, Reader};

/// Large enough that the library writes no table for what is in the log.
const WRITE_BUFFER_BYTES: usize = 1 << 30;

const IN_USE: &str = "a server is running on it: stop that, or copy the folder while it is stopped";

/// Each document of the database.
pub(super) fn read(from: &Path, limit: usize, visit: &mut Visit) -> Result<(), Failure> {
    let disk = ReadOnly::new(from);
    let refused = |why: String| Failure(format!("cannot read {}: {why}", from.display()));
    // The library takes some of what can be damaged for granted.
    let read = panic::catch_unwind(AssertUnwindSafe(|| {
        let options = Options {
            env: Rc::new(Box::new(disk.clone())),
            create_if_missing: false,
            write_buffer_size: WRITE_BUFFER_BYTES,
            filter_policy: Rc::new(Box::new(NoFilter)),
            ..Options::default()
        };
        let mut database = DB::open(from, options).map_err(|error| match error.code {
            StatusCode::LockError => refused(IN_USE.to_owned()),
            _ => refused(error.err),
        })?;
        let mut entries = database.new_iter().map_err(|error| refused(error.err))?;
        let mut reading = Reading::new(limit, visit);
        while entries.advance() {
            if let Some((key, value)) = entries.current() {
                reading.entry(&key, &value)?;
            }
        }
        reading.end()
    }));
    for (file, what) in disk.damage() {
        visit(Found::Unread {
            what: format!("some of {}", from.join(file).display()),
            why: format!("{what}: any document may lack edits"),
        })?;
    }
    read.unwrap_or_else(|_| Err(refused("it is damaged, and its reader gave up".to_owned())))
}

/// What a key says.
enum Key<'a> {
    Update { name: &'a str, clock: u32 },
    StateVector { name: &'a str },
    Other,
}

impl<'a> Key<'a> {
    fn read(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let mut r = Reader::new(bytes);
        let mut texts = vec![];
        while r.remaining() > 0 {
            if r.byte()? == 0 {
                texts.push(r.var_string()?);
                continue;
            }
            let number = r.take(4)?;
            return Ok(match (&texts[..], number.try_into()) {
                (["v1", name, "update"], Ok(number)) if r.remaining() == 0 => Self::Update {
                    name,
                    clock: u32::from_be_bytes(number),
                },
                _ => Self::Other,
            });
        }
        Ok(match texts[..] {
            ["v1_sv", name] => Self::StateVector { name },
            _ => Self::Other,
        })
    }
}

/// Entries in the order of their keys: the updates of one document come together.
struct Reading<'a, 'b> {
    limit: usize,
    visit: &'a mut Visit<'b>,
    current: Option<Current>,
    seen: BTreeSet<String>,
}

struct Current {
    name: String,
    clock: u32,
    draft: Result<Draft, String>,
}

impl Current {
    fn add(&mut self, clock: u32, update: &[u8]) {
        if clock != self.clock {
            self.draft = Err(format!("its update {} is missing", self.clock));
        }
        self.clock = clock.wrapping_add(1);
        if let Ok(draft) = &mut self.draft
            && let Err(why) = draft.add(update.to_vec())
        {
            self.draft = Err(format!("update {clock}: {why}"));
        }
    }
}

impl<'a, 'b> Reading<'a, 'b> {
    fn new(limit: usize, visit: &'a mut Visit<'b>) -> Self {
        Self {
            limit,
            visit,
            current: None,
            seen: BTreeSet::new(),
        }
    }

    fn entry(&mut self, key: &[u8], value: &[u8]) -> Result<(), Failure> {
        match Key::read(key) {
            Ok(Key::Update { name, clock }) => {
                if self.current.as_ref().is_none_or(|current| current.name != name) {
                    self.end()?;
                    self.seen.insert(name.to_owned());
                    self.current = Some(Current {
                        name: name.to_owned(),
                        clock,
                        draft: Ok(Draft::new(self.limit)),
                    });
                }
                self.current
                    .as_mut()
                    .into_iter()
                    .for_each(|current| current.add(clock, value));
                Ok(())
            }
            Ok(Key::StateVector { name }) => {
                self.end()?;
                if self.seen.contains(name) {
                    return Ok(());
                }
                (self.visit)(Found::Document {
                    name: name.to_owned(),
                    draft: Err("its updates are missing".to_owned()),
                })
            }
            Ok(Key::Other) => Ok(()),
            Err(_) => (self.visit)(Found::Unread {
                what: format!("the entry {:?}", String::from_utf8_lossy(key)),
                why: "its key is none of y-leveldb".to_owned(),
            }),
        }
    }

    /// Tells of the document that was read.
    fn end(&mut self) -> Result<(), Failure> {
        let Some(Current { name, draft, .. }) = self.current.take() else {
            return Ok(());
        };
        (self.visit)(Found::Document { name, draft })
    }
}
