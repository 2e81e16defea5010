//! Tells the services on the loop that a thread beside it has done something.

use std::sync::{Arc, Mutex, PoisonError};

use mynah::{Handle, Token};

/// Wakes the sources whose services wait for a thread. Clones are the same bell.
#[derive(Clone, Debug)]
pub(super) struct Bell(Option<Handle>, Arc<Mutex<Vec<Token>>>);

impl Bell {
    /// A bell in the reactor of `handle` that wakes nobody yet.
    pub(super) fn new(handle: Handle) -> Bell {
        Bell(Some(handle), Arc::default())
    }

    /// A bell without a reactor, for tests.
    #[cfg(test)]
    pub(super) fn silent() -> Bell {
        Bell(None, Arc::default())
    }

    /// From now on wakes these.
    pub(super) fn wakes(&self, tokens: Vec<Token>) {
        *self.1.lock().unwrap_or_else(PoisonError::into_inner) = tokens;
    }

    /// Wakes them. Cheap enough for each piece of input, not for each byte.
    pub(super) fn ring(&self) {
        let tokens = self
            .1
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        if let Some(handle) = &self.0 {
            tokens.into_iter().for_each(|token| handle.wake(token));
        }
    }
}
