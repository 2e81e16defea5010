//! What a generator says of itself while it works.

use std::time::Duration;

use crate::load::desk::Desk;
use crate::load::progress::{Doing, Progress};
use crate::values::time::Time;

/// How far it has come, as its desk knows `now`.
pub(super) fn progress(desk: &Desk, has_tried_all: bool, now: Time) -> Progress {
    let clock = &desk.clock;
    let stage = match () {
        () if clock.start() == Time::NEVER && has_tried_all => Doing::Waiting,
        () if clock.start() == Time::NEVER => Doing::Opening,
        () if now < clock.start() => Doing::Waiting,
        () if now < clock.measured_from() => Doing::WarmingUp,
        () if now < clock.end() => Doing::Measuring,
        () => Doing::Ending,
    };
    let share = |part: f64, whole: f64| if whole > 0.0 { part / whole } else { 0.0 };
    let by_time = if clock.measured_from() < Time::NEVER && clock.end() < Time::NEVER {
        let seconds = |time: Duration| time.as_secs_f64();
        let gone = now.min(clock.end()) - clock.measured_from();
        share(seconds(gone), seconds(clock.end() - clock.measured_from()))
    } else {
        0.0
    };
    let by_messages = match desk.plan.requests {
        Some(all) if !desk.is_open_loop() => {
            let own = desk.lanes.share_of(all, desk.plan.connections);
            let sent = own.saturating_sub(desk.ledger.quota());
            let answered = sent.saturating_sub(desk.ledger.waiting());
            share(answered as f64, own as f64)
        }
        _ => 0.0,
    };
    Progress {
        stage,
        open: desk.roster.open() as u64,
        connections: desk.lanes.count,
        unanswered: desk.ledger.waiting(),
        overdue: desk.overdue(now),
        done: by_time.max(by_messages).clamp(0.0, 1.0),
    }
}
