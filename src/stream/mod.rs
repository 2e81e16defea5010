//! Stream sockets: listeners, connections that are being made, and connections with their two
//! halves.
//!
//! Owns the state machine of a connection. It is generic over [`Net`](crate::net::Net), so it runs
//! alike on the operating system and on the simulator. It never names the loop.

pub(crate) mod connecting;
pub(crate) mod connection;
mod deadlines;
mod halves;
pub(crate) mod listener;
pub mod outbox;
pub(crate) mod role;
mod transport;
