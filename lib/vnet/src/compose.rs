//! From what is asked for to a configuration that every CNI runtime reads.

use std::net::IpAddr;

use ipnetwork::IpNetwork;
use serde_json::{Map, Value, json};

use crate::driver::DriverType;
use crate::error::VNetError;
use crate::isolation::IsolationMode;
use crate::network::id_of;
use crate::options::by_key;
use crate::request::NetworkRequest;

/// Versions of the specification that the configuration can be read in; runtimes that do not choose take the first.
const VERSION: &str = "1.0.0";
const VERSIONS: [&str; 3] = ["0.4.0", "1.0.0", "1.1.0"];

/// A network with everything chosen.
#[derive(Debug, Clone)]
pub(crate) struct Chosen<'a> {
    pub(crate) request: &'a NetworkRequest,
    pub(crate) driver: DriverType,
    pub(crate) isolation: IsolationMode,
    pub(crate) subnets: Vec<IpNetwork>,
    /// Addresses in them that machines have already.
    pub(crate) excluded: Vec<IpAddr>,
}

/// The bridge of a network: with its name in it, as far as there is room.
pub(crate) fn bridge_name(network: &str) -> String {
    const LONGEST: usize = 15;
    const MARK: &str = "weft-";
    let short = format!("{MARK}{network}");
    match short.len() <= LONGEST {
        true => short,
        false => format!("{MARK}{}", id_of(network).get(..10).unwrap_or_default()),
    }
}

impl Chosen<'_> {
    /// The configuration.
    pub(crate) fn conflist(&self) -> Result<Value, VNetError> {
        let mut first = self.interface_plugin();
        first.extend(by_key(&self.request.options, &self.driver)?);
        let mut plugins = vec![Value::Object(first)];
        plugins.extend(self.names_plugin());
        if matches!(self.driver, DriverType::Bridge | DriverType::Overlay) {
            plugins.push(json!({"type": "weft-portmap", "capabilities": {"portMappings": true}}));
        }
        if matches!(
            self.driver,
            DriverType::Bridge | DriverType::Overlay | DriverType::Macvlan
        ) {
            plugins.push(json!({"type": "weft-bandwidth", "capabilities": {"bandwidth": true}}));
        }
        Ok(json!({
            "cniVersion": VERSION,
            "cniVersions": VERSIONS,
            "name": self.request.name,
            "plugins": plugins,
        }))
    }

    fn names_plugin(&self) -> Option<Value> {
        let names = self.request.names.as_ref()?;
        let mut plugin = Map::new();
        plugin.insert("type".to_owned(), "weft-dns".into());
        plugin.insert("capabilities".to_owned(), json!({"aliases": true}));
        if let Some(domain) = &names.domain {
            plugin.insert("domainName".to_owned(), domain.as_str().into());
        }
        if !names.upstreams.is_empty() {
            plugin.insert("upstreams".to_owned(), json!(names.upstreams));
        }
        if self.request.is_internal {
            plugin.insert("forward".to_owned(), false.into());
        }
        Some(plugin.into())
    }

    fn interface_plugin(&self) -> Map<String, Value> {
        let request = self.request;
        let mut plugin = Map::new();
        let mut put = |key: &str, value: Value| plugin.insert(key.to_owned(), value);
        put("type", self.driver.plugin().into());
        match self.driver {
            DriverType::Bridge => {
                put("bridge", bridge_name(&request.name).into());
                match request.is_internal {
                    true => put("isGateway", true.into()),
                    false => put("isDefaultGateway", true.into()),
                };
                put("ipMasq", (!request.is_internal).into());
                put("cleanup", true.into());
                put("isolation", self.isolation.key().into());
                put("capabilities", json!({"ips": true, "mac": true}));
                request
                    .mesh
                    .as_ref()
                    .map(|mesh| put("mesh", mesh.as_str().into()));
                request
                    .parent
                    .as_ref()
                    .map(|parent| put("parent", parent.as_str().into()));
                request
                    .uplink
                    .as_ref()
                    .map(|uplink| put("uplink", uplink.as_str().into()));
            }
            DriverType::Macvlan | DriverType::Ipvlan => {
                // The interfaces of an ipvlan share their master's MAC.
                let has_mac = self.driver == DriverType::Macvlan;
                put("capabilities", json!({"ips": true, "mac": has_mac}));
                request
                    .uplink
                    .as_ref()
                    .map(|uplink| put("master", uplink.as_str().into()));
            }
            DriverType::Host => {
                request
                    .uplink
                    .as_ref()
                    .map(|uplink| put("device", uplink.as_str().into()));
            }
            DriverType::Overlay => {
                let overlay = request.uplink.as_ref().unwrap_or(&request.name);
                put("overlay", overlay.as_str().into());
                put("ipMasq", true.into());
                put("isolation", self.isolation.key().into());
                put("capabilities", json!({"ips": true, "mac": true}));
            }
            DriverType::Other(_) => {}
        }
        request.mtu.map(|mtu| put("mtu", mtu.into()));
        if !self.subnets.is_empty() {
            plugin.insert("ipam".to_owned(), self.ipam());
        }
        plugin
    }

    fn ipam(&self) -> Value {
        let mut ranges = Vec::new();
        for subnet in &self.subnets {
            let mut range = Map::new();
            let mut put = |key: &str, value: String| range.insert(key.to_owned(), value.into());
            put("subnet", subnet.to_string());
            if let Some(gateway) = in_subnet(&self.request.gateways, subnet) {
                put("gateway", gateway.to_string());
            }
            let part = self.request.ip_ranges.iter();
            if let Some(part) = part.clone().find(|part| subnet.contains(part.start)) {
                put("rangeStart", part.start.to_string());
                put("rangeEnd", part.end.to_string());
            }
            let own = self.excluded.iter().filter(|one| subnet.contains(**one));
            let excluded: Vec<String> = own.map(|one| IpNetwork::from(*one).to_string()).collect();
            if !excluded.is_empty() {
                range.insert("exclude".to_owned(), excluded.into());
            }
            ranges.push(json!([range]));
        }
        let mut ipam = Map::new();
        ipam.insert("type".to_owned(), "weft-ipam".into());
        ipam.insert("ranges".to_owned(), ranges.into());
        if self.driver.is_on_lan() && !self.request.is_internal {
            let routes = self.subnets.iter().filter_map(|subnet| {
                let gateway = in_subnet(&self.request.gateways, subnet)?;
                let dst = if subnet.is_ipv4() {
                    "0.0.0.0/0"
                } else {
                    "::/0"
                };
                Some(json!({"dst": dst, "gw": gateway.to_string()}))
            });
            ipam.insert("routes".to_owned(), routes.collect());
        }
        ipam.into()
    }
}

fn in_subnet(addresses: &[IpAddr], subnet: &IpNetwork) -> Option<IpAddr> {
    addresses.iter().copied().find(|one| subnet.contains(*one))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compose(driver: DriverType, subnets: &[&str], request: &NetworkRequest) -> Value {
        let subnets = subnets.iter().map(|one| one.parse().unwrap()).collect();
        let isolation = IsolationMode::Full;
        let chosen = Chosen {
            request,
            driver,
            isolation,
            subnets,
            excluded: Vec::new(),
        };
        chosen.conflist().unwrap()["plugins"][0].clone()
    }

    #[test]
    fn a_bridge_has_a_gateway_and_what_is_asked_for() {
        let mut request = NetworkRequest {
            name: "demo".to_owned(),
            ip_ranges: vec![
                "10.1.0.0/25".parse().unwrap(),
                "fd00::10-fd00::20".parse().unwrap(),
            ],
            ..NetworkRequest::default()
        };
        request
            .options
            .insert("com.docker.network.driver.mtu".into(), 1400.into());
        let plugin = compose(DriverType::Bridge, &["10.1.0.0/24", "fd00::/64"], &request);
        assert_eq!(plugin["bridge"], "weft-demo");
        assert_eq!(
            (&plugin["mtu"], &plugin["isolation"]),
            (&json!(1400), &json!("full"))
        );
        let ranges = &plugin["ipam"]["ranges"];
        assert_eq!(ranges[0][0]["rangeStart"], "10.1.0.0");
        assert_eq!(ranges[0][0]["rangeEnd"], "10.1.0.127");
        assert_eq!(ranges[1][0]["rangeEnd"], "fd00::20");
        assert!(ranges[0][0].get("gateway").is_none());
    }

    #[test]
    fn a_macvlan_has_the_lans_router() {
        let request = NetworkRequest {
            uplink: Some("eth0".to_owned()),
            gateways: vec!["10.1.0.254".parse().unwrap()],
            ..NetworkRequest::default()
        };
        let plugin = compose(DriverType::Macvlan, &["10.1.0.0/24"], &request);
        assert_eq!(plugin["master"], "eth0");
        assert_eq!(plugin["ipam"]["routes"][0]["gw"], "10.1.0.254");
        assert!(plugin.get("isolation").is_none());
    }

    #[test]
    fn a_long_name_has_a_bridge_too() {
        assert_eq!(bridge_name("abcdefghij"), "weft-abcdefghij");
        let long = bridge_name("abcdefghijk");
        assert!(long.len() == 15 && long.starts_with("weft-"), "{long}");
    }
}
