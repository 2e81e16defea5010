//! Control of a reactor from other threads.
//!
//! Owns the inbox. It must never touch the reactor's state: it puts a command into the inbox, the
//! waker ends the wait, and the loop takes the command between two turns.

use std::fmt;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::{self, ThreadId};

use crate::net::Wake;
use crate::values::stats::Stats;
use crate::values::token::Token;

/// What a handle can ask for.
#[derive(Debug)]
pub(crate) enum Command {
    /// As SIGTERM: the first begins a drain, the second stops.
    Terminate,
    /// Stop now.
    Stop,
    /// Call the alarm of a source's service.
    Wake(Token),
    /// Send the counters.
    Stats(mpsc::Sender<Stats>),
}

/// Controls a running reactor from any thread. Cheap to clone.
#[derive(Clone)]
pub struct Handle {
    inbox: mpsc::Sender<Command>,
    waker: Arc<dyn Wake>,
    /// The thread that made the reactor. A reactor cannot be sent to another, so it runs there.
    home: ThreadId,
}

impl Handle {
    pub(crate) fn new(waker: Arc<dyn Wake>) -> (Handle, mpsc::Receiver<Command>) {
        let (inbox, commands) = mpsc::channel();
        let home = thread::current().id();
        (Handle { inbox, waker, home }, commands)
    }

    /// An inbox that nobody writes to, for a reactor that has stopped.
    pub(crate) fn silence() -> mpsc::Receiver<Command> {
        mpsc::channel().1
    }

    /// Begins a drain; called again, stops the reactor at once.
    pub fn terminate(&self) {
        self.send(Command::Terminate);
    }

    /// Stops the reactor at once: what is open is cut.
    pub fn stop(&self) {
        self.send(Command::Stop);
    }

    /// Makes the reactor call [`Service::on_alarm`](crate::service::Service::on_alarm) of the
    /// source that `token` names, if it is still there. With this, another thread can tell a
    /// service that there is work.
    pub fn wake(&self, token: Token) {
        self.send(Command::Wake(token));
    }

    /// The counters as they stand between two turns. Waits for the current turn to end.
    ///
    /// `None` once the reactor has stopped. Also `None` on the reactor's own thread, which would
    /// wait for itself for ever; use [`Reactor::stats`](crate::Reactor::stats) there.
    pub fn stats(&self) -> Option<Stats> {
        if thread::current().id() == self.home {
            return None;
        }
        let (sender, stats) = mpsc::channel();
        self.send(Command::Stats(sender));
        stats.recv().ok()
    }

    /// Ends the wait of the loop and does nothing else: for a caller that drives it turn by turn
    /// ([`Reactor::turn_by`](crate::Reactor::turn_by)) and has something else to look at.
    pub fn nudge(&self) {
        if let Err(error) = self.waker.wake() {
            log::warn!("cannot wake the loop: {error}; it will notice with its next event");
        }
    }

    fn send(&self, command: Command) {
        // A reactor that has stopped needs no command.
        if self.inbox.send(command).is_ok() {
            self.nudge();
        }
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Handle")
    }
}
