//! Making a network.

use std::net::IpAddr;
use std::time::{Instant, SystemTime};

use ipnetwork::IpNetwork;
use serde_json::Value;
use weft_cni::{IpFamily, NetworkName};
use weft_kernel::{address, link};
use weft_node::default_route;
use weft_node::names::BRIDGE_ALIAS;

use crate::catalogue::{Catalogue, NetworkFile};
use crate::compose::{Chosen, bridge_name};
use crate::driver::DriverType;
use crate::error::VNetError;
use crate::isolation::IsolationMode;
use crate::network::VirtualNetwork;
use crate::options::bridge_of;
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
        let endpoints = self.names_of_endpoints(name)?;
        if !endpoints.is_empty() {
            return Err(VNetError::InUse {
                name: name.clone(),
                endpoints,
                remedy: "its configuration is gone, and they are of that one; weft network rm --force removes them",
            });
        }
        let chosen = self.choose(request, &catalogue)?;
        let conflist = chosen.conflist()?;
        let first = conflist.pointer("/plugins/0").and_then(Value::as_object);
        refuse_same_bridge(name, bridge_of(first), &catalogue)?;
        self.refuse_foreign_bridge(request, bridge_of(first))?;
        let path = last_name(&self.places.conf_dir, name, &catalogue)?;
        let now = SystemTime::now();
        let state = NetworkState {
            file: path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned(),
            labels: request.labels.clone(),
            created_at: now,
            updated_at: now,
        };
        let warnings = self.write(&path, name, &conflist, &state)?;
        let network = self.describe(&NetworkFile::read(&path)?);
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
        if let Some(uplink) = &request.uplink
            && driver != DriverType::Overlay
        {
            let socket = self.host.route()?;
            let found = link::find(socket, uplink).map_err(weft_node::WeftError::from)?;
            if found.is_none() {
                let why = "the host has no interface of this name: ip link show lists them";
                return Err(invalid(format!("uplink {uplink:?}"), why));
            }
        }
        let subnets = self.choose_subnets(request, &driver, catalogue)?;
        refuse_second("gateway", &request.gateways, IpAddr::is_ipv4)?;
        for gateway in &request.gateways {
            refuse_outside(*gateway, "gateway", &subnets)?;
        }
        refuse_second("range", &request.ip_ranges, |range| range.start.is_ipv4())?;
        for range in &request.ip_ranges {
            refuse_outside(range.start, "range", &subnets)?;
            refuse_outside(range.end, "range", &subnets)?;
        }
        let excluded = match driver.is_on_lan() {
            true => self.own_addresses(&subnets)?,
            false => Vec::new(),
        };
        Ok(Chosen {
            request,
            driver,
            isolation,
            subnets,
            excluded,
        })
    }

    /// The host's own addresses in the subnets: no container is to have them too.
    fn own_addresses(&mut self, subnets: &[IpNetwork]) -> Result<Vec<IpAddr>, VNetError> {
        let assigned = address::list_all(self.host.route()?).map_err(weft_node::WeftError::from)?;
        let own = assigned.into_iter().map(|one| one.address.ip());
        Ok(own
            .filter(|ip| subnets.iter().any(|subnet| subnet.contains(*ip)))
            .collect())
    }

    /// The interface of the host that a macvlan or ipvlan is on.
    fn lan(&mut self, request: &NetworkRequest) -> Result<Option<String>, VNetError> {
        if let Some(uplink) = &request.uplink {
            return Ok(Some(uplink.clone()));
        }
        let found = default_route::interface(self.host.route()?)?;
        Ok(found.map(|link| link.name))
    }

    /// A bridge that is there already and is not Weft's is used only if it is named.
    fn refuse_foreign_bridge(
        &mut self,
        request: &NetworkRequest,
        bridge: Option<&str>,
    ) -> Result<(), VNetError> {
        let Some(name) = bridge.filter(|name| *name == bridge_name(&request.name)) else {
            return Ok(());
        };
        let found = link::find(self.host.route()?, name).map_err(weft_node::WeftError::from)?;
        match found {
            Some(there)
                if there.alias != BRIDGE_ALIAS && !request.options.contains_key("bridge") =>
            {
                let why = "the host has an interface of this name that Weft has not made: give another bridge by \
                           --option bridge=NAME, or name this one by it";
                Err(invalid(format!("bridge {name}"), why))
            }
            _ => Ok(()),
        }
    }

    fn isolation(
        &self,
        request: &NetworkRequest,
        driver: &DriverType,
    ) -> Result<IsolationMode, VNetError> {
        let wanted = request.isolation;
        match driver.can_isolate() {
            true => Ok(
                wanted.unwrap_or(match (driver, self.config.default_isolation) {
                    // Where frames of other hosts' containers are bridged none can be kept from its neighbours.
                    (DriverType::Overlay, IsolationMode::Full) => IsolationMode::PeerOnly,
                    (_, mode) => mode,
                }),
            ),
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
            refuse_unusable(given, driver)?;
            subnets.push(*given);
        }
        refuse_second("subnet", &request.subnets, IpNetwork::is_ipv4)?;
        // An overlay's are in weft.toml.
        if matches!(driver, DriverType::Host | DriverType::Overlay) {
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
        let lan = match driver.is_on_lan() {
            true => self.lan(request)?,
            false => None,
        };
        for subnet in &subnets {
            refuse_overlap(*subnet, lan.as_deref(), &taken)?;
        }
        if !driver.is_on_lan() {
            if subnets.is_empty() {
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
    if request.is_internal && *driver == DriverType::Bridge && isolation == IsolationMode::None {
        return Err(invalid(
            "an internal network of isolation none",
            "a container that sets itself a route would reach the outside: use isolation peer, mesh or full",
        ));
    }
    match driver {
        DriverType::Host if !request.subnets.is_empty() || request.ipv6 == Some(true) => {
            let why = "has the addresses of the host: leave --subnet and --ipv6 out";
            Err(invalid(format!("driver {driver}"), why))
        }
        DriverType::Overlay if request.is_internal => Err(invalid(
            "an internal network of driver overlay",
            "its containers reach other hosts by the way that leads to the outside, too: use --isolation peer",
        )),
        DriverType::Overlay if request.mtu.is_some() => {
            let why = "has the MTU of its overlay: [[overlay]] mtu in weft.toml";
            Err(invalid(format!("driver {driver}"), why))
        }
        DriverType::Overlay if !request.subnets.is_empty() || request.ipv6 == Some(true) => {
            let why = "has the addresses that weft.toml gives it ([[overlay]] bridge and containers): leave --subnet and --ipv6 out";
            Err(invalid(format!("driver {driver}"), why))
        }
        DriverType::Other(plugin) => Err(invalid(
            format!("driver {plugin:?}"),
            "is of another suite: networks can be made of bridge, overlay, macvlan, ipvlan and host",
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

/// Two networks on one bridge are no two networks, unless each has a VLAN of it.
pub(crate) fn refuse_same_bridge(
    network: &str,
    bridge: Option<&str>,
    catalogue: &Catalogue,
) -> Result<(), VNetError> {
    let Some(bridge) = bridge else {
        return Ok(());
    };
    let has = |file: &&NetworkFile| {
        file.list.name != network && bridge_of(file.list.plugins.first()) == Some(bridge)
    };
    match catalogue.files.iter().find(has) {
        Some(other) => Err(invalid(
            format!("bridge {bridge}"),
            format!("is that of network {}: give another one", other.list.name),
        )),
        None => Ok(()),
    }
}

/// Each family has one.
fn refuse_second<T>(what: &str, all: &[T], family: impl Fn(&T) -> bool) -> Result<(), VNetError>
where
    T: std::fmt::Display,
{
    for is_v4 in [true, false] {
        if let Some(second) = all.iter().filter(|one| family(one) == is_v4).nth(1) {
            return Err(invalid(
                format!("{what} {second}"),
                "is the second of its family: a network has one for IPv4 and one for IPv6",
            ));
        }
    }
    Ok(())
}

/// Prefixes that no network can have: of no machine, of this machine alone, of groups, or too small for a gateway and a
/// container.
fn refuse_unusable(subnet: &IpNetwork, driver: &DriverType) -> Result<(), VNetError> {
    let ip = subnet.ip();
    let is_special = ip.is_loopback() || ip.is_multicast() || ip.is_unspecified();
    let is_link_local = match subnet {
        IpNetwork::V4(v4) => v4.ip().is_link_local() || v4.ip().octets()[0] >= 240,
        IpNetwork::V6(v6) => v6.ip().is_unicast_link_local(),
    };
    let smallest = if subnet.is_ipv4() { 30 } else { 126 };
    let why = match () {
        () if is_special || is_link_local => "is not for networks of containers",
        () if !driver.is_on_lan() && subnet.prefix() > smallest => {
            "has no room for a gateway and a container"
        }
        () => return Ok(()),
    };
    Err(invalid(format!("subnet {subnet}"), why))
}
