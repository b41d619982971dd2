//! What keeps networks from being made and containers from being attached, and what is slow.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use weft_api::operations::{Operation, history};
use weft_attach::doctor::{Finding, Symptom};
use weft_cni::{Code, IpFamily};
use weft_store::{AttachmentRecord, Isolation};

use crate::catalogue::{Catalogue, NetworkFile};
use crate::error::VNetError;
use crate::overlap::overlaps;
use crate::pools::PoolUse;
use crate::subnets::{free, taken};
use crate::vnet_manager::VNetManager;
use crate::write::missing_plugin;

/// An ADD or DEL that takes longer, in microseconds, is a finding.
const SLOW: u64 = 1_000_000;
/// Calls before are no findings any more.
const LAST: Duration = Duration::from_secs(15 * 60);

impl VNetManager {
    /// Everything that is found of networks, pools and calls. What cannot be looked at is a finding, and hides nothing.
    pub fn findings(&mut self) -> Vec<Finding> {
        let mut found = Vec::new();
        match Catalogue::read(&self.places.conf_dir) {
            Ok(catalogue) => self.of_catalogue(&catalogue, &mut found),
            Err(error) => found.push(Finding::new(Symptom::NetworkCreation, error.to_string())),
        }
        for error in self.states.damaged() {
            let text = format!("{error}: its network counts as made by others; remove the file");
            found.push(Finding::new(Symptom::State, text));
        }
        match self.pools() {
            Ok(pools) => found.extend(pools.iter().filter_map(full)),
            Err(error) => found.push(Finding::new(Symptom::State, error.to_string())),
        }
        let history = history(&self.host_config.state_dir);
        if let Some(problem) = history.problem {
            let text = format!(
                "operations: {problem}: nothing is counted; remove what is in the file's place"
            );
            found.push(Finding::new(Symptom::State, text));
        }
        found.extend(slowest(&history.operations));
        found
    }

    fn of_catalogue(&mut self, catalogue: &Catalogue, found: &mut Vec<Finding>) {
        let broken = catalogue.broken.iter();
        found.extend(broken.map(|text| Finding::new(Symptom::NetworkCreation, text)));
        match self.room(catalogue) {
            Ok(room) => found.extend(room),
            Err(error) => found.push(Finding::new(Symptom::NetworkCreation, error.to_string())),
        }
        for file in &catalogue.files {
            found.extend(self.ask(file));
        }
        match self.host.attachments() {
            Ok(records) => found.extend(otherwise_closed(catalogue, &records)),
            Err(error) => found.push(Finding::new(Symptom::State, error.to_string())),
        }
        for text in overlaps(&catalogue.files) {
            found.push(Finding::new(Symptom::NetworkCreation, text));
        }
        for name in self.states.names() {
            if catalogue.find(&name).is_none() {
                let text = format!(
                    "network {name} has no configuration in {} any more, and its labels are still kept: weft network \
                     rm {name}",
                    self.places.conf_dir.display()
                );
                found.push(Finding::new(Symptom::State, text));
            }
        }
    }

    /// Whether another network could be made.
    fn room(&mut self, catalogue: &Catalogue) -> Result<Vec<Finding>, VNetError> {
        let mut found = Vec::new();
        let (count, max) = (catalogue.files.len(), self.config.max_networks);
        if count >= max {
            let error = VNetError::TooManyNetworks { count, max };
            found.push(Finding::new(Symptom::NetworkCreation, error.to_string()));
        }
        let taken = taken(&mut self.host, catalogue)?;
        let families = [
            Some(IpFamily::V4),
            self.config.ipv6_enabled.then_some(IpFamily::V6),
        ];
        for family in families.into_iter().flatten() {
            if let Err(error) = free(family, &self.config, &taken) {
                found.push(Finding::new(Symptom::NetworkCreation, error.to_string()));
            }
        }
        Ok(found)
    }

    /// What the plugin that makes a network's interfaces says of the host, if it is Weft's.
    fn ask(&self, file: &NetworkFile) -> Option<Finding> {
        if !file.first_type().starts_with("weft-") {
            return None;
        }
        let mut first = file.clone();
        first.list.plugins.truncate(1);
        let mut error = self.chain(&first).status().err()?;
        let is = |code: Code| error.code == code.number();
        let symptom = match () {
            () if is(Code::LimitedConnectivity) => Symptom::External,
            () if is(Code::Unavailable) => Symptom::Attachment,
            () => Symptom::NetworkCreation,
        };
        // What STATUS reports is whole; of other errors the details say what to do.
        let is_whole = is(Code::LimitedConnectivity) || is(Code::Unavailable);
        if is(Code::DelegateFailed) {
            error = missing_plugin(error, file.first_type());
        }
        let hint = match is_whole {
            true => String::new(),
            false => format!(": {}", error.details),
        };
        let text = format!("network {}: {}{hint}", file.list.name, error.msg);
        Some(Finding::new(symptom, text))
    }
}

fn full(pool: &PoolUse) -> Option<Finding> {
    let text = format!(
        "network {} has given {} of its {} IP{} addresses: weft lease ls --network {} shows to which containers; weft gc \
         ends dead ones, a wider range or a second network makes room",
        pool.network, pool.used, pool.capacity, pool.family, pool.network
    );
    pool.is_nearly_full()
        .then(|| Finding::new(Symptom::Attachment, text))
}

/// Networks whose containers were attached with another isolation than their configurations have now.
fn otherwise_closed(catalogue: &Catalogue, records: &[AttachmentRecord]) -> Vec<Finding> {
    let mut found = BTreeSet::new();
    for record in records.iter().filter(|one| one.plugin == "weft-bridge") {
        let Some(file) = catalogue.find(record.id.network.as_str()) else {
            continue;
        };
        let first = file.list.plugins.first();
        let wanted = first.and_then(|plugin| plugin.get("isolation")?.as_str());
        let wanted = wanted.unwrap_or("none");
        let mode = record.isolation;
        let is = match mode == Isolation::Apart {
            true => "none".to_owned(),
            false => mode.to_string(),
        };
        if wanted != is {
            let name = &file.list.name;
            found.insert(format!(
                "network {name} has isolation {wanted} in {}, and containers that were attached with {is}: that counts for \
                 them until they are attached anew",
                file.path.display()
            ));
        }
    }
    let found = found.into_iter();
    found
        .map(|text| Finding::new(Symptom::BetweenContainers, text))
        .collect()
}

/// The slowest call of the last while, if it was slow.
fn slowest(all: &[Operation]) -> Option<Finding> {
    let now = SystemTime::now();
    let is_recent = |one: &&Operation| now.duration_since(one.began()).is_ok_and(|age| age < LAST);
    let ways = all
        .iter()
        .filter(|one| matches!(one.verb.as_str(), "ADD" | "DEL"));
    let slow = ways.filter(|one| one.us >= SLOW).filter(is_recent);
    let slowest = slow.max_by_key(|one| one.us)?;
    let phase = slowest.phases.iter().max_by_key(|(_, us)| *us);
    let longest = phase.map_or_else(String::new, |(name, us)| {
        format!(", {} ms of it in its part {name}", us / 1000)
    });
    let text = format!(
        "{} {} of {} took {} ms in the last {} minutes{longest}: weft ops slowest shows more",
        slowest.plugin,
        slowest.verb,
        slowest.network,
        slowest.us / 1000,
        LAST.as_secs() / 60
    );
    Some(Finding::new(Symptom::Performance, text))
}
