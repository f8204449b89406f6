//! The directory's handle and everything that is done by name inside it.

use std::{
    fs::File,
    io::{self, Read, Write},
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
        unix::{
            fs::DirBuilderExt,
            net::{UnixListener, UnixStream},
        },
    },
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, chmodat, fsync, openat, renameat, unlinkat};

use crate::{
    DirectoryError,
    lock::{self, Lock},
};

/// An open directory. Clones share the handle; the handle stays valid when the directory moves.
#[derive(Clone, Debug)]
pub struct Directory {
    handle: Arc<OwnedFd>,
    path: PathBuf,
}

impl Directory {
    /// Opens a directory that exists.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, DirectoryError> {
        let path = path.into();
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        match openat(CWD, &path, flags, Mode::empty()) {
            Ok(handle) => Ok(Self { handle: Arc::new(handle), path }),
            Err(error) => Err(DirectoryError::Open { path, source: error.into() }),
        }
    }

    /// Opens a directory, making it and its missing parents with mode 0700.
    pub fn create(path: impl Into<PathBuf>) -> Result<Self, DirectoryError> {
        let path = path.into();
        match std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&path) {
            Ok(()) => Self::open(path),
            Err(source) => Err(DirectoryError::Create { path, source }),
        }
    }

    /// The path by which it was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A short path of an entry, valid in this process only, and only while the handle is open:
    /// for calls that take a path of limited length or alphabet.
    pub fn short_path(&self, name: &str) -> Result<PathBuf, DirectoryError> {
        self.entry(name)?;
        Ok(format!("/proc/self/fd/{}/{name}", self.handle.as_raw_fd()).into())
    }

    /// Listens on a Unix socket that appears under its name with its mode set, ready for clients,
    /// in place of whatever socket or file had that name.
    pub fn bind(&self, name: &str, mode: u32) -> Result<UnixListener, DirectoryError> {
        let path = self.entry(name)?;
        let temporary = temporary_name(name);
        let bind = || {
            let listener =
                UnixListener::bind(self.short_path(&temporary).map_err(io::Error::other)?)?;
            chmodat(&*self.handle, &*temporary, Mode::from_raw_mode(mode), AtFlags::empty())?;
            renameat(&*self.handle, &*temporary, &*self.handle, name)?;
            Ok(listener)
        };
        bind().map_err(|source| {
            self.discard(&temporary);
            DirectoryError::Bind { path, source }
        })
    }

    /// Connects to a Unix socket, blocking.
    pub fn connect(&self, name: &str) -> Result<UnixStream, DirectoryError> {
        let path = self.entry(name)?;
        UnixStream::connect(self.short_path(name)?)
            .map_err(|source| DirectoryError::Connect { path, source })
    }

    /// Connects to a Unix socket from a tokio task.
    pub async fn connect_async(
        &self,
        name: &str,
    ) -> Result<tokio::net::UnixStream, DirectoryError> {
        let path = self.entry(name)?;
        tokio::net::UnixStream::connect(self.short_path(name)?)
            .await
            .map_err(|source| DirectoryError::Connect { path, source })
    }

    /// Writes a file whole or not at all, with mode 0600: after a crash at any moment there is the
    /// old file or the new one, on disk.
    pub fn write_whole(&self, name: &str, content: &[u8]) -> Result<(), DirectoryError> {
        let path = self.entry(name)?;
        let temporary = temporary_name(name);
        let write = || {
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
            let mode = Mode::RUSR | Mode::WUSR;
            let mut file = File::from(openat(&*self.handle, &*temporary, flags, mode)?);
            file.write_all(content)?;
            file.sync_all()?;
            renameat(&*self.handle, &*temporary, &*self.handle, name)?;
            fsync(&*self.handle)?;
            Ok(())
        };
        write().map_err(|source| {
            self.discard(&temporary);
            DirectoryError::Write { path, source }
        })
    }

    /// Reads a file of at most `limit` bytes; `None` where there is no such file.
    pub fn read(&self, name: &str, limit: usize) -> Result<Option<Vec<u8>>, DirectoryError> {
        let path = self.entry(name)?;
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let file = match openat(&*self.handle, name, flags, Mode::empty()) {
            Ok(file) => File::from(file),
            Err(rustix::io::Errno::NOENT) => return Ok(None),
            Err(error) => return Err(DirectoryError::Read { path, source: error.into() }),
        };
        let mut content = Vec::new();
        match file.take(limit as u64 + 1).read_to_end(&mut content) {
            Ok(length) if length > limit => Err(DirectoryError::TooLong { path, limit }),
            Ok(_) => Ok(Some(content)),
            Err(source) => Err(DirectoryError::Read { path, source }),
        }
    }

    /// Takes a lock, waiting (blocking) until nobody else holds it.
    pub fn lock(&self, name: &str) -> Result<Lock, DirectoryError> {
        let path = self.entry(name)?;
        self.lock_file(name)
            .and_then(Lock::wait)
            .map_err(|source| DirectoryError::Lock { path, source })
    }

    /// Takes a lock; `None` where somebody else holds it.
    pub fn try_lock(&self, name: &str) -> Result<Option<Lock>, DirectoryError> {
        let path = self.entry(name)?;
        self.lock_file(name)
            .and_then(Lock::attempt)
            .map_err(|source| DirectoryError::Lock { path, source })
    }

    /// Whether somebody (in this process or another) holds a lock; never makes the lock file.
    pub fn is_locked(&self, name: &str) -> Result<bool, DirectoryError> {
        self.look_at_lock(name, lock::is_held).map(Option::unwrap_or_default)
    }

    /// Waits (blocking) until nobody holds a lock; never makes the lock file, which another may be
    /// removing with all the directory.
    pub fn wait_until_unlocked(&self, name: &str) -> Result<(), DirectoryError> {
        self.look_at_lock(name, lock::wait_until_free).map(Option::unwrap_or_default)
    }

    /// `None` where there is no such file.
    fn look_at_lock<T>(
        &self,
        name: &str,
        look: impl FnOnce(&File) -> io::Result<T>,
    ) -> Result<Option<T>, DirectoryError> {
        let path = self.entry(name)?;
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let looked = match openat(&*self.handle, name, flags, Mode::empty()) {
            Ok(file) => look(&file.into()).map(Some),
            Err(rustix::io::Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        };
        looked.map_err(|source| DirectoryError::Lock { path, source })
    }

    /// Removes a file or socket; that there is none is fine.
    pub fn remove(&self, name: &str) -> Result<(), DirectoryError> {
        let path = self.entry(name)?;
        match unlinkat(&*self.handle, name, AtFlags::empty()) {
            Ok(()) | Err(rustix::io::Errno::NOENT) => Ok(()),
            Err(error) => Err(DirectoryError::Remove { path, source: error.into() }),
        }
    }

    fn entry(&self, name: &str) -> Result<PathBuf, DirectoryError> {
        if name.is_empty() || name == "." || name == ".." || name.contains(['/', '\0']) {
            return Err(DirectoryError::Name { path: self.path.clone(), name: name.to_owned() });
        }
        Ok(self.path.join(name))
    }

    fn lock_file(&self, name: &str) -> io::Result<File> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        Ok(openat(&*self.handle, name, flags, Mode::RUSR | Mode::WUSR)?.into())
    }

    /// Removes what a failed operation left; that this may fail as well changes nothing.
    fn discard(&self, temporary: &str) {
        let _ = unlinkat(&*self.handle, temporary, AtFlags::empty());
    }
}

impl AsFd for Directory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.handle.as_fd()
    }
}

/// A name that no other writer uses at the same time.
pub(crate) fn temporary_name(name: &str) -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    format!(".{name}.{}-{number}", std::process::id())
}
