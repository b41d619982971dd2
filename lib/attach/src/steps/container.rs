//! The interface inside the container: settings, addresses, routes.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use weft_cni::Mac;
use weft_cni::result::Route;
use weft_ipam::network_of;
use weft_kernel::address::{self, DuplicateDetection};
use weft_kernel::link::{self, Change, Link};
use weft_kernel::netlink::Batch;
use weft_kernel::route::RouteSpec;
use weft_kernel::sysctl;
use weft_node::{Container, WeftError};
use weft_store::{AddressRecord, AttachmentRecord, ContainerLink};

use crate::sysctls::Sysctls;

/// How the interface behaves.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Settings<'a> {
    /// Of IPv6 addresses.
    pub(crate) detection: DuplicateDetection,
    /// It announces its addresses when it comes up: gratuitous ARP, unsolicited neighbour
    /// advertisements.
    pub(crate) announces: bool,
    /// Kernel parameters.
    pub(crate) sysctls: &'a Sysctls,
    /// Free text to know it by.
    pub(crate) alias: Option<&'a str>,
    /// A MAC that it did not get when it was made.
    pub(crate) mac: Option<Mac>,
}

/// Refuses if the name is taken, and notes whether there are other interfaces.
pub(crate) fn require_free(container: &mut Container, ifname: &str) -> Result<(), WeftError> {
    let there = link::list(&mut container.route)?;
    let mut names = there
        .iter()
        .flat_map(|link| std::iter::once(&link.name).chain(&link.alternative_names));
    if names.any(|name| name == ifname) {
        return Err(WeftError::InterfaceExists {
            ifname: ifname.to_owned(),
            netns: container.netns.path().display().to_string(),
        });
    }
    container.has_others = there.iter().any(|link| link.is_up && !link.is_loopback);
    Ok(())
}

/// Settings first, then addresses, then up, then routes: nothing is received or sent by an
/// interface that is not what it is going to be, and what the kernel announces when it comes up
/// (gratuitous ARP, unsolicited neighbour advertisements) has the addresses in it.
pub(crate) fn configure(
    container: &mut Container,
    record: &AttachmentRecord,
    own: &ContainerLink,
    settings: Settings<'_>,
) -> Result<(), WeftError> {
    let detection = settings.detection;
    if !own.up {
        return Ok(());
    }
    let found = link::find(&mut container.route, &own.name)?;
    let found = found.ok_or_else(|| WeftError::Conflict {
        key: "CNI_IFNAME",
        name: own.name.clone(),
        why: "vanished from the container while it was being configured".to_owned(),
    })?;
    let index = found.index;
    set_ipv6(container, &found, &record.addresses, settings)?;
    settings.sysctls.apply(container)?;
    let mut batch = Batch::new();
    if settings.announces || settings.alias.is_some() || settings.mac.is_some() {
        let change = Change {
            announces_ipv4: settings.announces,
            alias: settings.alias,
            mac: settings.mac,
            ..Change::default()
        };
        change.apply(&own.name, &mut batch);
    }
    for one in &record.addresses {
        address::add(index, &one.address, detection, &mut batch);
    }
    link::set_up(index, &mut batch);
    commit_with_routes(container, batch, index, record)?;
    if detection == DuplicateDetection::Run {
        await_detection(container, index, &record.addresses)?;
    }
    Ok(())
}

/// Sends the requests so far and the attachment's routes in one go. A destination that another
/// interface of the container has a route to already gets a second one of lower preference: the
/// first interface keeps its traffic, and this one takes over when that goes.
fn commit_with_routes(
    container: &mut Container,
    mut batch: Batch,
    index: u32,
    record: &AttachmentRecord,
) -> Result<(), WeftError> {
    /// IP6_RT_PRIO_USER (linux/ipv6_route.h).
    const IPV6_PRIORITY: u32 = 1024;
    let before = batch.len();
    let routes: Vec<RouteSpec> = record
        .routes
        .iter()
        .map(|route| spec(route, index, &record.addresses))
        .collect();
    routes.iter().for_each(|route| route.add(&mut batch));
    let mut again = Batch::new();
    for (position, outcome) in container.route.send_all(batch)?.into_iter().enumerate() {
        let route = position.checked_sub(before).and_then(|at| routes.get(at));
        match (outcome, route) {
            (Err(error), Some(route)) if error.is_present() && route.priority.is_none() => {
                let base = if route.dst.is_ipv4() {
                    0
                } else {
                    IPV6_PRIORITY
                };
                let second = RouteSpec {
                    priority: Some(base.saturating_add(index)),
                    ..route.clone()
                };
                second.add(&mut again);
            }
            (outcome, _) => outcome?,
        }
    }
    if !again.is_empty() {
        container.route.commit(again)?;
    }
    Ok(())
}

/// Announces the interface's addresses once more.
pub(crate) fn announce(container: &mut Container, own: &ContainerLink) -> Result<(), WeftError> {
    let found = link::find(&mut container.route, &own.name)?;
    if let (Some(found), Some(mac)) = (found, own.mac) {
        let mut batch = Batch::new();
        link::set_mac(found.index, mac, &mut batch);
        container.route.commit(batch)?;
    }
    Ok(())
}

/// IPv6 settings of the interface. Without IPv6 addresses they are left alone: the kernel may not
/// even have them. Only what differs is written, and only without IPv6 itself the interface is none.
fn set_ipv6(
    container: &Container,
    link: &Link,
    addresses: &[AddressRecord],
    settings: Settings<'_>,
) -> Result<(), WeftError> {
    if !addresses.iter().any(|one| one.address.is_ipv6()) {
        return Ok(());
    }
    let there = link.ipv6.unwrap_or_default();
    let announces = i32::from(settings.announces);
    let (detection, detects, wanted) = match settings.detection {
        DuplicateDetection::Skip => ("accept_dad", there.accept_dad, 0),
        DuplicateDetection::Run => ("enhanced_dad", there.enhanced_dad, 1),
    };
    let values = [
        ("ndisc_notify", there.ndisc_notify, announces),
        ("keep_addr_on_down", there.keep_addr_on_down, 1),
        (detection, detects, wanted),
    ];
    let directory = format!("net/ipv6/conf/{}", link.name);
    let is_off = link.ipv6.is_none_or(|ipv6| ipv6.disable_ipv6 != 0);
    let differing: Vec<(&str, String)> = values
        .iter()
        .filter(|(_, there, wanted)| there != wanted)
        .map(|(name, _, wanted)| (*name, wanted.to_string()))
        .collect();
    let differing: Vec<(&str, &str)> = differing.iter().map(|(n, v)| (*n, &**v)).collect();
    container.run(|| {
        if is_off {
            // Where a runtime has switched it off, it has done so for the loopback interface too.
            for name in [&*directory, "net/ipv6/conf/lo"] {
                sysctl::write(&format!("{name}/disable_ipv6"), "0")?;
            }
        }
        if !differing.is_empty()
            && let Err(error) = sysctl::write_all(&directory, &differing)
        {
            tracing::warn!(%error, "an IPv6 setting of the container is not as it should be");
        }
        Ok(())
    })?
}

/// A route of the result as the kernel gets it: without a gateway of its own it takes the
/// family's, unless its scope says that the destination is on the link.
pub(crate) fn spec(route: &Route, index: u32, addresses: &[AddressRecord]) -> RouteSpec {
    /// RT_SCOPE_LINK (linux/rtnetlink.h).
    const LINK: u32 = 253;
    let is_on_link = route.scope.is_some_and(|scope| scope >= LINK);
    let family_gateway = || {
        addresses
            .iter()
            .filter(|one| one.address.is_ipv4() == route.dst.is_ipv4())
            .find_map(AddressRecord::gateway_or_first)
    };
    let gateway = route
        .gw
        .or_else(|| if is_on_link { None } else { family_gateway() });
    // The network's router is on the container's link, be it in one of its subnets or not (of link-local addresses the
    // kernel knows that). Of another one the kernel judges by the routes that there are: a route by nowhere is a mistake.
    let is_on_link_all_the_same = |gateway: IpAddr| {
        let is_own = addresses
            .iter()
            .any(|one| one.gateway_or_first() == Some(gateway));
        let is_local = matches!(gateway, IpAddr::V6(v6) if v6.is_unicast_link_local());
        is_own && !is_local && !addresses.iter().any(|one| one.address.contains(gateway))
    };
    RouteSpec {
        dst: network_of(route.dst),
        gateway,
        is_gateway_on_link: gateway.is_some_and(is_on_link_all_the_same),
        link: index,
        priority: route.priority,
        table: route.table,
        scope: route.scope.and_then(|scope| u8::try_from(scope).ok()),
        mtu: route.mtu,
        advmss: route.advmss,
        source: None,
    }
}

/// Waits until duplicate address detection of the addresses is over.
fn await_detection(
    container: &mut Container,
    index: u32,
    addresses: &[AddressRecord],
) -> Result<(), WeftError> {
    const PATIENCE: Duration = Duration::from_secs(10);
    const PAUSE: Duration = Duration::from_millis(20);
    if !addresses.iter().any(|one| one.address.is_ipv6()) {
        return Ok(());
    }
    let deadline = Instant::now() + PATIENCE;
    loop {
        let there = address::list(&mut container.route, index)?;
        let ours = || {
            there
                .iter()
                .filter(|a| addresses.iter().any(|one| one.address == a.address))
        };
        if let Some(duplicate) = ours().find(|assigned| assigned.is_duplicate) {
            return Err(WeftError::Conflict {
                key: "ipam",
                name: duplicate.address.to_string(),
                why: "is in use by another host of the network (duplicate address)".to_owned(),
            });
        }
        if !ours().any(|assigned| assigned.is_tentative) || Instant::now() > deadline {
            return Ok(());
        }
        std::thread::sleep(PAUSE);
    }
}
