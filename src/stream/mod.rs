//! Stream sockets: listeners, and connections with their two halves.
//!
//! Owns the state machine of a connection. It is generic over [`Net`](crate::net::Net), so it runs alike on the operating system and on
//! the simulator. It never names the loop.

pub(crate) mod connection;
pub(crate) mod listener;
pub mod outbox;
mod wire;
