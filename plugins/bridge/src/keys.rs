//! The configuration keys, as documentation shows them.

use weft_attach::conf;
use weft_cni::conf::KeySpec;

/// Keys of the plugin's configuration.
pub const BRIDGE_KEYS: &[KeySpec] = &[
    KeySpec::new("bridge", "string", "cni0", "the bridge; made if missing"),
    KeySpec::new(
        "isGateway",
        "boolean",
        "false",
        "the bridge holds the gateway addresses, and the host forwards",
    ),
    KeySpec::new(
        "isDefaultGateway",
        "boolean",
        "false",
        "isGateway, and the containers' default route",
    ),
    KeySpec::new(
        "forceAddress",
        "boolean",
        "false",
        "replace a conflicting gateway address on the bridge",
    ),
    KeySpec::new(
        "ipMasq",
        "boolean or object",
        "false",
        "traffic to outside takes the host's address",
    ),
    KeySpec::new(
        "ipMasqBackend",
        "string",
        "",
        "accepted; Weft always uses nf_tables",
    ),
    KeySpec::new(
        "mtu",
        "number or \"auto\"",
        "auto",
        "MTU in bytes; auto (or 0): the bridge's, else that of the default route's interface",
    ),
    KeySpec::new(
        "hairpinMode",
        "boolean",
        "false",
        "frames may leave by the port they came in",
    ),
    KeySpec::new(
        "promiscMode",
        "boolean",
        "false",
        "the bridge takes in all frames; not with hairpinMode",
    ),
    KeySpec::new(
        "vlan",
        "number",
        "none",
        "the VLAN of the container's untagged frames, 1 to 4094",
    ),
    KeySpec::new(
        "vlanTrunk",
        "list",
        "none",
        "the VLANs of its tagged frames: `id`, or `minID` and `maxID`",
    ),
    KeySpec::new(
        "preserveDefaultVlan",
        "boolean",
        "false",
        "the port stays in the bridge's default VLAN too",
    ),
    KeySpec::new(
        "macspoofchk",
        "boolean",
        "false",
        "drop frames with another source MAC than the container's",
    ),
    KeySpec::new(
        "portIsolation",
        "boolean",
        "false",
        "no frames between isolated ports",
    ),
    conf::ISOLATION,
    KeySpec::new(
        "mesh",
        "string",
        "",
        "with isolation `mesh`: networks with the same word here reach each other",
    ),
    KeySpec::new(
        "parent",
        "string",
        "",
        "with isolation `mesh`: this network and the one of that name reach each other, its other children not",
    ),
    KeySpec::new(
        "policy",
        "object",
        "",
        "what is allowed though the network is closed; see below",
    ),
    KeySpec::new(
        "ignoreForeignFirewall",
        "boolean",
        "false",
        "STATUS says ready though another firewall's chain drops what is forwarded and has no rule with the bridge's name",
    ),
    conf::INGRESS_POLICY,
    conf::ANTI_SPOOF,
    conf::DETECTION,
    KeySpec::new(
        "disableContainerInterface",
        "boolean",
        "false",
        "leave the container's interface down; without ipam",
    ),
    KeySpec::new(
        "mac",
        "MAC address",
        "derived",
        "the container's MAC; also CNI_ARGS MAC, args.cni.mac, runtimeConfig.mac",
    ),
    conf::SYSCTL,
    KeySpec::new(
        "groupFwdMask",
        "number",
        "0",
        "link-local group addresses 01-80-C2-00-00-0X that the bridge forwards, as bits; 3, 4 and 5 (0 to 2) cannot be",
    ),
    KeySpec::new(
        "uplink",
        "string",
        "none",
        "a host interface to be made a port of the bridge",
    ),
    KeySpec::new(
        "cleanup",
        "boolean",
        "false",
        "what no container uses any more is removed: bridge, gateway addresses, uplink, tables",
    ),
];

/// Keys of `ipMasq` as an object.
pub const MASQUERADE_KEYS: &[KeySpec] = &[
    KeySpec::new("enabled", "boolean", "true", "whether to do it at all"),
    KeySpec::new(
        "exclude",
        "list of prefixes",
        "",
        "destinations that see the container's own address",
    ),
    KeySpec::new(
        "to",
        "address or list",
        "",
        "this source address instead of the outgoing interface's; one per family",
    ),
    KeySpec::new("ipv6", "boolean", "true", "IPv6 addresses too"),
];

/// Keys of an entry of `vlanTrunk`.
pub const TRUNK_KEYS: &[KeySpec] = &[
    KeySpec::new("id", "number", "", "one VLAN"),
    KeySpec::new("minID", "number", "", "the first of several"),
    KeySpec::new("maxID", "number", "", "the last of several"),
];
