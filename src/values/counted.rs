//! Numbers of things, in words.

use std::fmt;

/// Displays a number with its thing: `1 connection`, `2 connections`.
#[derive(Clone, Copy, Debug)]
pub struct Counted<'a>(pub u64, pub &'a str);

impl fmt::Display for Counted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.0 == 1 { "" } else { "s" };
        write!(f, "{} {}{plural}", self.0, self.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_singular() {
        let words = |count| Counted(count, "connection").to_string();
        assert_eq!(
            [words(0), words(1), words(2)],
            ["0 connections", "1 connection", "2 connections"]
        );
    }
}
