//! Profiles: complete configurations of the broker, with what they want of the host in a `[host]` section.
//!
//! ```toml
//! [host]
//! cpu-governor = "performance"
//! swappiness = 1
//! disk-read-ahead = "leave"   # not looked at
//! ```
//!
//! The broker reads the rest of the file and passes `[host]` by; this room does the opposite.

use std::{collections::BTreeMap, fs, path::Path};

use super::{knob::Knob, knobs::KNOBS};

/// Those that come with the program: name and text.
pub const PROFILES: [(&str, &str); 5] = [
    ("laptop", include_str!("../../tuning/profiles/laptop.toml")),
    ("throughput", include_str!("../../tuning/profiles/throughput.toml")),
    ("latency", include_str!("../../tuning/profiles/latency.toml")),
    ("many-partitions", include_str!("../../tuning/profiles/many-partitions.toml")),
    ("container", include_str!("../../tuning/profiles/container.toml")),
];

/// What a profile says of a knob that is not to be looked at.
const LEAVE: &str = "leave";

/// What is wanted of the host, knob by knob.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Wanted(BTreeMap<String, String>);

impl Wanted {
    /// Of the profile with that name, or in that file.
    ///
    /// # Errors
    /// A sentence: it cannot be read, or names what is no knob.
    pub fn of(profile: &str) -> Result<Self, String> {
        if let Some((_, text)) = PROFILES.iter().find(|(name, _)| *name == profile) {
            return Self::parse(profile, text);
        }
        let names: Vec<_> = PROFILES.iter().map(|(name, _)| *name).collect();
        let text = fs::read_to_string(Path::new(profile)).map_err(|error| {
            format!("profile {profile}: {error}; it is a file, or one of {}", names.join(", "))
        })?;
        Self::parse(profile, &text)
    }

    pub(super) fn parse(profile: &str, text: &str) -> Result<Self, String> {
        let root: toml::Table =
            toml::from_str(text).map_err(|error| format!("profile {profile}: {}", error.message()))?;
        let Some(host) = root.get("host") else { return Ok(Self::default()) };
        let table = host.as_table().ok_or_else(|| format!("profile {profile}: \"host\" is no section"))?;
        let mut wanted = BTreeMap::new();
        for (name, value) in table {
            let text = match value {
                toml::Value::String(text) => text.clone(),
                toml::Value::Integer(number) => number.to_string(),
                _ => return Err(format!("profile {profile}: host.{name} is neither text nor a number")),
            };
            find(name).map_err(|error| format!("profile {profile}: [host]: {error}"))?;
            wanted.insert(name.clone(), text);
        }
        Ok(Self(wanted))
    }

    /// What is wanted of a knob; `None`: nothing.
    #[must_use]
    pub fn of_knob(&self, knob: &Knob) -> Option<&str> {
        match self.0.get(knob.name).map(String::as_str) {
            Some(LEAVE) => None,
            Some(wanted) => Some(wanted),
            None => Some(knob.wanted),
        }
    }
}

/// The knob of that name.
///
/// # Errors
/// A sentence that names the nearest one.
pub fn find(name: &str) -> Result<&'static Knob, String> {
    let nearest = || KNOBS.iter().min_by_key(|knob| strsim::damerau_levenshtein(knob.name, name));
    KNOBS.iter().find(|knob| knob.name == name).ok_or_else(|| {
        let nearest = nearest().map(|knob| knob.name).unwrap_or_default();
        format!("there is no knob \"{name}\"; did you mean \"{nearest}\"?")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_profile_says_wins_over_what_a_knob_wants() {
        let text = "num.partitions = 3\n[host]\nswappiness = 10\ncpu-governor = \"leave\"\n";
        let wanted = Wanted::parse("p", text).unwrap();
        assert_eq!(wanted.of_knob(find("swappiness").unwrap()), Some("10"));
        assert_eq!(wanted.of_knob(find("cpu-governor").unwrap()), None);
        assert_eq!(wanted.of_knob(find("disk-scheduler").unwrap()), Some("none"));
        for (text, sentence) in [
            ("[host]\nswapiness = 1\n", "no knob \"swapiness\"; did you mean \"swappiness\"?"),
            ("[host]\nswappiness = true\n", "host.swappiness is neither"),
            ("host = 1\n", "\"host\" is no section"),
        ] {
            let error = Wanted::parse("p", text).unwrap_err();
            assert!(error.contains(sentence), "{error}");
        }
        assert!(Wanted::of("speed").unwrap_err().contains("one of laptop, throughput, latency"));
    }

    #[test]
    fn every_profile_that_comes_along_is_understood() {
        for (name, _) in PROFILES {
            Wanted::of(name).unwrap();
        }
    }
}
