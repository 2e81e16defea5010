//! How a datagram socket ends with its server: the last look, and the count of what is lost.
//!
//! Owns that count. It must never look without bound: peers may go on sending.

use log::warn;

use super::{Common, Datagram, Drain, Role};
use crate::net::Net;
use crate::net::turn::Turn;
use crate::values::counted::Counted;
use crate::values::ready::Ready;

impl<N: Net> Datagram<N> {
    /// The end of the server: answers what one more run can, and counts the datagrams that are
    /// left. Returns whether there are any.
    ///
    /// If a service panics in it, the loop calls this again. The socket then gets no other run,
    /// because peers that go on sending could make it panic for ever.
    #[cold]
    pub(crate) fn last_look(
        &mut self,
        ready: &mut Ready,
        turn: &mut Turn<N>,
        common: &mut Common,
    ) -> bool {
        let is_server = matches!(self.role, Role::Server { .. });
        // Nobody waits for an answer of a client.
        if is_server && self.drain != Drain::LastLook {
            // What stands in the kernel after a finished drain came after it began.
            let may_receive = self.drain != Drain::Finishing;
            self.drain = Drain::LastLook;
            ready.remove(Ready::READABLE);
            *ready |= Ready::WRITABLE | Ready::READABLE.when(may_receive);
            self.out.flush(ready, turn, true);
            _ = self.receive(ready, turn, common);
        }
        let mut received = self.rest.take().map_or(0, |rest| rest.left());
        if is_server {
            received += self.count_unread(ready, turn, common);
        }
        let lost = received + self.out.waiting();
        turn.stats.datagrams_in += received as u64;
        turn.stats.datagrams_cut += lost as u64;
        if lost > 0 {
            let lost = Counted(lost as u64, "datagram");
            warn!("{}: {lost} got no answer", self.out.address);
        }
        lost > 0
    }
}
