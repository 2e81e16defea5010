//! Which Unix sockets live on this machine, as Linux tells over netlink (sock_diag(7)).
//!
//! Owns the layout of one request and its answers. It only reads.
//!
//! `/proc/net/unix` shows the name that a program bound, and a relative name says nothing here. The
//! diagnostics tell the inode and the device of the file instead, which name it exactly. Where the
//! kernel has another device number for a file system than `stat` shows (btrfs), no socket is
//! found.

use std::fs::Metadata;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};

const NETLINK_SOCK_DIAG: i32 = 4;
/// Both the type of the request and that of each answer.
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const UDIAG_SHOW_VFS: u32 = 2;
const UNIX_DIAG_VFS: u16 = 1;

/// Sizes of `nlmsghdr`, `unix_diag_req`, `unix_diag_msg` and `nlattr`.
const HEADER: usize = 16;
const REQUEST: usize = 24;
const ANSWER: usize = 16;
const ATTRIBUTE: usize = 4;

/// Whether a socket of this network namespace is bound to this file.
///
/// # Errors
///
/// The kernel does not tell.
pub(super) fn is_bound(file: &Metadata) -> io::Result<bool> {
    let (inode, device) = (file.ino() as u32, kernel_device(file.dev()));
    let mut socket = Socket::new(
        Domain::from(libc::AF_NETLINK),
        Type::DGRAM,
        Some(Protocol::from(NETLINK_SOCK_DIAG)),
    )?;
    // The kernel answers at once; nothing else may hold up the start.
    socket.set_read_timeout(Some(Duration::from_secs(1)))?;
    socket.send(&request())?;
    let mut buffer = vec![0; 32 * 1024];
    loop {
        let size = socket.read(&mut buffer)?;
        let mut rest = &buffer[..size];
        while let Some((kind, body, next)) = message(rest) {
            rest = next;
            match i32::from(kind) {
                libc::NLMSG_DONE => return Ok(false),
                libc::NLMSG_ERROR => return Err(io::ErrorKind::Unsupported.into()),
                _ if files(body).any(|file| file == (inode, device)) => return Ok(true),
                _ => {}
            }
        }
        if size == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

/// Asks for the files of all Unix sockets in all states.
fn request() -> [u8; HEADER + REQUEST] {
    let mut bytes = [0; HEADER + REQUEST];
    let flags = (libc::NLM_F_REQUEST | libc::NLM_F_DUMP) as u16;
    bytes[..4].copy_from_slice(&((HEADER + REQUEST) as u32).to_ne_bytes());
    bytes[4..6].copy_from_slice(&SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    bytes[6..8].copy_from_slice(&flags.to_ne_bytes());
    bytes[HEADER] = libc::AF_UNIX as u8;
    bytes[HEADER + 4..HEADER + 8].copy_from_slice(&u32::MAX.to_ne_bytes());
    bytes[HEADER + 12..HEADER + 16].copy_from_slice(&UDIAG_SHOW_VFS.to_ne_bytes());
    bytes
}

/// The type and the body of the first message, and what follows it.
fn message(bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let size = u32_at(bytes, 0)? as usize;
    let body = bytes.get(HEADER..size)?;
    Some((u16_at(bytes, 4)?, body, after(bytes, size)))
}

/// The inode and the device of the file of each socket in an answer: one or none.
fn files(body: &[u8]) -> impl Iterator<Item = (u32, u32)> {
    let mut rest = body.get(ANSWER..).unwrap_or_default();
    std::iter::from_fn(move || {
        let size = usize::from(u16_at(rest, 0)?);
        let (kind, value) = (u16_at(rest, 2)?, rest.get(ATTRIBUTE..size)?);
        rest = after(rest, size);
        Some((kind, value))
    })
    .filter(|(kind, _)| *kind == UNIX_DIAG_VFS)
    .filter_map(|(_, value)| Some((u32_at(value, 0)?, u32_at(value, 4)?)))
}

/// What stands behind `size` bytes, which are padded to four.
fn after(bytes: &[u8], size: usize) -> &[u8] {
    bytes.get(size.next_multiple_of(4)..).unwrap_or_default()
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at + 4)?;
    bytes.try_into().ok().map(u32::from_ne_bytes)
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    let bytes = bytes.get(at..at + 2)?;
    bytes.try_into().ok().map(u16::from_ne_bytes)
}

/// A device number of `stat` as the kernel keeps it: 12 bits of major, 20 of minor.
fn kernel_device(device: u64) -> u32 {
    (libc::major(device) << 20) | (libc::minor(device) & 0xf_ffff)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn a_bound_file_is_found_and_a_left_one_is_not() {
        let path = std::env::temp_dir().join(format!("mynah-diag-{}", std::process::id()));
        let listener = UnixListener::bind(&path).unwrap();
        let file = path.symlink_metadata().unwrap();
        assert!(is_bound(&file).unwrap());
        drop(listener);
        assert!(!is_bound(&file).unwrap());
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn what_is_cut_off_ends_the_reading() {
        assert!(message(&[]).is_none());
        assert!(message(&request()[..20]).is_none());
        assert!(message(&[0; 64]).is_none(), "shorter than its own header");
        assert_eq!(files(&[0; ANSWER]).count(), 0);
        assert_eq!(files(&[0; 64]).count(), 0);
    }
}
