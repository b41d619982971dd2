//! The `ipam` object: the keys of the reference's host-local and static plugins, and Weft's own.

use std::net::IpAddr;
use std::path::Path;

use ipnetwork::IpNetwork;
use serde_json::{Map, Value};
use weft_cni::args::CniArgs;
use weft_cni::conf::{Fields, KeySpec, NetConf, Problems};
use weft_cni::result::{Dns, Route};
use weft_store::{Pool, Range};

/// Keys of `ipam`.
pub const IPAM_KEYS: &[KeySpec] = &[
    KeySpec::new("type", "string", "required", "the IPAM plugin"),
    KeySpec::new(
        "ranges",
        "list of lists of ranges",
        "",
        "one address is leased of each list",
    ),
    KeySpec::new("subnet", "prefix", "", "one range of one list, in short"),
    KeySpec::new(
        "rangeStart",
        "address",
        "the first usable one",
        "with `subnet`",
    ),
    KeySpec::new(
        "rangeEnd",
        "address",
        "the last usable one",
        "with `subnet`",
    ),
    KeySpec::new(
        "gateway",
        "address",
        "the first usable one",
        "with `subnet`",
    ),
    KeySpec::new(
        "exclude",
        "list of prefixes",
        "",
        "with `subnet`: never handed out",
    ),
    KeySpec::new(
        "routes",
        "list of routes",
        "",
        "`dst`, `gw`, `mtu`, `advmss`, `priority`, `table`, `scope`",
    ),
    KeySpec::new(
        "resolvConf",
        "path",
        "",
        "resolver settings for the result, as resolv.conf(5)",
    ),
    KeySpec::new(
        "dataDir",
        "path",
        "",
        "keeps its leases apart from those of another dataDir",
    ),
    KeySpec::new(
        "addresses",
        "list",
        "",
        "fixed addresses: `address`, `gateway`",
    ),
    KeySpec::new("dns", "object", "", "resolver settings for the result"),
    KeySpec::new(
        "coolDown",
        "seconds",
        "0",
        "how long a released address rests at least",
    ),
    KeySpec::new(
        "sticky",
        "boolean",
        "false",
        "a pod (by namespace and name) gets its last address again",
    ),
    KeySpec::new(
        "stickyKey",
        "string",
        "",
        "whoever has this key gets its last address again",
    ),
];

/// Keys of a range.
pub const RANGE_KEYS: &[KeySpec] = &[
    KeySpec::new("subnet", "prefix", "required", "the subnet"),
    KeySpec::new(
        "rangeStart",
        "address",
        "the first usable one",
        "first address to hand out",
    ),
    KeySpec::new(
        "rangeEnd",
        "address",
        "the last usable one",
        "last address to hand out",
    ),
    KeySpec::new(
        "gateway",
        "address",
        "the first usable one",
        "never handed out",
    ),
    KeySpec::new("exclude", "list of prefixes", "", "never handed out"),
];

/// Keys of a fixed address.
pub const STATIC_KEYS: &[KeySpec] = &[
    KeySpec::new(
        "address",
        "address with prefix length",
        "required",
        "the address",
    ),
    KeySpec::new("gateway", "address", "", "its gateway"),
];

/// Keys of a route.
const ROUTE_KEYS: &[KeySpec] = &[
    KeySpec::new("dst", "prefix", "required", ""),
    KeySpec::new("gw", "address", "", ""),
    KeySpec::new("mtu", "number", "", ""),
    KeySpec::new("advmss", "number", "", ""),
    KeySpec::new("priority", "number", "", ""),
    KeySpec::new("table", "number", "", ""),
    KeySpec::new("scope", "number", "", ""),
];

const DNS_KEYS: &[KeySpec] = &[
    KeySpec::new("nameservers", "list", "", ""),
    KeySpec::new("domain", "string", "", ""),
    KeySpec::new("search", "list", "", ""),
    KeySpec::new("options", "list", "", ""),
];

const IP: &str = "must be an IP address";
const PREFIX: &str = "must be a prefix in CIDR notation";

/// A fixed address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StaticAddress {
    /// The address with its prefix length.
    pub address: IpNetwork,
    /// Its gateway.
    pub gateway: Option<IpAddr>,
}

/// What a container is to get.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IpamConfig {
    /// One address is leased of each set of ranges.
    pub sets: Vec<Vec<Range>>,
    /// Fixed addresses besides.
    pub fixed: Vec<StaticAddress>,
    /// Addresses that are asked for.
    pub requested: Vec<IpAddr>,
    /// Routes for the result.
    pub routes: Vec<Route>,
    /// Resolver settings for the result.
    pub dns: Dns,
    /// The name that leases are kept under.
    pub pool: Option<Pool>,
    /// Who gets its last address again.
    pub sticky_key: Option<String>,
    /// Whether anybody does in this network.
    pub is_sticky: bool,
}

impl IpamConfig {
    /// Reads the `ipam` object and what else asks for addresses: the capabilities `ipRanges` and
    /// `ips`, `args.cni.ips`, and `IP` and `GATEWAY` of `CNI_ARGS`. What is wrong goes to
    /// `problems`.
    pub fn read(conf: &NetConf, args: &CniArgs, problems: &Problems) -> Self {
        let empty = Map::new();
        let ipam = conf.ipam().unwrap_or(&empty);
        let fields = Fields::new(ipam, "ipam", &[IPAM_KEYS], problems);
        let mut config = Self {
            sets: read_sets(conf, &fields),
            routes: fields
                .objects("routes", &[ROUTE_KEYS])
                .iter()
                .filter_map(read_route)
                .collect(),
            dns: read_dns(&fields),
            pool: Some(read_pool(conf, &fields)),
            sticky_key: read_sticky_key(&fields, args),
            is_sticky: fields.value("stickyKey").is_some()
                || fields.boolean("sticky").unwrap_or(false),
            ..Self::default()
        };
        refuse_overlaps(&config.sets, problems);
        let requests = read_requests(conf, args, problems);
        let is_static = fields.value("addresses").is_some() || config.sets.is_empty();
        if is_static {
            config.fixed = read_fixed(&fields, args, &requests);
        } else {
            config.requested = requests.iter().map(|request| request.ip()).collect();
        }
        if config.sets.is_empty() && config.fixed.is_empty() {
            problems.conflict("ipam: no subnet, ranges or addresses to take an address from");
        }
        config
    }

    /// The pool; configurations that were read have one.
    pub fn pool(&self) -> Pool {
        self.pool.clone().unwrap_or(Pool {
            name: String::new(),
            cool_down: 0,
        })
    }
}

fn read_sets(conf: &NetConf, fields: &Fields<'_>) -> Vec<Vec<Range>> {
    let mut sets = Vec::new();
    if let Some(value) = conf.runtime_config("ipRanges") {
        sets.extend(read_set_list(
            value,
            "runtimeConfig.ipRanges",
            fields.problems(),
        ));
    }
    if fields.value("subnet").is_some() {
        sets.extend(read_range(fields).map(|range| vec![range]));
    }
    if let Some(value) = fields.value("ranges") {
        sets.extend(read_set_list(value, "ipam.ranges", fields.problems()));
    }
    sets
}

fn read_set_list(value: &Value, path: &str, problems: &Problems) -> Vec<Vec<Range>> {
    let Value::Array(sets) = value else {
        problems.invalid(path, value, "must be a list of lists of ranges");
        return Vec::new();
    };
    let read_set = |(index, set): (usize, &Value)| {
        let path = format!("{path}[{index}]");
        let Value::Array(ranges) = set else {
            problems.invalid(&path, set, "must be a list of ranges");
            return None;
        };
        let read: Vec<Range> = ranges
            .iter()
            .enumerate()
            .filter_map(|(index, range)| match range {
                Value::Object(map) => {
                    let path = format!("{path}[{index}]");
                    read_range(&Fields::new(map, &path, &[RANGE_KEYS], problems))
                }
                other => {
                    problems.invalid(&format!("{path}[{index}]"), other, "must be an object");
                    None
                }
            })
            .collect();
        if ranges.is_empty() {
            problems.invalid(&path, set, "must hold at least one range");
        }
        let is_mixed = read.windows(2).any(|pair| match pair {
            [a, b] => a.subnet().is_ipv4() != b.subnet().is_ipv4(),
            _ => false,
        });
        if is_mixed {
            problems.invalid(&path, set, "must hold ranges of one family");
        }
        Some(read).filter(|read| !read.is_empty())
    };
    sets.iter().enumerate().filter_map(read_set).collect()
}

fn read_range(fields: &Fields<'_>) -> Option<Range> {
    let Some(subnet) = fields.parsed::<IpNetwork>("subnet", PREFIX) else {
        if fields.value("subnet").is_none() {
            fields.invalid("subnet", &"", "must be given");
        }
        return None;
    };
    let ip = |key| fields.parsed::<IpAddr>(key, IP);
    let (start, end, gateway) = (ip("rangeStart"), ip("rangeEnd"), ip("gateway"));
    let exclude = fields.parsed_list::<IpNetwork>("exclude", "must be an address or a prefix");
    match Range::new(subnet, start, end, gateway, &exclude) {
        Ok(range) => Some(range),
        Err(error) => {
            fields.invalid("subnet", &subnet, &error.to_string());
            None
        }
    }
}

fn refuse_overlaps(sets: &[Vec<Range>], problems: &Problems) {
    let ranges: Vec<&Range> = sets.iter().flatten().collect();
    for (index, one) in ranges.iter().enumerate() {
        for other in ranges
            .iter()
            .skip(index + 1)
            .filter(|other| one.overlaps(other))
        {
            problems.conflict(format!("ipam: ranges {one} and {other} overlap"));
        }
    }
}

fn read_route(fields: &Fields<'_>) -> Option<Route> {
    let number = |key, max| {
        fields
            .number(key, 0..=max)
            .filter(|n| *n > 0 || key == "scope")
    };
    Some(Route {
        dst: fields.parsed("dst", PREFIX)?,
        gw: fields.parsed("gw", IP),
        mtu: number("mtu", 65536),
        advmss: number("advmss", 65536),
        priority: number("priority", u32::MAX),
        table: number("table", u32::MAX),
        scope: number("scope", 255),
    })
}

fn read_dns(fields: &Fields<'_>) -> Dns {
    let configured = fields.object("dns", &[DNS_KEYS]).map(|dns| Dns::read(&dns));
    match (configured, fields.string("resolvConf")) {
        (Some(dns), _) if !dns.is_empty() => dns,
        (_, Some(path)) => super::resolv_conf::read(Path::new(path)).unwrap_or_else(|error| {
            fields.invalid("resolvConf", &path, &format!("cannot be read: {error}"));
            Dns::default()
        }),
        _ => Dns::default(),
    }
}

fn read_pool(conf: &NetConf, fields: &Fields<'_>) -> Pool {
    let name = match fields.string("dataDir") {
        Some(dir) => format!("{}@{dir}", conf.name),
        None => conf.name.to_string(),
    };
    Pool {
        name,
        cool_down: u64::from(fields.number("coolDown", 0..=86_400).unwrap_or(0)),
    }
}

fn read_sticky_key(fields: &Fields<'_>, args: &CniArgs) -> Option<String> {
    if let Some(key) = fields.string("stickyKey") {
        return Some(key.to_owned());
    }
    let pod = || {
        Some(format!(
            "{}/{}",
            args.get("K8S_POD_NAMESPACE").unwrap_or(""),
            args.get("K8S_POD_NAME")?
        ))
    };
    if fields.boolean("sticky").unwrap_or(false) {
        pod()
    } else {
        None
    }
}

/// Requested addresses of the strongest source that has any: conf < `CNI_ARGS` < `args.cni` <
/// `runtimeConfig`. A bare address reads as a host prefix.
fn read_requests(conf: &NetConf, args: &CniArgs, problems: &Problems) -> Vec<IpNetwork> {
    for (path, value) in [
        ("runtimeConfig.ips", conf.runtime_config("ips")),
        ("args.cni.ips", conf.args_cni("ips")),
    ] {
        let Some(value) = value else { continue };
        let Value::Array(items) = value else {
            problems.invalid(path, value, "must be a list of addresses");
            continue;
        };
        let parse = |item: &Value| {
            let parsed = item.as_str().and_then(|text| text.parse().ok());
            if parsed.is_none() {
                problems.invalid(path, item, "must be an address");
            }
            parsed
        };
        let ips: Vec<IpNetwork> = items.iter().filter_map(parse).collect();
        if !ips.is_empty() {
            return ips;
        }
    }
    let parse = |text: &str| {
        let parsed = text.trim().parse().ok();
        if parsed.is_none() {
            problems.invalid("CNI_ARGS IP", &text, "must be an address");
        }
        parsed
    };
    args.get("IP")
        .into_iter()
        .flat_map(|list| list.split(','))
        .filter_map(parse)
        .collect()
}

fn read_fixed(fields: &Fields<'_>, args: &CniArgs, requests: &[IpNetwork]) -> Vec<StaticAddress> {
    let gateways: Vec<IpAddr> = args
        .get("GATEWAY")
        .into_iter()
        .flat_map(|list| list.split(','))
        .filter_map(|text| {
            let parsed = text.trim().parse().ok();
            if parsed.is_none() {
                fields.problems().invalid("CNI_ARGS GATEWAY", &text, IP);
            }
            parsed
        })
        .collect();
    if !requests.is_empty() {
        let gateway_of = |address: &IpNetwork| {
            gateways
                .iter()
                .copied()
                .find(|gateway| address.contains(*gateway))
        };
        let fixed = |address: &IpNetwork| StaticAddress {
            address: *address,
            gateway: gateway_of(address),
        };
        return requests.iter().map(fixed).collect();
    }
    let read = |item: &Fields<'_>| {
        let must = "must be an address with a prefix length";
        let Some(address) = item.parsed("address", must) else {
            if item.value("address").is_none() {
                item.invalid("address", &"", "must be given");
            }
            return None;
        };
        Some(StaticAddress {
            address,
            gateway: item.parsed("gateway", IP),
        })
    };
    fields
        .objects("addresses", &[STATIC_KEYS])
        .iter()
        .filter_map(read)
        .collect()
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
