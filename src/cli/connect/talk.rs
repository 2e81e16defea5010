//! A client's side of a stream: standard input to the peer, the peer to standard output.
//!
//! ```text
//!   standard input ─▶ Inlet ─▶ StreamFeed ─▶ peer      end of input: half-close
//!   standard output ◀─ Outlet ◀─ Screen ◀─── peer      no room: the input is held, the peer waits
//! ```
//!
//! A peer that ends its side first may have half-closed and still listen, or be gone. What was said
//! before is not lost with it: input goes on to be sent, and when none has come for [`GRACE`], it
//! is over.
//!
//! Owns the bytes between. Runs on the loop as any service does; the threads of the inlet and the
//! outlet ring when there is something to do.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use mynah::service::{Action, Context, Service};
use mynah::{CloseReason, Time};

use super::Progress;
use super::bell::Bell;
use super::feed::{Feeding, StreamFeed};
use super::inlet::{Inlet, Taken};
use super::screen::Screen;

/// Pieces of input that one call sends, so that an endless input leaves the loop to others.
const PIECES: usize = 4;

/// How long more input is waited for once the peer has ended its side. Long enough for what already
/// stands in a pipe or a file, too short to annoy somebody at a terminal.
const GRACE: Duration = Duration::from_millis(200);

/// The service.
pub(super) struct Talk {
    feed: StreamFeed,
    screen: Screen,
    bell: Bell,
    /// Standard input, once there is somebody to say it to.
    inlet: Option<Inlet>,
    /// What was taken from it and not yet said: `said` bytes were.
    text: Vec<u8>,
    said: usize,
    is_over: bool,
    /// When to stop waiting for input, after the peer's end.
    grace: Option<Time>,
    progress: Rc<RefCell<Progress>>,
}

impl Talk {
    pub(super) fn new(
        feed: StreamFeed,
        screen: Screen,
        bell: Bell,
        progress: Rc<RefCell<Progress>>,
    ) -> Talk {
        Talk {
            feed,
            screen,
            bell,
            inlet: None,
            text: Vec::new(),
            said: 0,
            is_over: false,
            grace: None,
            progress,
        }
    }

    /// Says what there is to say and room for.
    fn speak(&mut self, cx: &mut Context<'_>) -> Action {
        for _ in 0..PIECES {
            self.say(cx);
            if self.said < self.text.len() {
                return Action::More;
            }
            if self.is_over {
                return Action::HalfClose;
            }
            match self.take() {
                Ok(true) => {}
                Ok(false) => return Action::Continue,
                Err(complaint) => {
                    self.progress.borrow_mut().complaint = Some(complaint);
                    self.is_over = true;
                }
            }
        }
        Action::More
    }

    /// Says what there is to say, and ends it where there was nothing for too long after the peer's
    /// end.
    fn speak_on(&mut self, cx: &mut Context<'_>) -> Action {
        let before = self.progress.borrow().sent;
        let action = self.speak(cx);
        let Some(grace) = self.grace else {
            return action;
        };
        let has_spoken = self.progress.borrow().sent > before || action == Action::More;
        if !has_spoken && grace <= cx.now {
            return Action::FINISH;
        }
        let grace = if has_spoken { cx.now + GRACE } else { grace };
        self.grace = Some(grace);
        cx.set_alarm(grace);
        action
    }

    /// Says of the text what there is room for.
    fn say(&mut self, cx: &mut Context<'_>) {
        let count = cx.room().min(self.text.len() - self.said);
        cx.reply(&self.text[self.said..self.said + count]);
        self.said += count;
        self.progress.borrow_mut().sent += count as u64;
    }

    /// Takes more input into the text, which has been said. Returns whether there was any.
    fn take(&mut self) -> Result<bool, String> {
        let Some(inlet) = &self.inlet else {
            return Ok(false);
        };
        self.text.clear();
        self.said = 0;
        match inlet.take() {
            Taken::Nothing => return Ok(false),
            Taken::Bytes(bytes) => {
                self.is_over = self.feed.push(&bytes, &mut self.text)? == Feeding::Stopped
            }
            Taken::End(end) => {
                self.is_over = true;
                self.feed.end(&mut self.text)?;
                end.map_err(|error| format!("cannot read standard input: {error}"))?;
            }
        }
        Ok(true)
    }
}

impl Service for Talk {
    fn on_open(&mut self, cx: &mut Context<'_>) -> Action {
        {
            let mut progress = self.progress.borrow_mut();
            progress.is_open = true;
            progress.local = cx.local();
        }
        match Inlet::new(std::io::stdin(), self.bell.clone()) {
            Ok(inlet) => self.inlet = Some(inlet),
            Err(error) => {
                self.progress.borrow_mut().complaint =
                    Some(format!("cannot read standard input: {error}"));
                self.is_over = true;
            }
        }
        self.speak(cx)
    }

    fn on_data(&mut self, cx: &mut Context<'_>, input: &[u8]) -> Action {
        self.progress.borrow_mut().received += input.len() as u64;
        self.screen.show(input);
        cx.hold_input(!self.screen.has_room(&self.bell));
        Action::Continue
    }

    fn on_eof(&mut self, cx: &mut Context<'_>) -> Action {
        self.screen.end();
        self.grace = Some(cx.now + GRACE);
        self.speak_on(cx)
    }

    fn on_writable(&mut self, cx: &mut Context<'_>) -> Action {
        self.speak_on(cx)
    }

    fn on_alarm(&mut self, cx: &mut Context<'_>) -> Action {
        if self.screen.is_broken() {
            self.progress.borrow_mut().is_unread = true;
            return Action::ABORT;
        }
        cx.hold_input(!self.screen.has_room(&self.bell));
        self.speak_on(cx)
    }

    fn on_close(&mut self, reason: CloseReason) {
        self.progress.borrow_mut().closed = Some(reason);
    }
}
