//! Text and tables of a page.
//!
//! Must never let through text as markup: whatever came from outside goes through [`escaped`].

use std::fmt::Write;

/// Text as text, between tags and in attributes.
pub(super) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

/// A part of a page, where it has anything to show.
pub(super) fn section(page: &mut String, heading: &str, body: &str) {
    if !body.is_empty() {
        let heading = escaped(heading);
        let _ = writeln!(page, "<section>\n<h2>{heading}</h2>\n{body}\n</section>");
    }
}

/// A table of numbers, its names at the left.
pub(super) fn numbers(head: &[String], rows: &[Vec<String>]) -> String {
    let line = |cells: &[String], tag: &str| {
        let cells: String = cells
            .iter()
            .map(|cell| format!("<{tag}>{}</{tag}>", escaped(cell)))
            .collect();
        format!("<tr>{cells}</tr>\n")
    };
    let rows: String = rows.iter().map(|row| line(row, "td")).collect();
    format!(
        "<div class=\"wide\"><table>\n{}{rows}</table></div>",
        line(head, "th")
    )
}

/// A table of words: what each thing is.
pub(super) fn words(rows: &[(String, String)]) -> String {
    let rows: String = rows
        .iter()
        .map(|(name, value)| {
            let (name, value) = (escaped(name), escaped(value));
            format!("<tr><td>{name}</td><td>{value}</td></tr>\n")
        })
        .collect();
    format!("<table class=\"words\">\n{rows}</table>")
}

/// A paragraph.
pub(super) fn paragraph(class: &str, text: &str) -> String {
    format!("<p class=\"{class}\">{}</p>\n", escaped(text))
}
