//! From words to a configuration.
//!
//! Owns the command line: one definition, from which parsing, help and messages come. Parsing is
//! pure: it opens nothing, resolves nothing and prints nothing, so all of it is tested as a table.
//! It must never say more than one clear line about a wrong word.

mod args;
mod charset;
mod checks;
pub(crate) mod connect;
mod descriptors;
pub(crate) mod load;
pub(crate) mod log;
mod memory;
mod outlet;
pub(crate) mod pages;
pub(crate) mod panics;
mod print;
mod reach;
pub(crate) mod report;
pub(crate) mod serve;
mod signals;
mod sink;
mod status;
mod text;
mod values;
mod wall;

pub(crate) use self::args::{Job, parse};
