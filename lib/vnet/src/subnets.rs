//! Subnets: which are taken, and which is free.

use ipnetwork::{IpNetwork, Ipv4Network, Ipv6Network};
use weft_cni::IpFamily;
use weft_kernel::{address, link, route};
use weft_node::Host;

use crate::catalogue::{Catalogue, Subnet};
use crate::config::{SUBNET_V4, SUBNET_V6, VNetConfig};
use crate::driver::DriverType;
use crate::error::VNetError;

/// A prefix that is in use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Taken {
    pub(crate) prefix: IpNetwork,
    /// By what, for messages.
    by: String,
    /// Such networks are on a LAN, where other networks of this host may be too.
    is_on_lan: bool,
    /// The interface of the host's route.
    link: Option<String>,
}

/// What is in use: subnets of other networks, and the host's routes.
pub(crate) fn taken(host: &mut Host, catalogue: &Catalogue) -> Result<Vec<Taken>, VNetError> {
    let mut found = Vec::new();
    for file in &catalogue.files {
        let driver = DriverType::of_plugin(file.first_type());
        for Subnet { prefix, .. } in file.subnets() {
            found.push(Taken {
                prefix,
                by: format!("{prefix} of network {}", file.list.name),
                is_on_lan: driver.is_on_lan(),
                link: None,
            });
        }
    }
    let socket = host.route().map_err(VNetError::from)?;
    let links = link::list(socket).map_err(weft_node::WeftError::from)?;
    for family in [IpFamily::V4, IpFamily::V6] {
        let routes = route::list(socket, family).map_err(weft_node::WeftError::from)?;
        for one in routes.iter().filter(|one| is_of_interest(&one.dst)) {
            let name = links.iter().find(|link| link.index == one.link);
            let name = name.map_or("an interface", |link| link.name.as_str());
            found.push(Taken {
                prefix: one.dst,
                by: format!("the host's route {} by {name}", one.dst),
                is_on_lan: false,
                link: Some(name.to_owned()),
            });
        }
    }
    // An address of its own has no route where it is alone.
    for one in address::list_all(socket).map_err(weft_node::WeftError::from)? {
        let is_alone = one.address.prefix() == if one.address.is_ipv4() { 32 } else { 128 };
        if is_alone && !one.address.ip().is_loopback() && is_of_interest(&one.address) {
            let name = links.iter().find(|link| link.index == one.link);
            found.push(Taken {
                prefix: one.address,
                by: format!("the host's address {}", one.address.ip()),
                is_on_lan: false,
                link: name.map(|link| link.name.clone()),
            });
        }
    }
    Ok(found)
}

/// Not the default route, and nothing that is on every interface.
fn is_of_interest(prefix: &IpNetwork) -> bool {
    let is_link_local = match prefix {
        IpNetwork::V4(v4) => v4.ip().is_link_local() || v4.ip().is_multicast(),
        IpNetwork::V6(v6) => v6.ip().is_unicast_link_local() || v6.ip().is_multicast(),
    };
    prefix.prefix() > 1 && !is_link_local
}

fn overlap(one: &IpNetwork, other: &IpNetwork) -> bool {
    one.is_ipv4() == other.is_ipv4() && (one.contains(other.ip()) || other.contains(one.ip()))
}

/// Refuses a subnet that is in use. A network on a LAN, which is by the interface `lan` of the host, shares it with that
/// interface and with others of its kind.
pub(crate) fn refuse_overlap(
    subnet: IpNetwork,
    lan: Option<&str>,
    taken: &[Taken],
) -> Result<(), VNetError> {
    let is_other = |one: &&Taken| {
        let is_shared = one.is_on_lan || one.link.as_deref() == lan;
        overlap(&one.prefix, &subnet) && !(lan.is_some() && is_shared)
    };
    match taken.iter().find(is_other) {
        Some(one) => Err(VNetError::Overlap {
            subnet,
            with: one.by.clone(),
        }),
        None => Ok(()),
    }
}

/// The first free subnet of the configured pool of a family.
pub(crate) fn free(
    family: IpFamily,
    config: &VNetConfig,
    taken: &[Taken],
) -> Result<IpNetwork, VNetError> {
    let is_free = |subnet: &IpNetwork| !taken.iter().any(|one| overlap(&one.prefix, subnet));
    let (found, pool, key, size) = match family {
        IpFamily::V4 => {
            let pool = config.default_subnet;
            let found = subnets_v4(pool).map(IpNetwork::from).find(is_free);
            (found, pool.into(), "default_subnet", SUBNET_V4)
        }
        IpFamily::V6 => {
            let pool = config.pool_v6();
            let found = subnets_v6(pool).map(IpNetwork::from).find(is_free);
            (found, pool.into(), "default_subnet_v6", SUBNET_V6)
        }
    };
    found.ok_or_else(|| VNetError::NoFreeSubnet {
        pool,
        key,
        size: format!("/{size}"),
    })
}

fn subnets_v4(pool: Ipv4Network) -> impl Iterator<Item = Ipv4Network> {
    let count = 1_u32 << SUBNET_V4.saturating_sub(pool.prefix()).min(24);
    let first = u32::from(pool.network());
    (0..count).filter_map(move |number| {
        let address = first.checked_add(number << (32 - SUBNET_V4))?;
        Ipv4Network::new(address.into(), SUBNET_V4).ok()
    })
}

fn subnets_v6(pool: Ipv6Network) -> impl Iterator<Item = Ipv6Network> {
    // More are not looked at: there are no more than that many networks.
    let count = 1_u128 << SUBNET_V6.saturating_sub(pool.prefix()).min(16);
    let first = u128::from(pool.network());
    (0..count).filter_map(move |number| {
        let address = first.checked_add(number << (128 - SUBNET_V6))?;
        Ipv6Network::new(address.to_be_bytes().into(), SUBNET_V6).ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(prefix: &str, is_on_lan: bool) -> Taken {
        Taken {
            prefix: prefix.parse().unwrap(),
            by: format!("network {prefix}"),
            is_on_lan,
            link: None,
        }
    }

    #[test]
    fn a_thousand_networks_fit_and_the_first_free_one_is_taken() {
        let config = VNetConfig::default();
        assert_eq!(subnets_v4(config.default_subnet).count(), 1024);
        let mut taken = vec![network("172.20.0.0/25", false)];
        let free_v4 = |taken: &[Taken]| free(IpFamily::V4, &config, taken);
        assert_eq!(free_v4(&taken).unwrap().to_string(), "172.20.0.128/26");
        taken.push(network("172.20.0.0/17", false));
        assert_eq!(free_v4(&taken).unwrap().to_string(), "172.20.128.0/26");
        taken.push(network("172.16.0.0/12", false));
        let text = free_v4(&taken).unwrap_err().to_string();
        assert!(text.contains("default_subnet"), "{text}");
        let v6 = free(IpFamily::V6, &config, &taken).unwrap();
        assert!(v6.prefix() == 64 && IpNetwork::from(config.pool_v6()).contains(v6.ip()));
    }

    #[test]
    fn what_is_on_a_lan_shares_it() {
        let route = Taken {
            link: Some("eth0".to_owned()),
            ..network("10.0.0.0/24", false)
        };
        let taken = [
            route,
            network("10.0.1.0/24", true),
            network("10.0.2.0/24", false),
        ];
        let refuse = |subnet: &str, driver| {
            refuse_overlap(subnet.parse().unwrap(), driver, &taken).map_err(|one| one.to_string())
        };
        assert!(refuse("10.0.0.0/25", Some("eth0")).is_ok());
        assert!(refuse("10.0.1.0/24", Some("eth1")).is_ok());
        assert!(
            refuse("10.0.2.0/24", Some("eth0")).is_err()
                && refuse("10.0.0.0/25", Some("eth1")).is_err()
        );
        for subnet in ["10.0.0.0/25", "10.0.1.0/24", "10.0.0.0/8"] {
            let text = refuse(subnet, None).unwrap_err();
            assert!(text.contains("overlaps"), "{text}");
        }
        assert!(refuse("10.0.3.0/24", None).is_ok());
    }

    #[test]
    fn default_routes_and_link_local_prefixes_do_not_count() {
        for prefix in [
            "0.0.0.0/0",
            "0.0.0.0/1",
            "fe80::/64",
            "ff00::/8",
            "169.254.0.0/16",
        ] {
            assert!(!is_of_interest(&prefix.parse().unwrap()), "{prefix}");
        }
        assert!(is_of_interest(&"10.0.0.0/8".parse().unwrap()));
    }
}
