//! The services that the simulated server offers beside echo.

use std::sync::{LazyLock, Once};

use mynah::service::{Action, Context, Service, Shape};

/// The length of the answer: more than the small sockets hold.
pub(crate) const ANSWER: usize = 10_000;

/// What [`AnswerOnce`] says.
pub(crate) static ANSWER_TEXT: LazyLock<Vec<u8>> = LazyLock::new(|| {
    (0..ANSWER)
        .map(|at| (at.wrapping_mul(17) >> 2) as u8)
        .collect()
});

/// Answers the first input and ends.
pub(crate) struct AnswerOnce;

impl Service for AnswerOnce {
    fn on_data(&mut self, cx: &mut Context<'_>, _input: &[u8]) -> Action {
        cx.reply(&ANSWER_TEXT);
        Action::FINISH
    }
}

/// [`Fragile`] panics when it hears this byte. The model sends it for nothing else.
pub(crate) const MAGIC: u8 = 0xff;

/// An echo with a defect.
pub(crate) struct Fragile(pub(crate) Shape);

impl Service for Fragile {
    fn on_data(&mut self, cx: &mut Context<'_>, input: &[u8]) -> Action {
        let panics = match self.0 {
            Shape::Stream => input.contains(&MAGIC),
            // The first bytes of a datagram are its number, and may be anything.
            Shape::Datagram => input.last() == Some(&MAGIC),
        };
        if panics {
            std::panic::panic_any(Deliberate);
        }
        cx.reply(input);
        Action::Continue
    }
}

/// The payload of a panic that is part of a test.
struct Deliberate;

/// Keeps the deliberate panics, and only those, from printing anything.
pub(crate) fn silence_deliberate_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let report = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if !panic.payload().is::<Deliberate>() {
                report(panic);
            }
        }));
    });
}
