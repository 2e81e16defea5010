//! The generators of a run, each on a thread, and one record of what they say.
//!
//! Owns the threads and the common clock. One generator by itself runs on the main thread: a
//! process of one thread is cheaper, because its system calls need not share the table of
//! descriptors, and a load generator that is cheaper disturbs less of what it measures. Where a log
//! is written, it does not: packing a histogram would keep it from its messages each second.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant, SystemTime};

use mynah::load::{
    Concluded, Generator, Lanes, Law, News, Orders, Plan, Progress, ReachError, Tally, Timeline,
    Verdict,
};
use mynah::net::os::OsNet;
use mynah::{Address, Endpoint, Handle, Limits, Reactor};

use super::host::{Host, Withheld};
use super::record::{BUSY, Record, Second};
use super::units;
use crate::cli::reach::{Unreached, unconnected};
use crate::cli::status::{Failure, Status};

/// How far ahead the start is set, so that every thread has heard of it.
const LEAD: Duration = Duration::from_millis(20);

/// How often is looked for an interrupt while the threads work: they sleep, and a signal wakes only
/// one.
const LOOK: Duration = Duration::from_millis(50);

/// For how long before a message is due its thread spins, unless it was told.
///
/// A sleep ends 35 to 70 µs late here (two shared virtual CPUs, a timerfd). At 100 messages a
/// second on one connection, half of them were sent within 53 to 69 µs of their time without
/// spinning, 5 to 19 with 50 µs of it, 1.8 to 6.6 with 70, 1.3 to 2.1 with 80, 1.6 with 100 and
/// 1.5 to 1.9 with a millisecond. 80 µs cost 0.8 % of a CPU there.
const SPIN: Duration = Duration::from_micros(80);

/// The threads of a run, and their task.
pub(super) struct Crew<'a> {
    pub(super) endpoint: &'a Endpoint,
    pub(super) plan: &'a Arc<Plan>,
    pub(super) threads: u16,
    /// For how long to spin before a message is due; `None`: as it seems best.
    pub(super) spin: Option<Duration>,
    /// When to begin; `None`: as soon as all connections are open.
    pub(super) start_at: Option<SystemTime>,
    pub(super) stop: &'a Arc<AtomicBool>,
    /// Whether to be told of a second takes long: then it is not the generator's thread that is
    /// kept by it.
    pub(super) is_watch_slow: bool,
    /// How often to tell how far the run has come; `None`: nobody looks.
    pub(super) watched: Option<Duration>,
}

/// What is told while a run goes on.
pub(super) enum Sight<'a> {
    /// A second of the window.
    Second(&'a Second, &'a Tally),
    /// How far all of it has come.
    Progress(Progress),
}

/// Told of a run while it goes on.
pub(super) type Watch<'a> = dyn FnMut(Sight<'_>) -> Result<(), Failure> + 'a;

/// What a worker says.
enum Said {
    /// Its loop, to be woken.
    Hired(Handle),
    /// The first connection is made.
    Reached(Address),
    /// No address led to the target.
    Unreached(Failure),
    News(News, Share),
    Done(Box<Concluded>),
}

/// How busy a thread has been.
#[derive(Clone, Copy, Debug, Default)]
struct Share {
    /// Processor time of the thread.
    cpu: Duration,
    /// The time of the clock.
    at: Duration,
}

impl Crew<'_> {
    /// Works to the end, and tells `watch` of each second.
    pub(super) fn work(
        &self,
        addresses: &[Address],
        watch: &mut Watch<'_>,
    ) -> Result<Record, Failure> {
        let clock = Instant::now();
        let orders = Orders::new(Arc::clone(self.stop));
        let mut collector = Collector::new(self, clock, &orders, watch);
        if self.threads == 1 && !self.is_watch_slow {
            self.worker(0, addresses, clock, &orders, |word| collector.hear(0, word));
        } else {
            self.work_abreast(addresses, clock, &orders, &mut collector);
        }
        collector.conclude(self)
    }

    fn work_abreast(
        &self,
        addresses: &[Address],
        clock: Instant,
        orders: &Orders,
        collector: &mut Collector<'_, '_>,
    ) {
        let (sender, words) = mpsc::channel();
        std::thread::scope(|scope| {
            let hire = |index: u16, addresses: Vec<Address>| {
                let sender = sender.clone();
                scope.spawn(move || {
                    self.worker(index, &addresses, clock, orders, |word| {
                        drop(sender.send((index, word)))
                    })
                });
            };
            hire(0, addresses.to_vec());
            let mut at_work = 1;
            while at_work > 0 {
                match words.recv_timeout(LOOK) {
                    Ok((index, word)) => {
                        if let Said::Reached(address) = &word {
                            if index == 0 {
                                at_work = self.threads;
                                (1..self.threads)
                                    .for_each(|index| hire(index, vec![address.clone()]));
                            }
                        }
                        at_work -= u16::from(matches!(word, Said::Done(_) | Said::Unreached(_)));
                        collector.hear(index, word);
                    }
                    Err(RecvTimeoutError::Timeout) if self.stop.load(Ordering::Acquire) => {
                        collector.wake()
                    }
                    Err(_) => {}
                }
            }
        });
    }

    /// What one thread does.
    fn worker(
        &self,
        index: u16,
        addresses: &[Address],
        clock: Instant,
        orders: &Orders,
        mut say: impl FnMut(Said),
    ) {
        let mut tried = Vec::new();
        for address in addresses {
            let (mut generator, handle) = match self.generator(index, address, clock) {
                Ok(hired) => hired,
                Err(error) => {
                    return say(Said::Unreached(Failure::new(
                        Status::Failed,
                        format_args!("cannot start the loop: {error}"),
                    )));
                }
            };
            say(Said::Hired(handle));
            // A connection for each message is no connection to try: it would be one that the
            // target counts and nobody uses.
            match if self.plan.churn && index > 0 {
                Ok(())
            } else {
                generator.reach(orders)
            } {
                Ok(()) => {
                    say(Said::Reached(address.clone()));
                    let outcome =
                        generator.run(orders, |news| say(Said::News(news, Share::now(clock))));
                    return say(Said::Done(Box::new(outcome)));
                }
                Err(ReachError::Unbegun(error)) => tried.push(Unreached::unbegun(address, &error)),
                Err(ReachError::Closed(reason)) => {
                    tried.push(Unreached::closed(address, reason, self.plan.timeout))
                }
            }
        }
        say(Said::Unreached(unconnected(self.endpoint, &tried)));
    }

    /// For how long to spin before a message is due. Where the threads have all CPUs, spinning
    /// takes them from a target on the same machine; in a container it burns the quota, which
    /// `available_parallelism` knows.
    fn spin(&self) -> Duration {
        let is_open_loop = matches!(self.plan.law, Law::Open { .. });
        let cpus = std::thread::available_parallelism().map_or(1, usize::from);
        let best = if is_open_loop && cpus > usize::from(self.threads) {
            SPIN
        } else {
            Duration::ZERO
        };
        self.spin.unwrap_or(best)
    }

    fn generator(
        &self,
        index: u16,
        address: &Address,
        clock: Instant,
    ) -> io::Result<(Generator<OsNet<true>>, Handle)> {
        let limits = Limits {
            connect_timeout: self.plan.timeout,
            // Of what is answered, the answer's own time is the shorter one.
            write_timeout: self.plan.timeout,
            precise_sleep: true,
            spin: self.spin(),
            ..Limits::default()
        };
        let net = OsNet::new()?.stamped().with_start(clock);
        let reactor = Reactor::new(net, limits)?;
        let handle = reactor.handle();
        let lanes = Lanes::of(index.into(), self.threads.into(), self.plan.connections);
        let generator = Generator::new(reactor, Arc::clone(self.plan), lanes, address.clone());
        Ok((generator.watched(self.watched), handle))
    }
}

impl Share {
    fn now(clock: Instant) -> Share {
        let cpu = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        Share {
            cpu: Duration::new(cpu.tv_sec as u64, cpu.tv_nsec as u32),
            at: clock.elapsed(),
        }
    }
}

/// What was heard of the workers.
struct Collector<'a, 'w> {
    clock: Instant,
    orders: &'a Orders,
    watch: &'a mut Watch<'w>,
    start_at: Option<SystemTime>,
    handles: Vec<Handle>,
    workers: Vec<Worker>,
    /// Seconds that some workers have told of and others have not.
    pending: VecDeque<Tally>,
    total: Tally,
    seconds: Vec<Second>,
    address: Option<Address>,
    started: SystemTime,
    /// What had been kept from this process when the window began.
    withheld: Withheld,
    failure: Option<Failure>,
}

#[derive(Debug, Default)]
struct Worker {
    is_ready: bool,
    begun: Share,
    ended: Share,
    told: usize,
    progress: Option<Progress>,
    has_ended: bool,
    outcome: Option<Box<Concluded>>,
}

impl<'a, 'w> Collector<'a, 'w> {
    fn new(
        crew: &Crew<'_>,
        clock: Instant,
        orders: &'a Orders,
        watch: &'a mut Watch<'w>,
    ) -> Collector<'a, 'w> {
        Collector {
            clock,
            orders,
            watch,
            start_at: crew.start_at,
            handles: Vec::new(),
            workers: (0..crew.threads).map(|_| Worker::default()).collect(),
            pending: VecDeque::new(),
            total: Tally::default(),
            seconds: Vec::new(),
            address: None,
            started: SystemTime::now(),
            withheld: Withheld::default(),
            failure: None,
        }
    }

    fn hear(&mut self, index: u16, word: Said) {
        let worker = &mut self.workers[usize::from(index)];
        match word {
            Said::Hired(handle) => self.handles.push(handle),
            Said::Reached(address) => self.address = Some(address),
            Said::Unreached(failure) => self.fail(failure),
            Said::News(News::Ready, _) => {
                worker.is_ready = true;
                if self.workers.iter().all(|worker| worker.is_ready) {
                    self.start();
                }
            }
            Said::News(News::Progress(progress), _) => {
                worker.progress = Some(progress);
                self.look(index);
            }
            Said::News(News::Begun(tally), share) => {
                worker.begun = share;
                self.started = SystemTime::now();
                self.withheld = Withheld::now();
                self.total.add(&tally);
            }
            Said::News(News::Interval(tally), _) => {
                worker.told += 1;
                let second = worker.told - 1;
                self.add(second, &tally);
            }
            Said::News(News::Ended, share) => {
                (worker.ended, worker.has_ended) = (share, true);
                self.tell_whole();
            }
            Said::Done(outcome) => worker.outcome = Some(outcome),
        }
    }

    /// Every connection was tried: all begin together.
    fn start(&mut self) {
        let ahead = match self.start_at {
            None => LEAD,
            Some(at) => match at.duration_since(SystemTime::now()) {
                Ok(ahead) => ahead,
                Err(late) => {
                    return self.fail(Failure::new(
                        Status::Failed,
                        format_args!(
                            "--start-at: the connections were open {} too late; give a later time",
                            units::time(late.duration())
                        ),
                    ));
                }
            },
        };
        self.orders.start(self.clock.elapsed() + ahead);
        self.wake();
    }

    /// Adds what one worker says of a second.
    fn add(&mut self, second: usize, tally: &Tally) {
        let index = second - self.seconds.len();
        if index == self.pending.len() {
            self.pending.push_back(Tally::default());
        }
        self.pending[index].add(tally);
        self.tell_whole();
    }

    /// Tells of the seconds that every worker has told of, or that has ended before.
    fn tell_whole(&mut self) {
        let has_told = |worker: &Worker, second: usize| worker.told > second || worker.has_ended;
        while !self.pending.is_empty()
            && self
                .workers
                .iter()
                .all(|worker| has_told(worker, self.seconds.len()))
        {
            let Some(tally) = self.pending.pop_front() else {
                return;
            };
            self.tell(Duration::from_secs(1), &tally);
        }
    }

    fn tell(&mut self, length: Duration, tally: &Tally) {
        let second = Second::new(
            Duration::from_secs(self.seconds.len() as u64),
            length,
            self.started,
            tally,
        );
        if let Err(failure) = (self.watch)(Sight::Second(&second, tally)) {
            self.fail(failure);
        }
        self.seconds.push(second);
        self.total.add(tally);
    }

    /// Tells how far all have come; the news of the last worker are those of all.
    fn look(&mut self, index: u16) {
        if usize::from(index) + 1 < self.handles.len() {
            return;
        }
        let mut all = self.workers.iter().filter_map(|worker| worker.progress);
        let Some(mut sum) = all.next() else { return };
        all.for_each(|progress| sum.add(progress));
        if let Err(failure) = (self.watch)(Sight::Progress(sum)) {
            self.fail(failure);
        }
    }

    /// Nothing that the others may still do is of use to anybody.
    fn fail(&mut self, failure: Failure) {
        self.failure.get_or_insert(failure);
        self.orders.abort();
        self.wake();
    }

    fn wake(&self) {
        self.handles.iter().for_each(Handle::nudge);
    }

    /// The record of the run.
    fn conclude(mut self, crew: &Crew<'_>) -> Result<Record, Failure> {
        if let Some(failure) = self.failure.take() {
            return Err(failure);
        }
        let outcomes: Vec<Box<Concluded>> = self
            .workers
            .iter_mut()
            .filter_map(|worker| worker.outcome.take())
            .collect();
        if outcomes.iter().any(|outcome| outcome.is_refused) && self.total.answered == 0 {
            let refused = self
                .address
                .map(|address| Unreached::closed(&address, mynah::CloseReason::Refused, None));
            return Err(unconnected(crew.endpoint, refused.as_slice()));
        }
        let measured = outcomes
            .iter()
            .map(|outcome| outcome.measured)
            .max()
            .unwrap_or_default();
        let mut rest = Tally::default();
        outcomes.iter().for_each(|outcome| rest.add(&outcome.rest));
        self.tell(
            measured.saturating_sub(Duration::from_secs(self.seconds.len() as u64)),
            &rest,
        );
        if let Some(failure) = self.failure.take() {
            return Err(failure);
        }
        let mut timeline = Timeline::default();
        outcomes
            .iter()
            .for_each(|outcome| timeline.add(&outcome.timeline));
        let busy = |worker: &Worker, outcome: &Concluded| {
            let worked = worker
                .ended
                .cpu
                .saturating_sub(worker.begun.cpu)
                .saturating_sub(outcome.spun);
            worked.as_secs_f64()
                / worker
                    .ended
                    .at
                    .saturating_sub(worker.begun.at)
                    .as_secs_f64()
                    .max(1e-9)
        };
        let busy = self
            .workers
            .iter()
            .zip(&outcomes)
            .map(|(worker, outcome)| busy(worker, outcome))
            .fold(0.0, f64::max);
        let verdict = Verdict::of(&self.total, crew.plan, measured, busy > BUSY);
        Ok(Record {
            verdict,
            host: Host::between(self.withheld, Withheld::now()),
            address: self
                .address
                .map_or_else(|| crew.endpoint.to_string(), |address| address.to_string()),
            started: self.started,
            measured,
            open: outcomes.iter().map(|outcome| outcome.open).sum(),
            busy,
            is_open_loop: matches!(crew.plan.law, Law::Open { .. }),
            is_datagram: matches!(crew.endpoint, Endpoint::Udp(_) | Endpoint::Unixgram(_)),
            has_answers: crew.plan.response != mynah::load::Response::None,
            was_stopped: crew.stop.load(Ordering::Acquire),
            tally: self.total,
            timeline,
            seconds: self.seconds,
        })
    }
}
