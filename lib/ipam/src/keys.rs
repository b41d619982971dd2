//! The configuration keys, as documentation shows them.

use weft_cni::conf::KeySpec;

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
pub(super) const ROUTE_KEYS: &[KeySpec] = &[
    KeySpec::new("dst", "prefix", "required", ""),
    KeySpec::new("gw", "address", "", ""),
    KeySpec::new("mtu", "number", "", ""),
    KeySpec::new("advmss", "number", "", ""),
    KeySpec::new("priority", "number", "", ""),
    KeySpec::new("table", "number", "", ""),
    KeySpec::new("scope", "number", "", ""),
];

/// Keys of `dns`.
pub(super) const DNS_KEYS: &[KeySpec] = &[
    KeySpec::new("nameservers", "list", "", ""),
    KeySpec::new("domain", "string", "", ""),
    KeySpec::new("search", "list", "", ""),
    KeySpec::new("options", "list", "", ""),
];
