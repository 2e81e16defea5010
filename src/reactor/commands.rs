//! What handles and signals ask of the loop.
//!
//! Owns the answer to each command and each signal. It must never run a source: it marks one, and
//! the next turn runs it.

use log::info;

use super::Reactor;
use super::handle::Command;
use crate::net::Net;
use crate::values::ready::Ready;
use crate::values::signal::Signal;
use crate::values::token::Token;

impl<N: Net> Reactor<N> {
    /// Calls [`Service::on_alarm`](crate::service::Service::on_alarm) of the source that `token`
    /// names with the next turn, if it is still there.
    pub fn wake(&mut self, token: Token) {
        let now = self.turn.now;
        let entry = self.sources.get_mut(token);
        if entry.is_some_and(|entry| entry.source.alarm_at(now)) {
            self.sources.mark(token, Ready::ALARM);
        }
    }

    /// Phase 6: carries out the commands of handles.
    pub(super) fn obey(&mut self) {
        while let Ok(command) = self.commands.try_recv() {
            match command {
                Command::Terminate => self.terminate(),
                Command::Stop => {
                    self.lifecycle.stop();
                }
                Command::Wake(token) => self.wake(token),
                Command::Stats(sender) => {
                    // The caller may have given up and dropped its end.
                    let _ = sender.send(self.turn.stats.clone());
                }
            }
        }
    }

    pub(super) fn heed(&mut self, signal: Signal) {
        match signal {
            Signal::Terminate => self.terminate(),
            Signal::Reload => info!(
                target: Signal::LOG_TARGET,
                "SIGHUP: there is no configuration file to read again"
            ),
            Signal::Report => info!(target: Signal::LOG_TARGET, "{}", self.turn.stats),
        }
    }
}
