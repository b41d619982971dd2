//! What operations add up to.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Operation;

/// Upper ends of the histogram's buckets, in microseconds; longer ones are in a last bucket without an end.
pub const BUCKETS: [u64; 11] = [
    2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000,
    5_000_000,
];

/// What is counted apart.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Key {
    /// As [`Operation::plugin`].
    pub plugin: String,
    /// As [`Operation::verb`].
    pub verb: String,
}

/// The operations of one key.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Count {
    /// How many.
    pub calls: u64,
    /// How many have failed, by the error's code.
    #[serde(default)]
    pub errors: BTreeMap<u32, u64>,
    /// Their durations together, in microseconds.
    pub us: u64,
    /// How many were at most as long as each of [`BUCKETS`] says, and longer than the one before says.
    #[serde(default)]
    pub buckets: [u64; BUCKETS.len()],
}

/// The parts of one name.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PhaseTotal {
    /// How many.
    pub calls: u64,
    /// Their durations together, in microseconds.
    pub us: u64,
}

/// The sum of all operations since the directory of live state was made, which is since the host has started.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// The last renamed file that is in them.
    #[serde(default)]
    pub counted: u64,
    /// By plugin and verb.
    #[serde(default, with = "as_list")]
    pub operations: BTreeMap<Key, Count>,
    /// By the name of the part.
    #[serde(default)]
    pub phases: BTreeMap<String, PhaseTotal>,
}

impl Totals {
    /// Adds an operation.
    pub fn add(&mut self, operation: &Operation) {
        let key = Key {
            plugin: operation.plugin.clone(),
            verb: operation.verb.clone(),
        };
        let count = self.operations.entry(key).or_default();
        count.calls += 1;
        count.us = count.us.saturating_add(operation.us);
        if operation.has_failed() {
            *count.errors.entry(operation.code).or_default() += 1;
        }
        let mut ends = count.buckets.iter_mut().zip(BUCKETS);
        if let Some((bucket, _)) = ends.find(|(_, end)| operation.us <= *end) {
            *bucket += 1;
        }
        for (name, us) in &operation.phases {
            let phase = self.phases.entry(name.clone()).or_default();
            phase.calls += 1;
            phase.us = phase.us.saturating_add(*us);
        }
    }

    /// How many operations there were.
    pub fn count(&self) -> u64 {
        self.operations.values().map(|one| one.calls).sum()
    }

    /// How many have failed.
    pub fn errors(&self) -> u64 {
        let all = self.operations.values();
        all.flat_map(|one| one.errors.values()).sum()
    }
}

/// JSON has no objects as keys.
mod as_list {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::{Count, Key};

    pub(super) fn serialize<S: Serializer>(
        map: &BTreeMap<Key, Count>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        map.iter().collect::<Vec<_>>().serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<BTreeMap<Key, Count>, D::Error> {
        Ok(Vec::<(Key, Count)>::deserialize(deserializer)?
            .into_iter()
            .collect())
    }
}
