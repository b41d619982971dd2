//! Making and removing endpoints: a network's plugins, run as a runtime does.

use std::path::Path;

use ipnetwork::IpNetwork;
use serde_json::{Map, Value, json};
use weft_attach::del::{Target, detach_container};
use weft_cni::runtime::{ConfList, ResultCache, Sandbox};
use weft_cni::{CniError, CniResult, Code, ContainerId, IfName, NetworkName};
use weft_kernel::netlink::RouteSocket;
use weft_kernel::{NetNs, link};
use weft_node::WeftError;

use crate::catalogue::NetworkFile;
use crate::endpoint::Endpoint;
use crate::error::VNetError;
use crate::network::VirtualNetwork;
use crate::request::EndpointRequest;
use crate::vnet_manager::VNetManager;

impl VNetManager {
    /// Attaches a container to a network, given by name or id.
    ///
    /// # Errors
    /// The container is in the network already by an interface of this name, or, without a name, by any; a plugin's:
    /// everything that the others have done is undone then.
    pub fn create_endpoint(
        &mut self,
        network: &str,
        request: &EndpointRequest,
    ) -> Result<Endpoint, VNetError> {
        let _locks = self.lock_for_endpoint()?;
        let network = self.network(network)?;
        let mut file = self.find_file(&network.name)?;
        refuse_strange_words(request)?;
        self.refuse_attached(&network.name, request)?;
        let interface_name = match &request.interface_name {
            Some(name) => name.clone(),
            None => free_interface(&request.netns)?,
        };
        let sandbox = sandbox(request, interface_name, &network, &file.list)?;
        if !request.labels.is_empty() {
            put_labels(&mut file.list, request);
        }
        let chain = self.chain(&file);
        // What one of them has done could not be undone without the others.
        chain.require_plugins()?;
        if let Err(error) = chain.add(&sandbox) {
            let undone = chain.del(&sandbox);
            return Err(with_failure_of_undoing(error, undone.err()).into());
        }
        let mut all = self.endpoints()?.into_iter();
        let is_new = |one: &Endpoint| {
            one.network == network.name
                && one.container_id == sandbox.container_id
                && one.interface_name == sandbox.ifname
        };
        all.find(is_new).ok_or_else(|| {
            let text = format!(
                "{} is attached to {}, whose plugins keep no record in Weft's store: weft cni check {} shows it",
                sandbox.container_id, network.name, network.name
            );
            CniError::new(Code::UnknownContainer, text).into()
        })
    }

    /// What is attached already is not attached again, and above all not detached because that fails.
    fn refuse_attached(&self, network: &str, request: &EndpointRequest) -> Result<(), VNetError> {
        let all = self.endpoints()?;
        let is_its = |one: &&Endpoint| {
            let is_same = |name: &String| *name == one.interface_name;
            one.network == network
                && one.container_id == request.container_id
                && request.interface_name.as_ref().is_none_or(is_same)
        };
        if let Some(there) = all.iter().find(is_its) {
            return Err(VNetError::Invalid {
                what: format!("container {}", there.container()),
                why: format!(
                    "is in network {network} already, by {}: weft network disconnect comes first; a second interface \
                     there needs another name (--interface)",
                    there.interface_name
                ),
            });
        }
        let cache = ResultCache::new(&self.places.cache_dir);
        let ifname = request.interface_name.as_deref().unwrap_or_default();
        match cache.read(network, &request.container_id, ifname) {
            Some(_) => Err(VNetError::Invalid {
                what: format!("container {}", request.container_id),
                why: format!(
                    "is in network {network} already by {ifname}, which its runtime has made"
                ),
            }),
            None => Ok(()),
        }
    }

    /// Detaches an endpoint, given as in [`Self::endpoint`].
    ///
    /// # Errors
    /// What could not be removed.
    pub fn remove_endpoint(&mut self, text: &str) -> Result<Endpoint, VNetError> {
        let endpoint = self.endpoint(text)?;
        self.detach(&endpoint)?;
        Ok(endpoint)
    }

    /// Detaches by the network's plugins; where its configuration is gone, by the record.
    pub(crate) fn detach(&mut self, endpoint: &Endpoint) -> Result<(), VNetError> {
        match self.find_file(&endpoint.network) {
            Ok(file) => self.detach_by(endpoint, Some(&file)),
            Err(VNetError::UnknownNetwork { .. }) => self.detach_by(endpoint, None),
            Err(error) => Err(error),
        }
    }

    /// The same by a configuration that is known. One that lacks a plugin is none.
    pub(crate) fn detach_by(
        &mut self,
        endpoint: &Endpoint,
        file: Option<&NetworkFile>,
    ) -> Result<(), VNetError> {
        let netns = endpoint
            .netns
            .as_ref()
            .map(|path| path.display().to_string());
        let chain = file.map(|file| self.chain(file));
        if let Some(chain) = chain.filter(|chain| chain.require_plugins().is_ok()) {
            let sandbox = Sandbox {
                container_id: endpoint.container_id.clone(),
                netns: netns.unwrap_or_default(),
                ifname: endpoint.interface_name.clone(),
                ..Sandbox::default()
            };
            return Ok(chain.del(&sandbox)?);
        }
        let invalid = |error: weft_cni::id::InvalidName| {
            CniError::new(Code::InvalidConfig, error.to_string())
        };
        let network = NetworkName::try_from(endpoint.network.as_str()).map_err(invalid)?;
        let container = ContainerId::try_from(endpoint.container_id.as_str()).map_err(invalid)?;
        let ifname = IfName::try_from(endpoint.interface_name.as_str()).map_err(invalid)?;
        let target = Target {
            network: &network,
            container: &container,
            ifname: Some(&ifname),
            netns: netns.as_deref(),
            input: &[],
        };
        detach_container(&mut self.host, target, &CniResult::default())?;
        let cache = ResultCache::new(&self.places.cache_dir);
        cache.remove(network.as_str(), container.as_str(), ifname.as_str());
        Ok(())
    }
}

/// The container's name goes into a list of pairs, and to terminals.
fn refuse_strange_words(request: &EndpointRequest) -> Result<(), VNetError> {
    let is_strange =
        |text: &String| text.contains([';', '=']) || text.chars().any(char::is_control);
    match request.name.as_ref().filter(|name| is_strange(name)) {
        Some(name) => Err(VNetError::Invalid {
            what: format!("name {name:?}"),
            why: "cannot have ';', '=' or control characters".to_owned(),
        }),
        None => Ok(()),
    }
}

/// What a runtime would say of the container. Addresses and MAC go the way that the plugins ask for them.
fn sandbox(
    request: &EndpointRequest,
    ifname: String,
    network: &VirtualNetwork,
    list: &ConfList,
) -> Result<Sandbox, VNetError> {
    let mut args = vec!["IgnoreUnknown=1".to_owned()];
    args.extend(
        request
            .name
            .iter()
            .map(|name| format!("K8S_POD_NAME={name}")),
    );
    let mut capability_args = request.capability_args.clone();
    if !request.aliases.is_empty() {
        capability_args.insert("aliases".to_owned(), json!(request.aliases));
    }
    if !request.ip_addresses.is_empty() {
        let prefixes = [network.cidr, network.cidr_v6].into_iter().flatten();
        let with_prefix = |ip: &std::net::IpAddr| {
            let subnet = prefixes.clone().find(|one| one.contains(*ip));
            match subnet {
                Some(subnet) => format!("{ip}/{}", subnet.prefix()),
                None => IpNetwork::from(*ip).to_string(),
            }
        };
        match takes(list, "ips") {
            true => {
                let ips: Vec<String> = request.ip_addresses.iter().map(with_prefix).collect();
                capability_args.insert("ips".to_owned(), json!(ips));
            }
            false if request.ip_addresses.len() > 1 => {
                return Err(VNetError::Invalid {
                    what: format!("network {}", network.name),
                    why: "takes one address only: its configuration has not the capability ips"
                        .to_owned(),
                });
            }
            false => args.extend(request.ip_addresses.iter().map(|ip| format!("IP={ip}"))),
        }
    }
    if let Some(mac) = &request.mac_address {
        match takes(list, "mac") {
            true => {
                capability_args.insert("mac".to_owned(), mac.to_string().into());
            }
            false => args.push(format!("MAC={mac}")),
        }
    }
    Ok(Sandbox {
        container_id: request.container_id.clone(),
        netns: request.netns.display().to_string(),
        ifname,
        args: args.join(";"),
        capability_args,
    })
}

fn takes(list: &ConfList, capability: &str) -> bool {
    let takes = |plugin: &Map<String, Value>| {
        let declared = plugin
            .get("capabilities")
            .and_then(|all| all.get(capability));
        declared.and_then(Value::as_bool) == Some(true)
    };
    list.plugins.iter().any(takes)
}

/// As CONVENTIONS.md has labels: `args.cni.labels` of each plugin.
fn put_labels(list: &mut ConfList, request: &EndpointRequest) {
    let labels = request.labels.iter();
    let labels: Vec<Value> = labels
        .map(|(key, value)| json!({"key": key, "value": value}))
        .collect();
    let within = |object: &mut Map<String, Value>, key: &str| {
        let inner = object.remove(key);
        let inner = inner.and_then(|value| value.as_object().cloned());
        inner.unwrap_or_default()
    };
    for plugin in &mut list.plugins {
        let mut args = within(plugin, "args");
        let mut cni = within(&mut args, "cni");
        cni.insert("labels".to_owned(), labels.clone().into());
        args.insert("cni".to_owned(), cni.into());
        plugin.insert("args".to_owned(), args.into());
    }
}

/// The first of eth0, eth1 and so on that a namespace does not have.
fn free_interface(path: &Path) -> Result<String, VNetError> {
    const MOST: u32 = 1000;
    let netns = NetNs::open(path).map_err(WeftError::from)?;
    let home = NetNs::current().map_err(WeftError::from)?;
    let mut socket = RouteSocket::open_in(&netns, &home).map_err(WeftError::from)?;
    let links = link::list(&mut socket).map_err(WeftError::from)?;
    let mut names = (0..MOST).map(|number| format!("eth{number}"));
    let found = names.find(|name| links.iter().all(|link| link.name != *name));
    found.ok_or_else(|| VNetError::Invalid {
        what: path.display().to_string(),
        why: format!("has {MOST} interfaces already"),
    })
}

fn with_failure_of_undoing(mut error: CniError, undoing: Option<CniError>) -> CniError {
    if let Some(undoing) = undoing {
        error.msg = format!("{}; and while undoing it: {undoing}", error.msg);
    }
    error
}
