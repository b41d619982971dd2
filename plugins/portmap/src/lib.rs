//! weft-portmap: ports of the host that lead to containers.
//!
//! Takes the configuration and the capability arguments of the reference plugin `portmap`;
//! [`PORTMAP_KEYS`] and [`MAPPING_KEYS`] list the keys. It comes after the plugin that makes the
//! interface. The work is done by `weft-attach`.

use std::net::IpAddr;

use weft_attach::ChainedPlugin;
use weft_attach::portmap::{self, PortMapping, Publishing};
use weft_cni::conf::{Fields, KeySpec, Problems};
use weft_cni::{CniError, Request};

/// The plugin.
pub const PORTMAP: ChainedPlugin<Publishing> = ChainedPlugin {
    name: "weft-portmap",
    read,
    add: portmap::add,
    del: portmap::del,
    check: portmap::check,
    needs_nft: true,
};

/// Keys of the plugin's configuration.
pub const PORTMAP_KEYS: &[KeySpec] = &[
    KeySpec::new(
        "snat",
        "boolean",
        "true",
        "the host is the source of what comes from the container's own network and from 127.0.0.1; without it those do not reach the port",
    ),
    KeySpec::new(
        "masqAll",
        "boolean",
        "false",
        "the host is the source of everything that comes by a published port",
    ),
    KeySpec::new(
        "conditionsV4",
        "list of strings",
        "[]",
        "only `[\"-d\", ADDRESS]`: the address of the host for mappings that name none; other conditions of iptables are refused",
    ),
    KeySpec::new("conditionsV6", "list of strings", "[]", "the same for IPv6"),
    KeySpec::new("backend", "string", "", "accepted; it is always nf_tables"),
    KeySpec::new("markMasqBit", "number", "", "accepted; no packet is marked"),
    KeySpec::new(
        "externalSetMarkChain",
        "string",
        "",
        "accepted; no packet is marked",
    ),
];

/// Keys of each entry of `runtimeConfig.portMappings`.
pub const MAPPING_KEYS: &[KeySpec] = &[
    KeySpec::new("hostPort", "number", "required", "the host's port"),
    KeySpec::new(
        "containerPort",
        "number",
        "required",
        "the container's port",
    ),
    KeySpec::new("protocol", "string", "tcp", "tcp, udp or sctp, in any case"),
    KeySpec::new(
        "hostIP",
        "IP address",
        "all",
        "the host's address; 0.0.0.0 and :: are all of a family. Of 127.0.0.0/8 only 127.0.0.1 is among all; ::1 cannot be published, and is passed over where the port is published by another entry",
    ),
    KeySpec::new(
        "range",
        "number",
        "1",
        "so many ports, one after the other, from both ports on",
    ),
];

/// What runtimes may send besides.
const IGNORED_KEYS: &[KeySpec] = &[
    KeySpec::new("name", "string", "", ""),
    KeySpec::new("hostInterface", "string", "", ""),
];

fn read(request: &Request) -> Result<Publishing, CniError> {
    let problems = Problems::default();
    let fields = request.conf.fields(PORTMAP_KEYS, &problems);
    let defaults = [
        condition(&fields, "conditionsV4", true),
        condition(&fields, "conditionsV6", false),
    ];
    let mut wanted = Publishing {
        mappings: Vec::new(),
        source_nat: fields.boolean("snat").unwrap_or(true),
        hide_sources: fields.boolean("masqAll").unwrap_or(false),
    };
    let runtime = fields
        .value("runtimeConfig")
        .and_then(|value| value.as_object());
    if let Some(runtime) = runtime {
        let runtime = Fields::open(runtime, "runtimeConfig", &problems);
        // Runtimes may send more than is known here.
        for entry in runtime.objects("portMappings", &[MAPPING_KEYS, IGNORED_KEYS]) {
            mapping(&entry, &defaults, &mut wanted.mappings);
        }
    }
    if !wanted.source_nat
        && wanted
            .mappings
            .iter()
            .any(|one| one.host_ip.is_some_and(|ip| ip.is_loopback()))
    {
        problems.conflict("snat: false leaves ports at 127.0.0.1 unreachable");
    }
    problems.into_result(request.conf.strict)?;
    Ok(wanted)
}

/// The address in `["-d", ADDRESS]`.
fn condition(fields: &Fields<'_>, key: &str, is_ipv4: bool) -> Option<IpAddr> {
    const MUST: &str = "must be [\"-d\", ADDRESS]: nothing else of iptables is understood; \
                        use hostIP, or a firewall policy";
    let words: Vec<&str> = fields
        .list(key)
        .iter()
        .filter_map(|(_, item)| item.as_str())
        .collect();
    let address = match words[..] {
        [] => return None,
        ["-d" | "--destination", address] => address
            .trim_end_matches("/32")
            .trim_end_matches("/128")
            .parse::<IpAddr>()
            .ok(),
        _ => None,
    };
    let address = address.filter(|ip| ip.is_ipv4() == is_ipv4);
    if address.is_none() {
        fields.invalid(key, &words.join(" "), MUST);
    }
    address
}

/// One entry, in each family that it is for.
fn mapping(entry: &Fields<'_>, defaults: &[Option<IpAddr>; 2], all: &mut Vec<PortMapping>) {
    let port = |key| {
        let found = entry
            .number(key, 1..=65_535)
            .and_then(|port| u16::try_from(port).ok());
        if found.is_none() && entry.value(key).is_none() {
            entry.invalid(key, &"", "must be given");
        }
        found
    };
    let (host_port, container_port) = (port("hostPort"), port("containerPort"));
    let protocol = protocol(entry);
    let host_ip = host_ip(entry);
    let count = entry.number("range", 1..=65_535).unwrap_or(1);
    let (Some(host_port), Some(container_port), Some(protocol)) =
        (host_port, container_port, protocol)
    else {
        return;
    };
    for offset in 0..count {
        let shifted = |port: u16| u16::try_from(u32::from(port) + offset).ok();
        let (Some(host_port), Some(container_port)) = (shifted(host_port), shifted(container_port))
        else {
            return entry.invalid("range", &count, "must not lead beyond port 65535");
        };
        let mut push = |host_ip| {
            all.push(PortMapping {
                protocol,
                host_port,
                host_ip,
                container_port,
            });
        };
        match (host_ip, defaults) {
            (None, [None, None]) => push(None),
            // A condition of one family leaves the other as it is.
            (None, [v4, v6]) => {
                push(Some(v4.unwrap_or(std::net::Ipv4Addr::UNSPECIFIED.into())));
                push(Some(v6.unwrap_or(std::net::Ipv6Addr::UNSPECIFIED.into())));
            }
            (Some(ip), _) => push(Some(ip)),
        }
    }
}

fn protocol(entry: &Fields<'_>) -> Option<u8> {
    match entry
        .string("protocol")
        .unwrap_or("tcp")
        .to_lowercase()
        .as_str()
    {
        "tcp" => Some(6),
        "udp" => Some(17),
        "sctp" => Some(132),
        other => {
            entry.invalid("protocol", &other, "must be tcp, udp or sctp");
            None
        }
    }
}

fn host_ip(entry: &Fields<'_>) -> Option<IpAddr> {
    let ip: IpAddr = entry.parsed("hostIP", "must be an IP address")?;
    Some(ip.to_canonical())
}
