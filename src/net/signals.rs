//! Signals, as a source of events.
//!
//! Owns the pipe that they come through. The feature `cli` catches them; without it nothing does.

pub use self::caught::Signals;

#[cfg(feature = "cli")]
mod caught {
    use std::io;

    use signal_hook_mio::v1_0;

    use crate::values::signal::Signal;
    use crate::values::token::Token;

    /// The signals that were caught, behind a pipe, and the name that they are registered under.
    pub struct Signals(v1_0::Signals, Token);

    impl Signals {
        pub(crate) fn catch(token: Token) -> io::Result<Signals> {
            Ok(Signals(v1_0::Signals::new(Signal::CAUGHT)?, token))
        }

        pub(crate) fn source(&mut self) -> &mut dyn mio::event::Source {
            &mut self.0
        }

        pub(crate) fn token(&self) -> Token {
            self.1
        }

        pub(crate) fn next(&mut self) -> Option<Signal> {
            self.0.pending().find_map(Signal::of)
        }
    }

    impl std::fmt::Debug for Signals {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("Signals")
        }
    }
}

#[cfg(not(feature = "cli"))]
mod caught {
    use std::io;

    use crate::values::signal::Signal;
    use crate::values::token::Token;

    /// No signals are caught without the feature `cli`.
    #[derive(Debug)]
    pub enum Signals {}

    impl Signals {
        pub(crate) fn catch(_token: Token) -> io::Result<Signals> {
            Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "signals are caught with the feature `cli`",
            ))
        }

        pub(crate) fn source(&mut self) -> &mut dyn mio::event::Source {
            match *self {}
        }

        pub(crate) fn token(&self) -> Token {
            match *self {}
        }

        pub(crate) fn next(&mut self) -> Option<Signal> {
            match *self {}
        }
    }
}
