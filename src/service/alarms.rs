//! Two alarms on a transport that has one: a service that wraps another has an alarm of its own.
//!
//! Owns both times, and sets the transport's alarm to the earlier one. It must never let the inner
//! service notice.

use std::io::IoSlice;
use std::time::Duration;

use super::{Context, Transport};
use crate::values::peer::Peer;
use crate::values::time::Time;

/// The times of a service and of the one inside it.
#[derive(Debug)]
pub(super) struct Alarms {
    own: Time,
    inner: Time,
    /// What the transport was told.
    set: Time,
}

impl Default for Alarms {
    fn default() -> Alarms {
        Alarms {
            own: Time::NEVER,
            inner: Time::NEVER,
            set: Time::NEVER,
        }
    }
}

impl Alarms {
    /// Calls the inner service with a context that takes its alarms.
    pub(super) fn lend<T>(
        &mut self,
        cx: &mut Context<'_>,
        call: impl FnOnce(&mut Context<'_>) -> T,
    ) -> T {
        let mut inner = InnerTransport {
            outer: &mut *cx.transport,
            alarm: &mut self.inner,
        };
        let result = call(&mut Context::new(cx.now, cx.peer, &mut inner));
        self.arm(cx);
        result
    }

    /// Sets the outer service's own time.
    pub(super) fn set_own(&mut self, cx: &mut Context<'_>, at: Time) {
        self.own = at;
        self.arm(cx);
    }

    /// Sets the transport's alarm again.
    pub(super) fn tell(&self, cx: &mut Context<'_>) {
        cx.set_alarm(self.set);
    }

    /// Clears the transport's alarm, which has fired. Returns whether it was the outer service's.
    pub(super) fn fired(&mut self, now: Time) -> bool {
        self.set = Time::NEVER;
        if self.inner <= now {
            self.inner = Time::NEVER;
        }
        self.own <= now
    }

    fn arm(&mut self, cx: &mut Context<'_>) {
        let at = self.own.min(self.inner);
        if at != self.set {
            self.set = at;
            cx.set_alarm(at);
        }
    }
}

/// The transport of the inner service: the outer one's, but for the alarm.
struct InnerTransport<'a> {
    outer: &'a mut dyn Transport,
    alarm: &'a mut Time,
}

impl Transport for InnerTransport<'_> {
    #[inline]
    fn send(&mut self, bytes: &[u8]) {
        self.outer.send(bytes);
    }

    fn send_vectored(&mut self, pieces: &[IoSlice<'_>]) {
        self.outer.send_vectored(pieces);
    }

    fn room(&self) -> usize {
        self.outer.room()
    }

    fn hold_input(&mut self, is_held: bool) {
        self.outer.hold_input(is_held);
    }

    fn local(&self) -> Option<Peer> {
        self.outer.local()
    }

    fn waited_unread(&self) -> Option<Duration> {
        self.outer.waited_unread()
    }

    fn clock(&mut self) -> Time {
        self.outer.clock()
    }

    fn wall_clock(&mut self) -> Duration {
        self.outer.wall_clock()
    }

    fn set_alarm(&mut self, at: Time) {
        *self.alarm = at;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::tests::Kept;

    fn at(seconds: u64) -> Time {
        Time::ZERO + Duration::from_secs(seconds)
    }

    #[test]
    fn the_earlier_of_both_is_set_and_the_later_is_not_lost() {
        let (peer, mut transport, mut alarms) =
            (Peer::unnamed(), Kept::default(), Alarms::default());
        let mut cx = Context::new(at(0), &peer, &mut transport);
        alarms.lend(&mut cx, |cx| cx.set_alarm(at(5)));
        alarms.set_own(&mut cx, at(3));
        assert!(alarms.fired(at(3)));
        alarms.set_own(&mut cx, Time::NEVER);
        assert_eq!(transport.alarm, at(5));
        assert!(!alarms.fired(at(5)));
        let mut cx = Context::new(at(5), &peer, &mut transport);
        alarms.lend(&mut cx, |_| ());
        alarms.set_own(&mut cx, at(9));
        assert_eq!(transport.alarm, at(9));
    }
}
