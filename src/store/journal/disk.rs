//! All that the journal asks of a disk, so that a test can stand between the two and fail a call, tear
//! a write or forget what was not synced.
//!
//! * Nothing is durable before [`DiskFile::sync_data`] (bytes and length of a file) or
//!   [`Disk::sync_folder`] (names in a folder) returned `Ok` after it.
//! * After an error of either the journal takes nothing written since the last `Ok` for durable, whatever
//!   a later call returns.
//! * Positions are told with every call; files have no cursor, so reads run beside writes.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Arc,
};

/// A file system, as far as the journal needs one.
pub trait Disk: Send + Sync + 'static {
    /// Makes a folder and those above it; fine when it is there.
    ///
    /// # Errors
    /// What the system said; the same for all calls below.
    fn create_folder(&self, path: &Path) -> io::Result<()>;

    /// Makes a file that must not be there yet, for reading and writing.
    ///
    /// # Errors
    /// See [`Disk::create_folder`].
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;

    /// Opens a file for reading, and for writing if the disk lets us: one that turned read-only is read.
    ///
    /// # Errors
    /// See [`Disk::create_folder`].
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;

    /// Gives a file another name, replacing the file that had it.
    ///
    /// # Errors
    /// See [`Disk::create_folder`].
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file's name.
    ///
    /// # Errors
    /// See [`Disk::create_folder`].
    fn unlink(&self, path: &Path) -> io::Result<()>;

    /// The files in a folder: name and length in bytes.
    ///
    /// # Errors
    /// See [`Disk::create_folder`].
    fn list(&self, folder: &Path) -> io::Result<Vec<(String, u64)>>;

    /// Makes the names in a folder durable.
    ///
    /// # Errors
    /// See [`Disk::create_folder`].
    fn sync_folder(&self, folder: &Path) -> io::Result<()>;

    /// Takes the lock of `path` for as long as the answer lives; `None` when another process has it.
    ///
    /// # Errors
    /// See [`Disk::create_folder`].
    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn DiskLock>>>;
}

/// An open file.
pub trait DiskFile: Send + Sync {
    /// Writes all of `bytes` at `at`.
    ///
    /// # Errors
    /// Any part of it may have been written.
    fn write_all_at(&self, bytes: &[u8], at: u64) -> io::Result<()>;

    /// Reads up to `buffer.len()` bytes at `at`; fewer only at the end of the file.
    ///
    /// # Errors
    /// What the system said.
    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize>;

    /// Makes bytes and length durable (`fdatasync`).
    ///
    /// # Errors
    /// Nothing written since the last `Ok` may be taken for durable, also when a later call returns `Ok`.
    fn sync_data(&self) -> io::Result<()>;

    /// Cuts the file to `bytes`.
    ///
    /// # Errors
    /// What the system said.
    fn truncate(&self, bytes: u64) -> io::Result<()>;

    /// Length in bytes.
    ///
    /// # Errors
    /// What the system said.
    fn bytes(&self) -> io::Result<u64>;
}

/// A lock that is held until this is dropped.
pub trait DiskLock: Send + Sync {}

/// The disk of this machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct FileDisk;

impl Disk for FileDisk {
    fn create_folder(&self, path: &Path) -> io::Result<()> {
        let missing: Vec<PathBuf> = path
            .ancestors()
            .take_while(|folder| !folder.exists())
            .map(Path::to_path_buf)
            .collect();
        fs::create_dir_all(path)?;
        // A folder's own name is durable only after the folder above it was synced.
        for folder in missing {
            match folder.parent() {
                Some(above) if above.as_os_str().is_empty() => self.sync_folder(Path::new("."))?,
                Some(above) => self.sync_folder(above)?,
                None => {}
            }
        }
        Ok(())
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(
            OpenOptions::new().read(true).write(true).create_new(true).open(path)?,
        ))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let file = OpenOptions::new().read(true).write(true).open(path);
        Ok(Arc::new(file.or_else(|_| File::open(path))?))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn unlink(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<(String, u64)>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let about = entry.metadata()?;
            if let (true, Ok(name)) = (about.is_file(), entry.file_name().into_string()) {
                files.push((name, about.len()));
            }
        }
        Ok(files)
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        File::open(folder)?.sync_all()
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn DiskLock>>> {
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Box::new(file))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

impl DiskLock for File {}

impl DiskFile for File {
    fn write_all_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        FileExt::write_all_at(self, bytes, at)
    }

    fn read_at(&self, mut buffer: &mut [u8], mut at: u64) -> io::Result<usize> {
        let wanted = buffer.len();
        while !buffer.is_empty() {
            match FileExt::read_at(self, buffer, at) {
                Ok(0) => break,
                Ok(read) => {
                    at += read as u64;
                    buffer = &mut buffer[read..];
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(wanted - buffer.len())
    }

    fn sync_data(&self) -> io::Result<()> {
        File::sync_data(self)
    }

    fn truncate(&self, bytes: u64) -> io::Result<()> {
        self.set_len(bytes)
    }

    fn bytes(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }
}
