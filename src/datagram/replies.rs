//! What was said to one burst of datagrams, until it is sent.
//!
//! Owns the bytes of the answers that are not the datagrams themselves, and the rule by which datagrams become one message of the kernel: those of one
//! path and one size, in the order in which they were said, of which the last may be shorter. Must never mix two paths, and never change the
//! order of datagrams on one.
//!
//! Tests: below; `tests/datagrams.rs` with mixed sizes and peers.

use std::io::IoSlice;
use std::ops::Range;

/// Segments of one message, at most: what every kernel with UDP_SEGMENT takes (64; 128 since 6.9).
const SEGMENTS: usize = 64;

/// Bytes of one message, at most: the longest payload over IPv4.
const MESSAGE: usize = 65_507;

/// The datagrams that were said.
#[derive(Debug, Default)]
pub(crate) struct Replies {
    entries: Vec<Entry>,
    bytes: Vec<u8>,
}

/// One datagram.
#[derive(Clone, Debug)]
struct Entry {
    /// Which of the burst's parts it answers.
    part: usize,
    at: Place,
    size: usize,
}

/// Where its bytes stand.
#[derive(Clone, Copy, Debug)]
enum Place {
    /// In the buffer that was received into: an echo copies nothing.
    Burst(usize),
    /// In the bytes here.
    Here(usize),
}

/// Datagrams that can be sent as one message.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Run {
    /// The part that its first datagram answers.
    pub(crate) part: usize,
    /// Its bytes, among the pieces: what stands together in memory is one.
    pub(crate) pieces: Range<usize>,
    /// How many datagrams they are.
    pub(crate) count: usize,
    /// How long each is, save that the last may be shorter.
    pub(crate) segment: usize,
}

impl Replies {
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(crate) fn clear(&mut self) {
        self.entries.clear();
        self.bytes.clear();
    }

    /// Bytes that are kept here, and the number of datagrams.
    pub(crate) fn size(&self) -> (usize, usize) {
        (self.bytes.len(), self.entries.len())
    }

    /// Says the pieces as one datagram, in answer to `part`. A single piece that stands in `burst` is not copied.
    pub(crate) fn push(&mut self, part: usize, pieces: &[IoSlice<'_>], burst: &[u8]) {
        let at = match pieces {
            [piece] => place_in(burst, piece).map(Place::Burst),
            _ => None,
        };
        let size = pieces.iter().map(|piece| piece.len()).sum();
        let at = at.unwrap_or_else(|| {
            let begin = self.bytes.len();
            pieces
                .iter()
                .for_each(|piece| self.bytes.extend_from_slice(piece));
            Place::Here(begin)
        });
        self.entries.push(Entry { part, at, size });
    }

    fn piece<'a>(&'a self, burst: &'a [u8], (place, size): (Place, usize)) -> IoSlice<'a> {
        IoSlice::new(match place {
            Place::Burst(begin) => &burst[begin..begin + size],
            Place::Here(begin) => &self.bytes[begin..begin + size],
        })
    }

    /// Puts the datagrams into runs, where two parts are of one path if `is_same` says so and no datagram longer than `longest` may share a message. Returns the
    /// pieces in the order of the runs, and the runs.
    pub(crate) fn runs<'a>(
        &'a self,
        burst: &'a [u8],
        longest: usize,
        is_same: impl Fn(usize, usize) -> bool,
    ) -> (Vec<IoSlice<'a>>, Vec<Run>) {
        let mut open: Vec<Open> = Vec::new();
        let mut next: Vec<usize> = vec![usize::MAX; self.entries.len()];
        for (index, entry) in self.entries.iter().enumerate() {
            // The last run of the same path: an earlier one would let this datagram overtake.
            let run = open
                .iter_mut()
                .rev()
                .find(|run| run.part == entry.part || is_same(run.part, entry.part));
            match run {
                Some(run) if run.takes(entry.size, longest) => {
                    next[run.last] = index;
                    run.last = index;
                    run.count += 1;
                    run.bytes += entry.size;
                    run.is_closed = entry.size < run.segment;
                }
                _ => open.push(Open {
                    part: entry.part,
                    first: index,
                    last: index,
                    count: 1,
                    bytes: entry.size,
                    segment: entry.size,
                    is_closed: false,
                }),
            }
        }
        let mut pieces = Vec::with_capacity(self.entries.len());
        let runs = open.iter().map(|run| {
            let begin = pieces.len();
            let mut at = run.first;
            // What came together stands together, and goes as one piece: 50 pieces in its place cost 6 % of the rate (1,200 bytes each).
            let mut piece: Option<(Place, usize)> = None;
            while let Some(entry) = self.entries.get(at) {
                piece = match piece {
                    Some((place, size)) if place.ends_at(size, entry.at) => {
                        Some((place, size + entry.size))
                    }
                    ended => {
                        pieces.extend(ended.map(|ended| self.piece(burst, ended)));
                        Some((entry.at, entry.size))
                    }
                };
                at = next[at];
            }
            pieces.extend(piece.map(|piece| self.piece(burst, piece)));
            Run {
                part: run.part,
                pieces: begin..pieces.len(),
                count: run.count,
                segment: run.segment,
            }
        });
        let runs = runs.collect();
        (pieces, runs)
    }
}

impl Place {
    /// Whether what stands here, `size` bytes, is followed by what stands at `next`.
    fn ends_at(self, size: usize, next: Place) -> bool {
        match (self, next) {
            (Place::Burst(at), Place::Burst(next)) | (Place::Here(at), Place::Here(next)) => {
                at + size == next
            }
            _ => false,
        }
    }
}

/// A run that is being made.
struct Open {
    part: usize,
    first: usize,
    last: usize,
    count: usize,
    bytes: usize,
    segment: usize,
    /// Its last datagram is shorter than the others.
    is_closed: bool,
}

impl Open {
    fn takes(&self, size: usize, longest: usize) -> bool {
        let fits = self.count < SEGMENTS && self.bytes + size <= MESSAGE;
        fits && !self.is_closed && 0 < size && size <= self.segment && self.segment <= longest
    }
}

/// Where `piece` stands within `buffer`, if it does.
fn place_in(buffer: &[u8], piece: &[u8]) -> Option<usize> {
    let at = (piece.as_ptr() as usize).checked_sub(buffer.as_ptr() as usize)?;
    (at + piece.len() <= buffer.len()).then_some(at)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_echo_is_not_copied_and_an_answer_is() {
        let (burst, mut replies) = (vec![1, 2, 3, 4], Replies::default());
        replies.push(0, &[IoSlice::new(&burst[1..3])], &burst);
        assert_eq!(replies.size(), (0, 1));
        replies.push(0, &[IoSlice::new(&[2, 3])], &burst);
        replies.push(
            0,
            &[IoSlice::new(&burst[1..2]), IoSlice::new(&burst[2..3])],
            &burst,
        );
        replies.push(0, &[], &burst);
        assert_eq!(replies.size(), (4, 4));
        let (pieces, _) = replies.runs(&burst, 0, |a, b| a == b);
        assert_eq!(
            pieces
                .iter()
                .map(|piece| piece.to_vec())
                .collect::<Vec<_>>(),
            [vec![2, 3], vec![2, 3], vec![2, 3], vec![]]
        );
        let (pieces, runs) = replies.runs(&burst, 2, |a, b| a == b);
        assert_eq!(
            pieces
                .iter()
                .map(|piece| piece.to_vec())
                .collect::<Vec<_>>(),
            [vec![2, 3], vec![2, 3, 2, 3], vec![]]
        );
        assert_eq!(runs.iter().map(|run| run.count).collect::<Vec<_>>(), [3, 1]);
    }

    /// The datagrams of a run, as the kernel would cut them.
    fn cut(pieces: &[IoSlice<'_>], run: &Run) -> Vec<Vec<u8>> {
        let bytes = pieces[run.pieces.clone()]
            .iter()
            .map(|piece| &**piece)
            .collect::<Vec<_>>()
            .concat();
        if run.count == 1 {
            vec![bytes]
        } else {
            bytes.chunks(run.segment).map(<[u8]>::to_vec).collect()
        }
    }

    proptest! {
        /// Parts of the same remainder are of one path.
        #[test]
        fn runs_keep_the_order_of_each_path_and_the_rules_of_the_kernel(
            said in prop::collection::vec((0usize..9, prop_oneof![Just(0usize), Just(10), Just(10), Just(20), 0usize..40_000]), 0..200),
            longest in prop_oneof![Just(0usize), Just(10), Just(usize::MAX)],
        ) {
            let mut replies = Replies::default();
            for (index, (part, size)) in said.iter().enumerate() {
                replies.push(*part, &[IoSlice::new(&vec![index as u8; *size])], &[]);
            }
            let (pieces, runs) = replies.runs(&[], longest, |a, b| a % 3 == b % 3);
            for path in 0..3 {
                let due = said.iter().enumerate().filter(|(_, (part, _))| part % 3 == path).map(|(index, (_, size))| vec![index as u8; *size]);
                let got = runs.iter().filter(|run| run.part % 3 == path).flat_map(|run| cut(&pieces, run));
                prop_assert!(due.eq(got), "path {path}");
            }
            for run in &runs {
                let sizes: Vec<usize> = cut(&pieces, run).iter().map(Vec::len).collect();
                prop_assert_eq!(sizes.len(), run.count);
                let (last, others) = sizes.split_last().unwrap();
                prop_assert!(others.iter().all(|size| *size == run.segment) && *last <= run.segment);
                prop_assert!(others.is_empty() || (*last > 0 && run.segment <= longest));
                prop_assert!(sizes.len() <= SEGMENTS && sizes.iter().sum::<usize>() <= MESSAGE);
            }
        }
    }
}
