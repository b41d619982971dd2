//! The `ipam` object: the keys of the reference's host-local and static plugins, and Weft's own.

use std::net::IpAddr;
use std::path::Path;
use std::str::FromStr;

use ipnetwork::IpNetwork;
use serde_json::{Map, Value};
use weft_cni::args::CniArgs;
use weft_cni::conf::{Fields, KeySpec, NetConf, Problems};
use weft_cni::result::{Dns, Route};
use weft_store::{Pool, Range};

use super::cidr::{IP, PREFIX, required_cidr};
use super::keys::{
    ADDRESS, ADDRESSES, ADVMSS, COOL_DOWN, DATA_DIR, DNS, DNS_KEYS, DST, GATEWAY, GW, IPAM_KEYS,
    MTU, PRIORITY, RESOLV_CONF, ROUTE_KEYS, ROUTES, SCOPE, STATIC_KEYS, STICKY, STICKY_KEY, TABLE,
};
use super::ranges::{read_sets, refuse_overlaps};

/// Notes known objects of a configuration that are something else: they would be passed over.
pub fn refuse_mistyped(fields: &Fields<'_>) {
    for key in ["ipam", "args", "runtimeConfig", "prevResult", "dns"] {
        fields.map(key);
    }
    fields.string("store");
}

/// A fixed address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StaticAddress {
    /// The address with its prefix length.
    pub address: IpNetwork,
    /// For the result; a fixed address may have none.
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
    /// The key whose last address is given again.
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
                .objects(ROUTES, &[ROUTE_KEYS])
                .iter()
                .filter_map(read_route)
                .collect(),
            dns: read_dns(&fields),
            pool: Some(read_pool(conf, &fields)),
            sticky_key: read_sticky_key(&fields, args),
            is_sticky: fields.value(STICKY_KEY).is_some()
                || fields.boolean(STICKY).unwrap_or(false),
            ..Self::default()
        };
        refuse_overlaps(&config.sets, problems);
        let requests = read_requests(conf, args, problems);
        let is_static = fields.value(ADDRESSES).is_some() || config.sets.is_empty();
        if is_static {
            config.fixed = read_fixed(&fields, args, &requests);
        } else {
            let asked = requests.addresses.iter();
            config.requested = asked.map(|request| request.address.ip()).collect();
        }
        let has_none = config.sets.is_empty() && config.fixed.is_empty();
        if has_none && problems.invalid_values().is_empty() {
            problems.conflict("ipam: no subnet, ranges or addresses to take an address from");
        }
        config
    }

    /// Of each address that a container gets, whether it is IPv4.
    pub fn families(&self) -> Vec<bool> {
        let leased = self.sets.iter().filter_map(|set| set.first());
        let leased = leased.map(|range| range.subnet().is_ipv4());
        leased
            .chain(self.fixed.iter().map(|one| one.address.is_ipv4()))
            .collect()
    }

    /// The subnets of the ranges.
    pub fn subnets(&self) -> impl Iterator<Item = IpNetwork> {
        self.sets.iter().flatten().map(Range::subnet)
    }

    /// The pool; configurations that were read have one.
    pub fn pool(&self) -> Pool {
        self.pool.clone().unwrap_or(Pool {
            name: String::new(),
            cool_down: 0,
        })
    }
}

fn read_route(fields: &Fields<'_>) -> Option<Route> {
    let number = |key: KeySpec, max| {
        fields
            .number(key, 0..=max)
            .filter(|n| *n > 0 || key.name == SCOPE.name)
    };
    Some(Route {
        dst: network_of(required_cidr(fields, DST, PREFIX)?),
        gw: fields.parsed(GW, IP),
        mtu: number(MTU, 65536),
        advmss: number(ADVMSS, 65536),
        priority: number(PRIORITY, u32::MAX),
        table: number(TABLE, u32::MAX),
        scope: number(SCOPE, 255),
    })
}

/// The network that a prefix names: `10.1.2.3/8` is `10.0.0.0/8`, as for the kernel.
pub fn network_of(prefix: IpNetwork) -> IpNetwork {
    IpNetwork::new(prefix.network(), prefix.prefix()).unwrap_or(prefix)
}

fn read_dns(fields: &Fields<'_>) -> Dns {
    let configured = fields.object(DNS, &[DNS_KEYS]).map(|dns| Dns::read(&dns));
    match (configured, fields.string(RESOLV_CONF)) {
        (Some(dns), _) if !dns.is_empty() => dns,
        (_, Some(path)) => super::resolv_conf::read(Path::new(path)).unwrap_or_else(|error| {
            fields.invalid(RESOLV_CONF, &path, &format!("cannot be read: {error}"));
            Dns::default()
        }),
        _ => Dns::default(),
    }
}

fn read_pool(conf: &NetConf, fields: &Fields<'_>) -> Pool {
    let name = match fields.string(DATA_DIR) {
        Some(dir) => format!("{}@{dir}", conf.name),
        None => conf.name.to_string(),
    };
    Pool {
        name,
        cool_down: u64::from(fields.number(COOL_DOWN, 0..=86_400).unwrap_or(0)),
    }
}

fn read_sticky_key(fields: &Fields<'_>, args: &CniArgs) -> Option<String> {
    if let Some(key) = fields.string(STICKY_KEY) {
        return Some(key.to_owned());
    }
    let pod = || {
        Some(format!(
            "{}/{}",
            args.get("K8S_POD_NAMESPACE").unwrap_or(""),
            args.get("K8S_POD_NAME")?
        ))
    };
    if fields.boolean(STICKY).unwrap_or(false) {
        pod()
    } else {
        None
    }
}

/// An address that is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Asked {
    /// With the prefix length that was given, else as a host's.
    address: IpNetwork,
    has_prefix: bool,
}

impl FromStr for Asked {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Ok(Self {
            address: text.trim().parse().map_err(drop)?,
            has_prefix: text.contains('/'),
        })
    }
}

/// Requested addresses, and where they are from.
#[derive(Debug, Default)]
struct Requests {
    path: &'static str,
    addresses: Vec<Asked>,
}

const FROM_ARGS: &str = "CNI_ARGS IP";

/// Requested addresses of the strongest source that has any: conf < `CNI_ARGS` < `args.cni` <
/// `runtimeConfig`. A bare address reads as a host prefix.
fn read_requests(conf: &NetConf, args: &CniArgs, problems: &Problems) -> Requests {
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
        let addresses: Vec<Asked> = items.iter().filter_map(parse).collect();
        if !addresses.is_empty() {
            return Requests { path, addresses };
        }
    }
    let parse = |text: &str| {
        let parsed = text.parse().ok();
        if parsed.is_none() {
            problems.invalid(FROM_ARGS, &text, "must be an address");
        }
        parsed
    };
    let list = args.get("IP").into_iter().flat_map(|list| list.split(','));
    Requests {
        path: FROM_ARGS,
        addresses: list.filter_map(parse).collect(),
    }
}

fn read_fixed(fields: &Fields<'_>, args: &CniArgs, requests: &Requests) -> Vec<StaticAddress> {
    if !requests.addresses.is_empty() {
        return read_requested(fields, args, requests);
    }
    let read = |item: &Fields<'_>| {
        let must = "must be an address with a prefix length";
        let address = required_cidr(item, ADDRESS, must)?;
        Some(StaticAddress {
            address,
            gateway: item.parsed(GATEWAY, IP),
        })
    };
    fields
        .objects(ADDRESSES, &[STATIC_KEYS])
        .iter()
        .filter_map(read)
        .collect()
}

/// Requested addresses that no range gives a prefix length. A gateway of `CNI_ARGS` is one for the addresses there.
fn read_requested(fields: &Fields<'_>, args: &CniArgs, requests: &Requests) -> Vec<StaticAddress> {
    let is_of_args = requests.path == FROM_ARGS;
    let gateways: Vec<IpAddr> = args
        .get("GATEWAY")
        .filter(|_| is_of_args)
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
    let fixed = |asked: &Asked| {
        if !asked.has_prefix {
            let must = "must have a prefix length: no range says which subnet it is in";
            let address = asked.address.ip();
            fields.problems().invalid(requests.path, &address, must);
            return None;
        }
        let mut gateways = gateways.iter().copied();
        Some(StaticAddress {
            address: asked.address,
            gateway: gateways.find(|gateway| asked.address.contains(*gateway)),
        })
    };
    requests.addresses.iter().filter_map(fixed).collect()
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
