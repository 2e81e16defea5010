//! Text encodings of the wire, by encoding_rs.
use encoding_rs::{DecoderResult, Encoding};
#[derive(Clone, Copy, Debug)]
pub(crate) struct Charset(&'static Encoding);
impl Charset {
    pub(crate) fn parse(label: &str) -> Result<Charset, String> {
        Encoding::for_label(label.as_bytes()).map(Charset).ok_or_else(|| "unknown".to_owned())
    }
    pub(crate) fn is_utf8(self) -> bool {
        self.0 == encoding_rs::UTF_8
    }
    pub(crate) fn encode(self, text: &str) -> Result<Vec<u8>, char> {
        text.chars().try_fold(Vec::new(), |mut out, c| {
            let s = c.to_string();
            let (bytes, _, bad) = self.0.encode(&s);
            if bad {
                return Err(c);
            }
            out.extend_from_slice(&bytes);
            Ok(out)
        })
    }
    pub(crate) fn decoder(self) -> Decoder {
        Decoder(self.0.new_decoder_without_bom_handling())
    }
}
impl std::fmt::Display for Charset {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0.name())
    }
}
#[derive(Debug)]
pub(crate) enum Piece<'a> {
    Text(&'a str),
    Invalid(&'a [u8]),
}
pub(crate) struct Decoder(encoding_rs::Decoder);
impl std::fmt::Debug for Decoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Decoder")
    }
}
impl Decoder {
    pub(crate) fn decode(&mut self, bytes: &[u8], last: bool, mut take: impl FnMut(Piece<'_>)) {
        let mut at = 0;
        loop {
            let mut out = String::with_capacity(bytes.len() * 3 + 16);
            let (r, n) = self.0.decode_to_string_without_replacement(&bytes[at..], &mut out, last);
            take(Piece::Text(&out));
            at += n;
            match r {
                DecoderResult::Malformed(len, _) => take(Piece::Invalid(&bytes[at.saturating_sub(len as usize)..at])),
                _ => return,
            }
        }
    }
}
