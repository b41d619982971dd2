//! The configuration keys, as documentation shows them.

use weft_cni::conf::KeySpec;

pub(super) const TYPE: KeySpec = KeySpec::new("type", "string", "required", "the IPAM plugin");
pub(super) const RANGES: KeySpec = KeySpec::new(
    "ranges",
    "list of lists of ranges",
    "",
    "one address is leased of each list",
);
pub(super) const SUBNET: KeySpec =
    KeySpec::new("subnet", "prefix", "", "one range of one list, in short");
pub(super) const RANGE_START: KeySpec = KeySpec::new(
    "rangeStart",
    "address",
    "the first usable one",
    "with `subnet`",
);
pub(super) const RANGE_END: KeySpec = KeySpec::new(
    "rangeEnd",
    "address",
    "the last usable one",
    "with `subnet`",
);
pub(super) const GATEWAY: KeySpec = KeySpec::new(
    "gateway",
    "address",
    "the first usable one",
    "with `subnet`",
);
pub(super) const EXCLUDE: KeySpec = KeySpec::new(
    "exclude",
    "list of prefixes",
    "",
    "with `subnet`: never handed out",
);
pub(super) const ROUTES: KeySpec = KeySpec::new(
    "routes",
    "list of routes",
    "",
    "`dst`, `gw`, `mtu`, `advmss`, `priority`, `table`, `scope`",
);
pub(super) const RESOLV_CONF: KeySpec = KeySpec::new(
    "resolvConf",
    "path",
    "",
    "resolver settings for the result, as resolv.conf(5)",
);
pub(super) const DATA_DIR: KeySpec = KeySpec::new(
    "dataDir",
    "path",
    "",
    "leases of networks with different values are kept apart",
);
pub(super) const ADDRESSES: KeySpec = KeySpec::new(
    "addresses",
    "list",
    "",
    "fixed addresses: `address`, `gateway`",
);
pub(super) const DNS: KeySpec =
    KeySpec::new("dns", "object", "", "resolver settings for the result");
pub(super) const COOL_DOWN: KeySpec = KeySpec::new(
    "coolDown",
    "seconds",
    "0",
    "how long a released address is not handed out, at least",
);
pub(super) const STICKY: KeySpec = KeySpec::new(
    "sticky",
    "boolean",
    "false",
    "a pod (by namespace and name) gets its last address again",
);
pub(super) const STICKY_KEY: KeySpec = KeySpec::new(
    "stickyKey",
    "string",
    "",
    "an attachment with this key gets the last address of the key again",
);

/// Keys of `ipam`.
pub const IPAM_KEYS: &[KeySpec] = &[
    TYPE,
    RANGES,
    SUBNET,
    RANGE_START,
    RANGE_END,
    GATEWAY,
    EXCLUDE,
    ROUTES,
    RESOLV_CONF,
    DATA_DIR,
    ADDRESSES,
    DNS,
    COOL_DOWN,
    STICKY,
    STICKY_KEY,
];

/// Keys of a range.
pub const RANGE_KEYS: &[KeySpec] = &[
    KeySpec {
        kind: "prefix",
        default: "required",
        doc: "the subnet",
        ..SUBNET
    },
    KeySpec {
        kind: "address",
        default: "the first usable one",
        doc: "first address to hand out",
        ..RANGE_START
    },
    KeySpec {
        kind: "address",
        default: "the last usable one",
        doc: "last address to hand out",
        ..RANGE_END
    },
    KeySpec {
        kind: "address",
        default: "the first usable one",
        doc: "never handed out",
        ..GATEWAY
    },
    KeySpec {
        kind: "list of prefixes",
        default: "",
        doc: "never handed out",
        ..EXCLUDE
    },
];

pub(super) const ADDRESS: KeySpec = KeySpec::new(
    "address",
    "address with prefix length",
    "required",
    "the address",
);

/// Keys of a fixed address.
pub const STATIC_KEYS: &[KeySpec] = &[
    ADDRESS,
    KeySpec {
        kind: "address",
        default: "",
        doc: "its gateway",
        ..GATEWAY
    },
];

pub(super) const DST: KeySpec = KeySpec::new("dst", "prefix", "required", "");
pub(super) const GW: KeySpec = KeySpec::new("gw", "address", "", "");
pub(super) const MTU: KeySpec = KeySpec::new("mtu", "number", "", "");
pub(super) const ADVMSS: KeySpec = KeySpec::new("advmss", "number", "", "");
pub(super) const PRIORITY: KeySpec = KeySpec::new("priority", "number", "", "");
pub(super) const TABLE: KeySpec = KeySpec::new("table", "number", "", "");
pub(super) const SCOPE: KeySpec = KeySpec::new("scope", "number", "", "");

/// Keys of a route.
pub(super) const ROUTE_KEYS: &[KeySpec] = &[DST, GW, MTU, ADVMSS, PRIORITY, TABLE, SCOPE];

pub(super) const NAMESERVERS: KeySpec = KeySpec::new("nameservers", "list", "", "");
pub(super) const DOMAIN: KeySpec = KeySpec::new("domain", "string", "", "");
pub(super) const SEARCH: KeySpec = KeySpec::new("search", "list", "", "");
pub(super) const OPTIONS: KeySpec = KeySpec::new("options", "list", "", "");

/// Keys of `dns`.
pub(super) const DNS_KEYS: &[KeySpec] = &[NAMESERVERS, DOMAIN, SEARCH, OPTIONS];
