//! The invariants that hold after every turn, for tests.
//!
//! Owns the checks. It changes nothing.

use super::Reactor;
use super::source::Source;
use crate::net::Net;

impl<N: Net> Reactor<N> {
    /// Looks for broken invariants: a source that could act on a set bit and is not queued, a
    /// deadline without an alarm, accounts that do not balance.
    ///
    /// # Errors
    ///
    /// Names the first that it finds. The cost is O(n).
    pub fn audit(&self) -> Result<(), String> {
        self.audit_edges()?;
        self.audit_deadlines()?;
        self.audit_accounts()
    }

    fn audit_edges(&self) -> Result<(), String> {
        for (token, entry) in self.sources.iter() {
            if entry.source.is_runnable(entry.ready) && !entry.is_queued() {
                let (ready, source) = (entry.ready, &entry.source);
                return Err(format!(
                    "lost edge: {token} {ready} {source:?} is not queued"
                ));
            }
        }
        Ok(())
    }

    fn audit_deadlines(&self) -> Result<(), String> {
        for (token, entry) in self.sources.iter() {
            let Source::Connection(connection) = &entry.source else {
                continue;
            };
            let deadline = connection.deadline(&self.turn);
            if !entry.is_queued() && !entry.is_armed_for(deadline) {
                return Err(format!(
                    "lost deadline: {token} {connection:?} at {deadline}"
                ));
            }
        }
        Ok(())
    }

    fn audit_accounts(&self) -> Result<(), String> {
        let is_connecting = |source: &Source<N>| matches!(source, Source::Connecting(_));
        let connecting = self
            .sources
            .iter()
            .filter(|(_, entry)| is_connecting(&entry.source));
        let live = (self.connections().count() + connecting.count()) as u64;
        let memory = self
            .connections()
            .map(|(_, connection)| connection.pending_memory());
        let lingering = self
            .connections()
            .filter(|(_, connection)| connection.only_lingers());
        let found = (live, memory.sum::<usize>(), lingering.count());
        let counted = (
            self.turn.stats.live(),
            self.turn.pending,
            self.turn.lingering,
        );
        if found == counted {
            return Ok(());
        }
        Err(format!(
            "(live, bytes pending, lingering) are {found:?} and are counted as {counted:?}"
        ))
    }
}
