//! One datagram socket of the load: datagrams out, answers in, in any order or never.
//!
//! Owns the numbers of its datagrams. Must never take one answer for another: where datagrams are
//! numbered, each begins with a mark of its socket, its number and a sum over both, so that a
//! damaged one is seen as that, and not as another one that was lost.
//!
//! Tests: `tests/load_truth.rs`.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::rc::Rc;
use std::time::Duration;

use crate::load::desk::{Desk, Kind, Vacancy};
use crate::load::matching::{HEADER, Matching};
use crate::load::plan::Check;
use crate::load::response::Response;
use crate::load::sent::Sent;
use crate::load::trouble::Trouble;
use crate::load::window::{Fate, Window};
use crate::service::{Action, Context, Service};
use crate::values::time::Time;

/// Datagrams that are sent in one call, at most: what the kernel takes with a few calls of its
/// own.
const AT_ONCE: usize = 64;

/// The service of one socket.
pub(in crate::load) struct Datagrams {
    desk: Rc<Desk>,
    slot: usize,
    /// Datagrams that may be on their way at once.
    depth: usize,
    /// The number of the message in its first datagram that is answered.
    first: u64,
    /// The datagram that is sent, if each is made when it is sent.
    made: Vec<u8>,
    window: Window,
    /// In a closed loop with a pause: when the next datagrams may go.
    ready_at: VecDeque<Time>,
    free_since: Time,
    /// Whether nothing can be sent because the socket takes no more.
    is_blocked: bool,
    first_sent: Option<Time>,
    /// The number of the first datagram of the window that is measured.
    first_measured: u64,
    has_begun: bool,
    has_heard: bool,
}

impl Datagrams {
    pub(in crate::load) fn new(desk: Rc<Desk>, slot: usize) -> Datagrams {
        let plan = &desk.plan;
        Datagrams {
            first: desk.first_message(slot),
            made: Vec::new(),
            depth: plan.depth.min(plan.matching.most_in_flight()),
            desk,
            slot,
            window: Window::default(),
            ready_at: VecDeque::new(),
            free_since: Time::ZERO,
            is_blocked: false,
            first_sent: None,
            first_measured: u64::MAX,
            has_begun: false,
            has_heard: false,
        }
    }

    /// Sends what is due and has room, gives up what is overdue, and asks to be called when more
    /// is.
    fn proceed(&mut self, cx: &mut Context<'_>, now: Time) -> Action {
        let desk = Rc::clone(&self.desk);
        if desk.clock.is_over() {
            return Action::Continue;
        }
        if now >= desk.clock.start() && !std::mem::replace(&mut self.has_begun, true) {
            self.free_since = desk.clock.start();
            if desk.think() > Duration::ZERO {
                self.ready_at.resize(self.depth.min(1 << 16), now);
            }
        }
        if self.give_up(now) && desk.plan.matching == Matching::Order {
            // An answer that still comes would be taken for that to the next datagram. It comes to
            // this socket, and the next datagram goes from another one.
            desk.roster.vacate(self.slot, Vacancy::Done);
            return Action::FINISH;
        }
        if std::mem::take(&mut self.is_blocked) {
            // What became due meanwhile is late because the socket took no more.
            self.free_since = now;
        }
        let mut tally = desk.ledger.tally();
        let (size, waits) = (
            desk.plan.payload.size(),
            desk.plan.response != Response::None,
        );
        let (mut count, mut bytes, mut has_more) = (0, 0, false);
        while !waits || self.window.waiting() < self.depth {
            if cx.room() < size {
                self.is_blocked = true;
                break;
            }
            if count == AT_ONCE {
                has_more = true;
                break;
            }
            let Some(intended) = self.next_due(now) else {
                break;
            };
            if let Some(period) = self.period() {
                self.window.skip_alike(period);
            }
            if desk.clock.is_measured(intended) {
                self.first_measured = self.first_measured.min(self.window.next());
            }
            bytes += self.say(cx);
            let sent = Sent::new(intended, now, self.free_since, Time::ZERO);
            desk.ledger.sent(&mut tally, sent);
            if waits {
                self.window.send(sent);
            } else {
                desk.ledger.left(&mut tally, sent, now);
                desk.roster.works();
                self.first += 1;
                if desk.think() > Duration::ZERO {
                    self.ready_at.push_back(now + desk.think());
                }
            }
            count += 1;
        }
        if count > 0 {
            self.first_sent.get_or_insert(now);
            if desk.clock.measures(now) {
                tally.bytes_sent += bytes as u64;
            }
        }
        cx.set_alarm(self.alarm(now));
        if has_more || self.is_blocked {
            Action::More
        } else {
            Action::Continue
        }
    }

    fn next_due(&mut self, now: Time) -> Option<Time> {
        let intended = self
            .desk
            .next_due(self.slot, self.ready_at.front().copied(), now)?;
        self.ready_at.pop_front();
        Some(intended)
    }

    /// How far apart the numbers of datagrams are that look the same, where some do.
    fn period(&self) -> Option<u64> {
        match self.desk.plan.matching {
            Matching::Field(field) => field.period(),
            Matching::Order | Matching::Header => None,
        }
    }

    /// Sends the next datagram; of how many bytes.
    fn say(&mut self, cx: &mut Context<'_>) -> usize {
        let number = self.window.next();
        let desk = Rc::clone(&self.desk);
        let plan = &desk.plan;
        if let Some(template) = plan.payload.as_template() {
            self.made.clear();
            let sequence = number.wrapping_add(self.first) + 1;
            template.fill(
                desk.number(self.slot),
                sequence,
                cx.wall_clock(),
                &mut self.made,
            );
        }
        let bytes = match plan.payload.as_template() {
            Some(_) => &self.made[..],
            None => plan.payload.message(number.wrapping_add(self.first)),
        };
        match plan.matching {
            Matching::Order => {
                cx.reply(bytes);
            }
            Matching::Header => {
                cx.reply_vectored(&[
                    IoSlice::new(&header(self.mark(), number)),
                    IoSlice::new(&bytes[HEADER..]),
                ]);
            }
            Matching::Field(field) => {
                cx.reply_vectored(&field.fill(bytes, &number.to_be_bytes()));
            }
        }
        bytes.len()
    }

    /// What tells this socket's datagrams from those of another one, or of another run, whose
    /// answer finds its way here.
    fn mark(&self) -> u32 {
        let run = self.desk.clock.start().as_nanos() as u32;
        run.wrapping_add((self.desk.number(self.slot) as u32).wrapping_mul(0x9E37_79B1))
    }

    /// Gives up those that were not answered in time.
    /// Returns whether any was.
    fn give_up(&mut self, now: Time) -> bool {
        let before = self.window.waiting();
        let is_full = self.window.waiting() >= self.depth;
        while let Some((_, sent)) = self.window.oldest() {
            if sent.sent.after(self.desk.plan.timeout) > now {
                break;
            }
            self.window.give_up();
            let ledger = &self.desk.ledger;
            ledger.given_up(&mut ledger.tally(), sent, now);
            if is_full {
                self.free_since = sent.frees_since(now);
            }
            if self.desk.think() > Duration::ZERO {
                self.ready_at.push_back(now);
            }
        }
        self.window.waiting() < before
    }

    fn alarm(&self, now: Time) -> Time {
        let (desk, plan) = (&self.desk, &self.desk.plan);
        if now < desk.clock.start() {
            return desk.clock.start();
        }
        let answer = self
            .window
            .oldest()
            .map_or(Time::NEVER, |(_, sent)| sent.sent.after(plan.timeout));
        if self.is_blocked || self.window.waiting() >= self.depth {
            return answer;
        }
        answer.min(desk.next_at(self.slot, self.ready_at.front().copied()))
    }

    /// Which datagram an answer answers: the one whose number it bears, or the oldest.
    fn number(&self, answer: &[u8]) -> Option<u64> {
        match self.desk.plan.matching {
            // Nothing is on its way: it answers what was answered before.
            Matching::Order => Some(
                self.window
                    .oldest()
                    .map_or(self.window.next().wrapping_sub(1), |(number, _)| number),
            ),
            Matching::Header => {
                let number = u64::from_be_bytes(answer.get(4..12)?.try_into().ok()?);
                let is_ours = answer[..HEADER.min(answer.len())] == header(self.mark(), number);
                is_ours.then_some(number)
            }
            Matching::Field(field) => {
                let seen = field.read(answer)?;
                self.window.latest_like(seen, field.mask())
            }
        }
    }

    /// Whether an answer is what it should be.
    fn is_right(&self, answer: &[u8], number: u64) -> bool {
        let plan = &self.desk.plan;
        let question = || plan.payload.message(number.wrapping_add(self.first));
        let is_as_long = match &plan.response {
            Response::Same => answer.len() == question().len(),
            Response::Fixed(size) => answer.len() == *size,
            Response::Until(delimiter) => answer.ends_with(delimiter.text()),
            Response::Prefix(_) | Response::Datagram | Response::None => true,
        };
        let right = match &plan.check {
            Check::None => return is_as_long,
            Check::Echo => question(),
            Check::Text(text) => text,
        };
        is_as_long
            && match plan.matching {
                Matching::Order => answer == right,
                Matching::Header => answer[HEADER..] == right[HEADER..],
                Matching::Field(field) => field.is_same_around(answer, right),
            }
    }

    /// Counts what an answer says.
    fn settle(&mut self, answer: &[u8], now: Time, unread: Option<Duration>) {
        let desk = Rc::clone(&self.desk);
        let mut tally = desk.ledger.tally();
        let is_full = self.window.waiting() >= self.depth;
        let connection = desk.number(self.slot);
        let Some(number) = self.number(answer) else {
            return tally.troubles.count(Trouble::Mismatch, 1, || {
                format!(
                    "socket {connection}: an answer of {} bytes bears no number that was sent",
                    answer.len()
                )
            });
        };
        let is_measured = number >= self.first_measured;
        match self.window.answer(number) {
            Fate::Answered {
                datagram,
                is_reordered,
            } => {
                desk.ledger.answered(&mut tally, datagram, now, unread);
                desk.roster.works();
                tally.reordered += u64::from(is_reordered && is_measured);
                if desk.think() > Duration::ZERO {
                    self.ready_at.push_back(now + desk.think());
                }
                if !self.is_right(answer, number) {
                    tally.troubles.count(Trouble::Mismatch, 1, || {
                        format!(
                            "socket {connection}: the answer to datagram {number}, {} bytes, is \
                             not what was expected",
                            answer.len()
                        )
                    });
                }
                if is_full {
                    self.free_since = datagram.frees_since(now);
                }
            }
            Fate::Late => desk.ledger.late(&mut tally, is_measured),
            Fate::Duplicate => tally.duplicate += u64::from(is_measured),
            Fate::Unsent => tally.troubles.count(Trouble::Unasked, 1, || {
                format!("socket {connection}: an answer came and nothing had been asked")
            }),
        }
    }
}

/// Those that have no fate when the run is over are given up.
impl Drop for Datagrams {
    fn drop(&mut self) {
        while let Some(sent) = self.window.give_up() {
            self.desk.ledger.abandon(sent, Kind::Datagram);
        }
    }
}

impl Service for Datagrams {
    fn on_data(&mut self, cx: &mut Context<'_>, input: &[u8]) -> Action {
        let now = cx.clock();
        if self.desk.clock.is_over() {
            return Action::Continue;
        }
        self.desk.roster.heard();
        if self.desk.clock.measures(now) {
            self.desk.ledger.tally().bytes_received += input.len() as u64;
        }
        if let (Some(first), false) = (
            self.first_sent,
            std::mem::replace(&mut self.has_heard, true),
        ) {
            self.desk.ledger.tally().first_byte.record(now - first);
        }
        if self.desk.plan.response != Response::None {
            // Its time may be over already, and nobody has looked.
            self.give_up(now);
            self.settle(input, now, cx.waited_unread());
        }
        // What is sent in answer to each of a burst goes out together with the burst.
        self.proceed(cx, now)
    }

    fn on_writable(&mut self, cx: &mut Context<'_>) -> Action {
        let now = cx.clock();
        self.proceed(cx, now)
    }

    fn on_alarm(&mut self, cx: &mut Context<'_>) -> Action {
        let now = cx.clock();
        self.proceed(cx, now)
    }

    fn on_error(&mut self, error: &io::Error) {
        let trouble = Trouble::of_error(error.kind(), error.raw_os_error());
        if trouble == Trouble::Refused {
            self.desk.roster.refused();
        }
        let number = self.desk.number(self.slot);
        self.desk
            .ledger
            .trouble(trouble, 1, || format!("socket {number}: {error}"));
    }
}

/// The beginning of a numbered datagram.
fn header(mark: u32, number: u64) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    header[..4].copy_from_slice(&mark.to_be_bytes());
    header[4..12].copy_from_slice(&number.to_be_bytes());
    // A multiplication spreads each bit over all above it; the upper half then depends on all of
    // them.
    let sum = (number ^ u64::from(mark).rotate_left(32)).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
    header[12..].copy_from_slice(&(sum as u32).to_be_bytes());
    header
}
