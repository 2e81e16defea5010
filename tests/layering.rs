//! The rooms of the house, and which of them may know which.
//!
//! Reads the sources, not the binary. What a room imports must be in its row of [`TABLE`], and all of
//! that stands above it there, so arrows between rooms point one way. A new arrow needs a changed
//! row: somebody sees it and argues about it. Inside the rooms, no file may need itself through
//! others. Unit tests may import what they like.
//!
//! `cargo test --test layering -- --nocapture` shows the arrows.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// What each room may import, from the ground up. A room is a folder, or a part of one.
const TABLE: &[(&str, &[&str])] = &[
    // Small types: no I/O.
    ("values", &[]),
    // The seam, and what is below it. Above it, the trait alone is known, never the operating system
    // or the simulator.
    ("net", &["values"]),
    ("net::os", &["net", "values"]),
    ("net::sim", &["net", "values"]),
    // Bytes in, bytes out: never a socket, never the loop.
    ("service", &["values"]),
    // The state machines: never the loop, and not each other.
    ("stream", &["net", "service", "values"]),
    ("datagram", &["net", "service", "values"]),
    (
        "reactor",
        &["datagram", "net", "service", "stream", "values"],
    ),
    // The load generator: pure rules, two services, and what drives a reactor of its own.
    ("load", &["net", "reactor", "service", "stream", "values"]),
    // The front page shows everything; the program uses the library as any other program would.
    ("lib", EVERYTHING),
    (
        "cli",
        &[
            "load", "net", "net::os", "reactor", "service", "stream", "values",
        ],
    ),
    ("main", &["cli"]),
];

const EVERYTHING: &[&str] = &["*"];

/// The rooms of the loop, whose files a reader must be able to hold.
const CORE: &[&str] = &["values", "net", "service", "stream", "datagram", "reactor"];

/// Lines of a file of the core rooms, with its unit tests.
const LONGEST_FILE: usize = 430;

/// Columns of a line.
const WIDEST_LINE: usize = 100;

/// The rooms whose lines are no wider.
const WRAPPED: &[&str] = &[
    "cli", "datagram", "lib", "load", "main", "net", "reactor", "service", "stream", "values",
];

/// One source file, without comments and unit tests.
struct Source {
    path: PathBuf,
    /// As in `net::os`; the front page is `lib`.
    module: String,
    text: String,
    code: String,
}

impl Source {
    fn read(root: &Path, path: PathBuf) -> Source {
        let inside = path.strip_prefix(root).unwrap().with_extension("");
        let mut parts: Vec<&str> = inside.iter().map(|part| part.to_str().unwrap()).collect();
        if parts.last() == Some(&"mod") {
            parts.pop();
        }
        let text = fs::read_to_string(&path).unwrap();
        let code = ["mod tests", "pub(crate) mod tests"]
            .iter()
            .find_map(|head| text.split_once(&format!("\n#[cfg(test)]\n{head}")))
            .map_or(text.as_str(), |(code, _)| code);
        let code = code
            .lines()
            .map(|line| line.split("//").next().unwrap_or_default())
            .collect::<Vec<_>>()
            .join("\n");
        Source {
            module: parts.join("::"),
            path,
            text,
            code,
        }
    }

    /// The name before the paths of this file's own items.
    fn base(&self) -> &str {
        match self.module.as_str() {
            "lib" => "",
            module => module,
        }
    }

    /// What this file shows of others under names of its own: names and paths.
    fn shown(&self) -> Vec<(String, String)> {
        let mut found = Vec::new();
        for statement in statements(&self.code).filter(|text| is_shown(text)) {
            let (_, tree) = statement.rsplit_once(" use ").unwrap_or_default();
            let (tree, base) = match tree.split_once("::") {
                Some(("crate", rest)) => (rest, ""),
                Some(("self", rest)) => (rest, self.base()),
                _ => (tree, self.base()),
            };
            expand(tree, base, &mut found);
        }
        let name_of = |path: &str| path.rsplit("::").next().unwrap_or_default().to_owned();
        found
            .into_iter()
            .map(|path| (name_of(&path), path))
            .collect()
    }

    /// The paths that this file imports or names, without those that it only shows.
    fn used(&self) -> Vec<String> {
        let mut found = Vec::new();
        for statement in statements(&self.code).filter(|text| !is_shown(text)) {
            self.add_paths(statement, &mut found);
        }
        found
    }

    /// Absolute paths of everything in `text` that is named with `crate::`, `super::`, `self::` or,
    /// in the program, `mynah::` and in `main`, `cli::`.
    fn add_paths(&self, text: &str, found: &mut Vec<String>) {
        let here = self.base();
        let parent = here.rsplit_once("::").map_or("", |(parent, _)| parent);
        for (word, base) in [
            ("crate::", ""),
            ("mynah::", ""),
            ("self::", here),
            ("super::", parent),
            ("cli::", "cli"),
        ] {
            if word == "cli::" && self.module != "main" {
                continue;
            }
            for (at, _) in text.match_indices(word) {
                let is_word = !text[..at].ends_with(|before: char| {
                    before.is_alphanumeric() || before == '_' || before == ':'
                });
                if is_word {
                    expand(&text[at + word.len()..], base, found);
                }
            }
        }
    }
}

/// Pieces of code, none of which ends inside a `use`.
fn statements(code: &str) -> impl Iterator<Item = &str> {
    code.split_inclusive(';')
}

/// Whether a piece of code shows something of another file under a name of its own.
fn is_shown(statement: &str) -> bool {
    statement.lines().any(|line| {
        let line = line.trim_start();
        line.starts_with("pub use ") || line.starts_with("pub(crate) use ")
    })
}

/// The paths of a use tree, or of the path at the beginning of `text`: `a::{b, c::d}` gives `a::b`
/// and `a::c::d`. Returns what follows it.
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
        (base, "super") => base.rsplit_once("::").map_or("", |(up, _)| up).to_owned(),
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

/// All files below a root, and what leads where.
struct House {
    sources: Vec<Source>,
    /// What each file shows of others: module and name, and the path behind it.
    shown: BTreeMap<(String, String), String>,
}

impl House {
    fn read(root: &Path) -> House {
        let (mut folders, mut sources) = (vec![root.to_owned()], Vec::new());
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|extension| extension == "rs")
                    // Unit tests in a file of their own.
                    && path.file_stem().is_some_and(|name| name != "tests")
                {
                    sources.push(Source::read(root, path));
                }
            }
        }
        assert!(sources.len() > 20, "the sources are where they were");
        sources.sort_by(|left, right| left.module.cmp(&right.module));
        let shown = sources
            .iter()
            .flat_map(|source| {
                let module = source.base().to_owned();
                let shown = source.shown().into_iter();
                shown.map(move |(name, path)| ((module.clone(), name), path))
            })
            .collect();
        House { sources, shown }
    }

    fn here() -> House {
        House::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"))
    }

    /// The file in which the item at `path` is written, whatever files show it on the way. `None` for
    /// what is in no file of ours.
    fn file_of(&self, path: &str) -> Option<&str> {
        let mut path = path.to_owned();
        // A chain of files that show each other's items has an end.
        for _ in 0..8 {
            let module = self.module_in(&path);
            let rest = path[module.len()..].trim_start_matches("::");
            let name = rest.split("::").next().unwrap_or_default();
            match self.shown.get(&(module.to_owned(), name.to_owned())) {
                Some(behind) => path = format!("{behind}{}", &rest[name.len()..]),
                None if module.is_empty() => return (!name.is_empty()).then_some("lib"),
                None => return Some(module),
            }
        }
        panic!("{path} is shown in a circle");
    }

    /// The longest module at the beginning of `path`.
    fn module_in(&self, path: &str) -> &str {
        let is_in = |module: &str| path == module || path.starts_with(&format!("{module}::"));
        let modules = self.sources.iter().map(|source| source.module.as_str());
        let inside = modules.filter(|module| is_in(module));
        inside.max_by_key(|module| module.len()).unwrap_or_default()
    }

    /// The files that a file needs, without the faces of the folders that it is in: a folder's
    /// `mod.rs` and its files are one thing.
    fn needs<'a>(&'a self, source: &'a Source) -> BTreeSet<&'a str> {
        let is_face = |file: &str| is_in(&source.module, file);
        let files = source.used();
        let files = files.iter().filter_map(|path| self.file_of(path));
        files.filter(|file| !is_face(file)).collect()
    }

    /// Every room with those that it uses, and a place where it does.
    fn arrows(&self, room_of: impl Fn(&str) -> String) -> BTreeMap<(String, String), String> {
        let mut arrows = BTreeMap::new();
        for source in &self.sources {
            for file in self.needs(source) {
                let (from, to) = (room_of(&source.module), room_of(file));
                if from != to {
                    let place = format!("{} uses {file}", source.module);
                    arrows.entry((from, to)).or_insert(place);
                }
            }
        }
        arrows
    }

    /// Fails with one line for each place outside `allowed` with one of `words`.
    #[track_caller]
    fn assert_only_in(&self, allowed: &[&str], words: &[&str]) {
        let mut breaches = Vec::new();
        for source in &self.sources {
            let is_allowed = |part: &&str| is_in(&source.module, part);
            if allowed.iter().any(is_allowed) {
                continue;
            }
            let lines = source.code.lines();
            for line in lines.filter(|line| words.iter().any(|word| stands_in(word, line))) {
                breaches.push(format!("{}: {}", source.path.display(), line.trim()));
            }
        }
        assert!(
            breaches.is_empty(),
            "{words:?} belong in {allowed:?} alone:\n{}",
            breaches.join("\n")
        );
    }
}

/// Whether a path leads to a module or into it.
fn is_in(path: &str, module: &str) -> bool {
    path.strip_prefix(module)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// The row of the table that a file belongs to.
fn room_of(module: &str) -> String {
    let rooms = TABLE.iter().map(|(room, _)| *room);
    rooms
        .filter(|room| is_in(module, room))
        .max_by_key(|room| room.len())
        .unwrap_or(module)
        .to_owned()
}

/// The first part of a module's name.
fn floor_of(module: &str) -> String {
    module.split("::").next().unwrap_or_default().to_owned()
}

/// Whether `word` is in `line`, not as the end of a longer name.
fn stands_in(word: &str, line: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        !line[..at].ends_with(|before: char| before.is_alphanumeric() || before == '_')
    })
}

/// A circle in what files need, each of its files once.
fn circle_in(needs: &BTreeMap<&str, BTreeSet<&str>>) -> Option<Vec<String>> {
    let mut done = BTreeSet::new();
    needs
        .keys()
        .find_map(|file| circle_from(file, needs, &mut Vec::new(), &mut done))
}

fn circle_from<'a>(
    file: &'a str,
    needs: &BTreeMap<&'a str, BTreeSet<&'a str>>,
    way: &mut Vec<&'a str>,
    done: &mut BTreeSet<&'a str>,
) -> Option<Vec<String>> {
    if let Some(at) = way.iter().position(|step| *step == file) {
        return Some(way[at..].iter().map(ToString::to_string).collect());
    }
    if !done.insert(file) {
        return None;
    }
    way.push(file);
    let next = needs.get(file).into_iter().flatten();
    let circle = next
        .copied()
        .find_map(|next| circle_from(next, needs, way, done));
    way.pop();
    circle
}

#[test]
fn every_arrow_between_rooms_is_in_the_table() {
    let arrows = House::here().arrows(room_of);
    for ((from, to), place) in &arrows {
        println!("{from} ─▶ {to}    {place}");
    }
    let mut breaches = Vec::new();
    for ((from, to), place) in &arrows {
        match TABLE.iter().find(|(room, _)| room == from) {
            None => breaches.push(format!("{from} has no row in the table")),
            Some((_, allowed)) if *allowed != EVERYTHING && !allowed.contains(&to.as_str()) => {
                breaches.push(format!("{from} ─▶ {to} is not in the table: {place}"));
            }
            Some(_) => {}
        }
    }
    assert!(breaches.is_empty(), "{}", breaches.join("\n"));
    let floors = House::here().arrows(floor_of);
    println!(
        "{} arrows between the rooms of the table, {} between folders",
        arrows.len(),
        floors.len()
    );
}

/// A row that allows more than there is hides the next arrow.
#[test]
fn the_table_allows_nothing_that_is_not_used() {
    let arrows = House::here().arrows(room_of);
    for (from, allowed) in TABLE.iter().filter(|(_, allowed)| *allowed != EVERYTHING) {
        for to in *allowed {
            let arrow = ((*from).to_owned(), (*to).to_owned());
            assert!(arrows.contains_key(&arrow), "{from} does not use {to}");
        }
    }
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
    assert_eq!(names.len(), TABLE.len(), "one row a room");
}

/// Two files that need each other can only be understood at once.
#[test]
fn no_file_needs_itself_through_others() {
    let house = House::here();
    let needs: BTreeMap<&str, BTreeSet<&str>> = house
        .sources
        .iter()
        .filter(|source| source.module != "lib")
        .map(|source| (source.module.as_str(), house.needs(source)))
        .collect();
    let arrows: usize = needs.values().map(BTreeSet::len).sum();
    println!("{} files, {arrows} arrows between them", needs.len());
    assert!(arrows > 150, "the imports are read");
    let mut circles = Vec::new();
    let mut left = needs;
    while let Some(circle) = circle_in(&left) {
        let (first, last) = (&circle[0], &circle[circle.len() - 1]);
        circles.push(format!("{} ─▶ {first}", circle.join(" ─▶ ")));
        // Without this arrow the next circle can be found.
        let broken = left.get_mut(last.as_str()).unwrap();
        broken.remove(first.as_str());
    }
    assert!(circles.is_empty(), "{}", circles.join("\n"));
}

#[test]
fn a_circle_is_found_wherever_it_begins() {
    let needs = |arrows: &[(&'static str, &'static str)]| {
        let mut needs = BTreeMap::<&str, BTreeSet<&str>>::new();
        for (from, to) in arrows {
            needs.entry(from).or_default().insert(to);
        }
        needs
    };
    let none = needs(&[("a", "b"), ("a", "c"), ("b", "d"), ("c", "d")]);
    assert_eq!(circle_in(&none), None, "two ways to one file are no circle");
    let late = needs(&[("a", "b"), ("b", "c"), ("c", "d"), ("d", "b")]);
    assert_eq!(circle_in(&late).unwrap(), ["b", "c", "d"]);
    let two = needs(&[("x", "y"), ("y", "x")]);
    assert_eq!(circle_in(&two).unwrap(), ["x", "y"]);
}

/// The reader of the sources is what the other tests stand on.
#[test]
fn imports_are_read_in_all_their_forms() {
    let read = |text: &str, base: &str| {
        let mut found = Vec::new();
        expand(text, base, &mut found);
        found
    };
    assert_eq!(read("error::CloseReason;", ""), ["error::CloseReason"]);
    assert_eq!(
        read("net::{self, os::{OsNet, Stream}, Wake as W};", ""),
        ["net", "net::os::OsNet", "net::os::Stream", "net::Wake"]
    );
    assert_eq!(read("escape::Escaped(bytes)", ""), ["escape::Escaped"]);
    assert_eq!(read("super::Plan;", "load::a"), ["load::Plan"]);
    assert_eq!(
        read("{token::Token,\n    timer::Time}", ""),
        ["token::Token", "timer::Time"]
    );
}

#[test]
fn an_item_is_found_behind_the_files_that_show_it() {
    let house = House::here();
    for (path, file) in [
        ("Reactor", "reactor"),
        ("Limits", "values::limits"),
        ("limits::READ_BUFFER", "values::limits"),
        ("load::Plan", "load::plan"),
        ("service::Echo", "service::echo"),
        ("service::Service", "service"),
        ("cli::parse", "cli::args"),
        ("net::os::OsNet", "net::os"),
    ] {
        assert_eq!(house.file_of(path), Some(file), "{path}");
    }
}

/// Time is read once a turn and handed down, or the simulator's clock would not be the only one.
#[test]
fn clocks_are_read_below_the_seam_and_in_the_program_alone() {
    House::here().assert_only_in(
        &["net::os", "net::sys", "cli"],
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
    House::here().assert_only_in(
        &["net::kinds", "net::os", "net::signals", "values::token"],
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
    House::here().assert_only_in(&["net"], &words);
}

/// One thread runs the loop. Others wait for input and output, and each generator of load may have
/// one.
#[test]
fn threads_start_in_three_files_of_the_program() {
    House::here().assert_only_in(
        &["cli::outlet", "cli::connect::inlet", "cli::load::crew"],
        &["thread::Builder", "thread::spawn", "thread::scope"],
    );
}

#[test]
fn unsafe_code_is_in_one_folder() {
    House::here().assert_only_in(&["net::sys"], &["unsafe "]);
}

/// A reader can hold a file.
#[test]
fn no_file_of_the_core_is_too_long() {
    let house = House::here();
    let of_core = |source: &&Source| CORE.contains(&floor_of(&source.module).as_str());
    let mut long: Vec<(usize, &str)> = house
        .sources
        .iter()
        .filter(of_core)
        .map(|source| (source.text.lines().count(), source.module.as_str()))
        .collect();
    long.sort_unstable();
    println!(
        "the longest: {:?}",
        long.iter().rev().take(8).collect::<Vec<_>>()
    );
    let (lines, file) = long.last().unwrap();
    assert!(*lines <= LONGEST_FILE, "{file} has {lines} lines");
}

#[test]
fn no_line_is_too_wide() {
    let mut breaches = Vec::new();
    for source in &House::here().sources {
        if !WRAPPED.contains(&floor_of(&source.module).as_str()) {
            continue;
        }
        for (number, line) in source.text.lines().enumerate() {
            let columns = line.chars().count();
            if columns > WIDEST_LINE {
                breaches.push(format!(
                    "{}:{}: {columns} columns",
                    source.path.display(),
                    number + 1
                ));
            }
        }
    }
    assert!(breaches.is_empty(), "{}", breaches.join("\n"));
}
