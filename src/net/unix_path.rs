//! Unix socket files.
//!
//! Owns the file of a Unix socket: its making, the judgement whether it is stale, its removal. Must
//! never remove a file that is not a socket, nor a socket that a program still uses.
//!
//! A server that is killed leaves its file behind, and bind refuses a path that exists. So a server
//! that finds a file probes it, and replaces it if no program uses it. Between the probe and the
//! replacement, and between bind and listen, a second server could take the first one's socket for
//! stale: the first would say "listening on" and be unreachable. Therefore a server holds a
//! [`Lock`] on the *directory* from before the probe until it listens. A lock on a directory leaves
//! no file behind.
//!
//! Tests: `tests/unix_paths.rs`.

use std::ffi::OsStr;
use std::fs::{self, File, Metadata};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use log::{debug, info, warn};
use socket2::{Domain, SockAddr, Socket, Type};

use crate::values::endpoint::Address;
use crate::values::escape::Escaped;

/// How often a server tries to lock the directory, and how long it waits in between: two seconds in
/// all. Another server holds the lock for less than a millisecond.
const LOCK_TRIES: u32 = 400;
const LOCK_PAUSE: Duration = Duration::from_millis(5);

/// Binds a Unix socket, and replaces a stale file. The caller holds a [`Lock`] until it listens.
pub(super) fn bind(
    address: &Address,
    path: &Path,
    kind: Type,
) -> io::Result<(Socket, Option<SocketPath>)> {
    let name = name(path)?;
    let socket = Socket::new(Domain::UNIX, kind, None)?;
    socket.set_nonblocking(true)?;
    match (socket.bind(&name), address.file()) {
        (Err(error), Some(file)) if error.kind() == io::ErrorKind::AddrInUse => {
            remove_stale(file, &name, kind)?;
            socket.bind(&name)?;
        }
        (result, _) => result?,
    }
    let file = address.file().map(SocketPath::of).transpose()?;
    Ok((socket, file))
}

/// The socket address of a path; a leading `@` stands for the zero byte of an abstract name.
pub(super) fn name(path: &Path) -> io::Result<SockAddr> {
    match path.as_os_str().as_bytes() {
        [b'@', name @ ..] => SockAddr::unix(OsStr::from_bytes(&[&[0], name].concat())),
        _ => SockAddr::unix(path),
    }
}

/// The right to replace a socket file; ends when it is dropped.
#[derive(Debug)]
pub(super) struct Lock(#[expect(dead_code, reason = "held for its drop")] Option<File>);

impl Lock {
    /// Locks the directory of a Unix path. An abstract name needs no lock, because it has no file.
    ///
    /// The lock is advice among servers like this one. If the directory cannot be locked, the
    /// server starts without: no program can keep another from starting by a lock that it holds.
    pub(super) fn of(address: &Address) -> Lock {
        let Some(file) = address.file() else {
            return Lock(None);
        };
        let directory = match file.parent() {
            Some(parent) if parent != Path::new("") => parent,
            _ => Path::new("."),
        };
        let locked = File::open(directory).and_then(|opened| lock(&opened).map(|()| opened));
        match &locked {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => warn!(
                "{}: another program keeps a lock on this directory; going on without",
                shown(directory)
            ),
            Err(error) => debug!("{}: cannot lock: {error}", shown(directory)),
            Ok(_) => {}
        }
        Lock(locked.ok())
    }
}

/// Waits for the lock, but not for ever: a program that holds it must not keep us from starting.
fn lock(directory: &File) -> io::Result<()> {
    for _ in 0..LOCK_TRIES {
        match super::sys::try_lock(directory.as_fd()) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                std::thread::sleep(LOCK_PAUSE)
            }
            result => return result,
        }
    }
    Err(io::ErrorKind::WouldBlock.into())
}

/// Removes a socket file that no program uses any more.
fn remove_stale(path: &Path, name: &SockAddr, kind: Type) -> io::Result<()> {
    // It does not follow links: the target of a link is not ours to judge.
    let metadata = fs::symlink_metadata(path)?;
    if !metadata.file_type().is_socket() {
        return Err(io::Error::new(
            io::ErrorKind::AlreadyExists,
            "something that is not a socket is there",
        ));
    }
    let probe = Socket::new(Domain::UNIX, kind, None)?;
    // A live server with a full backlog would hold a blocking probe for ever.
    probe.set_nonblocking(true)?;
    match probe.connect(name) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
        _ => return Err(io::ErrorKind::AddrInUse.into()),
    }
    // A client's socket has a name too, and refuses like a dead one, because it does not listen.
    if is_bound(&metadata) {
        return Err(io::Error::new(
            io::ErrorKind::AlreadyExists,
            "a program is bound to that socket file, but does not listen",
        ));
    }
    info!(
        "{}: nobody answers on this socket file; replaced",
        shown(path)
    );
    fs::remove_file(path)
}

/// Whether a living socket is bound to this file.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn is_bound(file: &Metadata) -> bool {
    super::unix_diag::is_bound(file).unwrap_or_else(|error| {
        debug!("cannot ask the kernel for its Unix sockets: {error}");
        false
    })
}

/// Other systems do not tell.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn is_bound(_file: &Metadata) -> bool {
    false
}

/// A socket file that we made. It is removed with this value, unless another file has taken its
/// place.
#[derive(Debug)]
pub(super) struct SocketPath {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl SocketPath {
    fn of(path: &Path) -> io::Result<SocketPath> {
        let metadata = fs::symlink_metadata(path)?;
        Ok(SocketPath {
            path: path.to_owned(),
            device: metadata.dev(),
            inode: metadata.ino(),
        })
    }

    fn is_ours(&self) -> bool {
        fs::symlink_metadata(&self.path)
            .is_ok_and(|metadata| (metadata.dev(), metadata.ino()) == (self.device, self.inode))
    }
}

impl Drop for SocketPath {
    fn drop(&mut self) {
        if self.is_ours() {
            if let Err(error) = fs::remove_file(&self.path) {
                warn!("{}: cannot remove: {error}", shown(&self.path));
            }
        }
    }
}

fn shown(path: &Path) -> Escaped<'_> {
    Escaped(path.as_os_str().as_bytes())
}
