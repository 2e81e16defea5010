//! From words to a configuration.
//!
//! Owns the command line: one definition, from which parsing, help and messages come. Parsing is pure: it opens nothing, resolves nothing and
//! prints nothing, so all of it is tested as a table. Must never let a wrong word cost more than one clear line.

mod args;
mod charset;
pub(crate) mod connect;
mod descriptors;
pub(crate) mod load;
pub(crate) mod log;
mod outlet;
pub(crate) mod pages;
mod print;
mod reach;
pub(crate) mod report;
pub(crate) mod serve;
mod status;
mod text;
mod values;

pub(crate) use self::args::{Command, parse};
