//! Removing a network.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::Instant;

use weft_attach::gc::{GcScope, collect};
use weft_cni::conf::ValidAttachments;
use weft_cni::{CniError, Code, NetworkName};

use crate::catalogue::{Catalogue, NetworkFile};
use crate::endpoint::Endpoint;
use crate::error::VNetError;
use crate::vnet_manager::VNetManager;
use crate::write::{hidden, put_back_left_over};

/// A network that is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Removed {
    /// Its name.
    pub name: String,
    /// How many endpoints went with it.
    pub endpoints: usize,
    /// What other suites' plugins could not collect.
    pub warnings: Vec<String>,
}

/// What `prune` has done.
#[derive(Debug, Default)]
pub struct Pruned {
    /// The names of the networks that are gone.
    pub removed: Vec<String>,
    /// What could not be removed.
    pub failures: Vec<VNetError>,
}

/// A configuration that no runtime reads any more, until it is clear whether it goes.
struct SetAside {
    path: PathBuf,
    hidden: PathBuf,
}

impl SetAside {
    fn new(path: &Path) -> Result<Self, VNetError> {
        let hidden = hidden(path);
        std::fs::rename(path, &hidden).map_err(VNetError::file(path, "removed"))?;
        let path = path.to_owned();
        Ok(Self { path, hidden })
    }

    /// Puts it back, after something that has failed.
    fn put_back(self, error: VNetError) -> VNetError {
        match std::fs::rename(&self.hidden, &self.path) {
            Ok(()) => error,
            Err(failure) => VNetError::file(&self.path, "written")(failure),
        }
    }

    fn remove(self) -> Result<(), VNetError> {
        std::fs::remove_file(&self.hidden).map_err(VNetError::file(&self.path, "removed"))
    }
}

impl VNetManager {
    /// Removes a network. One that has endpoints, or that Weft has not made, only by `force`: its endpoints are removed
    /// first. What is left of one whose configuration is gone is removed likewise.
    ///
    /// # Errors
    /// [`VNetError::InUse`], [`VNetError::NotOurs`]; what could not be removed.
    pub fn remove_network(&mut self, text: &str, force: bool) -> Result<Removed, VNetError> {
        let start = Instant::now();
        let name = match self.network(text) {
            Ok(network) => network.name,
            Err(VNetError::UnknownNetwork { .. })
                if self.states.names().iter().any(|one| one == text) =>
            {
                text.to_owned()
            }
            Err(error) => return Err(error),
        };
        let outcome = self.remove_one(&name, force);
        self.note("REMOVE", &name, start, outcome.as_ref().err());
        outcome
    }

    fn remove_one(&mut self, name: &str, force: bool) -> Result<Removed, VNetError> {
        let _lock = self.lock()?;
        put_back_left_over(&self.places.conf_dir);
        let catalogue = Catalogue::read(&self.places.conf_dir)?;
        self.remove(name, catalogue.find(name), force)
    }

    /// The same of a network whose configuration is known. The lock of networks is held.
    fn remove(
        &mut self,
        name: &str,
        file: Option<&NetworkFile>,
        force: bool,
    ) -> Result<Removed, VNetError> {
        if let Some(file) = file
            && self.states.of(file).is_none()
            && !force
        {
            return Err(VNetError::NotOurs {
                name: name.to_owned(),
                what: "remove it with --force",
                file: file.path.clone(),
            });
        }
        self.refuse_used(name, force)?;
        // From now on no runtime attaches another container.
        let aside = file.map(|file| SetAside::new(&file.path)).transpose()?;
        let outcome = self.refuse_used(name, force);
        let outcome = outcome.and_then(|()| self.remove_endpoints(name, file, force));
        let (endpoints, warnings) = match (outcome, aside) {
            (Ok(done), aside) => {
                aside.map_or(Ok(()), SetAside::remove)?;
                done
            }
            (Err(error), Some(aside)) => return Err(aside.put_back(error)),
            (Err(error), None) => return Err(error),
        };
        self.states.remove(name)?;
        self.forget_connections(name)?;
        let name = name.to_owned();
        Ok(Removed {
            name,
            endpoints,
            warnings,
        })
    }

    fn refuse_used(&self, name: &str, force: bool) -> Result<(), VNetError> {
        let endpoints = self.names_of_endpoints(name)?;
        match endpoints.is_empty() || force {
            true => Ok(()),
            false => Err(VNetError::InUse {
                name: name.to_owned(),
                endpoints,
                remedy: "stop them, or use --force, which disconnects them",
            }),
        }
    }

    /// Endpoints, and what killed calls have left. How many endpoints there were, and what other suites' plugins say.
    fn remove_endpoints(
        &mut self,
        name: &str,
        file: Option<&NetworkFile>,
        force: bool,
    ) -> Result<(usize, Vec<String>), VNetError> {
        let mut endpoints: Vec<Endpoint> = self.endpoints()?;
        endpoints.retain(|one| one.network == name);
        for endpoint in &endpoints {
            self.detach_by(endpoint, file)?;
        }
        let network = NetworkName::try_from(name)
            .map_err(|error| CniError::new(Code::InvalidConfig, error.to_string()))?;
        let valid = match force {
            true => ValidAttachments::Only(Default::default()),
            // A runtime may have been about to attach one.
            false => ValidAttachments::Absent,
        };
        let is_inside = true;
        let scope = GcScope {
            network,
            valid,
            is_inside,
        };
        collect(&mut self.host, &scope)?;
        let others = file.filter(|file| !file.first_type().starts_with("weft-"));
        let valid: Option<&[(String, String)]> = force.then_some(&[]);
        let others = others.and_then(|file| self.chain(file).gc(valid).err());
        let warnings = others.map(|error| error.msg).into_iter().collect();
        Ok((endpoints.len(), warnings))
    }

    /// The containers of a network's endpoints, as people call them.
    pub(crate) fn names_of_endpoints(&self, network: &str) -> Result<Vec<String>, VNetError> {
        let all = self.endpoints()?.into_iter();
        let own = all.filter(|one| one.network == network);
        Ok(own.map(|one| one.container().to_owned()).collect())
    }

    /// Removes the networks that Weft has made and that have no endpoints, and what is left of those whose
    /// configurations are gone.
    ///
    /// # Errors
    /// The store's and the system's. What could not be removed is in the answer.
    pub fn prune_networks(&mut self) -> Result<Pruned, VNetError> {
        let _lock = self.lock()?;
        put_back_left_over(&self.places.conf_dir);
        self.states.remove_left_over();
        let used: HashSet<String> = self
            .endpoints()?
            .into_iter()
            .map(|one| one.network)
            .collect();
        let catalogue = Catalogue::read(&self.places.conf_dir)?;
        let files = catalogue
            .files
            .iter()
            .filter(|file| self.states.of(file).is_some());
        let mut unused: Vec<(String, Option<&NetworkFile>)> = files
            .map(|file| (file.list.name.clone(), Some(file)))
            .filter(|(name, _)| !used.contains(name))
            .collect();
        let gone = self.states.names().into_iter();
        let gone = gone.filter(|name| catalogue.find(name).is_none() && !used.contains(name));
        unused.extend(gone.map(|name| (name, None)));
        let mut pruned = Pruned::default();
        for (name, file) in unused {
            let start = Instant::now();
            let outcome = self.remove(&name, file, false);
            self.note("REMOVE", &name, start, outcome.as_ref().err());
            match outcome {
                Ok(gone) => pruned.removed.push(gone.name),
                // A runtime has attached a container meanwhile.
                Err(VNetError::InUse { .. }) => {}
                Err(error) => pruned.failures.push(error),
            }
        }
        Ok(pruned)
    }
}
