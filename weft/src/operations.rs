//! A line in the operations file for each call of a plugin.

use std::time::Instant;

use weft_api::operations::{Operation, append};
use weft_cni::Completed;
use weft_cni::env::Env;
use weft_node::HostConfig;

/// Verbs that are counted. Runtimes ask for the others every few seconds.
const COUNTED: [&str; 4] = ["ADD", "DEL", "CHECK", "GC"];

/// Adds a line for a call that has been answered. A failure to do so is no failure of the call: the log has it.
pub(crate) fn note(plugin: &str, env: &Env, completed: Completed) {
    if !COUNTED.contains(&completed.verb.as_str()) {
        return;
    }
    let start = Instant::now();
    // What is wrong with it the verb has answered.
    let Ok(config) = HostConfig::read(env) else {
        return;
    };
    if !config.metrics_enabled {
        return;
    }
    let text = |name| env.get(name).unwrap_or_default().to_owned();
    let micros = |duration: std::time::Duration| u64::try_from(duration.as_micros());
    let (code, error) = completed.error.map(|one| (one.code, one.msg)).unzip();
    let phases = completed.phases.into_iter();
    let phases = phases.map(|(phase, took)| (phase.name(), took));
    let phases = phases.chain([("metrics", start.elapsed())]);
    let operation = Operation {
        time: Operation::time_of(completed.began),
        plugin: plugin.to_owned(),
        verb: completed.verb,
        network: completed.network.map(String::from).unwrap_or_default(),
        container: text("CNI_CONTAINERID"),
        ifname: text("CNI_IFNAME"),
        us: micros(completed.duration).unwrap_or(u64::MAX),
        code: code.unwrap_or(0),
        error: error.unwrap_or_default(),
        phases: phases
            .map(|(name, took)| (name.to_owned(), micros(took).unwrap_or(u64::MAX)))
            .collect(),
    };
    if let Err(error) = append(&config.state_dir, &operation) {
        tracing::debug!(%error, "the call is missing in the operations file");
    }
}
