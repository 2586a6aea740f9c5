//! A TOML file to a flat list of assignments, each with its line.
//!
//! A setting may be written as `"log.segment.bytes" = …`, as `log.segment.bytes = …` or as `segment.bytes = …`
//! below `[log]`: all three are the same. `[shards]` holds what every shard gets; each `[[shard]]` has a
//! `core`, or a NUMA node as `numa`, and overrides it there. `[host]` is for `corelane tune --profile` and is
//! passed by.

use std::{fmt, path::Path};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::error::{ConfigError, Place};

/// One value of one setting, as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    /// Name of the setting.
    pub key: String,
    /// Its value, as it would stand on a command line.
    pub value: String,
    /// Where it was given.
    pub place: Place,
}

/// The cores that a `[[shard]]` is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShardsOf {
    /// The one with this id.
    Core(usize),
    /// Those of this NUMA node.
    Node(usize),
}

impl fmt::Display for ShardsOf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Core(core) => write!(f, "core {core}"),
            Self::Node(node) => write!(f, "NUMA node {node}"),
        }
    }
}

/// A `[[shard]]` section. Its keys are without the `shards.` of their names.
#[derive(Debug, PartialEq, Eq)]
pub struct ShardSection {
    /// Which cores it is for.
    pub of: ShardsOf,
    /// What it overrides.
    pub assignments: Vec<Assignment>,
    /// Where its `core` or `numa` stands.
    pub place: Place,
}

/// All that a file says.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct FileContents {
    /// Everything outside `[[shard]]`.
    pub assignments: Vec<Assignment>,
    /// Every `[[shard]]`.
    pub shards: Vec<ShardSection>,
}

/// Reads the text of a file; `path` is for messages.
///
/// # Errors
/// If it is not TOML, if a value is of a type that no setting has, or if a `[[shard]]` has no core.
pub fn parse(path: &Path, text: &str) -> Result<FileContents, ConfigError> {
    let reader = Reader { path, text };
    let root = DeTable::parse(text).map_err(|error| ConfigError::Syntax {
        place: reader.place(error.span().map_or(text.len(), |span| span.start)),
        message: error.message().trim_end().replace('\n', ", "),
    })?;
    let mut contents = FileContents::default();
    for (key, value) in root.get_ref() {
        match (key.get_ref().as_ref(), value.get_ref()) {
            ("shard", DeValue::Array(sections)) => {
                for section in sections {
                    contents.shards.push(reader.shard(section)?);
                }
            }
            ("host", DeValue::Table(_)) => {}
            (name, _) => reader.flatten(name.to_owned(), key, value, &mut contents.assignments)?,
        }
    }
    contents.assignments.sort_by_key(line);
    Ok(contents)
}

/// In the order of the file, so that the first mistake is the first to be named.
fn line(assignment: &Assignment) -> usize {
    match assignment.place {
        Place::File { line, .. } => line,
        Place::Default | Place::Flag(_) | Place::AllBrokers | Place::ThisBroker => 0,
    }
}

struct Reader<'a> {
    path: &'a Path,
    text: &'a str,
}

impl Reader<'_> {
    /// The line that holds this byte.
    fn place(&self, at: usize) -> Place {
        let before = &self.text.as_bytes()[..at.min(self.text.len())];
        let line = 1 + before.iter().filter(|&&byte| byte == b'\n').count();
        Place::File { path: self.path.to_owned(), line }
    }

    fn flatten(
        &self,
        name: String,
        key: &Spanned<impl Sized>,
        value: &Spanned<DeValue<'_>>,
        into: &mut Vec<Assignment>,
    ) -> Result<(), ConfigError> {
        if let DeValue::Table(table) = value.get_ref() {
            for (key, value) in table {
                self.flatten(format!("{name}.{}", key.get_ref()), key, value, into)?;
            }
            return Ok(());
        }
        let place = self.place(key.span().start);
        let Some(text) = plain_text(value.get_ref()) else {
            return Err(ConfigError::BadValue {
                place,
                key: name,
                value: self.text[value.span()].to_owned(),
                expected: "text, a whole number, true or false, or a list of these".to_owned(),
            });
        };
        into.push(Assignment { key: name, value: text, place });
        Ok(())
    }

    fn shard(&self, section: &Spanned<DeValue<'_>>) -> Result<ShardSection, ConfigError> {
        let start = self.place(section.span().start);
        let no_core = |place| ConfigError::Conflict {
            place,
            message: "a [[shard]] needs its core (core = 0) or its NUMA node (numa = 0), one of them"
                .to_owned(),
        };
        let DeValue::Table(table) = section.get_ref() else { return Err(no_core(start)) };
        let mut assignments = Vec::new();
        for (key, value) in table {
            self.flatten(key.get_ref().to_string(), key, value, &mut assignments)?;
        }
        assignments.sort_by_key(line);
        let (mut of, settings): (Vec<_>, Vec<_>) =
            assignments.into_iter().partition(|assignment| ["core", "numa"].contains(&&*assignment.key));
        let Some(named) = of.pop() else { return Err(no_core(start)) };
        let number = named.value.parse().map_err(|_| no_core(named.place.clone()))?;
        let cores = if named.key == "core" { ShardsOf::Core(number) } else { ShardsOf::Node(number) };
        if of.is_empty() {
            Ok(ShardSection { of: cores, assignments: settings, place: named.place })
        } else {
            Err(no_core(named.place))
        }
    }
}

/// The value as it would stand on a command line; a list is joined with commas.
fn plain_text(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(integer) => {
            i64::from_str_radix(integer.as_str(), integer.radix()).ok().map(|number| number.to_string())
        }
        DeValue::Boolean(flag) => Some(flag.to_string()),
        DeValue::Array(items) => {
            let items: Option<Vec<_>> = items.iter().map(|item| plain_text(item.get_ref())).collect();
            // The comma at the end keeps a list of one number apart from a number.
            items.map(|items| items.join(",") + if items.len() == 1 { "," } else { "" })
        }
        DeValue::Float(_) | DeValue::Datetime(_) | DeValue::Table(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<(String, String, usize)> {
        let contents = parse(Path::new("c.toml"), text).unwrap();
        contents.assignments.into_iter().map(line_of).collect()
    }

    fn line_of(assignment: Assignment) -> (String, String, usize) {
        let Place::File { line, .. } = assignment.place else { panic!("{assignment:?}") };
        (assignment.key, assignment.value, line)
    }

    #[test]
    fn quoted_dotted_and_sectioned_keys_are_the_same() {
        let text = "\"a.b\" = 1\nc.d = \"x\"\n\n[e]\nf.g = true\ncores = [0, 1]\none = [7]\n";
        let expected = [
            ("a.b", "1", 1),
            ("c.d", "x", 2),
            ("e.f.g", "true", 5),
            ("e.cores", "0,1", 6),
            ("e.one", "7,", 7),
        ];
        assert_eq!(lines(text), expected.map(|(key, value, line)| (key.to_owned(), value.to_owned(), line)));
    }

    #[test]
    fn every_shard_section_names_its_core() {
        let text = "[[shard]]\ncore = 1\nspin.us = 0\n\n[[shard]]\ncore = 0\n";
        let shards = parse(Path::new("c.toml"), text).unwrap().shards;
        assert_eq!(
            shards.iter().map(|shard| shard.of).collect::<Vec<_>>(),
            [ShardsOf::Core(1), ShardsOf::Core(0)]
        );
        let (key, value, line) = line_of(shards[0].assignments[0].clone());
        assert_eq!((key.as_str(), value.as_str(), line), ("spin.us", "0", 3));
        for (text, start) in [
            ("a = 1\n[[shard]]\nspin.us = 0\n", "c.toml:2: a [[shard]] needs"),
            ("[[shard]]\ncore = 0\nnuma = 0\n", "c.toml:3: a [[shard]] needs"),
            ("[[shard]]\nnuma = \"x\"\n", "c.toml:2: a [[shard]] needs"),
        ] {
            let error = parse(Path::new("c.toml"), text).unwrap_err();
            assert!(error.to_string().starts_with(start), "{error}");
        }
    }

    #[test]
    fn what_is_not_toml_is_refused_with_its_line() {
        for (text, start) in [
            ("a = 1\nb = \n", "c.toml:2: "),
            ("a = 1\na = 2\n", "c.toml:2: "),
            ("a = 1.5\n", "c.toml:1: \"a\" is \"1.5\""),
            ("x = 0\na.b = 99999999999999999999\n", "c.toml:2: \"a.b\" is \"99999999999999999999\""),
        ] {
            let error = parse(Path::new("c.toml"), text).unwrap_err().to_string();
            assert!(error.starts_with(start), "{error}");
        }
    }
}
