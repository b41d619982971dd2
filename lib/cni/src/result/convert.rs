//! Writing a result in the shape of a version, with nothing a later version added.

use ipnetwork::IpNetwork;
use serde_json::{Map, Value, json};

use super::types::{CniResult, Interface, IpConfig, Route};
use crate::error::{CniError, Code};
use crate::version::SpecVersion;

impl CniResult {
    /// The result as a JSON document of `version`.
    ///
    /// # Errors
    /// Code 7 for 0.1.0 and 0.2.0 when there is no address: those shapes cannot say so.
    pub fn to_value(&self, version: SpecVersion) -> Result<Value, CniError> {
        let mut object = Map::new();
        object.insert("cniVersion".to_owned(), version.as_str().into());
        if version.has_interfaces() {
            self.write_lists(&mut object, version);
        } else {
            self.write_families(&mut object, version)?;
        }
        // 0.4.0 and older always had the key; readers of those versions may expect it.
        if !self.dns.is_empty() || version < SpecVersion::V1_0_0 {
            object.insert("dns".to_owned(), json!(self.dns));
        }
        Ok(Value::Object(object))
    }

    /// Refuses, before anything is made, what [`Self::to_value`] would refuse afterwards.
    ///
    /// # Errors
    /// Code 7.
    pub fn require_address_for(version: SpecVersion, has_address: bool) -> Result<(), CniError> {
        if version.has_interfaces() || has_address {
            Ok(())
        } else {
            Err(CniError::new(
                Code::InvalidConfig,
                format!("cniVersion {version}: a result without IP addresses cannot be expressed"),
            )
            .with_details("configure ipam, or use cniVersion 0.3.0 or later"))
        }
    }

    /// Refuses several addresses of one family where a version has room for one. `families` says of each address
    /// whether it is IPv4.
    ///
    /// # Errors
    /// Code 7.
    pub fn require_one_of_each_family(
        version: SpecVersion,
        families: &[bool],
    ) -> Result<(), CniError> {
        let count = |wanted: bool| families.iter().filter(|is_v4| **is_v4 == wanted).count();
        if version.has_interfaces() || (count(true) < 2 && count(false) < 2) {
            return Ok(());
        }
        Err(CniError::new(
            Code::InvalidConfig,
            format!(
                "cniVersion {version}: a result with several addresses of one family cannot be expressed"
            ),
        )
        .with_details("configure one range or address per family, or use cniVersion 0.3.0 or later"))
    }

    fn write_lists(&self, object: &mut Map<String, Value>, version: SpecVersion) {
        if !self.interfaces.is_empty() {
            let list = self
                .interfaces
                .iter()
                .map(|i| interface(i, version))
                .collect();
            object.insert("interfaces".to_owned(), Value::Array(list));
        }
        if !self.ips.is_empty() {
            let list = self.ips.iter().map(|ip| ip_config(ip, version)).collect();
            object.insert("ips".to_owned(), Value::Array(list));
        }
        if !self.routes.is_empty() {
            let list = self.routes.iter().map(|r| route(r, version)).collect();
            object.insert("routes".to_owned(), Value::Array(list));
        }
    }

    fn write_families(
        &self,
        object: &mut Map<String, Value>,
        version: SpecVersion,
    ) -> Result<(), CniError> {
        Self::require_address_for(version, !self.ips.is_empty())?;
        let families: Vec<bool> = self.ips.iter().map(|ip| ip.address.is_ipv4()).collect();
        Self::require_one_of_each_family(version, &families)?;
        for (key, is_v4) in [("ip4", true), ("ip6", false)] {
            if let Some(ip) = self.ips.iter().find(|ip| ip.address.is_ipv4() == is_v4) {
                let mut family = Map::new();
                family.insert("ip".to_owned(), ip.address.to_string().into());
                if let Some(gateway) = ip.gateway {
                    family.insert("gateway".to_owned(), gateway.to_string().into());
                }
                let routes: Vec<Value> = self
                    .routes
                    .iter()
                    .filter(|r| r.dst.is_ipv4() == is_v4)
                    .map(|r| route(r, version))
                    .collect();
                if !routes.is_empty() {
                    family.insert("routes".to_owned(), routes.into());
                }
                object.insert(key.to_owned(), family.into());
            }
        }
        Ok(())
    }
}

fn interface(interface: &Interface, version: SpecVersion) -> Value {
    if version.has_gc_and_status() {
        return json!(interface);
    }
    let mut old = interface.clone();
    old.mtu = None;
    old.socket_path.clear();
    old.pci_id.clear();
    json!(old)
}

fn ip_config(ip: &IpConfig, version: SpecVersion) -> Value {
    let mut object = Map::new();
    if version < SpecVersion::V1_0_0 {
        object.insert("version".to_owned(), family(&ip.address).into());
    }
    if let Some(index) = ip.interface {
        object.insert("interface".to_owned(), index.into());
    }
    object.insert("address".to_owned(), ip.address.to_string().into());
    if let Some(gateway) = ip.gateway {
        object.insert("gateway".to_owned(), gateway.to_string().into());
    }
    object.into()
}

fn family(address: &IpNetwork) -> &'static str {
    if address.is_ipv4() { "4" } else { "6" }
}

fn route(route: &Route, version: SpecVersion) -> Value {
    if version.has_gc_and_status() {
        json!(route)
    } else {
        json!(Route::new(route.dst, route.gw))
    }
}

#[cfg(test)]
#[path = "convert_tests.rs"]
mod tests;
