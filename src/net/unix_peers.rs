//! The peers that a Unix datagram server answers by a path.
//!
//! Owns the way from the name of a peer to the one socket that a reply may reach. The kernel
//! resolves a path with the rights of the server. A peer that replaces its socket by a link, or a
//! directory of the path by one, would have the server speak to a socket that the peer itself may
//! not reach. So before a reply leaves:
//!
//! 1. `lstat` the name: it must be a socket. If it is known, by its device and inode, steps 2 and 3
//!    are done.
//! 2. Open it without following a link (`O_PATH`). From here on the descriptor names one file, and
//!    so one socket, whatever happens to the path.
//! 3. Connect a probe to it and ask for the name of its peer. A socket keeps the name that it was
//!    bound to, so the name must be the one that the datagram came from.
//! 4. Send through the descriptor (`/proc/self/fd`), not through the path.
//!
//! A peer that is connected to another socket refuses the probe (`EPERM`). The kernel then lets
//! only that socket send to it, so a reply of ours arrives only if the peer is connected to us.
//! Step 3 is then made for each reply, because such a peer may disconnect.
//!
//! A known peer costs one more system call for each reply, a connected one two, a new one five.
//!
//! What remains: a relative name means one socket to the peer and may mean another to us, and a
//! peer with a file system of its own (a mount namespace) can take any name. Without `/proc` only
//! step 1 is made, and a path may change between it and the reply.
//!
//! Tests: `tests/guards.rs`, `tests/unix_datagrams.rs`.

use std::ffi::OsStr;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use socket2::{Domain, SockAddr, Socket, Type};

/// Peers that one server knows at once; each takes a descriptor.
pub const KNOWN_UNIX_PEERS: usize = 32;

/// The peers of one server socket.
#[derive(Debug)]
pub struct UnixPeers {
    /// A socket that is connected to each new peer in turn, to learn its name. `None`: there is no
    /// `/proc` to send through, or the system has no `O_PATH`.
    probe: Option<Socket>,
    known: Vec<Known>,
    /// Which one gives way to the next new one.
    next: usize,
}

/// A peer whose file is open.
#[derive(Debug)]
struct Known {
    name: Box<[u8]>,
    /// While it is open, no other file gets the inode number.
    file: File,
    device: u64,
    inode: u64,
    found: Found,
}

/// What a probe found out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    /// The socket bears the name, and will always.
    Named,
    /// It is connected, so it hears one socket alone.
    Connected,
}

impl UnixPeers {
    /// Knows no peer yet.
    ///
    /// # Errors
    ///
    /// There is no descriptor for the probe.
    pub(super) fn new() -> io::Result<UnixPeers> {
        let can_pin = cfg!(any(target_os = "linux", target_os = "android"))
            && Path::new("/proc/self/fd").is_dir();
        let probe = can_pin
            .then(|| Socket::new(Domain::UNIX, Type::DGRAM.nonblocking(), None))
            .transpose()?;
        Ok(UnixPeers {
            probe,
            known: Vec::new(),
            next: 0,
        })
    }

    /// Has `send` send to the peer of this path.
    ///
    /// # Errors
    ///
    /// The path leads to no socket or to one of another name, and `send` was not called; or what
    /// `send` says.
    pub(super) fn reach<T>(
        &mut self,
        name: &[u8],
        send: impl FnOnce(&SockAddr) -> io::Result<T>,
    ) -> io::Result<T> {
        let path = Path::new(OsStr::from_bytes(name));
        let file = match fs::symlink_metadata(path) {
            Ok(file) => socket_at(file)?,
            Err(error) => {
                self.known.retain(|known| *known.name != *name);
                return Err(error);
            }
        };
        let Some(probe) = &self.probe else {
            return send(&SockAddr::unix(path)?);
        };
        let known = self.known.iter_mut().find(|known| *known.name == *name);
        if let Some(known) = known.filter(|known| known.is(&file)) {
            let address = address_of(&known.file)?;
            if known.found == Found::Connected {
                known.found = look(probe, &address, name)?;
            }
            return send(&address);
        }
        let file = pin(path)?;
        let metadata = socket_at(file.metadata()?)?;
        let address = address_of(&file)?;
        let found = look(probe, &address, name)?;
        self.remember(Known {
            name: name.into(),
            file,
            device: metadata.dev(),
            inode: metadata.ino(),
            found,
        });
        send(&address)
    }

    /// Keeps a peer, in the place of the same name or of the one that has been kept the longest.
    fn remember(&mut self, peer: Known) {
        let same = self.known.iter().position(|known| known.name == peer.name);
        match same {
            Some(index) => self.known[index] = peer,
            None if self.known.len() < KNOWN_UNIX_PEERS => self.known.push(peer),
            None => {
                self.known[self.next] = peer;
                self.next = (self.next + 1) % KNOWN_UNIX_PEERS;
            }
        }
    }
}

impl Known {
    fn is(&self, file: &Metadata) -> bool {
        (self.device, self.inode) == (file.dev(), file.ino())
    }
}

fn socket_at(file: Metadata) -> io::Result<Metadata> {
    if file.file_type().is_socket() {
        Ok(file)
    } else {
        Err(refused("its name leads to something that is not a socket"))
    }
}

fn refused(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, why)
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn pin(path: &Path) -> io::Result<File> {
    let flags = libc::O_PATH | libc::O_NOFOLLOW;
    OpenOptions::new().read(true).custom_flags(flags).open(path)
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn pin(path: &Path) -> io::Result<File> {
    let flags = libc::O_NOFOLLOW;
    OpenOptions::new().read(true).custom_flags(flags).open(path)
}

/// The address of the socket whose file this is, however its path may change.
fn address_of(file: &File) -> io::Result<SockAddr> {
    SockAddr::unix(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

/// Looks whether the socket at `address` was bound to `name`.
fn look(probe: &Socket, address: &SockAddr, name: &[u8]) -> io::Result<Found> {
    match probe.connect(address) {
        Ok(()) => {}
        Err(error) if error.raw_os_error() == Some(libc::EPERM) => return Ok(Found::Connected),
        Err(error) => return Err(error),
    }
    let bound = probe.peer_addr()?;
    let bound = bound.as_pathname().map(|path| path.as_os_str().as_bytes());
    if bound == Some(name) {
        Ok(Found::Named)
    } else {
        Err(refused("its name leads to the socket of another name"))
    }
}
