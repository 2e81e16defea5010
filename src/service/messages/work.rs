//! From input to messages: finds them, has them answered while there is room, keeps the rest.
//!
//! Owns what happens to input between two calls. It must never keep more than one message, one read
//! and one answer, and never answer a message twice.

use super::Messages;
use super::answer::{NO_MEMORY, SEND_BUDGET, append};
use crate::service::framing::Next;
use crate::service::{Action, Context};
use crate::values::limits::{MESSAGE_BUDGET, TAPPED_BUDGET};
use crate::values::time::Time;

/// Why the work on some input stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Worked {
    /// All complete messages were answered.
    Off,
    /// There is no room, or the budget is used up.
    Stalled,
    /// The conversation is over.
    Over(Action),
}

impl Messages {
    /// Answers the messages in what is kept and `input`, and keeps what is left.
    pub(super) fn work(&mut self, cx: &mut Context<'_>, input: &[u8]) -> Action {
        let kept_before = self.kept.capacity();
        let action = self.work_and_keep(cx, input);
        self.is_overdue = false;
        let is_inside = !self.kept.is_empty() && !self.is_held && !self.is_ended;
        let due = match is_inside {
            true => cx.now.after(self.shared.rules.message_timeout),
            false => Time::NEVER,
        };
        self.alarms.set_own(cx, due);
        if self.kept.capacity() != kept_before {
            // An alarm makes the loop ask again how much memory the service keeps.
            self.alarms.tell(cx);
        }
        action
    }

    fn work_and_keep(&mut self, cx: &mut Context<'_>, input: &[u8]) -> Action {
        let worked = if self.kept.is_empty() {
            let (consumed, worked) = self.answer_all(cx, input);
            self.keep(&input[consumed..], worked)
        } else {
            let mut bytes = std::mem::take(&mut self.kept);
            if let Err(action) = append(&mut bytes, input) {
                return action;
            }
            let (consumed, worked) = self.answer_all(cx, &bytes);
            if consumed == 0 {
                self.kept = bytes;
                worked
            } else {
                self.keep(&bytes[consumed..], worked)
            }
        };
        match worked {
            Worked::Over(action) => {
                self.kept = Vec::new();
                action
            }
            Worked::Stalled => {
                self.hold(cx, true);
                Action::More
            }
            Worked::Off => {
                self.hold(cx, false);
                if self.is_ended {
                    Action::FINISH
                } else {
                    Action::Continue
                }
            }
        }
    }

    /// Keeps the rest of the input, in a buffer of exactly its size.
    fn keep(&mut self, rest: &[u8], worked: Worked) -> Worked {
        if self.kept.try_reserve_exact(rest.len()).is_err() {
            return Worked::Over(NO_MEMORY);
        }
        self.kept.extend_from_slice(rest);
        worked
    }

    fn hold(&mut self, cx: &mut Context<'_>, is_held: bool) {
        if std::mem::replace(&mut self.is_held, is_held) != is_held {
            cx.hold_input(is_held);
        }
    }

    /// Answers the messages in `bytes` while there is room. Returns how many bytes are done.
    fn answer_all(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> (usize, Worked) {
        let shared = self.shared.clone();
        let rules = &shared.rules;
        let scratch = &mut *shared.scratch.borrow_mut();
        // A tap or service that panicked may have left answers here. They belong to another peer.
        scratch.batch.clear();
        let (mut consumed, mut sent, mut messages) = (0, 0, 0);
        let most = match self.tap {
            Some(_) => TAPPED_BUDGET,
            None => MESSAGE_BUDGET,
        };
        let worked = loop {
            if !self.unsent.is_empty() {
                sent += self.send_unsent(cx);
            }
            if !self.unsent.is_empty() || sent + scratch.batch.len() >= SEND_BUDGET {
                break Worked::Stalled;
            }
            if messages == most && consumed < bytes.len() {
                break Worked::Stalled;
            }
            messages += 1;
            if self.is_closing {
                break Worked::Over(Action::FINISH);
            }
            let rest = &bytes[consumed..];
            let (frame, size) = match self.search.next(&rules.framing, rules.max_message, rest) {
                Next::Message(frame, size) => (frame, size),
                Next::TooLong => break Worked::Over(Action::TOO_LONG),
                Next::Incomplete if self.is_ended => match self.search.rest(&rules.framing, rest) {
                    Some(frame) => (frame, rest.len()),
                    None => break Worked::Off,
                },
                Next::Incomplete => break Worked::Off,
            };
            consumed += size;
            match self.answer(cx, &shared, scratch, frame, consumed == bytes.len()) {
                Ok(count) => sent += count,
                Err(action) => break Worked::Over(action),
            }
        };
        if !scratch.batch.is_empty() {
            cx.reply(&scratch.batch);
            scratch.batch.clear();
        }
        (consumed, worked)
    }
}
