//! How closed a network is: elements that its attachments share, and addresses of their own.

use ipnetwork::IpNetwork;
use weft_cni::result::Route;
use weft_firewall::ruleset;
use weft_node::{Users, WeftError};
use weft_store::{AddressRecord, Isolation, SharedObject, Transaction};

/// RT_SCOPE_LINK (linux/rtnetlink.h).
const SCOPE_LINK: u32 = 253;

/// What the attachments behind an interface of the host share.
pub fn shared_objects(bridge: &str, link: &str, mode: Isolation) -> Vec<SharedObject> {
    if mode.is_none() {
        return Vec::new();
    }
    let mut shared: Vec<SharedObject> = ruleset::isolation_elements(link, mode)
        .into_iter()
        .map(|element| SharedObject::NftElement { element })
        .collect();
    shared.push(SharedObject::Isolation {
        link: bridge.to_owned(),
        mode,
    });
    shared
}

/// Refuses to make half of a bridge closed: an open container there would be a way around, by a tag
/// of another VLAN if need be, and a closed one has been promised that there is none.
pub fn refuse_other_modes(
    link: &str,
    wanted: Isolation,
    transaction: &Transaction<'_>,
) -> Result<(), WeftError> {
    let users = |mode: Isolation| {
        let link = link.to_owned();
        transaction.users_of(&SharedObject::Isolation { link, mode })
    };
    // What a chained plugin keeps apart was made without isolation. And `peer` may be what is left of
    // `mesh` in a rebuilt store: packets see no difference.
    let is_peer = |mode| matches!(mode, Isolation::Peer | Isolation::Mesh);
    let is_compatible = |mode: Isolation| {
        mode == wanted
            || (is_peer(mode) && is_peer(wanted))
            || (wanted.is_none() && mode == Isolation::Apart)
            || (wanted == Isolation::Apart && mode.is_none())
    };
    let refuse = |mode: Isolation| {
        Err(WeftError::InUse {
            key: "isolation",
            name: link.to_owned(),
            why: format!(
                "has containers with isolation {mode}, this one is to have {wanted}: give it a \
                 bridge of its own, or remove those first"
            ),
            users: Box::new(Users::OnBridge(link.to_owned())),
        })
    };
    for mode in Isolation::CLOSED {
        if !is_compatible(mode) && users(mode)? > 0 {
            return refuse(mode);
        }
    }
    if is_compatible(Isolation::None) || users(wanted)? > 0 {
        return Ok(());
    }
    // The first closed one: only now it matters whether there are open ones, which are not counted.
    let records = transaction.attachments()?;
    let is_open_here = records.iter().any(|record| {
        let mut ports = record.link.port().into_iter();
        record.isolation.is_none() && ports.any(|port| port.bridge.as_deref() == Some(link))
    });
    if is_open_here {
        return refuse(Isolation::None);
    }
    Ok(())
}

/// Gives each address to the container alone: no neighbour is on its link but the gateway, by which
/// everything passes the host. The routes that this needs.
pub fn alone(addresses: &mut [AddressRecord]) -> Vec<Route> {
    let mut routes = Vec::new();
    for one in addresses {
        let Some(gateway) = one.gateway_or_first() else {
            continue;
        };
        let subnet = one.address;
        let bits = if subnet.is_ipv4() { 32 } else { 128 };
        let (Ok(own), Ok(to_gateway), Ok(neighbours)) = (
            IpNetwork::new(subnet.ip(), bits),
            IpNetwork::new(gateway, bits),
            IpNetwork::new(subnet.network(), subnet.prefix()),
        ) else {
            continue;
        };
        one.subnet_prefix = Some(subnet.prefix());
        one.address = own;
        let on_link = Route {
            scope: Some(SCOPE_LINK),
            ..Route::new(to_gateway, None)
        };
        for route in [on_link, Route::new(neighbours, Some(gateway))] {
            if !routes.contains(&route) {
                routes.push(route);
            }
        }
    }
    routes
}
