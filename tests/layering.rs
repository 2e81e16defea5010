//! The house has floors, and arrows point down only.
//!
//! Reads the sources, not the binary: what each module imports must stand in the table below, and whatever the table lets it import must stand
//! above it there. A new module needs a row; a new arrow needs a changed row, so that it is seen and argued about. Unit tests may import what
//! they like.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// What each module may import, from the ground up. Most rows are one file; those of [`FOLDERS`] are all files of a folder.
const TABLE: &[(&str, &[&str])] = &[
    // Small types: no I/O.
    ("values", &[]),
    // The seam. What stands above it knows the trait alone, never the operating system or the simulator.
    ("net::burst", &["values"]),
    ("net::names", &["values"]),
    ("net::options", &[]),
    ("net::signals", &["values"]),
    ("net::sys", &["net::burst", "values"]),
    ("net::unix_diag", &[]),
    ("net::unix_path", &["net::sys", "net::unix_diag", "values"]),
    (
        "net::socket",
        &["net::options", "net::sys", "net::unix_path", "values"],
    ),
    (
        "net",
        &["net::burst", "net::names", "net::options", "values"],
    ),
    (
        "net::os",
        &[
            "net",
            "net::signals",
            "net::socket",
            "net::sys",
            "net::unix_path",
            "values",
        ],
    ),
    ("net::sim", &["net", "values"]),
    ("net::turn", &["net", "values"]),
    // Bytes in, bytes out: never a socket, never the loop.
    ("service", &["values"]),
    // The state machines: never the loop, and not one another.
    ("stream", &["net", "net::turn", "service", "values"]),
    ("datagram", &["net", "net::turn", "service", "values"]),
    (
        "reactor",
        &[
            "datagram",
            "net",
            "net::turn",
            "service",
            "stream",
            "values",
        ],
    ),
    // The load generator: pure rules, two services, and what drives a reactor of its own.
    ("load", &["net", "reactor", "service", "stream", "values"]),
    // The front page shows everything; the program uses the library as anybody else would.
    ("lib", EVERYTHING),
    (
        "cli",
        &[
            "lib", "load", "net", "net::os", "service", "stream", "values",
        ],
    ),
    ("main", &["cli"]),
];

const EVERYTHING: &[&str] = &["*"];

/// Modules whose files share a row.
const FOLDERS: &[&str] = &[
    "service", "cli", "stream", "datagram", "reactor", "values", "load", "net::sim", "net::sys",
];

/// One source file, without comments and unit tests.
struct Source {
    path: PathBuf,
    /// As in `net::os`; the front page is `lib`.
    module: String,
    code: String,
}

impl Source {
    fn read(path: PathBuf) -> Source {
        let inside = path.strip_prefix(root()).unwrap().with_extension("");
        let mut parts: Vec<&str> = inside.iter().map(|part| part.to_str().unwrap()).collect();
        if parts.last() == Some(&"mod") {
            parts.pop();
        }
        let text = fs::read_to_string(&path).unwrap();
        let text = ["mod tests {", "pub(crate) mod tests {"]
            .iter()
            .find_map(|head| {
                text.split_once(&format!("\n#[cfg(test)]\n{head}"))
                    .map(|(code, _)| code.to_owned())
            })
            .unwrap_or(text);
        let code = text
            .lines()
            .map(|line| line.split("//").next().unwrap_or_default())
            .collect::<Vec<_>>()
            .join("\n");
        Source {
            module: parts.join("::"),
            path,
            code,
        }
    }

    /// The row of the table that this file belongs to.
    fn row(&self) -> &str {
        row_of(&self.module)
    }

    /// Absolute paths of everything that is named with `crate::`, `super::`, `self::` or, in the program, `mynah::`.
    fn paths(&self) -> Vec<String> {
        let here = if self.module == "lib" {
            ""
        } else {
            &self.module
        };
        let parent = here.rsplit_once("::").map_or("", |(parent, _)| parent);
        let mut found = Vec::new();
        for (word, base) in [
            ("crate::", ""),
            ("mynah::", ""),
            ("self::", here),
            ("super::", parent),
        ] {
            for (at, _) in self.code.match_indices(word) {
                let is_word = !self.code[..at].ends_with(|before: char| {
                    before.is_alphanumeric() || before == '_' || before == ':'
                });
                if is_word {
                    expand(&self.code[at + word.len()..], base, &mut found);
                }
            }
        }
        found
    }
}

/// The paths of a use tree, or of the path at the beginning of `text`: `a::{b, c::d}` gives `a::b` and `a::c::d`. Returns what follows it.
fn expand<'a>(text: &'a str, base: &str, found: &mut Vec<String>) -> &'a str {
    let text = text.trim_start();
    if let Some(mut rest) = text.strip_prefix('{') {
        loop {
            rest = rest.trim_start().trim_start_matches(',').trim_start();
            if rest.is_empty() || rest.starts_with('}') {
                return rest.strip_prefix('}').unwrap_or(rest);
            }
            let before = rest.len();
            rest = expand(rest, base, found);
            // What is no tree (a renaming, a macro) is passed over a character at a time.
            if rest.len() == before {
                rest = rest.get(1..).unwrap_or_default();
            }
        }
    }
    let end = text
        .find(|character: char| !character.is_alphanumeric() && character != '_')
        .unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    let path = match (base, name) {
        (base, "" | "self") => base.to_owned(),
        ("", name) => name.to_owned(),
        (base, name) => format!("{base}::{name}"),
    };
    match rest.strip_prefix("::") {
        Some(rest) => expand(rest, &path, found),
        None => {
            found.push(path);
            // Another name is given to it: no path of its own.
            match rest.trim_start().strip_prefix("as ") {
                Some(rest) => rest.trim_start_matches(|character: char| {
                    character.is_alphanumeric() || character == '_'
                }),
                None => rest,
            }
        }
    }
}

fn row_of(module: &str) -> &str {
    let is_inside =
        |folder: &&&str| module == **folder || module.starts_with(&format!("{folder}::"));
    FOLDERS.iter().find(is_inside).copied().unwrap_or(module)
}

/// The row that a path leads to: the longest module in it. A path that names no module is something that the front page shows.
fn target(path: &str, sources: &[Source]) -> String {
    let is_in = |module: &str| path == module || path.starts_with(&format!("{module}::"));
    let modules = sources.iter().map(|source| source.module.as_str());
    let longest = modules
        .filter(|module| is_in(module))
        .max_by_key(|module| module.len());
    row_of(longest.unwrap_or("lib")).to_owned()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn sources() -> Vec<Source> {
    let (mut folders, mut found) = (vec![root()], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(Source::read(path));
            }
        }
    }
    assert!(found.len() > 20, "the sources are where they were");
    found
}

/// Fails with one line for each place outside `allowed` where one of `words` stands.
#[track_caller]
fn assert_only_in(allowed: &[&str], words: &[&str]) {
    let mut breaches = Vec::new();
    for source in sources().iter().filter(|source| {
        !allowed.contains(&source.row()) && !allowed.contains(&source.module.as_str())
    }) {
        for line in source
            .code
            .lines()
            .filter(|line| words.iter().any(|word| stands_in(word, line)))
        {
            breaches.push(format!("{}: {}", source.path.display(), line.trim()));
        }
    }
    assert!(
        breaches.is_empty(),
        "{words:?} belong in {allowed:?} alone:\n{}",
        breaches.join("\n")
    );
}

/// Whether `word` stands in `line`, not as the end of a longer name.
fn stands_in(word: &str, line: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        !line[..at].ends_with(|before: char| before.is_alphanumeric() || before == '_')
    })
}

#[test]
fn every_import_stands_in_the_table() {
    let sources = sources();
    let mut breaches = BTreeSet::new();
    for source in &sources {
        let Some((_, allowed)) = TABLE.iter().find(|(name, _)| *name == source.row()) else {
            breaches.insert(format!("{} has no row in the table", source.module));
            continue;
        };
        for path in source.paths() {
            let target = target(&path, &sources);
            if *allowed != EVERYTHING
                && target != source.row()
                && !allowed.contains(&target.as_str())
            {
                breaches.insert(format!(
                    "{} imports {path}: {target} is not in its row",
                    source.module
                ));
            }
        }
    }
    assert!(
        breaches.is_empty(),
        "{}",
        breaches.into_iter().collect::<Vec<_>>().join("\n")
    );
}

#[test]
fn every_arrow_of_the_table_points_down() {
    for (floor, (name, allowed)) in TABLE.iter().enumerate() {
        for other in allowed.iter().filter(|other| **other != "*") {
            let below = TABLE.iter().position(|(name, _)| name == other);
            assert!(
                below.is_some_and(|below| below < floor),
                "{name} may not import {other}: it stands no lower"
            );
        }
    }
    let names: BTreeSet<&str> = TABLE.iter().map(|(name, _)| *name).collect();
    assert_eq!(names.len(), TABLE.len(), "one row a module");
}

/// The reader of the sources is what the other tests stand on.
#[test]
fn imports_are_read_in_all_their_forms() {
    let read = |text: &str| {
        let mut found = Vec::new();
        expand(text, "", &mut found);
        found
    };
    assert_eq!(read("error::CloseReason;"), ["error::CloseReason"]);
    assert_eq!(
        read("net::{self, os::{OsNet, Stream}, Wake as W};"),
        ["net", "net::os::OsNet", "net::os::Stream", "net::Wake"]
    );
    assert_eq!(read("escape::Escaped(bytes)"), ["escape::Escaped"]);
    assert_eq!(
        read("{token::Token,\n    timer::Time}"),
        ["token::Token", "timer::Time"]
    );
    let seen: usize = sources().iter().map(|source| source.paths().len()).sum();
    assert!(seen > 150, "{seen} imports seen in all");
}

/// Time is read once a turn and handed down, or the simulator's clock would not be the only one.
#[test]
fn clocks_are_read_below_the_seam_and_in_the_program_alone() {
    assert_only_in(
        &["net", "net::os", "net::sim", "net::socket", "cli", "main"],
        &[
            "Instant::now",
            "SystemTime::now",
            ".elapsed()",
            "UNIX_EPOCH",
        ],
    );
}

/// The loop runs on events of its own, which the simulator can make and mio cannot.
#[test]
fn mio_is_named_below_the_seam_and_in_the_token_alone() {
    assert_only_in(
        &["net", "net::os", "net::signals", "values::token"],
        &["mio::"],
    );
}

/// Sockets of the standard library would pass by the seam.
#[test]
fn sockets_are_made_below_the_seam_alone() {
    let words = [
        "TcpStream",
        "TcpListener",
        "UdpSocket",
        "UnixStream",
        "UnixListener",
        "UnixDatagram",
        "socket2::",
    ];
    let allowed = [
        "net",
        "net::options",
        "net::os",
        "net::socket",
        "net::unix_diag",
        "net::unix_path",
    ];
    assert_only_in(&allowed, &words);
}

/// One thread runs the loop; the others of the program wait for its input and output.
#[test]
fn threads_are_started_by_the_outlet_and_the_inlet_alone() {
    assert_only_in(
        &["cli::outlet", "cli::connect::inlet"],
        &["thread::Builder", "thread::spawn"],
    );
}

#[test]
fn unsafe_code_stands_in_one_folder() {
    assert_only_in(&["net::sys"], &["unsafe "]);
}
