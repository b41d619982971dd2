//! Which kernel objects an overlay is made of.

use crate::config::{Overlay, Peer};
use crate::object::{Key, Objects, Value};
use crate::underlay::Chosen;

/// The objects of an overlay, with what is wrong with its peers.
pub fn objects(overlay: &Overlay, chosen: &Chosen, peers: &[Peer]) -> (Objects, Vec<String>) {
    let device = overlay.device();
    let bridge = overlay.bridge.name.clone();
    let mtu = chosen.mtu;
    let mut objects = Objects::from([
        (
            Key::Bridge(bridge.clone()),
            Value::Bridge { mtu, is_up: true },
        ),
        (
            Key::Vxlan(device.clone()),
            Value::Vxlan {
                vni: overlay.vni,
                port: overlay.port,
                local: chosen.local,
                underlay: chosen.interface.clone(),
                learning: overlay.learning,
                mtu,
                is_up: true,
            },
        ),
        (
            Key::Port(device.clone()),
            Value::Port {
                bridge: bridge.clone(),
            },
        ),
    ]);
    let addresses = overlay.addresses().into_iter();
    objects.extend(addresses.map(|one| (Key::Address(bridge.clone(), one), Value::There)));
    let mut problems = Vec::new();
    for peer in peers.iter().filter(|peer| peer.is_in(overlay.vni)) {
        if peer.address == chosen.local {
            // The same list serves all hosts: each is in it too.
            continue;
        }
        if peer.address.is_ipv4() != chosen.local.is_ipv4() {
            problems.push(format!(
                "peer {} has {}, and {device} sends from {}: both have to be of one family",
                peer.id, peer.address, chosen.local
            ));
            continue;
        }
        objects.insert(Key::Flood(device.clone(), peer.address), Value::There);
    }
    (objects, problems)
}
