//! What is told to people: a table, or JSON.

use serde_json::{Value, json};

use super::{
    knob::{Finding, NoFinding, State},
    work::Look,
};

/// Width of the value and of the wanted column; longer ones push the rest aside.
const VALUE_COLUMNS: usize = 24;
const KNOB_COLUMNS: usize = 17;

/// One line per value, and under each knob why it matters.
#[must_use]
pub fn table(looks: &[Look]) -> String {
    let mut text = line("", "KNOB", "VALUE", "WANTED", "WHERE");
    for look in looks {
        match &look.found {
            Ok(findings) => grouped(findings).iter().for_each(|(finding, alike)| {
                let place = match alike {
                    0 => finding.place.clone(),
                    more => format!("{} and {more} more", finding.place),
                };
                text += &line(mark(finding), look.knob.name, &finding.value, &finding.wanted, &place);
            }),
            Err(why) => text += &line("-", look.knob.name, "not here", "", &reason(why)),
        }
        text += &format!("       {}\n", look.knob.why);
    }
    text + "ok: as wanted   CHANGE: apply changes it   try: apply tries, the kernel may refuse   told: not judged\n"
}

/// Values that are alike, by the first of them, with how many more there are.
fn grouped(findings: &[Finding]) -> Vec<(&Finding, usize)> {
    let mut groups: Vec<(&Finding, usize)> = Vec::new();
    for finding in findings {
        let alike = |group: &&mut (&Finding, usize)| {
            let (first, _) = group;
            (&first.value, &first.wanted, first.state) == (&finding.value, &finding.wanted, finding.state)
                && std::path::Path::new(&first.place).file_name()
                    == std::path::Path::new(&finding.place).file_name()
        };
        match groups.iter_mut().find(alike) {
            Some((_, more)) => *more += 1,
            None => groups.push((finding, 0)),
        }
    }
    groups
}

fn line(mark: &str, knob: &str, value: &str, wanted: &str, place: &str) -> String {
    let value = value.split_whitespace().collect::<Vec<_>>().join(" ");
    let line =
        format!("{mark:<6} {knob:<KNOB_COLUMNS$} {value:<VALUE_COLUMNS$} {wanted:<VALUE_COLUMNS$} {place}");
    format!("{}\n", line.trim_end())
}

fn mark(finding: &Finding) -> &'static str {
    match finding.state {
        State::Fits => "ok",
        State::Told => "told",
        State::Differs if finding.may_be_refused => "try",
        State::Differs => "CHANGE",
    }
}

fn reason(why: &NoFinding) -> String {
    match why {
        NoFinding::NotHere(why) | NoFinding::Unreadable(why) => why.clone(),
        NoFinding::BadWanted(expected) => format!("expected {expected}"),
    }
}

/// The same for programs: one object per knob.
#[must_use]
pub fn as_json(looks: &[Look]) -> Value {
    let finding = |finding: &Finding| {
        json!({
            "where": finding.place,
            "value": finding.value,
            "wanted": finding.wanted,
            "state": match finding.state {
                State::Fits => "ok",
                State::Differs => "differs",
                State::Told => "told",
            },
            "may_be_refused": finding.may_be_refused,
            "commands": finding.changes.iter().filter_map(super::change::Change::command).collect::<Vec<_>>(),
        })
    };
    let look = |look: &Look| {
        let (found, absent) = match &look.found {
            Ok(findings) => (findings.iter().map(finding).collect(), None),
            Err(why) => (Vec::new(), Some(reason(why))),
        };
        json!({ "knob": look.knob.name, "why": look.knob.why, "found": found, "not_here": absent })
    };
    looks.iter().map(look).collect()
}
