//! Templates on the command line.
//!
//! Owns the sentences about mistakes in them.

use mynah::Escaped;
use mynah::service::{Template, TemplateError};

use super::{bytes_of, usage};
use crate::cli::charset::Charset;
use crate::cli::status::Failure;
use crate::cli::text::{self, Text};

/// The template that was given with `option`, with its texts in this encoding.
pub(super) fn template(option: &str, text: &str, encoding: Charset) -> Result<Template, Failure> {
    // All escapes at once, so that the position of a wrong one counts from the beginning. Its
    // backslash keeps a brace from being part of one.
    Text::parse(text).map_err(|why| usage(format_args!("{option}: {why}")))?;
    Template::parse(text, |_, literal| {
        bytes_of(option, literal, encoding).map_err(Wrong::Text)
    })
    .map_err(|wrong| match wrong {
        Wrong::Template(error) => usage(format_args!(
            "{option}: at character {}, {error}{}",
            text::position(text, error.at),
            as_it_stands(text)
        )),
        Wrong::Text(failure) => failure,
    })
}

/// Why a template is none.
enum Wrong {
    Template(TemplateError),
    Text(Failure),
}

impl From<TemplateError> for Wrong {
    fn from(error: TemplateError) -> Wrong {
        Wrong::Template(error)
    }
}

/// How to write a template whose braces are meant, as in JSON.
fn as_it_stands(template: &str) -> String {
    Template::doubled(template).map_or_else(String::new, |doubled| {
        // A backslash begins an escape in a template too, so it stays as it is.
        let shown = Escaped(doubled.as_bytes()).to_string().replace(r"\\", r"\");
        format!(", as in '{shown}'")
    })
}
