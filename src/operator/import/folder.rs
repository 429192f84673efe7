//! Into a data folder on which no server runs.

use std::{fs, path::Path};

use super::{Failure, Outcome, Target, Trouble, failed, lacking};
use crate::{
    document::Document,
    id::DocumentId,
    operator::doc::{document, locked, record},
    store::{Body, Store, journal::Journal},
};

/// A data folder that this command has for itself.
pub(super) struct Folder(Journal);

impl Folder {
    /// Takes the lock of a folder, which is made when it is not there.
    pub fn open(data: &Path) -> Result<Self, Failure> {
        fs::create_dir_all(data).map_err(|error| failed("create", data, error))?;
        Ok(Self(locked(data)?))
    }
}

impl Target for Folder {
    fn put(&mut self, name: &DocumentId, source: &Document) -> Result<Outcome, Trouble> {
        let there = document(&self.0, name).map_err(|Failure(why)| why)?;
        let Some(update) = lacking(source, &there)? else {
            return Ok(Outcome::AlreadyThere);
        };
        let bytes = update.bytes().len();
        let all = |error| Trouble::All(Failure::from(error));
        let seq = self.0.load(name).map_err(all)?.last_seq() + 1;
        self.0
            .commit_all(&[record(name, seq, Body::Update(update.bytes().clone()))])
            .map_err(all)?;
        Ok(if there.clocks().is_empty() {
            Outcome::Imported(bytes)
        } else {
            Outcome::Completed(bytes)
        })
    }

    fn close(self: Box<Self>) -> Result<(), Failure> {
        Ok(self.0.close()?)
    }
}
