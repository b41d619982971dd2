//! The plugin's configuration.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde_json::Value;
use weft_cni::conf::{Fields, KeySpec, Problems};
use weft_cni::{CniError, Request};
use weft_dns::Name;
use weft_store::{ForwardZone, ServicePlace, StaticRecord};

const DOMAIN_NAME: KeySpec = KeySpec::new(
    "domainName",
    "string",
    "NETWORK.weft.internal",
    "the domain of the network's containers",
);
const FORWARD: KeySpec = KeySpec::new(
    "forward",
    "boolean",
    "true",
    "names that are no container's are asked for elsewhere",
);
const UPSTREAMS: KeySpec = KeySpec::new(
    "upstreams",
    "list of addresses",
    "the host's",
    "which servers are asked for them",
);
const ZONES: KeySpec = KeySpec::new(
    "zones",
    "object",
    "{}",
    "domains with servers of their own: domain to list of addresses",
);
const RECORDS: KeySpec = KeySpec::new(
    "records",
    "list of objects",
    "[]",
    "names of no container, with their data",
);

/// Keys of the plugin's configuration.
pub(crate) const DNS_KEYS: &[KeySpec] = &[DOMAIN_NAME, FORWARD, UPSTREAMS, ZONES, RECORDS];

const NAME: KeySpec = KeySpec::new(
    "name",
    "string",
    "required",
    "below the network's domain; with a dot at its end, as it stands; `*` as the first label stands for all names that \
     are not there",
);
const A: KeySpec = KeySpec::new("a", "list of addresses", "[]", "IPv4 addresses");
const AAAA: KeySpec = KeySpec::new("aaaa", "list of addresses", "[]", "IPv6 addresses");
const TXT: KeySpec = KeySpec::new("txt", "list of strings", "[]", "texts of 255 bytes at most");
const SRV: KeySpec = KeySpec::new("srv", "list of objects", "[]", "places of a service");

/// Keys of a static record.
pub(crate) const RECORD_KEYS: &[KeySpec] = &[NAME, A, AAAA, TXT, SRV];

const TARGET: KeySpec = KeySpec::new("target", "string", "required", "a name, as `name` above");
const PORT: KeySpec = KeySpec::new("port", "number", "required", "1 to 65535");
const PRIORITY: KeySpec = KeySpec::new("priority", "number", "0", "lower ones are tried first");
const WEIGHT: KeySpec = KeySpec::new("weight", "number", "0", "the share among equals");

/// Keys of a place of a service.
pub(crate) const SERVICE_KEYS: &[KeySpec] = &[TARGET, PORT, PRIORITY, WEIGHT];

/// What a configuration asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names {
    /// The network's own domain.
    pub domain: Option<String>,
    /// Other names are asked for elsewhere.
    pub forwards: bool,
    /// By whom.
    pub upstreams: Vec<IpAddr>,
    /// Domains with servers of their own.
    pub zones: Vec<ForwardZone>,
    /// Names of no container.
    pub records: Vec<StaticRecord>,
    /// Further names of the container.
    pub aliases: Vec<String>,
    /// The container's own name for itself.
    pub hostname: Option<String>,
    /// An ADD without the daemon fails.
    pub is_required: bool,
}

pub(crate) fn read(request: &Request) -> Result<Names, CniError> {
    let problems = Problems::default();
    let fields = request.conf.fields(DNS_KEYS, &problems);
    let domain = fields.string(DOMAIN_NAME).filter(|text| !text.is_empty());
    if let Some(domain) = domain
        && Name::parse(domain).is_err()
    {
        fields.invalid(DOMAIN_NAME, &domain, "must be a domain name");
    }
    // Its containers' names are below its own.
    if Name::parse(request.conf.name.as_str()).is_err() {
        problems.conflict(format!(
            "name: {:?} is no domain name (RFC 1035: labels of 1 to 63 bytes between dots), and weft-dns puts containers' \
             names below it: give the network another one",
            request.conf.name.as_str()
        ));
    }
    let records = fields.objects(RECORDS, &[RECORD_KEYS]);
    let dns = request.conf.open(&problems).map("dns");
    let required = dns.and_then(|dns| dns.get("required"));
    let hostname = request.conf.args_cni("hostname").and_then(Value::as_str);
    let names = Names {
        domain: domain.map(|domain| domain.trim_end_matches('.').to_lowercase()),
        forwards: fields.boolean(FORWARD).unwrap_or(true),
        upstreams: fields.parsed_list::<IpAddr>(UPSTREAMS, "must be an IP address"),
        zones: zones(&fields),
        records: records.iter().map(record).collect(),
        aliases: aliases(request),
        hostname: hostname.filter(|name| !name.is_empty()).map(str::to_owned),
        is_required: required.and_then(Value::as_bool).unwrap_or(false),
    };
    problems.into_result(request.conf.strict)?;
    Ok(names)
}

fn zones(fields: &Fields<'_>) -> Vec<ForwardZone> {
    let mut zones = Vec::new();
    for (domain, servers) in fields.map(ZONES).into_iter().flatten() {
        let addresses: Option<Vec<IpAddr>> = servers.as_array().and_then(|list| {
            let address = |one: &Value| one.as_str()?.parse().ok();
            list.iter().map(address).collect()
        });
        match (Name::parse(domain), addresses) {
            (Ok(name), Some(servers)) if !servers.is_empty() => zones.push(ForwardZone {
                domain: name.to_string(),
                servers,
            }),
            _ => {
                let value = format!("{domain}: {servers}");
                fields.invalid(
                    ZONES,
                    &value,
                    "must be a domain name with a list of IP addresses",
                );
            }
        }
    }
    zones
}

/// A name with or without a dot at its end.
fn name(fields: &Fields<'_>, key: KeySpec) -> String {
    let text = fields.string(key).unwrap_or_default();
    if text.is_empty() || Name::parse(text).is_err() {
        fields.invalid(key, &text, "must be a domain name");
    }
    text.to_lowercase()
}

fn record(fields: &Fields<'_>) -> StaticRecord {
    let texts = fields.parsed_list::<String>(TXT, "must be a string");
    if let Some(long) = texts.iter().find(|text| text.len() > 255) {
        fields.invalid(TXT, long, "must be 255 bytes at most");
    }
    let places = fields.objects(SRV, &[SERVICE_KEYS]);
    StaticRecord {
        name: name(fields, NAME),
        a: fields.parsed_list::<Ipv4Addr>(A, "must be an IPv4 address"),
        aaaa: fields.parsed_list::<Ipv6Addr>(AAAA, "must be an IPv6 address"),
        txt: texts,
        srv: places.iter().map(place).collect(),
    }
}

fn place(fields: &Fields<'_>) -> ServicePlace {
    let number = |key| {
        let given = fields.number(key, 0..=u16::MAX.into());
        given.and_then(|number| u16::try_from(number).ok())
    };
    let port = number(PORT);
    if port.is_none_or(|port| port == 0) {
        fields.invalid(PORT, &port.unwrap_or(0), "must be 1 to 65535");
    }
    ServicePlace {
        target: name(fields, TARGET),
        port: port.unwrap_or(0),
        priority: number(PRIORITY).unwrap_or(0),
        weight: number(WEIGHT).unwrap_or(0),
    }
}

/// Further names, in both shapes: a list, as the conventions have it, or a list for each network, as Podman sends it.
fn aliases(request: &Request) -> Vec<String> {
    let given = request.conf.runtime_config("aliases");
    let list = match given {
        Some(Value::Object(by_network)) => by_network.get(request.conf.name.as_str()),
        other => other,
    };
    let words = list.and_then(Value::as_array).into_iter().flatten();
    let words = words.filter_map(Value::as_str);
    words
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect()
}
