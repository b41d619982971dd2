//! Making a network.

use std::net::IpAddr;
use std::time::{Instant, SystemTime};

use ipnetwork::IpNetwork;
use serde_json::Value;
use weft_cni::{IpFamily, NetworkName};
use weft_kernel::link;

use crate::catalogue::{Catalogue, NetworkFile};
use crate::compose::Chosen;
use crate::driver::DriverType;
use crate::error::VNetError;
use crate::isolation::IsolationMode;
use crate::network::VirtualNetwork;
use crate::request::NetworkRequest;
use crate::state::NetworkState;
use crate::subnets::{free, refuse_overlap, taken};
use crate::vnet_manager::VNetManager;
use crate::write::last_name;

/// Longer names make file names that are too long.
pub(crate) const LONGEST_NAME: usize = 128;

/// A network, and why its containers may not get what they should at the moment.
#[derive(Debug, Clone)]
pub struct Made {
    /// The network.
    pub network: VirtualNetwork,
    /// What its plugins report of the host.
    pub warnings: Vec<String>,
}

pub(crate) fn invalid(what: impl Into<String>, why: impl Into<String>) -> VNetError {
    VNetError::Invalid {
        what: what.into(),
        why: why.into(),
    }
}

impl VNetManager {
    /// Makes a network: its configuration, which its plugins have accepted, behind all that are there by name.
    ///
    /// # Errors
    /// What was asked for cannot be, is in use, or is refused by the plugins; nothing is made then.
    pub fn create_network(&mut self, request: &NetworkRequest) -> Result<Made, VNetError> {
        let start = Instant::now();
        let outcome = self.make(request);
        self.note("CREATE", &request.name, start, outcome.as_ref().err());
        outcome
    }

    fn make(&mut self, request: &NetworkRequest) -> Result<Made, VNetError> {
        let name = &request.name;
        NetworkName::try_from(name.as_str())
            .map_err(|error| invalid(format!("network {name:?}"), error.rule))?;
        if name.len() > LONGEST_NAME {
            let why = format!("must have no more than {LONGEST_NAME} characters");
            return Err(invalid(format!("network {name:?}"), why));
        }
        let _lock = self.lock()?;
        let catalogue = Catalogue::read(&self.places.conf_dir)?;
        if let Some(there) = catalogue.find(name) {
            return Err(VNetError::NetworkExists {
                name: name.clone(),
                file: there.path.clone(),
            });
        }
        let (count, max) = (catalogue.files.len(), self.config.max_networks);
        if count >= max {
            return Err(VNetError::TooManyNetworks { count, max });
        }
        let chosen = self.choose(request, &catalogue)?;
        let conflist = chosen.conflist()?;
        refuse_same_bridge(&conflist, &catalogue)?;
        let now = SystemTime::now();
        let state = NetworkState {
            labels: request.labels.clone(),
            created_at: now,
            updated_at: now,
        };
        let path = last_name(&self.places.conf_dir, name, &catalogue)?;
        let warnings = self.write(&path, name, &conflist, &state)?;
        let network = self.describe(&NetworkFile::read(&path)?)?;
        Ok(Made { network, warnings })
    }

    /// Completes what is asked for.
    fn choose<'a>(
        &mut self,
        request: &'a NetworkRequest,
        catalogue: &Catalogue,
    ) -> Result<Chosen<'a>, VNetError> {
        let default = || self.config.default_driver.clone();
        let driver = request.driver.clone().unwrap_or_else(default);
        let isolation = self.isolation(request, &driver)?;
        refuse_strange_parts(request, &driver, isolation)?;
        if let Some(uplink) = &request.uplink {
            let socket = self.host.route()?;
            let found = link::find(socket, uplink).map_err(weft_node::WeftError::from)?;
            if found.is_none() {
                let why = "the host has no interface of this name: ip link show lists them";
                return Err(invalid(format!("uplink {uplink:?}"), why));
            }
        }
        let subnets = self.choose_subnets(request, &driver, catalogue)?;
        for gateway in &request.gateways {
            refuse_outside(*gateway, "gateway", &subnets)?;
        }
        for range in &request.ip_ranges {
            refuse_outside(range.start, "range", &subnets)?;
        }
        Ok(Chosen {
            request,
            driver,
            isolation,
            subnets,
        })
    }

    fn isolation(
        &self,
        request: &NetworkRequest,
        driver: &DriverType,
    ) -> Result<IsolationMode, VNetError> {
        let wanted = request.isolation;
        match driver.can_isolate() {
            true => Ok(wanted.unwrap_or(self.config.default_isolation)),
            false => match wanted {
                None | Some(IsolationMode::None) => Ok(IsolationMode::None),
                Some(mode) => Err(invalid(
                    format!("isolation {mode}"),
                    format!(
                        "a network of driver {driver} has none: its frames do not pass the host's firewall. Use \
                         driver bridge, or leave the isolation out"
                    ),
                )),
            },
        }
    }

    fn choose_subnets(
        &mut self,
        request: &NetworkRequest,
        driver: &DriverType,
        catalogue: &Catalogue,
    ) -> Result<Vec<IpNetwork>, VNetError> {
        let mut subnets = Vec::new();
        for given in &request.subnets {
            if given.ip() != given.network() {
                let why = format!(
                    "has bits behind its prefix: {}/{} is meant",
                    given.network(),
                    given.prefix()
                );
                return Err(invalid(format!("subnet {given}"), why));
            }
            if subnets
                .iter()
                .any(|one: &IpNetwork| one.is_ipv4() == given.is_ipv4())
            {
                return Err(invalid(
                    format!("subnet {given}"),
                    "is the second of its family: a network has one IPv4 and one IPv6 subnet at most",
                ));
            }
            subnets.push(*given);
        }
        if *driver == DriverType::Host || request.options.contains_key("ipam") {
            return Ok(subnets);
        }
        if driver.is_on_lan() && subnets.is_empty() {
            let text = format!("driver {driver}");
            return Err(invalid(
                text,
                "needs --subnet: addresses of the LAN that no other machine has; and --gateway, the LAN's router",
            ));
        }
        let taken = taken(&mut self.host, catalogue)?;
        for subnet in &subnets {
            refuse_overlap(*subnet, driver, &taken)?;
        }
        if !driver.is_on_lan() {
            if !subnets.iter().any(IpNetwork::is_ipv4) && subnets.is_empty() {
                subnets.push(free(IpFamily::V4, &self.config, &taken)?);
            }
            let wants_v6 = request.ipv6.unwrap_or(self.config.ipv6_enabled);
            if wants_v6 && !subnets.iter().any(IpNetwork::is_ipv6) {
                subnets.push(free(IpFamily::V6, &self.config, &taken)?);
            }
        }
        subnets.sort_by_key(IpNetwork::is_ipv6);
        Ok(subnets)
    }
}

fn refuse_strange_parts(
    request: &NetworkRequest,
    driver: &DriverType,
    isolation: IsolationMode,
) -> Result<(), VNetError> {
    let needs_mesh = [("mesh", &request.mesh), ("parent", &request.parent)];
    for (key, value) in needs_mesh {
        if let Some(value) = value
            && isolation != IsolationMode::MeshOnly
        {
            let why = format!(
                "joins networks of isolation mesh only, and this one is to have {isolation}: add --isolation mesh"
            );
            return Err(invalid(format!("{key} {value:?}"), why));
        }
    }
    match driver {
        DriverType::Host if !request.subnets.is_empty() || request.ipv6 == Some(true) => {
            let why = "has the addresses of the host: leave --subnet and --ipv6 out";
            Err(invalid(format!("driver {driver}"), why))
        }
        DriverType::Other(plugin) => Err(invalid(
            format!("driver {plugin:?}"),
            "is of another suite: networks can be made of bridge, macvlan, ipvlan and host",
        )),
        DriverType::Bridge
        | DriverType::Overlay
        | DriverType::Macvlan
        | DriverType::Ipvlan
        | DriverType::Host => Ok(()),
    }
}

fn refuse_outside(address: IpAddr, what: &str, subnets: &[IpNetwork]) -> Result<(), VNetError> {
    if subnets.iter().any(|subnet| subnet.contains(address)) {
        return Ok(());
    }
    let all: Vec<String> = subnets.iter().map(ToString::to_string).collect();
    let why = format!("is in none of the network's subnets ({})", all.join(", "));
    Err(invalid(format!("{what} {address}"), why))
}

/// Two networks on one bridge are not what somebody means who has asked for two networks.
fn refuse_same_bridge(conflist: &Value, catalogue: &Catalogue) -> Result<(), VNetError> {
    let bridge = conflist
        .pointer("/plugins/0/bridge")
        .and_then(Value::as_str);
    // VLANs of one bridge are apart.
    let has_vlan = conflist.pointer("/plugins/0/vlan").is_some();
    let Some(bridge) = bridge.filter(|_| !has_vlan) else {
        return Ok(());
    };
    let has = |file: &&NetworkFile| {
        let first = file.list.plugins.first();
        first.is_some_and(|plugin| plugin.get("bridge").and_then(Value::as_str) == Some(bridge))
    };
    match catalogue.files.iter().find(has) {
        Some(other) => Err(invalid(
            format!("bridge {bridge}"),
            format!("is that of network {}: give another one", other.list.name),
        )),
        None => Ok(()),
    }
}
