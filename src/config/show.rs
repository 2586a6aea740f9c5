//! The settings in force: each with its value and where it was given, and how two configurations differ.

use std::fmt::Write as _;

use crate::model::ShardId;

use super::{
    Place, Settings, ShardsOf,
    table::{Kind, Row, SHARDS},
};

/// A setting with the value in force.
#[derive(Debug, Clone)]
pub struct Effective {
    /// The setting.
    pub row: &'static Row,
    /// The cores it holds for, if it does not hold for all.
    pub of: Option<ShardsOf>,
    /// The value, as it may stand in a file.
    pub value: String,
    /// Where it was given.
    pub place: Place,
    /// The name under which it was given; its own, if it was not.
    pub given_as: &'static str,
    /// What would be in force if this were not, where a client gave it.
    pub below: Option<Box<Effective>>,
}

/// A setting that has not the same value in two configurations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The setting, with its cores if it does not hold for all: `core 1: shards.spin.us`.
    pub name: String,
    /// Its value in the first, and where that was given; `None` where only the second speaks of these cores.
    pub first: Option<(String, Place)>,
    /// Its value in the second.
    pub second: Option<(String, Place)>,
}

impl Effective {
    pub(super) fn new(row: &'static Row, value: String, place: Place) -> Self {
        Self { row, of: None, value, place, given_as: row.name, below: None }
    }

    /// Other names of a setting, and keys without effect that nobody gave, are not worth a line.
    fn is_shown(&self) -> bool {
        match self.row.kind {
            Kind::SecondName { .. } => false,
            Kind::Kafka { .. } => self.place != Place::Default,
            _ => true,
        }
    }

    fn key(&self) -> String {
        self.of.map_or_else(|| self.row.name.to_owned(), |of| format!("{of}: {}", self.row.name))
    }

    fn line(&self, name: &str) -> String {
        let shown = if self.row.is_bare(&self.value) {
            self.value.clone()
        } else {
            toml::Value::from(self.value.as_str()).to_string()
        };
        let alias =
            if self.given_as == self.row.name { String::new() } else { format!(", as {}", self.given_as) };
        format!("{:<44} # {}{alias}\n", format!("{name} = {shown}"), self.place)
    }
}

impl Settings {
    /// Whether somebody gave a setting, under whichever name.
    #[must_use]
    pub fn is_given(&self, name: &str) -> bool {
        self.effective.iter().any(|effective| effective.row.name == name && effective.place != Place::Default)
    }

    /// Every setting with the value in force and where it was given, in the order of the table.
    #[must_use]
    pub fn effective(&self) -> &[Effective] {
        &self.effective
    }

    /// The configuration in force as a file that gives the same settings again.
    #[must_use]
    pub fn to_toml(&self) -> String {
        let (mut text, mut section) = (String::new(), String::new());
        // What is outside every section must stand before the first.
        let (inside, outside): (Vec<_>, Vec<_>) =
            self.effective.iter().filter(|e| e.is_shown()).partition(|e| e.row.name.starts_with(SHARDS));
        for effective in outside.into_iter().chain(inside) {
            let (wanted, name) = match (effective.row.name.strip_prefix(SHARDS), effective.of) {
                (Some(name), Some(ShardsOf::Core(core))) => (format!("\n[[shard]]\ncore = {core}\n"), name),
                (Some(name), Some(ShardsOf::Node(node))) => (format!("\n[[shard]]\nnuma = {node}\n"), name),
                (Some(name), None) => ("\n[shards]\n".to_owned(), name),
                (None, _) => (String::new(), effective.row.name),
            };
            if wanted != section {
                text += &wanted;
                section = wanted;
            }
            text += &effective.line(name);
        }
        text
    }

    /// What each core runs with, and what clients are told, as comments below [`Settings::to_toml`].
    #[must_use]
    pub fn per_core(&self) -> String {
        let mut text = String::new();
        for shard in &self.shards {
            let _ = writeln!(text, "\n# core {} runs with", shard.core);
            for effective in
                self.effective.iter().filter(|e| e.of.is_none() && e.row.name.starts_with(SHARDS))
            {
                let own = self.overrides_of(shard.core).rfind(|own| own.row.name == effective.row.name);
                let name = &effective.row.name[SHARDS.len()..];
                let _ = write!(text, "#   {}", own.unwrap_or(effective).line(name));
            }
        }
        text.push('\n');
        if !self.per_core_listeners {
            let (listen, host, port) =
                (&self.listen, &self.advertised.host, shown_port(self.advertised.port));
            let _ = writeln!(text, "# every core listens on {listen}; clients are told {host} port {port}");
            return text;
        }
        for (index, shard) in (0..).zip(&self.shards) {
            let id = ShardId(index);
            let (broker, listen, told) = (self.broker_of(id), self.listen_of(id), self.advertised_of(id));
            let _ = writeln!(
                text,
                "# core {} is broker {broker} and listens on {} port {}; clients are told {} port {}",
                shard.core,
                listen.host,
                shown_port(listen.port),
                told.host,
                shown_port(told.port),
            );
        }
        text
    }

    /// Overrides for one core, the strongest last: those of its node come first.
    pub(super) fn overrides_of(&self, core: usize) -> impl DoubleEndedIterator<Item = &Effective> {
        let node = self.cores.iter().position(|&known| known == core).map(|at| self.numa_nodes[at]);
        self.effective.iter().filter(move |effective| match effective.of {
            Some(ShardsOf::Core(of)) => of == core,
            Some(ShardsOf::Node(of)) => Some(of) == node,
            None => false,
        })
    }

    /// Sentences about settings that were given and change nothing.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let idle = self.effective.iter().filter(|e| e.place != Place::Default && !e.row.acted_on());
        idle.map(|e| {
            format!("{}: \"{}\" is accepted and changes nothing: {}", e.place, e.row.name, e.row.about)
        })
        .collect()
    }

    /// What is not the same in `other`.
    #[must_use]
    pub fn differences(&self, other: &Self) -> Vec<Difference> {
        let shown = |settings: &Self| -> Vec<_> {
            settings.effective.iter().filter(|effective| effective.is_shown()).cloned().collect()
        };
        let (first, second) = (shown(self), shown(other));
        let find = |among: &[Effective], name: &str| {
            among.iter().find(|e| e.key() == name).map(|e| (e.value.clone(), e.place.clone()))
        };
        let mut names: Vec<_> = first.iter().map(Effective::key).collect();
        names.extend(second.iter().map(Effective::key).filter(|name| find(&first, name).is_none()));
        let pairs = names.into_iter().map(|name| Difference {
            first: find(&first, &name),
            second: find(&second, &name),
            name,
        });
        let value = |side: &Option<(String, Place)>| side.as_ref().map(|(value, _)| value.clone());
        pairs.filter(|pair| value(&pair.first) != value(&pair.second)).collect()
    }
}

fn shown_port(port: u16) -> String {
    match port {
        0 => "the one it gets".to_owned(),
        port => port.to_string(),
    }
}
