//! How many descriptors this process may have.

use log::warn;

/// Descriptors that are not connections: standard input, output and error, the selector, the waker,
/// the pipe of the signals, and a few that libraries open for a moment.
pub(super) const SPARE_DESCRIPTORS: usize = 16;

/// Raises the soft limit to the hard one: the soft one is low for programs that use
/// select(2). Returns the limit in force.
pub(super) fn raise_descriptor_limit() -> usize {
    let limit = rlimit::increase_nofile_limit(u64::MAX).or_else(|error| {
        warn!("cannot raise the descriptor limit: {error}");
        rlimit::getrlimit(rlimit::Resource::NOFILE).map(|(soft, _)| soft)
    });
    // Where not even the limit can be asked for, the lowest that POSIX systems use.
    limit.map_or(256, |limit| usize::try_from(limit).unwrap_or(usize::MAX))
}
