//! One answer: its pieces, its frame, and the way it leaves.
//!
//! Owns the order in which answers leave, and the buffers in which they are gathered. It must never
//! send more than there is room for: what does not fit is kept as unsent.

use std::io::IoSlice;

use log::debug;

use super::{Messages, Shared};
use crate::service::framing::{Around, Frame, Framing};
use crate::service::template::{Template, Values};
use crate::service::{Action, Context, Shape};
use crate::values::error::CloseReason;

/// About how many bytes one call sends before other connections get their turn.
pub(super) const SEND_BUDGET: usize = 64 * 1024;

/// There was no memory to keep something for the peer.
pub(super) const NO_MEMORY: Action = Action::Abort(CloseReason::NoMemory);

/// The most pieces of an answer that is not copied, with its frame. One of more pieces is put
/// together first.
const MOST_PIECES: usize = 8;

/// Buffers for the length of one call. Idle connections own none.
#[derive(Default)]
pub(super) struct Scratch {
    /// The texts of the fields of one answer.
    texts: String,
    /// Where each of them ends.
    ends: Vec<usize>,
    /// Answers that are sent together.
    pub(super) batch: Vec<u8>,
}

impl Messages {
    /// Sends the rest of an answer, as far as there is room. Returns how much.
    pub(super) fn send_unsent(&mut self, cx: &mut Context<'_>) -> usize {
        let count = cx
            .room()
            .min(self.unsent.len() - self.sent)
            .min(SEND_BUDGET);
        if count > 0 {
            cx.reply(&self.unsent[self.sent..self.sent + count]);
            self.sent += count;
            if self.sent == self.unsent.len() {
                (self.unsent, self.sent) = (Vec::new(), 0);
            }
        }
        count
    }

    /// Answers one message of a stream: at once, together with the others of this input, or as far
    /// as there is room. Returns how many bytes were sent at once. An error ends the conversation:
    /// the frame cannot announce the answer's length, or there is no memory.
    pub(super) fn answer(
        &mut self,
        cx: &mut Context<'_>,
        shared: &Shared,
        scratch: &mut Scratch,
        frame: Frame<'_>,
        is_last: bool,
    ) -> Result<usize, Action> {
        self.note(cx, frame.body);
        let rules = &shared.rules;
        let Some(template) = &rules.reply else {
            return Ok(0);
        };
        self.is_closing = rules.close;
        self.write_fields(cx, template, scratch);
        let Scratch { texts, ends, batch } = scratch;
        let mut slices = [IoSlice::new(b""); MOST_PIECES];
        let Some(body) = slices
            .get_mut(1..=template.len())
            .filter(|_| template.len() + 2 <= MOST_PIECES)
        else {
            let mut whole = Vec::new();
            for piece in template.pieces(frame.body, texts, ends) {
                append(&mut whole, piece)?;
            }
            let around = Around::of(&rules.framing, whole.len(), frame.end, shared.ends_itself)
                .ok_or(Action::TOO_LONG)?;
            let pieces = [around.head(), &whole, around.tail].map(IoSlice::new);
            return self.send(cx, batch, &pieces, is_last);
        };
        let mut size = 0;
        for (slice, piece) in body
            .iter_mut()
            .zip(template.pieces(frame.body, texts, ends))
        {
            *slice = IoSlice::new(piece);
            size += piece.len();
        }
        let around = Around::of(&rules.framing, size, frame.end, shared.ends_itself)
            .ok_or(Action::TOO_LONG)?;
        slices[0] = IoSlice::new(around.head());
        slices[template.len() + 1] = IoSlice::new(around.tail);
        let from = usize::from(slices[0].is_empty());
        let to = template.len() + 1 + usize::from(!around.tail.is_empty());
        self.send(cx, batch, &slices[from..to], is_last)
    }

    /// Sends the pieces of one answer, after the answers that are gathered. Returns how many bytes
    /// were sent at once.
    ///
    /// One vectored write sends the pieces from where they lie: the template's, the message's. If
    /// one input holds many messages, their answers are gathered, because to copy some bytes costs
    /// less than a system call.
    #[inline]
    pub(super) fn send(
        &mut self,
        cx: &mut Context<'_>,
        batch: &mut Vec<u8>,
        pieces: &[IoSlice<'_>],
        is_last: bool,
    ) -> Result<usize, Action> {
        let size: usize = pieces.iter().map(|piece| piece.len()).sum();
        let room = cx.room();
        if is_last && batch.is_empty() && size <= room {
            match pieces {
                [piece] => cx.reply(piece),
                pieces => cx.reply_vectored(pieces),
            }
            return Ok(size);
        }
        if batch.len() + size <= room {
            for piece in pieces {
                append(batch, piece)?;
            }
            return Ok(0);
        }
        let gathered = batch.len();
        if gathered > 0 {
            cx.reply(batch);
            batch.clear();
        }
        self.unsent.try_reserve_exact(size).map_err(|_| NO_MEMORY)?;
        for piece in pieces {
            append(&mut self.unsent, piece)?;
        }
        Ok(gathered)
    }

    /// Counts a message and shows it to the tap.
    pub(super) fn note(&mut self, cx: &Context<'_>, message: &[u8]) {
        self.sequence += 1;
        if let Some(tap) = &mut self.tap {
            let is_whole =
                self.shape == Shape::Datagram || self.shared.rules.framing != Framing::Chunk;
            tap.message(cx.peer, message, is_whole);
        }
    }

    pub(super) fn write_fields(
        &mut self,
        cx: &mut Context<'_>,
        template: &Template,
        scratch: &mut Scratch,
    ) {
        if !template.has_fields() {
            return;
        }
        scratch.texts.clear();
        scratch.ends.clear();
        // A datagram socket may have many addresses, a stream has one.
        if template.wants_local() && (self.local.is_none() || self.shape == Shape::Datagram) {
            self.local = Some(
                cx.local()
                    .map_or_else(|| "unknown".into(), |local| local.to_string().into()),
            );
        }
        let values = Values {
            peer: cx.peer,
            local: self.local.as_deref().unwrap_or_default(),
            connection: self.connection,
            sequence: self.sequence,
            wall_clock: if template.wants_time() {
                cx.wall_clock()
            } else {
                std::time::Duration::ZERO
            },
        };
        template.write_fields(&values, &mut scratch.texts, &mut scratch.ends);
    }

    /// A datagram is a message, and its answer is one.
    pub(super) fn answer_datagram(&mut self, cx: &mut Context<'_>, message: &[u8]) -> Action {
        self.note(cx, message);
        let shared = self.shared.clone();
        let Some(template) = &shared.rules.reply else {
            return self.inner.on_data(cx, message);
        };
        let scratch = &mut *shared.scratch.borrow_mut();
        self.write_fields(cx, template, scratch);
        let slices: Vec<IoSlice<'_>> = template
            .pieces(message, &scratch.texts, &scratch.ends)
            .map(IoSlice::new)
            .collect();
        let size: usize = slices.iter().map(|slice| slice.len()).sum();
        if size <= cx.room() {
            cx.reply_vectored(&slices);
        } else {
            debug!(
                "{}: an answer of {size} bytes is longer than a datagram can be; not sent",
                cx.peer
            );
        }
        Action::Continue
    }
}

/// Appends bytes that are kept for a peer.
pub(super) fn append(buffer: &mut Vec<u8>, bytes: &[u8]) -> Result<(), Action> {
    buffer.try_reserve(bytes.len()).map_err(|_| NO_MEMORY)?;
    buffer.extend_from_slice(bytes);
    Ok(())
}
