//! A text that ends messages, and the search for it.
//!
//! Owns the search (Knuth, Morris and Pratt). It must never look at a byte again after it has
//! passed it, however the input was cut.

/// A text that ends messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delimiter {
    text: Box<[u8]>,
    /// For each prefix of the text, the length of its longest proper suffix that is also a prefix
    /// of the text. The search goes on there after a mismatch.
    borders: Box<[usize]>,
}

impl Delimiter {
    /// `None` if the text is empty: it would end empty messages for ever.
    pub fn new(text: &[u8]) -> Option<Delimiter> {
        if text.is_empty() {
            return None;
        }
        let mut borders = vec![0; text.len()];
        let mut matched = 0;
        for at in 1..text.len() {
            while matched > 0 && text[at] != text[matched] {
                matched = borders[matched - 1];
            }
            matched += usize::from(text[at] == text[matched]);
            borders[at] = matched;
        }
        Some(Delimiter {
            text: text.into(),
            borders: borders.into(),
        })
    }

    /// The text.
    pub fn text(&self) -> &[u8] {
        &self.text
    }

    /// Looks for the text in the next `bytes` of a stream. `matched` is 0 at first and then holds
    /// how much of the text the bytes so far end with. Returns where the text ends.
    pub fn find(&self, matched: &mut usize, bytes: &[u8]) -> Option<usize> {
        let found = self.scan(matched, bytes, |_| {});
        if found.is_some() {
            *matched = 0;
        }
        found
    }

    /// The search itself. It calls `count` with the number of bytes of each step.
    pub(super) fn scan(
        &self,
        matched: &mut usize,
        bytes: &[u8],
        mut count: impl FnMut(usize),
    ) -> Option<usize> {
        let mut at = 0;
        while at < bytes.len() {
            if *matched == 0 && bytes[at] != self.text[0] {
                // No match begins here: skip to the next byte where one could.
                let skipped = bytes[at..]
                    .iter()
                    .position(|byte| *byte == self.text[0])
                    .unwrap_or(bytes.len() - at);
                count(skipped);
                at += skipped;
                continue;
            }
            count(1);
            if bytes[at] == self.text[*matched] {
                *matched += 1;
                at += 1;
            } else {
                *matched = self.borders[*matched - 1];
                continue;
            }
            if *matched == self.text.len() {
                return Some(at);
            }
        }
        None
    }
}
