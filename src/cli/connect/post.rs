//! A client's side of datagrams: each line of standard input goes to every peer, and what comes
//! back is shown.
//!
//! Owns the lines that one peer has been sent and another not yet. Each peer has a socket of its
//! own, so that a peer that takes nothing does not hold up the answers of the others; it does hold
//! up new lines, because a line that is sent to some and lost for others is a lie.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use mynah::Time;
use mynah::service::{Action, Context, Service};

use super::Progress;
use super::bell::Bell;
use super::feed::{Feeding, LineFeed};
use super::inlet::{Inlet, Taken};
use super::screen::Screen;

/// Datagrams that one call sends, so that an endless input leaves the loop to others.
const DATAGRAMS: usize = 64;

/// The lines, on their way to all peers.
pub(super) struct Lines {
    inlet: Inlet,
    feed: LineFeed,
    /// What each peer is still to be sent.
    queues: Vec<VecDeque<Rc<[u8]>>>,
    is_over: bool,
    progress: Rc<RefCell<Progress>>,
}

impl Lines {
    pub(super) fn new(
        inlet: Inlet,
        feed: LineFeed,
        peers: usize,
        progress: Rc<RefCell<Progress>>,
    ) -> Lines {
        Lines {
            inlet,
            feed,
            queues: vec![VecDeque::new(); peers],
            is_over: false,
            progress,
        }
    }

    /// The next line for `peer`; takes more input when every peer has been sent all before it.
    /// Returns whether it took some: then the others have something to do as well.
    fn next(&mut self, peer: usize) -> (Option<Rc<[u8]>>, bool) {
        let mut took = false;
        // Until there is a line: the end of the input may stand right behind the beginning of one,
        // and nothing tells of it again.
        while !self.is_over && self.queues.iter().all(VecDeque::is_empty) {
            match self.take() {
                Ok(true) => took = true,
                Ok(false) => break,
                Err(complaint) => {
                    self.progress.borrow_mut().complaint = Some(complaint);
                    self.is_over = true;
                }
            }
        }
        (self.queues[peer].pop_front(), took)
    }

    /// Takes input. Returns whether there was any, or its end.
    fn take(&mut self) -> Result<bool, String> {
        let queues = &mut self.queues;
        let give = |line: Vec<u8>| {
            let line: Rc<[u8]> = line.into();
            queues
                .iter_mut()
                .for_each(|queue| queue.push_back(line.clone()));
        };
        match self.inlet.take() {
            Taken::Nothing => Ok(false),
            Taken::Bytes(bytes) => {
                self.is_over = self.feed.push(&bytes, give)? == Feeding::Stopped;
                Ok(true)
            }
            Taken::End(end) => {
                self.is_over = true;
                self.feed.end(give)?;
                end.map_err(|error| format!("cannot read standard input: {error}"))?;
                Ok(true)
            }
        }
    }

    fn is_over_for(&self, peer: usize) -> bool {
        self.is_over && self.queues[peer].is_empty()
    }
}

/// The service of one peer.
pub(super) struct Post {
    /// Which of the peers this is.
    index: usize,
    lines: Rc<RefCell<Lines>>,
    screen: Screen,
    bell: Bell,
    /// How long answers are waited for after the last line; `None`: for ever.
    wait: Option<Duration>,
    /// When that is over.
    until: Option<Time>,
    progress: Rc<RefCell<Progress>>,
}

impl Post {
    pub(super) fn new(
        index: usize,
        lines: Rc<RefCell<Lines>>,
        screen: Screen,
        bell: Bell,
        wait: Option<Duration>,
        progress: Rc<RefCell<Progress>>,
    ) -> Post {
        Post {
            index,
            lines,
            screen,
            bell,
            wait,
            until: None,
            progress,
        }
    }

    /// Says what there is to say. Called when nothing that was said before waits any more, so that
    /// who finds nothing to say has been sent all.
    fn speak(&mut self, cx: &mut Context<'_>) -> Action {
        let mut has_said = false;
        for _ in 0..DATAGRAMS {
            if cx.room() < LONGEST {
                return Action::More;
            }
            let (line, took) = self.lines.borrow_mut().next(self.index);
            if took && self.lines.borrow().queues.len() > 1 {
                self.bell.ring();
            }
            let Some(line) = line else {
                return if has_said {
                    Action::More
                } else {
                    self.linger(cx)
                };
            };
            has_said = true;
            cx.reply(&line);
            self.progress.borrow_mut().sent += line.len() as u64;
        }
        Action::More
    }

    /// Nothing is left to be said: waits for answers, where there is nothing more to come.
    fn linger(&mut self, cx: &mut Context<'_>) -> Action {
        if self.until.is_none() && self.lines.borrow().is_over_for(self.index) {
            let until = self.wait.map_or(Time::NEVER, |wait| cx.now + wait);
            self.until = Some(until);
            cx.set_alarm(until);
        }
        Action::Continue
    }
}

/// Room for any datagram.
const LONGEST: usize = 65_507;

impl Service for Post {
    fn on_data(&mut self, _cx: &mut Context<'_>, input: &[u8]) -> Action {
        let mut progress = self.progress.borrow_mut();
        progress.received += input.len() as u64;
        progress.answers += 1;
        drop(progress);
        // A datagram that a slow reader has no room for is lost, as in any receiver; but it is
        // said.
        if self.screen.has_room(&self.bell) {
            self.screen.show_line(input);
        } else {
            self.progress.borrow_mut().dropped += 1;
        }
        Action::Continue
    }

    fn on_writable(&mut self, cx: &mut Context<'_>) -> Action {
        self.speak(cx)
    }

    fn on_alarm(&mut self, cx: &mut Context<'_>) -> Action {
        if self.screen.is_broken() {
            self.progress.borrow_mut().is_unread = true;
        }
        match self.until {
            Some(until) if until <= cx.now => {
                self.until = Some(Time::NEVER);
                self.progress.borrow_mut().waited += 1;
            }
            // A ring came instead of the alarm.
            Some(until) => cx.set_alarm(until),
            // Lines may still wait for a peer that is slow: the loop asks when they have left.
            None => return Action::More,
        }
        Action::Continue
    }

    fn on_error(&mut self, error: &io::Error) {
        // An io::Error cannot be cloned; its number says as much.
        let error = error
            .raw_os_error()
            .map_or_else(|| error.kind().into(), io::Error::from_raw_os_error);
        // The first says why; mio's poll(2) selector, for one, forgets a socket that had an error,
        // and says so with the next call.
        self.progress
            .borrow_mut()
            .refusals
            .entry(self.index)
            .or_insert(error);
    }
}
