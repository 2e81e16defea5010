//! Templates that a sender fills in, who has no message to answer.
//!
//! Owns which fields a sender knows. It must never read a clock: it gets the time.
//!
//! Tests: below; `tests/load_features.rs` over sockets.

use std::io::Write;
use std::time::Duration;

use super::calendar;
use super::template::{Field, Piece, Template};

impl Template {
    /// Whether a sender can fill it in: it has no field of a message that came, or of its sockets.
    pub fn is_for_senders(&self) -> bool {
        let is_known = |piece: &Piece| {
            use Field::{Conn, Seq, Time};
            matches!(piece, Piece::Text(_) | Piece::Field(Conn | Seq | Time))
        };
        self.pieces.iter().all(is_known)
    }

    /// Bytes of the longest text that a sender can make of it.
    pub fn longest(&self) -> usize {
        const FIELD: usize = 24;
        let fields = self
            .pieces
            .iter()
            .filter(|piece| !matches!(piece, Piece::Text(_)));
        self.least() + FIELD * fields.count()
    }

    /// Appends the text that a sender makes of it.
    pub fn fill(&self, connection: u64, sequence: u64, wall_clock: Duration, text: &mut Vec<u8>) {
        for piece in &self.pieces {
            // Writing to memory cannot fail.
            let _ = match piece {
                Piece::Text(bytes) => text.write_all(bytes),
                Piece::Field(Field::Conn) => write!(text, "{connection}"),
                Piece::Field(Field::Seq) => write!(text, "{sequence}"),
                Piece::Field(Field::Time) => write!(text, "{}", calendar::rfc3339(wall_clock)),
                Piece::Message | Piece::Field(Field::Peer | Field::Local) => Ok(()),
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::template::TemplateError;
    use super::*;

    fn parse(text: &str) -> Result<Template, TemplateError> {
        Template::parse(text, |_, text| Ok(text.as_bytes().to_vec()))
    }

    #[test]
    fn a_sender_fills_in_what_it_knows() {
        let template = parse("{conn}/{seq} at {time} {{}}").unwrap();
        let mut text = Vec::new();
        template.fill(7, 9, Duration::from_millis(1_500), &mut text);
        assert_eq!(text, b"7/9 at 1970-01-01T00:00:01.500Z {}");
        let mut longest = Vec::new();
        let last_day = Duration::from_secs(253_402_300_799);
        template.fill(u64::MAX, u64::MAX, last_day, &mut longest);
        assert!(longest.len() <= template.longest());
        let is_for_senders = |text| parse(text).unwrap().is_for_senders();
        assert!(is_for_senders("{conn}{seq}{time}x") && is_for_senders(""));
        assert!(!is_for_senders("{}") && !is_for_senders("{peer}") && !is_for_senders("{local}"));
    }
}
