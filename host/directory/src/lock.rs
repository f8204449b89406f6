//! A lock file held by `flock(2)`: the kernel frees it when its holder ends, however it ends.

use std::{
    fs::File,
    io,
    os::fd::{AsFd, BorrowedFd},
};

use rustix::{
    fs::{FlockOperation, flock},
    io::Errno,
};

/// Held until dropped, or until the process ends. Children do not inherit it across exec; one that
/// is handed a duplicate of its descriptor holds it as well.
#[derive(Debug)]
pub struct Lock {
    file: File,
}

impl AsFd for Lock {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl Lock {
    /// Waits until nobody else holds the lock.
    pub(crate) fn wait(file: File) -> io::Result<Self> {
        loop {
            match flock(&file, FlockOperation::LockExclusive) {
                Ok(()) => return Ok(Self { file }),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Takes the lock unless somebody holds it. Somebody who only looks ([`is_held`],
    /// [`wait_until_free`]) does not count, though looking takes the lock, shared, for a moment.
    pub(crate) fn attempt(file: File) -> io::Result<Option<Self>> {
        const ATTEMPTS: u32 = 1000;
        for _ in 0..ATTEMPTS {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Some(Self { file })),
                Err(Errno::WOULDBLOCK) if is_held(&file)? => return Ok(None),
                Err(Errno::WOULDBLOCK | Errno::INTR) => std::thread::yield_now(),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(None)
    }
}

/// Waits until nobody holds the lock of this file.
pub(crate) fn wait_until_free(file: &File) -> io::Result<()> {
    loop {
        match flock(file, FlockOperation::LockShared) {
            Ok(()) => return Ok(flock(file, FlockOperation::Unlock)?),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Whether somebody holds the lock of this file.
pub(crate) fn is_held(file: &File) -> io::Result<bool> {
    match flock(file, FlockOperation::NonBlockingLockShared) {
        Ok(()) => {
            flock(file, FlockOperation::Unlock)?;
            Ok(false)
        }
        Err(Errno::WOULDBLOCK) => Ok(true),
        Err(error) => Err(error.into()),
    }
}
