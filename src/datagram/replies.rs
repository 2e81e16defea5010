//! What was said to one burst of datagrams, until it is sent.
//!
//! Owns the bytes of the answers that are not the datagrams themselves, and the rule that makes one
//! message of several datagrams: they have one path and one size, in the order in which they were
//! said, and only the last may be shorter. Must never mix two paths, never change the order of
//! datagrams on one, and allocate nothing once its buffers have grown.
//!
//! Tests: below; `tests/datagrams.rs` with mixed sizes and peers; `tests/allocations.rs`.

use std::io::IoSlice;
use std::ops::Range;

use crate::net::{BURST, Transmit};
use crate::values::path::Path;

/// Segments of one message: what every kernel with UDP_SEGMENT takes (64; 128 since 6.9).
const SEGMENTS: usize = 64;

/// Bytes of one message: the longest payload over IPv4.
const MESSAGE: usize = 65_507;

/// The datagrams that were said.
#[derive(Debug, Default)]
pub(super) struct Replies {
    entries: Vec<Entry>,
    bytes: Vec<u8>,
    /// The messages that the datagrams make, once they are gathered.
    runs: Vec<Run>,
    /// The bytes of all runs, in their order.
    spans: Vec<Span>,
    /// How many datagrams were said by calls of the service that have returned.
    settled: usize,
}

/// One datagram.
#[derive(Clone, Debug)]
struct Entry {
    /// The part of the burst that it answers.
    part: usize,
    span: Span,
    /// The next datagram of its run, by index. 0: it is the last, because the first follows none.
    next: usize,
}

/// Some bytes.
#[derive(Clone, Copy, Debug)]
struct Span {
    at: Place,
    size: usize,
}

/// Where bytes begin.
#[derive(Clone, Copy, Debug)]
enum Place {
    /// In the buffer of the burst: an echo copies nothing.
    Burst(usize),
    /// In the bytes here.
    Here(usize),
}

/// Datagrams that can be sent as one message.
#[derive(Debug)]
struct Run {
    /// The part that its first datagram answers.
    part: usize,
    first: usize,
    last: usize,
    count: usize,
    bytes: usize,
    /// How long each datagram is. Only the last may be shorter, and it ends the run.
    segment: usize,
    is_closed: bool,
    /// Its bytes, among the spans.
    spans: Range<usize>,
}

impl Replies {
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(super) fn clear(&mut self) {
        self.entries.clear();
        self.bytes.clear();
        self.settled = 0;
    }

    /// Bytes that are kept here, and the number of datagrams.
    pub(super) fn size(&self) -> (usize, usize) {
        (self.bytes.len(), self.entries.len())
    }

    /// The service has returned from its call.
    pub(super) fn settle(&mut self) {
        self.settled = self.entries.len();
    }

    /// Forgets everything, and returns how many datagrams were said before the call that never
    /// returned.
    pub(super) fn abandon(&mut self) -> usize {
        let settled = self.settled;
        self.clear();
        settled
    }

    /// Says the pieces as one datagram, in answer to `part`. A single piece that stands in `burst`
    /// is not copied. `false`: there is no memory.
    pub(super) fn push(&mut self, part: usize, pieces: &[IoSlice<'_>], burst: &[u8]) -> bool {
        let size = pieces.iter().map(|piece| piece.len()).sum();
        let place = match pieces {
            [piece] => place_in(burst, piece).map(Place::Burst),
            _ => None,
        };
        if self.entries.try_reserve(1).is_err()
            || place.is_none() && self.bytes.try_reserve(size).is_err()
        {
            return false;
        }
        let at = place.unwrap_or_else(|| {
            let begin = self.bytes.len();
            pieces
                .iter()
                .for_each(|piece| self.bytes.extend_from_slice(piece));
            Place::Here(begin)
        });
        self.entries.push(Entry {
            part,
            span: Span { at, size },
            next: 0,
        });
        true
    }

    /// Puts the datagrams into runs. `is_same` says whether two parts have one path. No datagram
    /// that is longer than `longest` shares a message.
    pub(super) fn gather(&mut self, longest: usize, is_same: impl Fn(usize, usize) -> bool) {
        self.runs.clear();
        for index in 0..self.entries.len() {
            let Entry { part, span, .. } = self.entries[index];
            self.entries[index].next = 0;
            // The last run of the same path: in an earlier one, this datagram would overtake.
            let mut runs = self.runs.iter_mut().rev();
            let run = runs.find(|run| run.part == part || is_same(run.part, part));
            match run {
                Some(run) if run.takes(span.size, longest) => {
                    self.entries[run.last].next = index;
                    run.add(index, span.size);
                }
                _ => self.runs.push(Run::new(part, index, span.size)),
            }
        }
        self.join();
    }

    /// Writes down the bytes of each run. Datagrams that came together stand together, and go as
    /// one span: 50 spans instead of one cost 6 % of the rate (1,200 bytes each).
    fn join(&mut self) {
        self.spans.clear();
        for run in &mut self.runs {
            let begin = self.spans.len();
            let mut index = run.first;
            loop {
                let Entry { span, next, .. } = self.entries[index];
                match self.spans[begin..].last_mut() {
                    Some(last) if last.ends_at(span.at) => last.size += span.size,
                    _ => self.spans.push(span),
                }
                if next == 0 {
                    break;
                }
                index = next;
            }
            run.spans = begin..self.spans.len();
        }
    }

    /// Hands the messages of the gathered runs to `send`, in their order: at most [`BURST`] at
    /// once, and as many as fit into arrays on the stack. `path` gives the path of a part.
    pub(super) fn each_batch<'a>(
        &self,
        burst: &[u8],
        path: impl Fn(usize) -> &'a Path,
        mut send: impl FnMut(&[Transmit<'_>]),
    ) {
        let mut runs = &self.runs[..];
        while let Some(first) = runs.first() {
            let mut pieces = [IoSlice::new(&[]); SEGMENTS];
            let begin = first.spans.start;
            let count = runs
                .iter()
                .take(BURST)
                .take_while(|run| run.spans.end - begin <= SEGMENTS)
                .count();
            let (batch, rest) = runs.split_at(count);
            let spans = &self.spans[begin..batch.last().unwrap_or(first).spans.end];
            for (piece, span) in pieces.iter_mut().zip(spans) {
                *piece = self.piece(burst, *span);
            }
            let none = Transmit {
                path: path(first.part),
                pieces: &[],
                segment: None,
            };
            let mut messages = [none; BURST];
            for (message, run) in messages.iter_mut().zip(batch) {
                *message = Transmit {
                    path: path(run.part),
                    pieces: &pieces[run.spans.start - begin..run.spans.end - begin],
                    segment: run.cut(),
                };
            }
            send(&messages[..count]);
            runs = rest;
        }
    }

    fn piece<'a>(&'a self, burst: &'a [u8], span: Span) -> IoSlice<'a> {
        IoSlice::new(match span.at {
            Place::Burst(begin) => &burst[begin..begin + span.size],
            Place::Here(begin) => &self.bytes[begin..begin + span.size],
        })
    }
}

impl Span {
    /// Whether these bytes are followed by those that begin at `next`.
    fn ends_at(self, next: Place) -> bool {
        match (self.at, next) {
            (Place::Burst(at), Place::Burst(next)) | (Place::Here(at), Place::Here(next)) => {
                at + self.size == next
            }
            _ => false,
        }
    }
}

impl Run {
    /// A run of one datagram.
    fn new(part: usize, index: usize, size: usize) -> Run {
        Run {
            part,
            first: index,
            last: index,
            count: 1,
            bytes: size,
            segment: size,
            is_closed: false,
            spans: 0..0,
        }
    }

    fn takes(&self, size: usize, longest: usize) -> bool {
        let fits = self.count < SEGMENTS && self.bytes + size <= MESSAGE;
        fits && !self.is_closed && 0 < size && size <= self.segment && self.segment <= longest
    }

    fn add(&mut self, index: usize, size: usize) {
        self.last = index;
        self.count += 1;
        self.bytes += size;
        self.is_closed = size < self.segment;
    }

    /// Where the kernel is to cut the message.
    fn cut(&self) -> Option<u16> {
        (self.count > 1).then(|| u16::try_from(self.segment).ok())?
    }
}

/// Where `piece` stands within `buffer`.
fn place_in(buffer: &[u8], piece: &[u8]) -> Option<usize> {
    let at = (piece.as_ptr() as usize).checked_sub(buffer.as_ptr() as usize)?;
    (at + piece.len() <= buffer.len()).then_some(at)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::values::peer::Peer;

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
        replies.gather(0, |a, b| a == b);
        let pieces = |replies: &Replies| -> Vec<Vec<u8>> {
            let spans = replies.spans.iter();
            spans
                .map(|span| replies.piece(&burst, *span).to_vec())
                .collect()
        };
        assert_eq!(
            pieces(&replies),
            [vec![2, 3], vec![2, 3], vec![2, 3], vec![]]
        );
        replies.gather(2, |a, b| a == b);
        assert_eq!(pieces(&replies), [vec![2, 3], vec![2, 3, 2, 3], vec![]]);
        let counts: Vec<usize> = replies.runs.iter().map(|run| run.count).collect();
        assert_eq!(counts, [3, 1]);
    }

    #[test]
    fn what_is_abandoned_counts_the_datagrams_whose_service_returned() {
        let mut replies = Replies::default();
        replies.push(0, &[], &[]);
        replies.settle();
        replies.push(0, &[], &[]);
        assert_eq!(replies.abandon(), 1);
        assert!(replies.is_empty());
        assert_eq!(replies.abandon(), 0);
    }

    /// One message: the part whose path it takes, its segment size, and its datagrams.
    type Message = (usize, Option<u16>, Vec<Vec<u8>>);

    /// All messages, with their datagrams cut as the kernel would cut them.
    fn messages(replies: &Replies) -> Vec<Message> {
        let paths: Vec<Path> = (0..9)
            .map(|part| Path::plain(Peer::V4([0, 0, 0, part].into(), 1)))
            .collect();
        let mut all = Vec::new();
        replies.each_batch(
            &[],
            |part| &paths[part],
            |batch| {
                assert!(!batch.is_empty() && batch.len() <= BURST);
                for message in batch {
                    let part = paths.iter().position(|path| path == message.path).unwrap();
                    let pieces: Vec<&[u8]> = message.pieces.iter().map(|piece| &**piece).collect();
                    let datagrams = match message.segment {
                        Some(segment) => message.datagrams(segment).map(<[u8]>::to_vec).collect(),
                        None => vec![pieces.concat()],
                    };
                    all.push((part, message.segment, datagrams));
                }
            },
        );
        all
    }

    proptest! {
        /// Parts of the same remainder are of one path.
        #[test]
        fn messages_keep_the_order_of_each_path_and_the_rules_of_the_kernel(
            said in prop::collection::vec(
                (
                    0usize..9,
                    prop_oneof![Just(0usize), Just(10), Just(10), Just(20), 0usize..40_000],
                ),
                0..200,
            ),
            longest in prop_oneof![Just(0usize), Just(10), Just(usize::MAX)],
        ) {
            let mut replies = Replies::default();
            for (index, (part, size)) in said.iter().enumerate() {
                replies.push(*part, &[IoSlice::new(&vec![index as u8; *size])], &[]);
            }
            replies.gather(longest, |a, b| a % 3 == b % 3);
            let messages = messages(&replies);
            for path in 0..3 {
                let due = said
                    .iter()
                    .enumerate()
                    .filter(|(_, (part, _))| part % 3 == path)
                    .map(|(index, (_, size))| vec![index as u8; *size]);
                let of_path = messages.iter().filter(|(part, ..)| part % 3 == path);
                let got = of_path.flat_map(|(_, _, datagrams)| datagrams.clone());
                prop_assert!(due.eq(got), "path {path}");
            }
            for (_, segment, datagrams) in &messages {
                let sizes: Vec<usize> = datagrams.iter().map(Vec::len).collect();
                let Some(segment) = segment.map(usize::from) else {
                    prop_assert_eq!(sizes.len(), 1);
                    continue;
                };
                let (last, others) = sizes.split_last().unwrap();
                prop_assert!(!others.is_empty() && others.iter().all(|size| *size == segment));
                prop_assert!((1..=segment).contains(last) && segment <= longest);
                prop_assert!(sizes.len() <= SEGMENTS && sizes.iter().sum::<usize>() <= MESSAGE);
            }
        }
    }
}
