//! Workload files: runs of the generator, written down.
//!
//! ```toml
//! about = "one line that says what it measures"
//! topic = "t"            # for every run below that has such a flag
//!
//! [[run]]
//! mode = "produce"       # what `corelane bench` calls it
//! rate = 1000            # its flags by name: a number, a text, true, or a list of them
//! topic-config = ["retention.bytes=1000000"]
//! ```
//!
//! A file says nothing that the command line could not: each run becomes one, and is read and checked as such. So
//! a key that no flag has is an error, and so is a value that its flag does not take.

use clap::{ArgAction, Command, FromArgMatches as _, Subcommand as _};
use toml::{Table, Value};

use crate::args::{self, Mode};

/// Most runs of a file.
const RUNS_MAX: usize = 100;

/// A file, read and checked.
#[derive(Debug)]
pub struct Workload {
    /// What it measures.
    pub about: String,
    /// Its runs, in order.
    pub runs: Vec<Mode>,
}

/// Reads a file; `set` are `key=value` that win over it, in every run that has such a flag.
///
/// # Errors
/// What the file says that means nothing.
pub fn parse(text: &str, set: &[(String, String)]) -> Result<Workload, String> {
    let mut file: Table = toml::from_str(text).map_err(|e| e.to_string())?;
    let about = match file.remove("about") {
        Some(Value::String(about)) => about,
        _ => return Err("`about` says what the file measures".into()),
    };
    let Some(Value::Array(runs)) = file.remove("run") else { return Err("no [[run]]".into()) };
    if runs.is_empty() || runs.len() > RUNS_MAX {
        return Err(format!("{} runs, there may be 1 to {RUNS_MAX}", runs.len()));
    }
    let set: Table = set.iter().map(|(key, value)| (key.clone(), Value::String(value.clone()))).collect();
    let command = Mode::augment_subcommands(Command::new("bench").no_binary_name(true));
    let mut unused: Vec<&String> = file.keys().chain(set.keys()).collect();
    let mut modes = Vec::new();
    for (nth, run) in (1..).zip(&runs) {
        let failed = |text: String| format!("run {nth}: {text}");
        let Value::Table(run) = run else { return Err(failed("is a table".into())) };
        let Some(Value::String(name)) = run.get("mode") else { return Err(failed("has no `mode`".into())) };
        let Some(mode) = command.find_subcommand(name) else {
            return Err(failed(format!("no mode `{name}`")));
        };
        let mut flags = Table::new();
        for (key, value) in file.iter().chain(run).chain(&set).filter(|(key, _)| key.as_str() != "mode") {
            let known = mode.get_arguments().any(|arg| arg.get_long() == Some(key));
            if known {
                unused.retain(|unused| *unused != key);
                flags.insert(key.clone(), value.clone());
            } else if run.contains_key(key) {
                return Err(failed(format!("`{name}` has no `{key}`")));
            }
        }
        let mut line = vec![name.clone()];
        for (key, value) in &flags {
            push(&mut line, mode, key, value).map_err(failed)?;
        }
        let matches = command.clone().try_get_matches_from(&line).map_err(|e| failed(e.to_string()))?;
        let mode = Mode::from_arg_matches(&matches).map_err(|e| failed(e.to_string()))?;
        args::validate(&mode).map_err(failed)?;
        modes.push(mode);
    }
    match unused.first() {
        Some(key) => Err(format!("no run has `{key}`")),
        None => Ok(Workload { about, runs: modes }),
    }
}

/// Appends a key and its value as the command line has them.
fn push(line: &mut Vec<String>, mode: &Command, key: &str, value: &Value) -> Result<(), String> {
    let is_switch = mode
        .get_arguments()
        .any(|arg| arg.get_long() == Some(key) && matches!(arg.get_action(), ArgAction::SetTrue));
    let text = match value {
        Value::Array(values) => return values.iter().try_for_each(|value| push(line, mode, key, value)),
        Value::String(text) => text.clone(),
        Value::Integer(_) | Value::Float(_) | Value::Boolean(_) => value.to_string(),
        Value::Datetime(_) | Value::Table(_) => {
            return Err(format!("`{key}` is a number, a text, true or false, or a list"));
        }
    };
    match (is_switch, text.as_str()) {
        (true, "true") => line.push(format!("--{key}")),
        (true, "false") => {}
        (true, _) => return Err(format!("`{key}` is true or false")),
        (false, _) => line.push(format!("--{key}={text}")),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(text: &str) -> String {
        parse(&format!("about = 'x'\n{text}"), &[]).expect_err("means nothing")
    }

    #[test]
    fn every_shipped_file_is_read() {
        let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/workloads");
        let mut files = 0;
        for entry in std::fs::read_dir(directory).expect("the directory is there") {
            let path = entry.expect("readable").path();
            let text = std::fs::read_to_string(&path).expect("text");
            let workload = parse(&text, &[]).unwrap_or_else(|fault| panic!("{}: {fault}", path.display()));
            assert!(!workload.about.is_empty(), "{}", path.display());
            files += 1;
        }
        assert!(files >= 20, "{files} files");
    }

    #[test]
    fn what_is_set_wins_and_reaches_every_run_that_has_it() {
        let text = "about = 'x'\ntopic = 'a'\nrate = 5\n[[run]]\nmode = 'produce'\nrate = 7\n[[run]]\nmode = 'consume'";
        let set = [("topic".to_owned(), "b".to_owned()), ("record-size".to_owned(), "99".to_owned())];
        let workload = parse(text, &set).expect("means something");
        let [Mode::Produce(produce), Mode::Consume(consume)] = workload.runs.as_slice() else {
            panic!("{:?}", workload.runs)
        };
        assert_eq!((produce.common.topic.as_str(), consume.common.topic.as_str()), ("b", "b"));
        assert_eq!(produce.load.rate, 7, "a run's own over that of all");
        assert_eq!(produce.load.record_size, crate::sizes::SizeLaw::Fixed(99));
    }

    #[test]
    fn unknown_keys_and_values_are_refused_and_named() {
        assert!(fault("[[run]]\nmode = 'produce'\nrat = 5").contains("`rat`"));
        assert!(fault("rat = 5\n[[run]]\nmode = 'produce'").contains("`rat`"));
        assert!(fault("[[run]]\nmode = 'consume'\nrecord-size = 5").contains("`record-size`"));
        assert!(fault("[[run]]\nmode = 'guess'").contains("`guess`"));
        assert!(fault("[[run]]\nmode = 'produce'\nacks = 7").contains("acks"));
        assert!(fault("[[run]]\nmode = 'produce'\nby-record = 1").contains("true or false"));
        assert!(fault("").contains("no [[run]]"));
        assert!(parse("[[run]]\nmode = 'produce'", &[]).expect_err("no word on it").contains("about"));
        let set = [("rat".to_owned(), "5".to_owned())];
        assert!(
            parse("about = 'x'\n[[run]]\nmode = 'produce'", &set).expect_err("unknown").contains("`rat`")
        );
    }
}
