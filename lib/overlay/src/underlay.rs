//! What carries an overlay: an address of the host, its interface, and what fits through it.

use std::net::IpAddr;

use crate::config::Overlay;

/// An interface of the host, as far as it matters here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Its MTU in bytes.
    pub mtu: u32,
    /// It is up.
    pub is_up: bool,
    /// Its addresses, without link-local ones.
    pub addresses: Vec<IpAddr>,
    /// The default route leads by it.
    pub is_way_out: bool,
}

/// What was chosen for an overlay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chosen {
    /// The interface.
    pub interface: String,
    /// The address that other hosts send to.
    pub local: IpAddr,
    /// Of the overlay, in bytes.
    pub mtu: u32,
}

/// Ethernet, IP, UDP and VXLAN headers.
const fn overhead(local: IpAddr) -> u32 {
    match local {
        IpAddr::V4(_) => 50,
        IpAddr::V6(_) => 70,
    }
}

/// Chooses the address and the MTU.
///
/// # Errors
/// Why there is none, and what to do.
pub fn choose(overlay: &Overlay, interfaces: &[Interface]) -> Result<Chosen, String> {
    let underlay = &overlay.underlay;
    let first_of = |interface: &Interface| {
        let addresses = &interface.addresses;
        let v4 = addresses.iter().find(|ip| ip.is_ipv4());
        v4.or_else(|| addresses.first()).copied()
    };
    let usable = |interface: &&Interface| interface.is_up && !interface.addresses.is_empty();
    let (interface, local) = if let Some(address) = underlay.address {
        let owner = interfaces
            .iter()
            .find(|one| one.addresses.contains(&address));
        let owner = owner.ok_or_else(|| {
            format!("underlay.address: no interface of this host has {address}: ip -br addr lists those there are")
        })?;
        (owner, address)
    } else if underlay.prefer_interfaces.is_empty() {
        let found = interfaces.iter().filter(usable).find(|one| one.is_way_out);
        let found = found.and_then(|one| Some((one, first_of(one)?)));
        found.ok_or("underlay: there is no default route to tell the interface: name an address or prefer_interfaces")?
    } else {
        let by_name = |name: &String| {
            let found = interfaces
                .iter()
                .filter(usable)
                .find(|one| one.name == *name);
            found.and_then(|one| Some((one, first_of(one)?)))
        };
        let found = underlay.prefer_interfaces.iter().find_map(by_name);
        found.ok_or_else(|| {
            format!(
                "underlay.prefer_interfaces: none of {} is up and has an address",
                underlay.prefer_interfaces.join(", ")
            )
        })?
    };
    let most = interface.mtu.saturating_sub(overhead(local));
    let mtu = overlay.wanted_mtu().unwrap_or(most);
    if mtu > most {
        return Err(format!(
            "mtu: {mtu} does not fit: {} has {}, and {} of it are headers: {most} at most",
            interface.name,
            interface.mtu,
            overhead(local)
        ));
    }
    Ok(Chosen {
        interface: interface.name.clone(),
        local,
        mtu,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Overlays;

    fn overlay(keys: &str) -> Overlay {
        let text = format!("[[overlay]]\nvni = 7\nbridge = {{ name = \"br7\" }}\n{keys}");
        toml::from_str::<Overlays>(&text).unwrap().overlay.remove(0)
    }

    fn interfaces() -> Vec<Interface> {
        let interface = |name: &str, addresses: &[&str], is_way_out| Interface {
            name: name.to_owned(),
            mtu: 1500,
            is_up: name != "eth9",
            addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(),
            is_way_out,
        };
        vec![
            interface("eth9", &["192.0.2.9"], false),
            interface("eth1", &["2001:db8::1", "198.51.100.1"], false),
            interface("eth0", &["192.0.2.1"], true),
        ]
    }

    #[test]
    fn the_underlay_is_as_wanted_or_the_way_out() {
        let chosen = |keys: &str| {
            choose(&overlay(keys), &interfaces())
                .map(|one| (one.interface, one.local.to_string(), one.mtu))
        };
        let is = |name: &str, address: &str, mtu| Ok((name.to_owned(), address.to_owned(), mtu));
        assert_eq!(chosen(""), is("eth0", "192.0.2.1", 1450));
        assert_eq!(
            chosen("underlay = { prefer_interfaces = [\"eth9\", \"eth1\"] }"),
            is("eth1", "198.51.100.1", 1450)
        );
        assert_eq!(
            chosen("underlay = { address = \"2001:db8::1\" }"),
            is("eth1", "2001:db8::1", 1430)
        );
        assert_eq!(chosen("mtu = 1400"), is("eth0", "192.0.2.1", 1400));
        for (keys, says) in [
            ("mtu = 1451", "1450 at most"),
            ("underlay = { address = \"192.0.2.77\" }", "192.0.2.77"),
            ("underlay = { prefer_interfaces = [\"eth9\"] }", "eth9"),
        ] {
            let error = chosen(keys).unwrap_err();
            assert!(error.contains(says), "{error}");
        }
        assert!(choose(&overlay(""), &interfaces()[..2]).is_err());
    }
}
