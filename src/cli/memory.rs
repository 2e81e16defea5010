//! How much memory this process may use.
//!
//! Owns the question, asked of the kernel in each way that it answers: the memory that is free, the
//! limit of the control group, the limits of the process. The smallest answer counts. It must never
//! fail: a machine that gives no answer gets the default.
//!
//! Tests: below.

use std::fs;
use std::path::{Path, PathBuf};

use mynah::Limits;
use mynah::stream::outbox;

/// Pending output gets one part in so many of the memory that is available. The kernel's socket
/// buffers need about as much again for the same slow peers, and the rest of the machine the other
/// half.
const SHARE: u64 = 4;

/// The least for pending output: a few connections must each be able to fill an outbox.
const LEAST: usize = 16 * outbox::LIMIT;

/// The bytes that this process may still use, as far as anything limits them.
pub(super) fn available() -> Option<u64> {
    let free = fs::read_to_string("/proc/meminfo")
        .ok()
        .and_then(|text| available_in(&text));
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let group = limit_files(&groups)
        .iter()
        .filter_map(|file| limit_in(&fs::read_to_string(file).ok()?))
        .min();
    let of_process = [rlimit::Resource::AS, rlimit::Resource::DATA]
        .into_iter()
        .filter_map(|resource| rlimit::getrlimit(resource).ok())
        .map(|(soft, _)| soft)
        .filter(|soft| *soft != rlimit::INFINITY)
        .min();
    [free, group, of_process].into_iter().flatten().min()
}

/// The default of `--max-pending-output`.
pub(super) fn share_for_output(available: Option<u64>) -> usize {
    match available {
        None => Limits::default().max_pending_output,
        Some(bytes) => usize::try_from(bytes / SHARE)
            .unwrap_or(usize::MAX)
            .max(LEAST),
    }
}

/// What `/proc/meminfo` says could be allocated without swapping.
fn available_in(meminfo: &str) -> Option<u64> {
    let line = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kibibytes: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    kibibytes.checked_mul(1024)
}

/// The files with the limits of our control groups: those of version 2 and of version 1, each from
/// the group itself to the root, because the limit of a parent holds too. In a container the path
/// may be the host's; the files at the root are then our own.
fn limit_files(groups: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for line in groups.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else {
            continue;
        };
        let (root, name) = match controllers {
            "" => ("/sys/fs/cgroup", "memory.max"),
            _ if controllers.split(',').any(|name| name == "memory") => {
                ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
            }
            _ => continue,
        };
        let group = Path::new(path.trim_start_matches('/'));
        files.extend(
            group
                .ancestors()
                .map(|group| Path::new(root).join(group).join(name)),
        );
    }
    files
}

/// A limit as control groups write it: bytes, or `max` for none. Version 1 writes a number close to
/// the end of the range for none.
fn limit_in(text: &str) -> Option<u64> {
    const NONE: u64 = 1 << 60;
    text.trim().parse().ok().filter(|limit| *limit < NONE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_that_is_available_is_read_from_meminfo() {
        let text =
            "MemTotal:  8000000 kB\nMemFree:  100 kB\nMemAvailable:    2048 kB\nBuffers: 1 kB\n";
        assert_eq!(available_in(text), Some(2 << 20));
        assert_eq!(available_in("MemTotal: 8000000 kB\n"), None);
        assert_eq!(
            available_in("MemAvailable: 99999999999999999999 kB\n"),
            None
        );
        assert_eq!(
            available_in("MemAvailable: 18446744073709551615 kB\n"),
            None
        );
    }

    #[test]
    fn the_groups_that_limit_memory_are_all_looked_at() {
        let files = limit_files("0::/a/b\n");
        let expected = [
            "/sys/fs/cgroup/a/b/memory.max",
            "/sys/fs/cgroup/a/memory.max",
            "/sys/fs/cgroup/memory.max",
        ];
        assert_eq!(files, expected.map(PathBuf::from));
        let files = limit_files("7:cpu,memory:/x\n6:memoryish:/y\n1:name=systemd:/z:1\nbroken\n");
        let expected = [
            "/sys/fs/cgroup/memory/x/memory.limit_in_bytes",
            "/sys/fs/cgroup/memory/memory.limit_in_bytes",
        ];
        assert_eq!(files, expected.map(PathBuf::from));
    }

    #[test]
    fn a_limit_is_a_number_of_bytes_or_none() {
        assert_eq!(limit_in("268435456\n"), Some(256 << 20));
        for none in ["max\n", "9223372036854771712\n", ""] {
            assert_eq!(limit_in(none), None, "{none:?}");
        }
    }

    #[test]
    fn pending_output_gets_a_quarter() {
        assert_eq!(share_for_output(Some(4 << 30)), 1 << 30);
        assert_eq!(share_for_output(Some(0)), LEAST);
        assert_eq!(share_for_output(None), Limits::default().max_pending_output);
    }

    /// Whatever this machine answers, it leaves room to start.
    #[test]
    fn this_machine_gives_an_answer() {
        assert!(available().is_none_or(|bytes| bytes > 1 << 20));
    }
}
