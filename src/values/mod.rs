//! Small types that know nothing of sockets, services or the loop.
//!
//! Owns the words that every other folder uses: identity ([`token`]), readiness ([`ready`]), time
//! ([`time`]), addresses ([`peer`], [`endpoint`], [`path`]), bounds ([`limits`]), reasons
//! ([`error`], [`refusal`]), counters ([`stats`]), text ([`escape`], [`counted`]) and chance
//! ([`dice`]). It performs no I/O and reads no clock.

pub mod counted;
pub mod dice;
pub mod endpoint;
pub mod error;
pub mod escape;
pub mod limits;
pub(crate) mod notice;
pub mod path;
pub mod peer;
pub mod ready;
pub mod refusal;
pub mod signal;
pub mod stats;

pub mod time;
pub mod token;
