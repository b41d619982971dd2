//! `weft network connect` and `disconnect`: containers with networks, or networks with each other.

use std::net::IpAddr;

use anyhow::{Result, bail};
use clap::Args;
use weft_cni::Mac;
use weft_vnet::{Endpoint, EndpointRequest, VNetError, VNetManager};

use crate::container::{self, Running};
use crate::output;

/// Attach a running container to a network, or let two networks of isolation mesh reach each other.
#[derive(Debug, Args)]
pub(crate) struct Connect {
    /// A network, by name or id
    network: String,
    /// A container (by name, id, or the path of its network namespace), or another network
    target: String,
    #[command(flatten)]
    kind: Kind,
    /// Of two networks only the first may begin connections with the second
    #[arg(long)]
    one_way: bool,
    /// The container's address; may be repeated, one of a family
    #[arg(long = "ip", alias = "ip6", value_name = "ADDRESS")]
    addresses: Vec<IpAddr>,
    /// Its MAC
    #[arg(long = "mac", alias = "mac-address")]
    mac: Option<Mac>,
    /// The interface's name in it [default: the first free of eth0, eth1 and so on]
    #[arg(long, value_name = "NAME")]
    interface: Option<String>,
    /// What policies and DNS call it [default: what its runtime does]
    #[arg(long)]
    name: Option<String>,
    /// A further name in DNS; may be repeated
    #[arg(long = "alias", value_name = "NAME")]
    aliases: Vec<String>,
    /// A label for policies; may be repeated
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = label)]
    labels: Vec<(String, String)>,
}

/// Detach a container from a network, or take back that two networks reach each other.
#[derive(Debug, Args)]
pub(crate) struct Disconnect {
    /// A network, by name or id
    network: String,
    /// A container (by name, id, address, or the path of its network namespace), or another network
    target: String,
    #[command(flatten)]
    kind: Kind,
    /// Of two networks only the first may no longer begin connections with the second
    #[arg(long)]
    one_way: bool,
    /// Accepted; there is no question
    #[arg(long, short)]
    force: bool,
}

/// What the second word is, where it could be both.
#[derive(Debug, Clone, Copy, Args)]
#[group(multiple = false)]
pub(crate) struct Kind {
    /// The second word is a container
    #[arg(long = "container")]
    is_container: bool,
    /// The second word is a network
    #[arg(long = "network")]
    is_network: bool,
}

fn label(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=').ok_or("must be KEY=VALUE")?;
    Ok((pair.0.to_owned(), pair.1.to_owned()))
}

/// The second word.
enum Target {
    Network(String),
    Container(Vec<Running>),
}

fn target(vnet: &VNetManager, text: &str, kind: Kind) -> Result<Target> {
    if kind.is_network {
        return Ok(Target::Network(text.to_owned()));
    }
    let running = container::find(vnet, text)?;
    let network = match vnet.network(text) {
        Ok(network) => Some(network.name),
        Err(VNetError::UnknownNetwork { .. }) => None,
        Err(error) => return Err(error.into()),
    };
    match (network, running.is_empty()) {
        (Some(name), true) if !kind.is_container => Ok(Target::Network(name)),
        (Some(_), false) if !kind.is_container => bail!(
            "{text:?} is a network and a container: add --network or --container to say which is meant"
        ),
        (_, false) => Ok(Target::Container(running)),
        (_, true) => bail!(
            "{text:?} is neither a network nor a running container that Weft, Podman, Docker, containerd or LXC on this \
             host knows: give the path of its network namespace (/run/netns/NAME, /proc/PID/ns/net); or, for a network \
             whose configuration is elsewhere, --network"
        ),
    }
}

pub(super) fn connect(vnet: &mut VNetManager, connect: &Connect) -> Result<()> {
    match target(vnet, &connect.target, connect.kind)? {
        Target::Network(other) => {
            let network = match connect.kind.is_network {
                true => name_of(vnet, &connect.network)?,
                false => vnet.network(&connect.network)?.name,
            };
            let connected = vnet.connect(&network, &other, connect.one_way)?;
            for name in &connected.without_endpoints {
                output::line(&format!(
                    "network {name} has no closed containers at the moment"
                ));
            }
            let ended = connected.ended;
            output::line(&format!(
                "{network} and {other} are connected; {ended} connections ended"
            ));
            Ok(())
        }
        Target::Container(found) => {
            let running = container::only(&connect.target, found)?;
            let endpoint = vnet.create_endpoint(
                &connect.network,
                &EndpointRequest {
                    container_id: running.id.clone(),
                    netns: running.netns.clone(),
                    interface_name: connect.interface.clone(),
                    ip_addresses: connect.addresses.clone(),
                    mac_address: connect.mac,
                    name: connect.name.clone().or(running.name),
                    aliases: connect.aliases.clone(),
                    labels: connect.labels.iter().cloned().collect(),
                    ..EndpointRequest::default()
                },
            )?;
            let addresses: Vec<String> = endpoint
                .ip_addresses
                .iter()
                .map(ToString::to_string)
                .collect();
            output::line(&format!(
                "{} is in network {} as {} with {}",
                endpoint.container(),
                endpoint.network,
                endpoint.interface_name,
                match addresses.is_empty() {
                    true => "no address".to_owned(),
                    false => addresses.join(" and "),
                }
            ));
            Ok(())
        }
    }
}

/// A network that has closed containers or a configuration here, else as it was written: connections are remembered for
/// networks that are still to come.
fn name_of(vnet: &VNetManager, text: &str) -> Result<String> {
    match vnet.network(text) {
        Ok(network) => Ok(network.name),
        Err(VNetError::UnknownNetwork { .. }) => Ok(text.to_owned()),
        Err(error) => Err(error.into()),
    }
}

pub(super) fn disconnect(vnet: &mut VNetManager, disconnect: &Disconnect) -> Result<()> {
    let text = &disconnect.target;
    let network = name_of(vnet, &disconnect.network)?;
    let meant = match disconnect.kind.is_network {
        true => Vec::new(),
        false => endpoints(vnet, text, &network)?,
    };
    let is_network = vnet.network(text).is_ok() || disconnect.kind.is_network;
    if meant.is_empty() && (is_network || !disconnect.kind.is_container) {
        let other = name_of(vnet, text)?;
        if !is_network {
            bail!("{text:?} is neither a network nor a container in network {network}");
        }
        let outcome = vnet.disconnect(&network, &other, disconnect.one_way)?;
        for name in &outcome.without_endpoints {
            output::line(&format!(
                "network {name} has no closed containers at the moment"
            ));
        }
        let ended = outcome.ended;
        output::line(&format!(
            "{network} and {other} are disconnected; {ended} connections ended"
        ));
        if let Some((from, to)) = outcome.still {
            bail!(
                "{from} still reaches {to}: they have a mesh or a parent in common, in their configurations"
            );
        }
        return Ok(());
    }
    if meant.is_empty() {
        bail!(
            "{text:?} is no container in network {network}: weft network inspect {network} lists them"
        );
    }
    if is_network && !disconnect.kind.is_container {
        bail!(
            "{text:?} is a network and a container: add --network or --container to say which is meant"
        );
    }
    // Several interfaces of one container, yes; of several containers, no.
    let mut containers: Vec<&str> = meant.iter().map(|one| one.container_id.as_str()).collect();
    containers.dedup();
    if containers.len() > 1 {
        bail!("{text:?} can be {}: give an id", containers.join(" or "));
    }
    for endpoint in &meant {
        vnet.remove_endpoint(&endpoint.id)?;
        output::line(&format!(
            "{} is no longer in network {network}: {} is gone",
            endpoint.container(),
            endpoint.interface_name
        ));
    }
    Ok(())
}

fn endpoints(vnet: &VNetManager, text: &str, network: &str) -> Result<Vec<Endpoint>> {
    let mut own = vnet.endpoints()?;
    own.retain(|one| one.network == network);
    match vnet.endpoints_among(own.clone(), text) {
        Ok(found) => return Ok(found),
        Err(VNetError::UnknownEndpoint { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    let running = container::find(vnet, text)?;
    own.retain(|one| running.iter().any(|two| two.id == one.container_id));
    Ok(own)
}
