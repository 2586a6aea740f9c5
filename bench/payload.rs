//! Payload files: each line is the value of one record, unchanged.
//!
//! A line ends before its `\n`; a `\r` before that belongs to the value; the last line may lack its `\n`.
//! How lines map to partitions, so that order per partition can be checked by anyone:
//!
//! - one file: line `i` goes to partition `i % partitions` (as `awk 'NR % P == p'` would deal them);
//! - several files (or a directory, its files by name): file `k` goes whole to partition `k % partitions`,
//!   files of one partition one after the other (as `cat` would join them).

use std::fs;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use bytes::Bytes;

/// Most bytes of payload files that are held in memory.
const PAYLOAD_BYTES_MAX: u64 = 4 << 30;

/// The lines of one partition, in order; at least one.
#[derive(Debug, Clone)]
pub struct Lines {
    files: Vec<Bytes>,
    lines: Vec<(u32, Range<usize>)>,
}

impl Lines {
    /// Number of lines.
    pub fn len(&self) -> u64 {
        self.lines.len() as u64
    }

    /// The value of record `sequence`: the lines repeat for ever.
    pub fn value(&self, sequence: u64) -> &[u8] {
        let (file, range) = &self.lines[usize::try_from(sequence % self.len()).unwrap_or(0)];
        &self.files[*file as usize][range.clone()]
    }
}

/// Reads the files of `paths` and deals their lines to `partitions` partitions.
/// A partition without lines is `None`.
///
/// # Errors
/// A path that cannot be read, or no line at all.
pub fn load(paths: &[PathBuf], partitions: u32) -> Result<Vec<Option<Lines>>, String> {
    let mut names = Vec::new();
    for path in paths {
        list(path, &mut names).map_err(|e| format!("{}: {e}", path.display()))?;
    }
    let mut total = 0;
    let mut files = Vec::new();
    for name in &names {
        let bytes = fs::read(name).map_err(|e| format!("{}: {e}", name.display()))?;
        total += bytes.len() as u64;
        if total > PAYLOAD_BYTES_MAX {
            return Err(format!("payload files hold more than {PAYLOAD_BYTES_MAX} bytes"));
        }
        files.push(Bytes::from(bytes));
    }
    let dealt = deal(&files, partitions);
    if dealt.iter().all(Option::is_none) {
        return Err("payload files hold no line".into());
    }
    Ok(dealt)
}

fn list(path: &Path, names: &mut Vec<PathBuf>) -> io::Result<()> {
    if !path.is_dir() {
        names.push(path.to_owned());
        return Ok(());
    }
    let mut inside = Vec::new();
    for entry in fs::read_dir(path)? {
        let entry = entry?.path();
        if entry.is_file() {
            inside.push(entry);
        }
    }
    inside.sort();
    names.append(&mut inside);
    Ok(())
}

fn deal(files: &[Bytes], partitions: u32) -> Vec<Option<Lines>> {
    let mut dealt = vec![Lines { files: files.to_vec(), lines: Vec::new() }; partitions as usize];
    let partitions = dealt.len();
    for (k, file) in files.iter().enumerate() {
        for (i, range) in lines_of(file).enumerate() {
            let partition = if files.len() == 1 { i % partitions } else { k % partitions };
            dealt[partition].lines.push((u32::try_from(k).unwrap_or(u32::MAX), range));
        }
    }
    dealt.into_iter().map(|lines| (!lines.lines.is_empty()).then_some(lines)).collect()
}

fn lines_of(file: &[u8]) -> impl Iterator<Item = Range<usize>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        if at >= file.len() {
            return None;
        }
        let end = file[at..].iter().position(|b| *b == b'\n').map_or(file.len(), |n| at + n);
        let line = at..end;
        at = end + 1;
        Some(line)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dealt(files: &[&'static str], partitions: u32) -> Vec<Vec<String>> {
        let files: Vec<_> = files.iter().map(|f| Bytes::from_static(f.as_bytes())).collect();
        let text = |lines: &Lines| {
            (0..lines.len()).map(|i| String::from_utf8_lossy(lines.value(i)).into_owned()).collect()
        };
        deal(&files, partitions).iter().map(|lines| lines.as_ref().map(text).unwrap_or_default()).collect()
    }

    #[test]
    fn one_file_is_dealt_line_by_line_and_keeps_every_byte_but_the_newline() {
        assert_eq!(dealt(&["a\r\n\nc\nlast"], 2), [vec!["a\r", "c"], vec!["", "last"]]);
    }

    #[test]
    fn several_files_stay_whole_and_in_order() {
        assert_eq!(dealt(&["a\nb\n", "c", "d\ne\n"], 2), [vec!["a", "b", "d", "e"], vec!["c"]]);
    }

    #[test]
    fn a_partition_without_lines_has_none() {
        assert_eq!(dealt(&["a\n"], 3), [vec!["a"], vec![], vec![]]);
    }
}
