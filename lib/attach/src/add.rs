//! ADD: from a plan to a record, and from the record to kernel objects.

mod record;
mod result;
mod undo;

use std::time::{Duration, Instant};

use weft_cni::CniResult;
use weft_kernel::link::{self, Link};
use weft_store::{AttachmentRecord, ContainerLink, FileLock, Sharing};

use crate::error::AttachError;
use crate::host::{Container, Host};
use crate::ipam::remember;
use crate::names::{alias, container_mac, host_mac};
use crate::plan::{Ipam, Plan};
use crate::ruleset;
use crate::steps::bridge::{self, BridgeFacts};
use crate::steps::container::Settings;
use crate::steps::idle::{self, LINKS_LOCK};
use crate::steps::veth::{ContainerEnd, VlanSettings};
use crate::steps::{Created, container, gateway, uplink, veth, vlan_gateway};
use record::record;
use result::result;
use undo::{undo, with_cleanup_failure};

/// What is known of the host before anything is done.
struct Surroundings {
    bridge: Option<Link>,
    uplink: Option<Link>,
    mtu: u32,
}

/// Attaches a container.
///
/// # Errors
/// Any; everything that was done is undone then, and failures of that are part of the error.
pub fn add(host: &mut Host, plan: &Plan) -> Result<CniResult, AttachError> {
    let has_addresses = !matches!(plan.ipam, Ipam::None);
    CniResult::require_address_for(plan.version, has_addresses)?;
    let mut inside = Container::open(&plan.container.netns, plan.container.netns_override)?;
    container::require_free(&mut inside, plan.id.ifname.as_str())?;
    // Another IPAM plugin may take its time: the lock is not held while it does.
    let early = match plan.ipam {
        Ipam::Delegate(_) => None,
        Ipam::None | Ipam::Store(_) => Some(lock_links(host)?),
    };
    let around = look_around(host, plan)?;
    let (record, leased) = match record(host, plan, &inside, &around) {
        Ok(recorded) => recorded,
        Err(error) => {
            drop(early);
            return Err(with_cleanup_failure(error, idle::remove_idle(host).err()));
        }
    };
    let locked = match early {
        Some(lock) => Ok((lock, around)),
        None => lock_links(host).and_then(|lock| Ok((lock, look_around(host, plan)?))),
    };
    let (lock, around) = match locked {
        Ok(locked) => locked,
        Err(error) => return Err(undo(host, plan, &record, Created::default(), None, error)),
    };
    let mut created = Created::default();
    // A MAC that derives from the address is what everybody remembers already; on an uplink there
    // may be machines that know the address from before. An announcement reaches every port, so
    // one that tells nobody anything is not made.
    let is_news = plan.container.mac.is_some() || leased.is_remembered || around.uplink.is_some();
    let settings = Settings {
        detection: plan.container.detection,
        announces: is_news,
    };
    match apply(
        host,
        plan,
        &record,
        &mut inside,
        &around,
        settings,
        &mut created,
    ) {
        Ok(facts) => {
            if let Ipam::Store(config) = &plan.ipam {
                remember(config, &host.sticky, &record.addresses);
            }
            Ok(result(plan, &record, leased, &facts))
        }
        Err(error) => Err(undo(host, plan, &record, created, Some(lock), error)),
    }
}

/// Held until the port is on the bridge: who removes unused bridges waits for it.
fn lock_links(host: &Host) -> Result<FileLock, AttachError> {
    Ok(host.store.named_lock(LINKS_LOCK, Sharing::Shared)?)
}

fn look_around(host: &mut Host, plan: &Plan) -> Result<Surroundings, AttachError> {
    let bridge = bridge::look(host, &plan.bridge)?;
    let index = bridge.as_ref().map(|link| link.index);
    let uplink = match &plan.bridge.uplink {
        Some(name) => Some(uplink::look(host, name, index)?),
        None => None,
    };
    let mtu = bridge::mtu(host, &plan.bridge, bridge.as_ref())?;
    Ok(Surroundings {
        bridge,
        uplink,
        mtu,
    })
}

/// Makes everything the record names. The rules are in force before the first link is up.
fn apply(
    host: &mut Host,
    plan: &Plan,
    record: &AttachmentRecord,
    inside: &mut Container,
    around: &Surroundings,
    settings: Settings,
    created: &mut Created,
) -> Result<BridgeFacts, AttachError> {
    created.tables = ruleset::add_elements(host, record)?;
    let facts = bridge::ensure(
        host,
        &plan.bridge,
        around.bridge.as_ref(),
        around.mtu,
        created,
    )?;
    if let Some(uplink) = &around.uplink {
        uplink::ensure(host, uplink, facts.index, created)?;
    }
    apply_gateway(host, plan, record, &facts, created)?;
    if let (Some(port), Some(own)) = (record.host_links.first(), &record.container_link) {
        let mac = own
            .mac
            .parse()
            .unwrap_or_else(|_| container_mac(&plan.id, None));
        let end = ContainerEnd {
            name: &own.name,
            mac,
            netns: Some(&inside.netns),
        };
        let bridge = (facts.index, facts.mtu);
        veth::create(
            host,
            port,
            host_mac(&plan.id),
            &alias(&plan.id),
            bridge,
            &end,
        )?;
        let vlans = VlanSettings {
            native: plan.bridge.vlan,
            trunk: &plan.bridge.trunk,
            keep_default: plan.bridge.preserve_default_vlan,
        };
        veth::set_vlans(host, &port.name, vlans)?;
        container::configure(inside, record, own, settings)?;
        if settings.announces {
            announce(host, &port.name, inside, own)?;
        }
    }
    Ok(facts)
}

/// What the interface announced when it came up was lost if its port did not forward yet (that
/// follows the carrier, a moment later): once it does, setting the MAC again repeats it.
fn announce(
    host: &mut Host,
    port: &str,
    inside: &mut Container,
    own: &ContainerLink,
) -> Result<(), AttachError> {
    const PATIENCE: Duration = Duration::from_secs(2);
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        let there = link::find(host.route()?, port)?;
        if there
            .and_then(|link| link.port)
            .is_some_and(|port| port.is_forwarding)
        {
            break;
        }
        std::thread::sleep(Duration::from_micros(500));
    }
    container::announce(inside, own)
}

fn apply_gateway(
    host: &mut Host,
    plan: &Plan,
    record: &AttachmentRecord,
    facts: &BridgeFacts,
    created: &mut Created,
) -> Result<(), AttachError> {
    if !plan.bridge.is_gateway || record.addresses.is_empty() {
        return Ok(());
    }
    let link = plan.bridge.gateway_link();
    let index = match plan.bridge.vlan {
        Some(vlan) => vlan_gateway::ensure(host, &link, vlan, (facts.index, facts.mtu), created)?,
        None => facts.index,
    };
    let wanted = gateway::gateway_addresses(&record.addresses);
    gateway::ensure_addresses(
        host,
        &link,
        index,
        &wanted,
        plan.bridge.force_address,
        created,
    )?;
    gateway::ensure_forwarding(host, &record.addresses, created)
}
