//! Changing a network.

use std::collections::BTreeMap;
use std::time::{Instant, SystemTime};

use serde_json::{Map, Value};

use crate::catalogue::{Catalogue, NetworkFile};
use crate::create::{Made, invalid, refuse_same_bridge};
use crate::error::VNetError;
use crate::isolation::IsolationMode;
use crate::network::VirtualNetwork;
use crate::options::{OF_ENDPOINTS, bridge_of, by_key};
use crate::request::NetworkUpdate;
use crate::vnet_manager::VNetManager;

impl VNetManager {
    /// Changes a network's labels, options or isolation. Options are for endpoints from now on.
    ///
    /// # Errors
    /// [`VNetError::InUse`] for another isolation than its endpoints have; as [`Self::create_network`].
    pub fn update_network(
        &mut self,
        text: &str,
        update: &NetworkUpdate,
    ) -> Result<Made, VNetError> {
        let start = Instant::now();
        let name = self.network(text)?.name;
        let outcome = self.change(&name, update);
        self.note("UPDATE", &name, start, outcome.as_ref().err());
        outcome
    }

    fn change(&mut self, name: &str, update: &NetworkUpdate) -> Result<Made, VNetError> {
        let _lock = self.lock()?;
        let catalogue = Catalogue::read(&self.places.conf_dir)?;
        let unknown = || VNetError::UnknownNetwork {
            name: name.to_owned(),
            dir: self.places.conf_dir.clone(),
        };
        let file = catalogue.find(name).ok_or_else(unknown)?;
        let before = self.describe(file);
        let Some(mut state) = self.states.of(file) else {
            return Err(VNetError::NotOurs {
                name: before.name,
                what: "change its configuration",
                file: file.path.clone(),
            });
        };
        for (key, value) in &update.labels {
            match value {
                Some(value) => state.labels.insert(key.clone(), value.clone()),
                None => state.labels.remove(key),
            };
        }
        state.updated_at = SystemTime::now();
        let options = by_key(&update.options, &before.driver_type)?;
        self.refuse_while_used(&before, update, &options)?;
        let mut conflist: Value = serde_json::from_str(&file.list.text)
            .map_err(|error| VNetError::file(&file.path, "read")(error.into()))?;
        let first = conflist.pointer_mut("/plugins/0");
        if let Some(first) = first.and_then(Value::as_object_mut) {
            change_plugin(first, update.isolation, options);
            refuse_same_bridge(name, bridge_of(Some(first)), &catalogue)?;
        }
        let warnings = self.write(&file.path, name, &conflist, &state)?;
        let network = self.describe(&NetworkFile::read(&file.path)?);
        Ok(Made { network, warnings })
    }

    /// What endpoints depend on stays as long as there are any.
    fn refuse_while_used(
        &self,
        network: &VirtualNetwork,
        update: &NetworkUpdate,
        options: &BTreeMap<String, Option<Value>>,
    ) -> Result<(), VNetError> {
        let isolation = update
            .isolation
            .filter(|mode| *mode != network.isolation_mode);
        if let Some(wanted) = isolation
            && !network.driver_type.can_isolate()
        {
            let why = format!("a network of driver {} has none", network.driver_type);
            return Err(invalid(format!("isolation {wanted}"), why));
        }
        let is_of_endpoints = options
            .keys()
            .any(|key| OF_ENDPOINTS.contains(&key.as_str()));
        if isolation.is_none() && !is_of_endpoints {
            return Ok(());
        }
        let endpoints = self.names_of_endpoints(&network.name)?;
        match endpoints.is_empty() {
            true => Ok(()),
            false => Err(VNetError::InUse {
                name: network.name.clone(),
                endpoints,
                remedy: "they are as the network is now; disconnect them first",
            }),
        }
    }
}

fn change_plugin(
    plugin: &mut Map<String, Value>,
    isolation: Option<IsolationMode>,
    options: BTreeMap<String, Option<Value>>,
) {
    if let Some(mode) = isolation {
        plugin.insert("isolation".to_owned(), mode.key().into());
    }
    for (key, value) in options {
        match value {
            Some(value) => plugin.insert(key, value),
            None => plugin.remove(&key),
        };
    }
}
