//! Making a network, and changing it.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime};

use ipnetwork::IpNetwork;
use serde_json::{Map, Value};
use weft_api::operations::{Operation, append};
use weft_cni::{CniError, Code, IpFamily, NetworkName, file};
use weft_kernel::link;

use crate::catalogue::{Catalogue, MARK, NetworkFile};
use crate::compose::{Chosen, bridge_name};
use crate::driver::DriverType;
use crate::error::VNetError;
use crate::isolation::IsolationMode;
use crate::network::VirtualNetwork;
use crate::request::{NetworkRequest, NetworkUpdate};
use crate::state::NetworkState;
use crate::subnets::{free, refuse_overlap, taken};
use crate::vnet_manager::VNetManager;

/// Longer names make file names that are too long.
const LONGEST_NAME: usize = 128;

/// A network, and why its containers may not get what they should at the moment.
#[derive(Debug, Clone)]
pub struct Made {
    /// The network.
    pub network: VirtualNetwork,
    /// What its plugins report of the host.
    pub warnings: Vec<String>,
}

fn invalid(what: impl Into<String>, why: impl Into<String>) -> VNetError {
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
        if let Some(first) = conflist["plugins"][0].as_object_mut() {
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

    /// Writes configuration and state if the plugins accept the configuration. What they report of the host.
    fn write(
        &self,
        path: &Path,
        name: &str,
        conflist: &Value,
        state: &NetworkState,
    ) -> Result<Vec<String>, VNetError> {
        let dir = &self.places.conf_dir;
        let text = serde_json::to_string_pretty(conflist).unwrap_or_default() + "\n";
        std::fs::create_dir_all(dir).map_err(VNetError::file(dir, "made"))?;
        // No runtime reads a file with this ending.
        let trial = dir.join(format!(".{name}.weft-new"));
        let failed = |error| VNetError::file(&trial, "written")(error);
        let mut new = file::create_own(&trial).map_err(failed)?;
        let written = std::io::Write::write_all(&mut new, text.as_bytes())
            .and_then(|()| readable(&new))
            .and_then(|()| new.sync_data());
        let accepted = written
            .map_err(VNetError::file(&trial, "written"))
            .and_then(|()| self.ask_plugins(&trial));
        let renamed = accepted.and_then(|warnings| {
            let before = self.states.read(name)?;
            self.states.write(name, state)?;
            if let Err(error) = std::fs::rename(&trial, path) {
                // As it was before.
                let restored = match before {
                    Some(before) => self.states.write(name, &before),
                    None => self.states.remove(name),
                };
                restored?;
                return Err(VNetError::file(path, "written")(error));
            }
            Ok(warnings)
        });
        renamed.inspect_err(|_| {
            let _ = std::fs::remove_file(&trial);
        })
    }

    /// Lets the plugins read a configuration. Reasons why an ADD would fail now are warnings; what is wrong with the
    /// configuration itself is an error.
    fn ask_plugins(&self, path: &Path) -> Result<Vec<String>, VNetError> {
        let mut file = NetworkFile::read(path)?;
        for plugin in &mut file.list.plugins {
            plugin.insert("strict".to_owned(), true.into());
        }
        let passing = [Code::Unavailable, Code::LimitedConnectivity].map(Code::number);
        match self.chain(&file).status() {
            Ok(()) => Ok(Vec::new()),
            Err(error) if passing.contains(&error.code) => Ok(vec![error.msg]),
            Err(error) if error.code == Code::DelegateFailed.number() => {
                Err(missing_plugin(error, file.first_type()).into())
            }
            Err(error) => Err(error.into()),
        }
    }

    pub(crate) fn note(
        &self,
        verb: &str,
        network: &str,
        start: Instant,
        error: Option<&VNetError>,
    ) {
        if !self.config.metrics_enabled {
            return;
        }
        let took = start.elapsed();
        let began = SystemTime::now().checked_sub(took);
        let operation = Operation {
            time: Operation::time_of(began.unwrap_or(SystemTime::UNIX_EPOCH)),
            plugin: "weft".to_owned(),
            verb: verb.to_owned(),
            network: network.to_owned(),
            us: u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
            code: match error {
                None => 0,
                Some(VNetError::Cni(error)) => error.code,
                Some(_) => Code::InvalidConfig.number(),
            },
            error: error.map(ToString::to_string).unwrap_or_default(),
            ..Operation::default()
        };
        // It is an account of what has been done, and no part of it.
        let _ = append(&self.host_config.state_dir, &operation);
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

fn missing_plugin(error: CniError, kind: &str) -> CniError {
    let hint = match kind {
        "weft-overlay" => "this version of Weft has no overlay networks",
        _ => "weft plugins link /opt/cni/bin puts Weft's plugins there",
    };
    error.with_details(hint)
}

/// Runtimes that are not the superuser's read configurations too.
fn readable(file: &std::fs::File) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    file.set_permissions(std::fs::Permissions::from_mode(0o644))
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
        _ => Ok(()),
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
    let Some(bridge) = conflist["plugins"][0]["bridge"].as_str() else {
        return Ok(());
    };
    let has = |file: &&NetworkFile| {
        let first = file.list.plugins.first();
        first.is_some_and(|plugin| plugin.get("bridge").and_then(Value::as_str) == Some(bridge))
    };
    match catalogue.files.iter().find(has) {
        Some(other) if bridge_name(&other.list.name) != bridge || !has_vlan(conflist) => {
            Err(invalid(
                format!("bridge {bridge}"),
                format!("is that of network {}: give another one", other.list.name),
            ))
        }
        _ => Ok(()),
    }
}

fn has_vlan(conflist: &Value) -> bool {
    conflist["plugins"][0].get("vlan").is_some()
}

/// A file name behind all that others have written: a runtime takes the first one as the network of its pods.
fn last_name(dir: &Path, network: &str, catalogue: &Catalogue) -> Result<PathBuf, VNetError> {
    const LONGEST: usize = 64;
    let mut name = format!("z{MARK}{network}.conflist");
    while name <= catalogue.last_foreign_name {
        if name.len() > LONGEST + LONGEST_NAME {
            let last = &catalogue.last_foreign_name;
            return Err(invalid(
                format!("{}", dir.join(last).display()),
                "has a name behind which there is none: rename it, so that the network of pods stays the first",
            ));
        }
        name.insert(0, 'z');
    }
    Ok(dir.join(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_file_is_the_last_one() {
        let after = |last: &str| {
            let catalogue = Catalogue {
                last_foreign_name: last.to_owned(),
                ..Catalogue::default()
            };
            last_name(Path::new("/d"), "demo", &catalogue)
        };
        for last in [
            "",
            "10-containerd-net.conflist",
            "zulu.conf",
            "zz-x.conflist",
            "zzzz.conf",
        ] {
            let path = after(last).unwrap();
            let name = path.file_name().unwrap().to_str().unwrap();
            assert!(
                name > last && name.ends_with("-weft-demo.conflist"),
                "{name}"
            );
        }
        assert!(after("~.conflist").is_err());
    }
}
