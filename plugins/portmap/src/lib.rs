//! weft-portmap: ports of the host that lead to containers.
//!
//! Takes the configuration and the capability arguments of the reference plugin `portmap`;
//! `PORTMAP_KEYS` and `MAPPING_KEYS` list the keys. It comes after the plugin that makes the
//! interface.

// A new kind of link, addition or shared object must be handled everywhere.
#![warn(clippy::wildcard_enum_match_arm)]

mod publish;

use std::net::IpAddr;

use publish::{PortMapping, Publishing};
use weft_attach::ChainedPlugin;
use weft_cni::conf::{Fields, KeySpec, KeyTable, Problems};
use weft_cni::{CniError, Declaration, IpFamily, Request};

/// What `weft-portmap` is called, takes and does.
pub const PORTMAP: ChainedPlugin<Publishing> = ChainedPlugin {
    declaration: Declaration {
        name: "weft-portmap",
        other_names: &["portmap"],
        intro: "Ports of the host that lead to the container, after the plugin that makes its \
            interface. The keys of the reference plugin `portmap`. What is published comes as \
            `runtimeConfig.portMappings`, for which the configuration declares \
            `\"capabilities\": {\"portMappings\": true}`.",
        keys: PORTMAP_KEYS,
        objects: &[KeyTable {
            title: "`portMappings`",
            intro: "Each entry.",
            keys: MAPPING_KEYS,
        }],
    },
    read,
    add: publish::add,
    del: publish::del,
    check: publish::check,
    status: weft_attach::chained::always_ready,
    needs_nft: true,
};

const SNAT: KeySpec = KeySpec::new(
    "snat",
    "boolean",
    "true",
    "packets from the container's own network and from 127.0.0.1 get the host as their source; with `false` they do not reach the port",
);
const MASQ_ALL: KeySpec = KeySpec::new(
    "masqAll",
    "boolean",
    "false",
    "all packets that come by a published port get the host as their source",
);
const CONDITIONS_V4: KeySpec = KeySpec::new(
    "conditionsV4",
    "list of strings",
    "[]",
    "only `[\"-d\", ADDRESS]`: the address of the host for mappings that name none; other conditions of iptables are refused",
);
const CONDITIONS_V6: KeySpec =
    KeySpec::new("conditionsV6", "list of strings", "[]", "the same for IPv6");
const BACKEND: KeySpec = KeySpec::new("backend", "string", "", "accepted; it is always nf_tables");
const MARK_MASQ_BIT: KeySpec =
    KeySpec::new("markMasqBit", "number", "", "accepted; no packet is marked");
const EXTERNAL_SET_MARK_CHAIN: KeySpec = KeySpec::new(
    "externalSetMarkChain",
    "string",
    "",
    "accepted; no packet is marked",
);

/// Keys of the plugin's configuration.
pub(crate) const PORTMAP_KEYS: &[KeySpec] = &[
    SNAT,
    MASQ_ALL,
    CONDITIONS_V4,
    CONDITIONS_V6,
    BACKEND,
    MARK_MASQ_BIT,
    EXTERNAL_SET_MARK_CHAIN,
];

const HOST_PORT: KeySpec = KeySpec::new("hostPort", "number", "required", "the host's port");
const CONTAINER_PORT: KeySpec = KeySpec::new(
    "containerPort",
    "number",
    "required",
    "the container's port",
);
const PROTOCOL: KeySpec =
    KeySpec::new("protocol", "string", "tcp", "tcp, udp or sctp, in any case");
const HOST_IP: KeySpec = KeySpec::new(
    "hostIP",
    "IP address",
    "all",
    "the host's address; 0.0.0.0 and :: are all of a family. Of 127.0.0.0/8 only 127.0.0.1 is among all; ::1 cannot be published, and is passed over where the port is published by another entry",
);
const RANGE: KeySpec = KeySpec::new(
    "range",
    "number",
    "1",
    "how many consecutive ports, from `hostPort` and from `containerPort` on",
);

/// Keys of each entry of `runtimeConfig.portMappings`.
pub(crate) const MAPPING_KEYS: &[KeySpec] = &[HOST_PORT, CONTAINER_PORT, PROTOCOL, HOST_IP, RANGE];

const NAME: KeySpec = KeySpec::new("name", "string", "", "");
const HOST_INTERFACE: KeySpec = KeySpec::new("hostInterface", "string", "", "");

/// What runtimes may send besides.
const IGNORED_KEYS: &[KeySpec] = &[NAME, HOST_INTERFACE];

/// Of one attachment, ranges by their ports. Each is up to five elements of nf_tables in each family.
const MOST_PORTS: usize = 16_384;

fn read(request: &Request) -> Result<Publishing, CniError> {
    let problems = Problems::default();
    let fields = request.conf.fields(PORTMAP_KEYS, &problems);
    let defaults = [
        condition(&fields, CONDITIONS_V4, IpFamily::V4),
        condition(&fields, CONDITIONS_V6, IpFamily::V6),
    ];
    let mut wanted = Publishing {
        mappings: Vec::new(),
        source_nat: fields.boolean(SNAT).unwrap_or(true),
        hide_sources: fields.boolean(MASQ_ALL).unwrap_or(false),
    };
    let runtime = fields
        .value("runtimeConfig")
        .and_then(|value| value.as_object());
    if let Some(runtime) = runtime {
        let runtime = Fields::open(runtime, "runtimeConfig", &problems);
        // Runtimes may send more than is known here.
        for entry in runtime.objects("portMappings", &[MAPPING_KEYS, IGNORED_KEYS]) {
            if wanted.mappings.len() > MOST_PORTS {
                break;
            }
            mapping(&entry, &defaults, &mut wanted.mappings);
        }
        if wanted.mappings.len() > MOST_PORTS {
            problems.conflict(format!(
                "portMappings: more than {MOST_PORTS} ports: one attachment can publish no more"
            ));
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
fn condition(fields: &Fields<'_>, key: KeySpec, family: IpFamily) -> Option<IpAddr> {
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
    let address = address.filter(|ip| family.has(*ip));
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
    let (host_port, container_port) = (port(HOST_PORT), port(CONTAINER_PORT));
    let protocol = protocol(entry);
    let host_ip = host_ip(entry);
    let count = entry.number(RANGE, 1..=65_535).unwrap_or(1);
    let (Some(host_port), Some(container_port), Some(protocol)) =
        (host_port, container_port, protocol)
    else {
        return;
    };
    for offset in 0..count {
        let shifted = |port: u16| u16::try_from(u32::from(port) + offset).ok();
        let (Some(host_port), Some(container_port)) = (shifted(host_port), shifted(container_port))
        else {
            return entry.invalid(RANGE, &count, "must not lead beyond port 65535");
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
        .string(PROTOCOL)
        .unwrap_or("tcp")
        .to_lowercase()
        .as_str()
    {
        "tcp" => Some(6),
        "udp" => Some(17),
        "sctp" => Some(132),
        other => {
            entry.invalid(PROTOCOL, &other, "must be tcp, udp or sctp");
            None
        }
    }
}

fn host_ip(entry: &Fields<'_>) -> Option<IpAddr> {
    let ip: IpAddr = entry.parsed(HOST_IP, "must be an IP address")?;
    Some(ip.to_canonical())
}
