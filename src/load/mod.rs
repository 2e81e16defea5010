//! The load generator: clients on the same reactor as the server's, paced and measured.
//!
//! Owns what a message is, when it goes, and what became of it. Must never touch a socket or read a
//! clock by itself: it runs on [`Reactor`](crate::Reactor), so all of it runs on the simulator too.
//!
//! ```text
//!   generator   opens connections, keeps the phases         one a thread; their tallies are added
//!       │       (openings: which of them when)
//!       │
//!   callers     what is done on a connection or a socket     services, like the server's
//!       │
//!   desk        what the callers of one thread share:
//!               the clock (set by the generator), the ledger (written by the callers), the roster
//!
//!   schedule    when a message is due     course    the rate over time      pace      a rate
//!   payload     what is sent              response  what comes back, and whether it is right
//!   window      the fate of each datagram sent      a message on its way
//!   matching    where the number of a datagram stands
//!   tally       fates, and their times    distribution, times     what a percentile is
//!   verdict     whose times they are      trouble   what goes wrong
//!
//!   plan        the terms of a run        orders    what crosses threads
//!   goal        p99<5ms                   search    the highest rate that keeps one
//!                                         trial     what one run says of its rate
//! ```
//!
//! **Two laws.** In a *closed loop* a connection sends its next message when one of its messages
//! has been answered: the load follows the target, and a target that stalls is asked less, so the
//! stall is one slow answer for each connection. In an *open loop* messages are due at a rate,
//! whatever the target does, and the response time counts from when a message was *meant* to be
//! sent: a stall is as many slow answers as users would have had.
//!
//! **Phases.** Connections are opened; all generators start together; the warm-up is not measured;
//! the window is; what was meant to be sent in it is still waited for behind its end.

mod callers;
mod course;
mod desk;
mod distribution;
mod generator;
mod goal;
mod matching;
mod openings;
mod orders;
mod pace;
mod payload;
mod plan;
mod progress;
mod response;
mod schedule;
mod search;
mod sent;
mod stage_tally;
mod tally;
mod timeline;
mod times;
mod trial;
mod trouble;
mod verdict;
mod window;

pub use self::course::{Course, Stage, stage_of};
pub use self::distribution::{BEYOND, Distribution, Mark};
pub use self::generator::Generator;
pub use self::goal::{Goal, Measured};
pub use self::matching::{Field, HEADER, Matching};
pub use self::orders::{Concluded, Lanes, News, Orders, ReachError};
pub use self::pace::Pace;
pub use self::payload::Payload;
pub use self::plan::{Check, Law, Lifetime, Plan};
pub use self::progress::{Doing, Progress};
pub use self::response::{Expected, Heard, Prefix, Reader, Response};
pub use self::schedule::{Arrivals, Lane, Schedule};
pub use self::search::{Found, Outcome, PRECISION, PaceSearch, TRIALS};
pub use self::sent::Sent;
pub use self::stage_tally::{StageTallies, StageTally};
pub use self::tally::Tally;
pub use self::timeline::{Column, ROWS, Timeline, row_start};
pub use self::times::Times;
pub use self::trial::Trial;
pub use self::trouble::{Trouble, Troubles};
pub use self::verdict::{Part, Verdict};
pub use self::window::{Fate, Window};
