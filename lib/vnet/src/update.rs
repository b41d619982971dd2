//! Changing a network.

use std::time::{Instant, SystemTime};

use serde_json::{Map, Value};

use crate::catalogue::NetworkFile;
use crate::create::{Made, invalid};
use crate::error::VNetError;
use crate::isolation::IsolationMode;
use crate::network::VirtualNetwork;
use crate::request::NetworkUpdate;
use crate::vnet_manager::VNetManager;

impl VNetManager {
    /// Changes a network's labels, options or isolation. Options are for endpoints from now on.
    ///
    /// # Errors
    /// [`VNetError::InUse`] for another isolation than its endpoints have; as [`Self::create_network`].
    pub fn update_network(
        &mut self,
        name: &str,
        update: &NetworkUpdate,
    ) -> Result<Made, VNetError> {
        let start = Instant::now();
        let outcome = self.change(name, update);
        self.note("UPDATE", name, start, outcome.as_ref().err());
        outcome
    }

    fn change(&mut self, name: &str, update: &NetworkUpdate) -> Result<Made, VNetError> {
        let _lock = self.lock()?;
        let before = self.network(name)?;
        let file = self.find_file(&before.name)?;
        let Some(mut state) = self.states.read(&before.name)? else {
            return Err(VNetError::NotOurs {
                name: before.name,
                what: "change its configuration",
                file: file.path,
            });
        };
        for (key, value) in &update.labels {
            match value {
                Some(value) => state.labels.insert(key.clone(), value.clone()),
                None => state.labels.remove(key),
            };
        }
        state.updated_at = SystemTime::now();
        if let Some(wanted) = update
            .isolation
            .filter(|mode| *mode != before.isolation_mode)
        {
            self.refuse_other_isolation(&before, wanted)?;
        }
        let mut conflist: Value = serde_json::from_str(&file.list.text)
            .map_err(|error| VNetError::file(&file.path, "read")(error.into()))?;
        let first = conflist.pointer_mut("/plugins/0");
        if let Some(first) = first.and_then(Value::as_object_mut) {
            change_plugin(first, update);
        }
        let warnings = self.write(&file.path, &before.name, &conflist, &state)?;
        let network = self.describe(&NetworkFile::read(&file.path)?)?;
        Ok(Made { network, warnings })
    }

    fn refuse_other_isolation(
        &self,
        network: &VirtualNetwork,
        wanted: IsolationMode,
    ) -> Result<(), VNetError> {
        if !network.driver_type.can_isolate() {
            let why = format!("a network of driver {} has none", network.driver_type);
            return Err(invalid(format!("isolation {wanted}"), why));
        }
        let all = self.endpoints()?.into_iter();
        let own = all.filter(|one| one.network == network.name);
        let endpoints: Vec<String> = own.map(|one| one.container().to_owned()).collect();
        match endpoints.is_empty() {
            true => Ok(()),
            false => Err(VNetError::InUse {
                name: network.name.clone(),
                endpoints,
                remedy: "they have the isolation that it has now; disconnect them first",
            }),
        }
    }
}

fn change_plugin(plugin: &mut Map<String, Value>, update: &NetworkUpdate) {
    if let Some(mode) = update.isolation {
        plugin.insert("isolation".to_owned(), mode.key().into());
    }
    for (key, value) in &update.options {
        match value {
            Some(value) => plugin.insert(key.clone(), value.clone()),
            None => plugin.remove(key),
        };
    }
}
