//! Removing a network.

use std::time::Instant;

use crate::error::VNetError;
use crate::vnet_manager::VNetManager;
use crate::write::remove_left_over;

/// A network that is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Removed {
    /// Its name.
    pub name: String,
    /// How many endpoints went with it.
    pub endpoints: usize,
}

impl VNetManager {
    /// Removes a network. One that has endpoints, or that Weft has not made, only by `force`: its endpoints are removed
    /// first.
    ///
    /// # Errors
    /// [`VNetError::InUse`], [`VNetError::NotOurs`]; what could not be removed.
    pub fn remove_network(&mut self, text: &str, force: bool) -> Result<Removed, VNetError> {
        let start = Instant::now();
        let name = self.network(text)?.name;
        let outcome = self.remove(&name, force);
        self.note("REMOVE", &name, start, outcome.as_ref().err());
        outcome
    }

    fn remove(&mut self, name: &str, force: bool) -> Result<Removed, VNetError> {
        let _lock = self.lock()?;
        let file = self.find_file(name)?;
        let is_ours = self.states.read(name)?.is_some();
        if !is_ours && !force {
            return Err(VNetError::NotOurs {
                name: name.to_owned(),
                what: "remove it with --force",
                file: file.path,
            });
        }
        let all = self.endpoints()?.into_iter();
        let endpoints: Vec<_> = all.filter(|one| one.network == name).collect();
        if !endpoints.is_empty() && !force {
            return Err(VNetError::InUse {
                name: name.to_owned(),
                endpoints: endpoints
                    .iter()
                    .map(|one| one.container().to_owned())
                    .collect(),
                remedy: "stop them, or use --force, which disconnects them",
            });
        }
        for endpoint in &endpoints {
            self.detach(endpoint)?;
        }
        // What killed calls have left. A plugin that has no GC has nothing of Weft's.
        if is_ours {
            self.chain(&file).gc(Some(&[]))?;
        }
        std::fs::remove_file(&file.path).map_err(VNetError::file(&file.path, "removed"))?;
        remove_left_over(&self.places.conf_dir);
        self.states.remove(name)?;
        self.forget_connections(name)?;
        Ok(Removed {
            name: name.to_owned(),
            endpoints: endpoints.len(),
        })
    }

    /// Removes the networks that Weft has made and that have no endpoints. Their names.
    ///
    /// # Errors
    /// The first failure; those before it are gone.
    pub fn prune_networks(&mut self) -> Result<Vec<String>, VNetError> {
        let endpoints = self.endpoints()?;
        let is_used = |name: &str| endpoints.iter().any(|one| one.network == name);
        let unused = self.networks()?.into_iter();
        let unused = unused.filter(|one| one.is_managed && !is_used(&one.name));
        let mut removed = Vec::new();
        for network in unused {
            match self.remove_network(&network.name, false) {
                Ok(gone) => removed.push(gone.name),
                // Somebody was faster, in either direction.
                Err(VNetError::UnknownNetwork { .. } | VNetError::InUse { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        self.forget_states_without_network()?;
        Ok(removed)
    }

    /// What a call that was killed between configuration and state has left.
    fn forget_states_without_network(&self) -> Result<(), VNetError> {
        let _lock = self.lock()?;
        remove_left_over(&self.places.conf_dir);
        let networks = self.networks()?;
        for name in self.states.names() {
            if networks.iter().all(|one| one.name != name) {
                self.states.remove(&name)?;
            }
        }
        Ok(())
    }
}
