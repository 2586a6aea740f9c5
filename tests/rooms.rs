//! The arrows between rooms: who may name whom, who may speak to the kernel, and that every room has its
//! door plate. Reads the sources as text; what is said in comments and literals does not count.

use std::{
    fs,
    path::{Path, PathBuf},
};

struct Room {
    /// Folder or file below `src/`, or a member of the workspace.
    name: &'static str,
    /// The rooms it may name.
    may_name: &'static [&'static str],
    /// What it does not know, and why it may name what it names.
    because: &'static str,
}

const fn room(name: &'static str, may_name: &'static [&'static str], because: &'static str) -> Room {
    Room { name, may_name, because }
}

/// To the right is the way of the data: server, handlers, shard, partition, log, io.
const ROOMS: &[Room] = &[
    room("model", &[], "words that all rooms share know no room"),
    room("record", &["model"], "a batch is bytes and offsets"),
    room("wire", &["model", "record"], "bytes to messages: no socket, no clock, no log"),
    room("io", &[], "the kernel's side knows no Kafka"),
    room("log", &["io", "record", "model"], "a log knows bytes, offsets and epochs, not who leads or reads"),
    room("partition", &["log", "io", "record", "model"], "a replica knows no core, no request, no socket"),
    room(
        "shard",
        &["partition", "log", "io", "record", "model", "control", "config", "metrics"],
        "a core owns partitions; of control it knows the requests it passes on; it knows no message",
    ),
    room(
        "coordinator",
        &["shard", "partition", "io", "wire", "record", "model"],
        "groups know no socket and no error code; their state is records in Kafka's own format",
    ),
    room(
        "handlers",
        &[
            "coordinator",
            "shard",
            "partition",
            "log",
            "control",
            "wire",
            "record",
            "model",
            "config",
            "logging",
            "metrics",
        ],
        "a handler knows no socket and no disk; of partition and log it maps the errors",
    ),
    room(
        "server",
        &["handlers", "shard", "io", "wire", "model", "config", "metrics"],
        "a connection knows frames, no partition and no log",
    ),
    room(
        "control",
        &["log", "io", "record", "model", "config"],
        "control decides aside: no request, no core",
    ),
    room("config", &["model"], "settings are text and values; who uses them, they do not know"),
    room(
        "http",
        &["metrics", "bench", "record"],
        "tells what was counted; knows no core and no request: for its page it is a client of its own listener",
    ),
    room("docs", &[], "pages for people: no code but what checks them"),
    room("logging", &[], "lines and levels; knows nothing of who writes"),
    room("metrics", &[], "counters know nothing of what they count"),
    room("startup", &["config", "io", "model"], "checks before anything runs"),
    room(
        "log_tool",
        &["log", "control", "startup", "record", "model"],
        "looks into the files of a stopped broker: no core, no socket",
    ),
    room(
        "admin_tool",
        &["bench"],
        "a client of any broker, over the generator's connections: nothing of this one",
    ),
    room(
        "tune",
        &["io", "config", "startup"],
        "the host's files and what the kernel grants: no broker, no core of one",
    ),
    room("top", &["bench"], "a broker is the address of its metrics: nothing else of it"),
    room(
        "cli",
        &["config", "startup", "bench", "log_tool", "admin_tool", "tune", "top", "logging"],
        "words of the command line, no work",
    ),
    room(
        "broker",
        &[
            "server",
            "http",
            "handlers",
            "coordinator",
            "shard",
            "partition",
            "log",
            "io",
            "control",
            "wire",
            "model",
            "config",
            "metrics",
            "startup",
        ],
        "puts the rooms together; nothing names it but main",
    ),
    room(
        "main",
        &["broker", "cli", "config", "bench", "log_tool", "admin_tool", "tune", "top"],
        "arguments, settings, start: no logic",
    ),
    room("lib", &["model", "record", "wire"], "the map: members of the workspace under their names"),
    room("bench", &["wire", "record", "model"], "the load generator is a client: nothing deeper"),
];

/// Words that only `io` may use.
const KERNEL: [&str; 4] = ["glommio", "io_uring", "libc", "unsafe"];

/// The source with comments and literals blanked out; lines stay where they are.
fn code_of(source: &str) -> String {
    let bytes = source.as_bytes();
    let mut code = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let rest = &source[at..];
        let end = at + literal_len(rest, at > 0 && is_word(bytes[at - 1]));
        if end == at {
            at += rest.chars().next().map_or(1, char::len_utf8);
            continue;
        }
        code[at..end].iter_mut().filter(|byte| **byte != b'\n').for_each(|byte| *byte = b' ');
        at = end;
    }
    String::from_utf8(code).expect("whole characters were blanked out")
}

/// Length of the comment or literal that `rest` starts with, 0 if it starts with none.
fn literal_len(rest: &str, after_word: bool) -> usize {
    let until = |start: usize, end: &str| {
        rest[start..].find(end).map_or(rest.len(), |found| start + found + end.len())
    };
    if rest.starts_with("//") {
        return until(0, "\n") - 1;
    }
    if rest.starts_with("/*") {
        return until(2, "*/");
    }
    if let Some(raw) = rest.strip_prefix('r').filter(|_| !after_word) {
        let hashes = raw.len() - raw.trim_start_matches('#').len();
        if raw[hashes..].starts_with('"') {
            return until(hashes + 2, &format!("\"{}", "#".repeat(hashes)));
        }
    }
    let quoted = |quote: char| {
        let mut escaped = false;
        for (at, c) in rest.char_indices().skip(1) {
            match c {
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                _ if c == quote => return at + 1,
                _ => {}
            }
        }
        rest.len()
    };
    if rest.starts_with('"') {
        return quoted('"');
    }
    // A character, not a lifetime: it is closed after one character or an escape.
    let mut chars = rest.chars().skip(1);
    let is_character = rest.starts_with('\'')
        && match chars.next() {
            Some('\\') => true,
            Some(_) => chars.next() == Some('\''),
            None => false,
        };
    if is_character { quoted('\'') } else { 0 }
}

const fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// Every word of the code with the byte it starts at.
fn words(code: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut rest = 0;
    std::iter::from_fn(move || {
        let start = rest + code.as_bytes()[rest..].iter().position(|&byte| is_word(byte))?;
        let length = code.as_bytes()[start..].iter().position(|&byte| !is_word(byte));
        rest = length.map_or(code.len(), |length| start + length);
        Some((start, &code[start..rest]))
    })
}

/// First words of the paths behind a `::`: one, or one for each item of a brace group.
fn named_behind(code: &str, at: usize) -> Vec<(usize, &str)> {
    let Some(path) = code[at..].strip_prefix("::") else { return Vec::new() };
    let start = code.len() - path.trim_start().len();
    if !code[start..].starts_with('{') {
        return words(&code[start..]).take(1).map(|(at, word)| (start + at, word)).collect();
    }
    let mut named = Vec::new();
    let (mut depth, mut item_starts) = (0, false);
    let mut at = start;
    for (offset, c) in code[start..].char_indices() {
        at = at.max(start + offset);
        match c {
            '{' => {
                depth += 1;
                item_starts = depth == 1;
            }
            '}' if depth == 1 => break,
            '}' => depth -= 1,
            ',' => item_starts = depth == 1,
            _ if depth == 1 && item_starts && c.is_ascii() && is_word(c as u8) => {
                item_starts = false;
                named.extend(words(&code[at..]).next().map(|(from, word)| (at + from, word)));
            }
            _ => {}
        }
    }
    named
}

/// What is wrong in one file, each with its line. `path` is relative to the root of the tree.
fn faults(path: &str, source: &str) -> Vec<String> {
    let (room, depth, member) = place_of(path);
    let code = code_of(source);
    let line = |at: usize| 1 + code[..at].matches('\n').count();
    let mut faults = Vec::new();
    let Some(this) = ROOMS.iter().find(|known| known.name == room) else {
        return vec![format!("{path}:1: room \"{room}\" is not in the table of tests/rooms.rs")];
    };
    let mut named = Vec::new();
    let mut supers = 0;
    for (at, word) in words(&code) {
        let end = at + word.len();
        let after_path = code[..at].trim_end().ends_with("::");
        supers = if word != "super" {
            0
        } else if after_path {
            supers + 1
        } else {
            1
        };
        let names_root = match word {
            "crate" => !member,
            "corelane" => code[end..].starts_with("::"),
            "super" => !member && supers >= depth,
            _ => false,
        };
        if names_root {
            named.extend(named_behind(&code, end));
        }
        if let Some(other) = word.strip_prefix("corelane_") {
            named.push((at, other));
        }
        if KERNEL.contains(&word) && room != "io" {
            faults.push(format!("{path}:{}: {room} uses {word}; only io may", line(at)));
        }
    }
    for (at, other) in named {
        let is_room = ROOMS.iter().any(|known| known.name == other);
        if is_room && other != room && !this.may_name.contains(&other) {
            let allowed =
                if this.may_name.is_empty() { "no room".to_owned() } else { this.may_name.join(", ") };
            let because = this.because;
            faults.push(format!(
                "{path}:{}: {room} names {other}; it may name {allowed} ({because})",
                line(at)
            ));
        }
    }
    faults
}

/// The room of a file, how deep its module lies in its package, and whether it is a member of the workspace.
fn place_of(path: &str) -> (&str, usize, bool) {
    let inside = path.strip_prefix("src/").unwrap_or(path);
    let parts: Vec<_> = inside.split('/').collect();
    let room = parts[0].trim_end_matches(".rs");
    let depth = parts.len() - usize::from(parts.last() == Some(&"mod.rs"));
    (room, depth, ["model", "record", "wire", "bench"].contains(&room))
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn sources(below: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(below).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push(path);
        }
    }
}

#[test]
fn every_file_names_only_rooms_it_may() {
    let mut files = Vec::new();
    sources(&root().join("src"), &mut files);
    sources(&root().join("bench"), &mut files);
    files.sort();
    let mut found = Vec::new();
    for file in &files {
        let path = file.strip_prefix(root()).unwrap().to_str().unwrap();
        found.extend(faults(path, &fs::read_to_string(file).unwrap()));
    }
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

#[test]
fn every_room_has_a_door_plate_and_stands_on_the_map() {
    let map = fs::read_to_string(root().join("src/lib.rs")).unwrap();
    let mut rooms: Vec<_> = fs::read_dir(root().join("src"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir())
        .map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), path.join("mod.rs")))
        .collect();
    for (room, _) in &rooms {
        assert!(map.contains(&format!("//! - [`{room}`]")), "src/lib.rs does not list the room \"{room}\"");
    }
    rooms.push(("bench".to_owned(), root().join("bench/lib.rs")));
    for (room, plate) in rooms {
        let text = fs::read_to_string(&plate).unwrap_or_else(|error| panic!("{}: {error}", plate.display()));
        let lines = text.lines().take_while(|line| line.starts_with("//!")).count();
        assert!(
            lines >= 2,
            "{}:1: the door plate of \"{room}\" does not say what it is for",
            plate.display()
        );
    }
}

#[test]
fn the_table_has_no_circle() {
    fn reaches(from: &str, to: &str, steps: usize) -> bool {
        let room = ROOMS.iter().find(|room| room.name == from).unwrap_or_else(|| panic!("no room {from}"));
        steps > 0 && room.may_name.iter().any(|&next| next == to || reaches(next, to, steps - 1))
    }
    for room in ROOMS {
        assert!(!reaches(room.name, room.name, ROOMS.len()), "{} can name itself through others", room.name);
    }
}

#[test]
fn a_wrong_arrow_is_found_however_it_is_written() {
    let wrong = [
        ("src/log/a.rs", "use crate::handlers::x;", 1),
        ("src/log/a.rs", "\nuse crate::{\n    io::{disk, handlers},\n    partition::Partition,\n};", 4),
        ("src/log/a.rs", "fn f() -> crate::server::X {}", 1),
        ("src/log/a.rs", "use super::super::shard;", 1),
        ("src/log/mod.rs", "use super::shard;", 1),
        ("src/log/deep/a.rs", "use super::super::super::{shard, io};", 1),
        ("src/record/batch.rs", "use corelane_wire::api;", 1),
        ("src/io/net.rs", "use crate::model::Offset;", 1),
        ("bench/lib.rs", "use corelane::log;", 1),
        ("src/wire/codec.rs", "let x = 'a'; let y = \"\\\"\"; unsafe { f() }", 1),
        ("src/shard/a.rs", "// io_uring\nuse io_uring::IoUring;", 2),
        ("src/drawer/mod.rs", "", 1),
    ];
    for (path, source, line) in wrong {
        let found = faults(path, source);
        assert_eq!(found.len(), 1, "{source}: {found:?}");
        assert!(found[0].starts_with(&format!("{path}:{line}: ")), "{found:?}");
    }
}

#[test]
fn a_right_arrow_a_comment_and_a_literal_are_left_alone() {
    let right = [
        ("src/log/a.rs", "use crate::{io::disk, model::{Offset, LeaderEpoch}, log::tail};"),
        ("src/log/a.rs", "use super::shard; use super::partition::x; // crate::server\n/* unsafe */"),
        ("src/log/a.rs", "let a = \"crate::server unsafe\"; let b = r#\"\"libc\"#; fn f<'a>(x: &'a str) {}"),
        ("src/io/a.rs", "unsafe { libc::close(3) }"),
        ("src/model/a.rs", "use crate::log; use crate::topic::TopicId;"),
        ("src/config/a.rs", "use toml::de; let startup = 1; x.log(); std::io::stderr();"),
        ("src/main.rs", "corelane::broker::run(corelane_bench::run)"),
    ];
    for (path, source) in right {
        assert_eq!(faults(path, source), [""; 0], "{source}");
    }
}
