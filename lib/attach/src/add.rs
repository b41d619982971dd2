//! ADD: from a plan to a record, and from the record to kernel objects.

use ipnetwork::IpNetwork;
use weft_cni::CniResult;
use weft_cni::result::{Interface, IpConfig, Route};
use weft_kernel::Mac;
use weft_kernel::link::Link;
use weft_store::{
    AddressRecord, AttachmentRecord, ContainerLink, Delegate, FileLock, HostLink, NetnsRecord,
    SharedObject, Sharing,
};

use crate::del::detach;
use crate::error::AttachError;
use crate::host::{Container, Host};
use crate::ipam::{allocate, remember};
use crate::names::{alias, container_mac, host_link_name, host_mac};
use crate::plan::{Ipam, Plan};
use crate::ruleset;
use crate::steps::bridge::{self, BridgeFacts};
use crate::steps::container::Settings;
use crate::steps::idle::{self, LINKS_LOCK};
use crate::steps::veth::{ContainerEnd, VlanSettings};
use crate::steps::{Created, container, gateway, uplink, veth, vlan_gateway};

/// What is known of the host before anything is done.
struct Surroundings {
    bridge: Option<Link>,
    uplink: Option<Link>,
    mtu: u32,
}

/// The result's parts that come from IPAM.
#[derive(Debug, Clone, Default)]
struct Leased {
    addresses: Vec<AddressRecord>,
    /// Neighbours may know one of them by another MAC.
    is_remembered: bool,
    routes: Vec<Route>,
    dns: weft_cni::result::Dns,
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
    // Held until the port is on the bridge: who removes unused bridges waits for it.
    let lock = host.store.named_lock(LINKS_LOCK, Sharing::Shared)?;
    let around = look_around(host, plan)?;
    let (record, leased) = match record(host, plan, &inside, &around) {
        Ok(recorded) => recorded,
        Err(error) => {
            drop(lock);
            return Err(with_cleanup_failure(error, idle::remove_idle(host).err()));
        }
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
        Err(error) => Err(undo(host, plan, &record, created, lock, error)),
    }
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

/// Leases addresses and writes the record, complete, in one transaction. Another IPAM plugin's
/// addresses are known only after it ran: its record is written before and completed after.
fn record(
    host: &mut Host,
    plan: &Plan,
    inside: &Container,
    around: &Surroundings,
) -> Result<(AttachmentRecord, Leased), AttachError> {
    let draft = |addresses: &Leased| draft(plan, inside, around, addresses);
    match &plan.ipam {
        Ipam::None => {
            let leased = Leased::default();
            let record = draft(&leased);
            host.store
                .write(|transaction| transaction.insert_attachment(&record))?;
            Ok((record, leased))
        }
        Ipam::Store(config) => {
            let sticky = &host.sticky;
            host.store.write(|transaction| {
                transaction.refuse_duplicate(&plan.id)?;
                let allocation = allocate(config, sticky, &plan.id, transaction)?;
                let leased = Leased {
                    addresses: allocation.addresses,
                    is_remembered: allocation.is_remembered,
                    routes: config.routes.clone(),
                    dns: config.dns.clone(),
                };
                let record = draft(&leased);
                transaction.insert_attachment(&record)?;
                Ok((record, leased))
            })
        }
        Ipam::Delegate(delegate) => {
            let mut before = draft(&Leased::default());
            before.delegate = Some(Delegate {
                plugin: delegate.plugin.clone(),
            });
            host.store
                .write(|transaction| transaction.insert_attachment(&before))?;
            let outcome = delegate
                .add()
                .map_err(AttachError::from)
                .and_then(|answer| {
                    let leased = leased_by_delegate(&answer);
                    let mut record = draft(&leased);
                    record.delegate = before.delegate.clone();
                    host.store.write(|transaction| {
                        transaction.remove_attachment(&plan.id)?;
                        transaction.insert_attachment(&record)
                    })?;
                    Ok((record, leased))
                });
            outcome.map_err(|error| undo_delegate(host, plan, error))
        }
    }
}

/// The specification: a delegate that fails an ADD is called again with DEL.
fn undo_delegate(host: &mut Host, plan: &Plan, error: AttachError) -> AttachError {
    if let Ipam::Delegate(delegate) = &plan.ipam
        && let Err(second) = delegate.del()
    {
        tracing::warn!(%second, "IPAM DEL after a failed ADD");
    }
    let removed = host
        .store
        .write(|transaction| transaction.remove_attachment(&plan.id));
    with_cleanup_failure(error, removed.err().map(AttachError::from))
}

fn leased_by_delegate(answer: &CniResult) -> Leased {
    let address = |ip: &IpConfig| AddressRecord {
        address: ip.address,
        gateway: ip.gateway,
        pool: None,
    };
    Leased {
        addresses: answer.ips.iter().map(address).collect(),
        is_remembered: false,
        routes: answer.routes.clone(),
        dns: answer.dns.clone(),
    }
}

fn draft(
    plan: &Plan,
    inside: &Container,
    around: &Surroundings,
    leased: &Leased,
) -> AttachmentRecord {
    let (dev, ino) = inside.netns.identity();
    let networks: Vec<IpNetwork> = leased.addresses.iter().map(|one| one.address).collect();
    let mac = own_mac(plan, &networks);
    let port_name = host_link_name(&plan.id);
    let guarded = plan.mac_spoof_check.then_some((port_name.as_str(), mac));
    let masquerade = plan.masquerade.as_ref();
    let nft = ruleset::endpoint_elements(&networks, masquerade, guarded);
    AttachmentRecord {
        id: plan.id.clone(),
        plugin: plan.plugin.to_owned(),
        created_at: std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0, |since| since.as_secs()),
        netns: Some(NetnsRecord {
            path: plan.container.netns.clone(),
            dev,
            ino,
        }),
        host_links: vec![HostLink {
            name: port_name.clone(),
            mac: host_mac(&plan.id).to_string(),
            bridge: Some(plan.bridge.name.clone()),
            hairpin: plan.bridge.port.hairpin,
            isolated: plan.bridge.port.isolated,
            vlan: plan.bridge.vlan,
            trunk: plan.bridge.trunk.clone(),
        }],
        container_link: Some(ContainerLink {
            name: plan.id.ifname.to_string(),
            mac: mac.to_string(),
            mtu: around.mtu,
            up: plan.container.up,
            has_own_mac: plan.container.mac.is_some(),
        }),
        routes: routes(plan, leased),
        shared: shared_objects(plan, leased, &networks, !nft.is_empty()),
        addresses: leased.addresses.clone(),
        nft,
        delegate: None,
        config_digest: plan.config_digest.clone(),
    }
}

fn own_mac(plan: &Plan, networks: &[IpNetwork]) -> Mac {
    let derived = || container_mac(&plan.id, networks.first().map(|network| network.ip()));
    plan.container.mac.unwrap_or_else(derived)
}

/// IPAM's routes, and a default route per family where the plan wants one and IPAM gave none.
fn routes(plan: &Plan, leased: &Leased) -> Vec<Route> {
    let mut routes = leased.routes.clone();
    if !plan.bridge.is_default_gateway {
        return routes;
    }
    for one in &leased.addresses {
        let is_ipv4 = one.address.is_ipv4();
        let has_default = routes
            .iter()
            .any(|route| route.is_default() && route.dst.is_ipv4() == is_ipv4);
        if let (false, Some(gateway)) = (has_default, gateway::gateway_of(one)) {
            let everywhere: IpNetwork = match is_ipv4 {
                true => IpNetwork::V4(ipnetwork::Ipv4Network::from(
                    std::net::Ipv4Addr::UNSPECIFIED,
                )),
                false => IpNetwork::V6(ipnetwork::Ipv6Network::from(
                    std::net::Ipv6Addr::UNSPECIFIED,
                )),
            };
            if let Ok(dst) = IpNetwork::new(everywhere.ip(), 0) {
                routes.push(Route::new(dst, Some(gateway)));
            }
        }
    }
    routes
}

fn shared_objects(
    plan: &Plan,
    leased: &Leased,
    networks: &[IpNetwork],
    uses_nft: bool,
) -> Vec<SharedObject> {
    let elements = ruleset::network_elements(networks, plan.masquerade.as_ref());
    let mut shared: Vec<SharedObject> = elements
        .into_iter()
        .map(|element| SharedObject::NftElement { element })
        .collect();
    let bridge = &plan.bridge;
    if !bridge.cleanup {
        return shared;
    }
    if uses_nft {
        shared.push(SharedObject::Ruleset);
    }
    shared.push(SharedObject::Bridge {
        name: bridge.name.clone(),
    });
    if let Some(link) = &bridge.uplink {
        shared.push(SharedObject::Uplink {
            bridge: bridge.name.clone(),
            link: link.clone(),
        });
    }
    if bridge.is_gateway {
        let link = bridge.gateway_link();
        if bridge.vlan.is_some() {
            let bridge = bridge.name.clone();
            shared.push(SharedObject::VlanGateway {
                bridge,
                link: link.clone(),
            });
        }
        shared.extend(
            gateway::gateway_addresses(&leased.addresses)
                .into_iter()
                .map(|address| SharedObject::GatewayAddress {
                    link: link.clone(),
                    address,
                }),
        );
    }
    shared
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
    }
    Ok(facts)
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

/// Takes back what a failed ADD did: first the attachment, as a DEL would, then what was made for
/// it on the host. The lock is let go first: removing takes it for itself.
fn undo(
    host: &mut Host,
    plan: &Plan,
    record: &AttachmentRecord,
    created: Created,
    lock: FileLock,
    error: AttachError,
) -> AttachError {
    drop(lock);
    let mut failures = Vec::new();
    if let Ipam::Delegate(delegate) = &plan.ipam {
        failures.extend(delegate.del().err().map(AttachError::from));
    }
    failures.extend(detach(host, &[record]).err());
    failures.extend(take_back(host, plan, created).err());
    with_cleanup_failure(
        error,
        AttachError::collect("undoing a failed ADD", failures).err(),
    )
}

fn take_back(host: &mut Host, plan: &Plan, created: Created) -> Result<(), AttachError> {
    let _lock = host.store.named_lock(LINKS_LOCK, Sharing::Exclusive)?;
    let mut failures = Vec::new();
    for (link, address) in &created.addresses {
        // Somebody who came meanwhile may need the address as well.
        if !is_gateway_of_others(host, link)? {
            failures.extend(gateway::remove_address(host, link, address).err());
        }
    }
    for (link, address) in &created.replaced_addresses {
        let found = weft_kernel::link::find(host.route()?, link)?;
        if let Some(index) = found.map(|link| link.index) {
            let mut none = Created::default();
            let again = [*address];
            let restored = gateway::ensure_addresses(host, link, index, &again, false, &mut none);
            failures.extend(restored.err());
        }
    }
    if let Some(link) = &created.vlan_gateway
        && !is_gateway_of_others(host, link)?
    {
        failures.extend(vlan_gateway::remove(host, link).err());
    }
    if let Some(link) = &created.uplink {
        failures.extend(uplink::remove(host, link, &plan.bridge.name).err());
    }
    if let Some(bridge) = &created.bridge {
        failures.extend(bridge::remove(host, bridge).err());
    }
    for (name, before) in &created.sysctls {
        let restored = weft_kernel::sysctl::write(name, before).map_err(AttachError::from);
        failures.extend(restored.err());
    }
    if created.tables {
        failures.extend(idle::remove_ruleset(host).err());
    }
    AttachError::collect("taking back what was made on the host", failures)
}

/// Whether attachments that are still recorded have this interface as their gateway.
fn is_gateway_of_others(host: &Host, link: &str) -> Result<bool, AttachError> {
    let records = host.store.read(|transaction| transaction.attachments())?;
    let uses = |port: &HostLink| match (&port.bridge, port.vlan) {
        (Some(bridge), Some(vlan)) => format!("{bridge}.{vlan}") == link,
        (Some(bridge), None) => bridge == link,
        (None, _) => false,
    };
    Ok(records
        .iter()
        .any(|record| record.host_links.iter().any(uses)))
}

fn with_cleanup_failure(error: AttachError, cleanup: Option<AttachError>) -> AttachError {
    match cleanup {
        None => error,
        Some(cleanup) => {
            let mut first = weft_cni::CniError::from(error);
            first.msg = format!("{}; and while undoing it: {cleanup}", first.msg);
            first.into()
        }
    }
}

fn result(
    plan: &Plan,
    record: &AttachmentRecord,
    leased: Leased,
    facts: &BridgeFacts,
) -> CniResult {
    const CONTAINER: usize = 2;
    let interface = |name: &str, mac: String, sandbox: &str| Interface {
        name: name.to_owned(),
        mac,
        mtu: Some(facts.mtu),
        sandbox: sandbox.to_owned(),
        ..Interface::default()
    };
    let bridge_mac = facts.mac.map(|mac| mac.to_string()).unwrap_or_default();
    let mut interfaces = vec![interface(&plan.bridge.name, bridge_mac, "")];
    for port in &record.host_links {
        interfaces.push(interface(&port.name, port.mac.clone(), ""));
    }
    if let Some(own) = &record.container_link {
        interfaces.push(interface(&own.name, own.mac.clone(), &plan.container.netns));
    }
    if plan.bridge.is_gateway && plan.bridge.vlan.is_some() && !record.addresses.is_empty() {
        interfaces.push(interface(&plan.bridge.gateway_link(), String::new(), ""));
    }
    let gateway = |one: &AddressRecord| match plan.bridge.is_gateway {
        true => gateway::gateway_of(one),
        false => one.gateway,
    };
    let ips = record.addresses.iter().map(|one| IpConfig {
        interface: Some(CONTAINER),
        address: one.address,
        gateway: gateway(one),
    });
    CniResult {
        interfaces,
        ips: ips.collect(),
        routes: record.routes.clone(),
        dns: if plan.dns.is_empty() {
            leased.dns
        } else {
            plan.dns.clone()
        },
    }
}
