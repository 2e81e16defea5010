//! Panics of services.
//!
//! Owns the rule that a panic costs the source that was running, and no other. It must never call a
//! service again after it panicked.

use std::panic::{AssertUnwindSafe, catch_unwind};

use log::error;

use super::Reactor;
use super::source::Source;
use crate::net::Net;
use crate::values::ready::Ready;

impl<N: Net> Reactor<N> {
    /// Does `work`, which calls services. A panic costs the source that was running, and the work
    /// goes on.
    pub(super) fn guarded(&mut self, work: fn(&mut Reactor<N>)) {
        while let Err(panic) = catch_unwind(AssertUnwindSafe(|| work(self))) {
            // The payload of a panic may panic again when it is dropped.
            std::mem::forget(panic);
            self.contain();
        }
    }

    /// A service has panicked. Its connection is reset; a datagram socket goes on with a fresh
    /// service.
    #[cold]
    pub(super) fn contain(&mut self) {
        self.turn.stats.panics += 1;
        if !self.batch.is_empty() {
            // Connections that were accepted are not in the table yet. Their listener continues
            // with them.
            self.sources.mark(self.accepting, Ready::READABLE);
        }
        let token = self.running;
        let Some(entry) = self.sources.get_mut(token) else {
            return;
        };
        error!("{token} {:?}: its service panicked", entry.source);
        match &mut entry.source {
            Source::Connection(_) | Source::Connecting(_) => self.abandon(token),
            Source::Datagram(datagram) => {
                let outcome = datagram.recover(&mut self.turn, &mut self.common);
                let deadline = datagram.deadline();
                self.settle(token, outcome, deadline);
            }
            Source::Listener(_) => {
                // Clients in the backlog give no further event.
                self.sources.mark(token, Ready::READABLE);
            }
            Source::Signals(_) | Source::Waker => {}
        }
    }
}
