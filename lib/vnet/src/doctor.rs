//! What keeps networks from being made and containers from being attached, and what is slow.

use weft_api::operations::history;
use weft_attach::doctor::{Finding, Symptom};
use weft_cni::{Code, IpFamily};

use crate::catalogue::{Catalogue, NetworkFile};
use crate::error::VNetError;
use crate::overlap::overlaps;
use crate::subnets::{free, taken};
use crate::vnet_manager::VNetManager;
use crate::write::missing_plugin;

/// From this share of its addresses on a pool is a finding.
const FULL: f64 = 0.9;
/// An ADD or DEL that takes longer, in microseconds, is a finding.
const SLOW: u64 = 1_000_000;
/// So many calls are looked at.
const LAST: usize = 500;

impl VNetManager {
    /// Everything that is found of networks, pools and calls.
    ///
    /// # Errors
    /// The store's, the kernel's, the system's.
    pub fn findings(&mut self) -> Result<Vec<Finding>, VNetError> {
        let catalogue = Catalogue::read(&self.places.conf_dir)?;
        let mut found = Vec::new();
        let broken = catalogue.broken.iter();
        found.extend(broken.map(|text| Finding::new(Symptom::NetworkCreation, text)));
        found.extend(self.room(&catalogue)?);
        for file in &catalogue.files {
            found.extend(self.ask(file));
        }
        for text in overlaps(&catalogue.files) {
            found.push(Finding::new(Symptom::NetworkCreation, text));
        }
        for pool in self.pools()?.iter().filter(|pool| pool.share() >= FULL) {
            found.push(Finding::new(
                Symptom::Attachment,
                format!(
                    "network {} has given {} of its {} IP{} addresses: weft lease ls --network {} shows to which \
                     containers; weft gc ends dead ones, a wider range or a second network makes room",
                    pool.network, pool.used, pool.capacity, pool.family, pool.network
                ),
            ));
        }
        for name in self.states.names() {
            if catalogue.find(&name).is_none() {
                let text = format!(
                    "network {name} has no configuration in {} any more, and its labels are still kept: weft network \
                     prune",
                    self.places.conf_dir.display()
                );
                found.push(Finding::new(Symptom::State, text));
            }
        }
        found.extend(self.slow());
        Ok(found)
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
        if let Err(error) = free(IpFamily::V4, &self.config, &taken) {
            found.push(Finding::new(Symptom::NetworkCreation, error.to_string()));
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

    /// The slowest of the last calls, if it is slow.
    fn slow(&self) -> Option<Finding> {
        let all = history(&self.host_config.state_dir).operations;
        let last = all.iter().rev().take(LAST);
        let ways = last.filter(|one| matches!(one.verb.as_str(), "ADD" | "DEL"));
        let slowest = ways.max_by_key(|one| one.us).filter(|one| one.us >= SLOW)?;
        let phase = slowest.phases.iter().max_by_key(|(_, us)| *us);
        let longest = phase.map_or_else(String::new, |(name, us)| {
            format!(", {} ms of it in its part {name}", us / 1000)
        });
        let text = format!(
            "{} {} of {} took {} ms{longest}: weft ops slowest shows more",
            slowest.plugin,
            slowest.verb,
            slowest.network,
            slowest.us / 1000
        );
        Some(Finding::new(Symptom::Performance, text))
    }
}
