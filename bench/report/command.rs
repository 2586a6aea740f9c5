//! `corelane bench report` and `corelane bench compare`: pages and ratios of results that were written earlier.

use std::path::PathBuf;

use clap::ArgAction;

use super::compare::{self, compare};
use super::html;
use super::read::Run;

/// `corelane bench report`.
#[derive(Debug, Clone, clap::Args)]
pub struct ReportArgs {
    /// Results, as written by --json
    #[arg(required = true, value_name = "JSON")]
    pub results: Vec<PathBuf>,
    /// The page
    #[arg(long, default_value = "report.html", value_name = "FILE")]
    pub html: PathBuf,
}

/// `corelane bench compare`.
#[derive(Debug, Clone, clap::Args)]
pub struct CompareArgs {
    /// Results of the first; several, of runs in turn, separated by commas
    #[arg(value_name = "A", value_delimiter = ',', required = true, num_args = 1, action = ArgAction::Set)]
    pub a: Vec<PathBuf>,
    /// Results of the second
    #[arg(value_name = "B", value_delimiter = ',', required = true, num_args = 1, action = ArgAction::Set)]
    pub b: Vec<PathBuf>,
    /// Exit status 1 if B is worse by more than this many percent, with 95 % confidence
    #[arg(long, value_name = "PERCENT")]
    pub fail_over: Option<f64>,
    /// Write a page as well
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
}

fn read_all(paths: &[PathBuf]) -> Result<Vec<Run>, String> {
    paths.iter().map(|path| Run::read(path)).collect()
}

/// Writes the page of some results.
///
/// # Errors
/// A file that is no result, or cannot be written.
pub fn report(args: &ReportArgs) -> Result<bool, String> {
    if args.results.len() > html::RUNS_MAX {
        return Err(format!("one page shows {} results at most", html::RUNS_MAX));
    }
    let mut runs = read_all(&args.results)?;
    tell_apart(&mut runs);
    html::write(&args.html, &runs, None)?;
    println!("{}", args.html.display());
    Ok(true)
}

/// Prints ratios. `Ok(false)`: B is worse than is allowed.
///
/// # Errors
/// A file that is no result, or results that cannot be compared.
pub fn compared(args: &CompareArgs) -> Result<bool, String> {
    let (a, b) = (read_all(&args.a)?, read_all(&args.b)?);
    let mut runs: Vec<Run> = a.iter().chain(&b).cloned().collect();
    tell_apart(&mut runs);
    let (a, b) = runs.split_at(a.len());
    let comparison = compare(a, b)?;
    print!("{}", compare::text(&comparison));
    if let Some(path) = &args.html {
        html::write(path, &runs[..runs.len().min(html::RUNS_MAX)], Some(&comparison))?;
        println!("\n{}", path.display());
    }
    let Some(percent) = args.fail_over else { return Ok(true) };
    let worse: Vec<_> = comparison.rows.iter().filter(|row| row.worse_by() * 100.0 > percent).collect();
    for row in &worse {
        eprintln!(
            "error: {} is worse by at least {:.1} %; {percent} % are allowed",
            row.name,
            row.worse_by() * 100.0
        );
    }
    Ok(worse.is_empty())
}

/// Results of the same file name are told apart by their numbers.
fn tell_apart(runs: &mut [Run]) {
    let names: Vec<_> = runs.iter().map(|run| run.name.clone()).collect();
    for (at, run) in runs.iter_mut().enumerate() {
        if names.iter().filter(|name| **name == run.name).count() > 1 {
            run.name = format!("{} ({})", run.name, at + 1);
        }
    }
}
