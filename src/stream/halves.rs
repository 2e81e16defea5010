//! The two halves of a connection: what it may still receive, and what it may still send.
//!
//! Owns the only table of legal steps. Pure: it knows no socket and no service. It must never let a
//! half go back to an earlier state, and never let a truncated stream end like a complete one.
//!
//! ```text
//!     receiving (Rx)                      sending (Tx)
//!
//!   Open ── end of stream ──▶ Eof      Open ─ finish, ─▶ Finishing ─ FIN sent ─▶ Finished
//!     │                        ▲         │  half-close        │
//!     └─ finish ─▶ Lingering ──┘         └────── broke ───────┴────────▶ Broken
//!                  (read, discard)
//!
//!             │ Open          Finishing           Finished             Broken
//!  ───────────┼───────────────────────────────────────────────────────────────────
//!  Open       │ serve         flush, serve        serve what comes     serve what comes
//!  Lingering  │ (never)       flush, discard      discard, in bounds   discard, in bounds
//!  Eof        │ serve alarms  flush               over                 over
//! ```
//!
//! Tests: below.

use crate::values::error::CloseReason;
use crate::values::limits::LINGER_BYTES;

/// The receiving half.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rx {
    /// The service gets the input.
    Open,
    /// Our side has finished. Input is discarded, up to `left` bytes.
    Lingering { left: u32 },
    /// The peer has ended its side.
    Eof,
}

/// The sending half. The reason is the one that the connection will be closed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tx {
    /// The service may send.
    Open,
    /// Pending output is being sent, and nothing is added to it.
    Finishing(CloseReason),
    /// Our end of stream has been sent.
    Finished(CloseReason),
    /// Nothing can be sent any more, and the peer did not get everything.
    Broken(CloseReason),
}

/// What changes a half.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// The peer's end of stream was read.
    PeerEnded,
    /// This many bytes were read and discarded.
    Discarded(u32),
    /// The service or the loop ends the conversation: no more output, and input is discarded.
    Finish(CloseReason),
    /// The service has nothing more to send. It still reads to the peer's end of stream.
    HalfClose,
    /// All pending output was sent, and then our end of stream.
    EndSent,
    /// The peer takes nothing more, which does not mean that anything was lost.
    Unwanted,
    /// Nothing can be sent any more.
    Broke(CloseReason),
}

/// Both halves. A step changes them together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Halves {
    pub(super) rx: Rx,
    pub(super) tx: Tx,
}

impl Halves {
    /// Both sides are open.
    pub(super) const OPEN: Halves = Halves {
        rx: Rx::Open,
        tx: Tx::Open,
    };

    /// The state after `event`, or `None` if the event is not legal here.
    ///
    /// The match is exhaustive and has no wildcard for a state, so a new state does not compile
    /// until every event handles it.
    fn step(self, event: Event) -> Option<Halves> {
        use Event::*;
        const LINGERING: Rx = Rx::Lingering {
            left: LINGER_BYTES as u32,
        };
        let (rx, tx) = match (event, self.rx, self.tx) {
            (PeerEnded, Rx::Open | Rx::Lingering { .. }, tx) => (Rx::Eof, tx),
            (PeerEnded, Rx::Eof, _) => return None,

            (Discarded(count), Rx::Lingering { left }, tx) => (
                Rx::Lingering {
                    left: left.saturating_sub(count),
                },
                tx,
            ),
            (Discarded(_), Rx::Open | Rx::Eof, _) => return None,

            // The peer ended first, so that is the reason.
            (Finish(CloseReason::Finished), Rx::Eof, Tx::Open) => {
                (Rx::Eof, Tx::Finishing(CloseReason::PeerClosed))
            }
            (Finish(reason), Rx::Eof, Tx::Open) => (Rx::Eof, Tx::Finishing(reason)),
            (Finish(reason), Rx::Open | Rx::Lingering { .. }, Tx::Open) => {
                (LINGERING, Tx::Finishing(reason))
            }
            // After a half-close, the conversation ends before the peer's end of stream, so this is
            // the reason.
            (Finish(reason), Rx::Open, Tx::Finishing(_)) => (LINGERING, Tx::Finishing(reason)),
            (Finish(reason), Rx::Open, Tx::Finished(_)) => (LINGERING, Tx::Finished(reason)),
            (Finish(_), Rx::Open, Tx::Broken(reason)) => (LINGERING, Tx::Broken(reason)),
            // It has been finished before, or the half-close has met the peer's end.
            (
                Finish(_),
                rx @ (Rx::Lingering { .. } | Rx::Eof),
                tx @ (Tx::Finishing(_) | Tx::Finished(_) | Tx::Broken(_)),
            ) => (rx, tx),

            (HalfClose, rx, Tx::Open) => (rx, Tx::Finishing(CloseReason::PeerClosed)),
            (HalfClose, rx, tx @ (Tx::Finishing(_) | Tx::Finished(_) | Tx::Broken(_))) => (rx, tx),

            (EndSent, rx, Tx::Finishing(reason)) => (rx, Tx::Finished(reason)),
            (EndSent, _, Tx::Open | Tx::Finished(_) | Tx::Broken(_)) => return None,

            (Unwanted, Rx::Open, Tx::Open | Tx::Finishing(_)) => {
                (Rx::Open, Tx::Finished(CloseReason::PeerClosed))
            }
            (Unwanted, Rx::Lingering { .. } | Rx::Eof, Tx::Open | Tx::Finishing(_)) => return None,
            (Unwanted, _, Tx::Finished(_) | Tx::Broken(_)) => return None,

            (Broke(reason), rx, _) => (rx, Tx::Broken(reason)),
        };
        Some(Halves { rx, tx })
    }

    /// Changes the halves. Nothing else does.
    pub(super) fn take(&mut self, event: Event) {
        let next = self.step(event);
        debug_assert!(next.is_some(), "{event:?} must not happen in {self:?}");
        *self = next.unwrap_or(*self);
    }

    /// Whether the service still hears the peer or may still send.
    pub(super) fn has_service(self) -> bool {
        self.rx == Rx::Open || self.tx == Tx::Open
    }

    /// Whether nothing more will be read.
    pub(super) fn is_input_over(self) -> bool {
        match self.rx {
            Rx::Open => false,
            Rx::Lingering { left } => left == 0,
            Rx::Eof => true,
        }
    }

    /// Why the connection ends, once there is nothing left to send; `None` before that.
    pub(super) fn ended(self) -> Option<CloseReason> {
        match self.tx {
            Tx::Finished(reason) | Tx::Broken(reason) => Some(reason),
            Tx::Open | Tx::Finishing(_) => None,
        }
    }

    /// Whether the conversation is over and only the peer's end of stream is missing.
    pub(super) fn only_lingers(self) -> bool {
        self.rx != Rx::Open && self.ended().is_some()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ONE: CloseReason = CloseReason::IdleTimeout;
    const OTHER: CloseReason = CloseReason::Reset;
    const LINGERING: Rx = Rx::Lingering {
        left: LINGER_BYTES as u32,
    };

    fn walk(events: &[Event]) -> (Rx, Tx) {
        let mut halves = Halves::OPEN;
        events.iter().for_each(|event| halves.take(*event));
        (halves.rx, halves.tx)
    }

    #[test]
    fn a_peer_that_ends_first_is_the_reason() {
        use Event::*;
        let finish = Finish(CloseReason::Finished);
        assert_eq!(walk(&[PeerEnded]), (Rx::Eof, Tx::Open));
        assert_eq!(
            walk(&[PeerEnded, finish, EndSent]),
            (Rx::Eof, Tx::Finished(CloseReason::PeerClosed))
        );
        assert_eq!(
            walk(&[PeerEnded, Finish(ONE)]),
            (Rx::Eof, Tx::Finishing(ONE))
        );
    }

    #[test]
    fn a_finish_lingers_until_the_peer_ends_too() {
        use Event::*;
        assert_eq!(walk(&[Finish(ONE)]), (LINGERING, Tx::Finishing(ONE)));
        assert_eq!(
            walk(&[Finish(ONE), EndSent, Discarded(5)]),
            (
                Rx::Lingering {
                    left: LINGER_BYTES as u32 - 5
                },
                Tx::Finished(ONE)
            )
        );
        assert_eq!(
            walk(&[Finish(ONE), EndSent, PeerEnded]),
            (Rx::Eof, Tx::Finished(ONE))
        );
        assert_eq!(
            walk(&[Finish(ONE), Finish(OTHER)]),
            (LINGERING, Tx::Finishing(ONE)),
            "the first reason holds"
        );
    }

    #[test]
    fn a_half_close_hears_on_and_may_be_finished_later() {
        use Event::*;
        let closed = CloseReason::PeerClosed;
        assert_eq!(walk(&[HalfClose]), (Rx::Open, Tx::Finishing(closed)));
        assert_eq!(
            walk(&[HalfClose, EndSent, PeerEnded, Finish(ONE)]),
            (Rx::Eof, Tx::Finished(closed))
        );
        assert_eq!(
            walk(&[HalfClose, EndSent, Finish(ONE)]),
            (LINGERING, Tx::Finished(ONE))
        );
    }

    #[test]
    fn a_broken_half_stays_broken() {
        use Event::*;
        for event in [HalfClose, Finish(ONE), PeerEnded] {
            let (_, tx) = walk(&[Broke(OTHER), event]);
            assert_eq!(tx, Tx::Broken(OTHER), "{event:?}");
        }
        assert_eq!(
            walk(&[Unwanted]),
            (Rx::Open, Tx::Finished(CloseReason::PeerClosed))
        );
    }

    fn rank(halves: Halves) -> (u32, u8) {
        let rx = match halves.rx {
            Rx::Open => 0,
            Rx::Lingering { left } => 1 + LINGER_BYTES as u32 - left,
            Rx::Eof => u32::MAX,
        };
        let tx = match halves.tx {
            Tx::Open => 0,
            Tx::Finishing(_) => 1,
            Tx::Finished(_) => 2,
            Tx::Broken(_) => 3,
        };
        (rx, tx)
    }

    fn event() -> impl Strategy<Value = Event> {
        prop_oneof![
            Just(Event::PeerEnded),
            (1u32..1000).prop_map(Event::Discarded),
            Just(Event::Finish(ONE)),
            Just(Event::Finish(CloseReason::Finished)),
            Just(Event::HalfClose),
            Just(Event::EndSent),
            Just(Event::Unwanted),
            Just(Event::Broke(OTHER)),
        ]
    }

    proptest! {
        #[test]
        fn no_half_goes_back_and_no_finish_leaves_a_half_open(
            events in prop::collection::vec(event(), 1..30),
        ) {
            let mut halves = Halves::OPEN;
            for event in events {
                let Some(next) = halves.step(event) else { continue };
                let (before, after) = (rank(halves), rank(next));
                prop_assert!(after.0 >= before.0 && after.1 >= before.1, "{halves:?} {event:?}");
                let is_lingering = matches!(next.rx, Rx::Lingering { .. });
                prop_assert!(!is_lingering || next.tx != Tx::Open, "{halves:?} {event:?}");
                halves = next;
            }
        }
    }
}
