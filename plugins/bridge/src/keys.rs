//! The configuration keys, as documentation shows them.

use weft_attach::conf;
use weft_cni::conf::KeySpec;

pub(crate) const BRIDGE: KeySpec =
    KeySpec::new("bridge", "string", "cni0", "the bridge; made if missing");
pub(crate) const IS_GATEWAY: KeySpec = KeySpec::new(
    "isGateway",
    "boolean",
    "false",
    "the bridge holds the gateway addresses, and the host forwards",
);
pub(crate) const IS_DEFAULT_GATEWAY: KeySpec = KeySpec::new(
    "isDefaultGateway",
    "boolean",
    "false",
    "isGateway, and the containers' default route",
);
pub(crate) const FORCE_ADDRESS: KeySpec = KeySpec::new(
    "forceAddress",
    "boolean",
    "false",
    "replace a conflicting gateway address on the bridge",
);
pub(crate) const IP_MASQ: KeySpec = KeySpec::new(
    "ipMasq",
    "boolean or object",
    "false",
    "packets to the outside get the host's address as their source",
);
pub(crate) const IP_MASQ_BACKEND: KeySpec = KeySpec::new(
    "ipMasqBackend",
    "string",
    "",
    "accepted; Weft always uses nf_tables",
);
pub(crate) const MTU: KeySpec = KeySpec::new(
    "mtu",
    "number or \"auto\"",
    "auto",
    "MTU in bytes; auto (or 0): the bridge's, else that of the default route's interface",
);
pub(crate) const HAIRPIN_MODE: KeySpec = KeySpec::new(
    "hairpinMode",
    "boolean",
    "false",
    "frames may leave by the port they came in",
);
pub(crate) const PROMISC_MODE: KeySpec = KeySpec::new(
    "promiscMode",
    "boolean",
    "false",
    "the bridge takes in all frames; not with hairpinMode",
);
pub(crate) const VLAN: KeySpec = KeySpec::new(
    "vlan",
    "number",
    "none",
    "the VLAN of the container's untagged frames, 1 to 4094",
);
pub(crate) const VLAN_TRUNK: KeySpec = KeySpec::new(
    "vlanTrunk",
    "list",
    "none",
    "the VLANs of its tagged frames: `id`, or `minID` and `maxID`",
);
pub(crate) const PRESERVE_DEFAULT_VLAN: KeySpec = KeySpec::new(
    "preserveDefaultVlan",
    "boolean",
    "false",
    "the port stays in the bridge's default VLAN too",
);
pub(crate) const MACSPOOFCHK: KeySpec = KeySpec::new(
    "macspoofchk",
    "boolean",
    "false",
    "drop frames with another source MAC than the container's",
);
pub(crate) const PORT_ISOLATION: KeySpec = KeySpec::new(
    "portIsolation",
    "boolean",
    "false",
    "no frames between isolated ports",
);
pub(crate) const MESH: KeySpec = KeySpec::new(
    "mesh",
    "string",
    "",
    "with isolation `mesh`: networks with the same word here reach each other",
);
pub(crate) const PARENT: KeySpec = KeySpec::new(
    "parent",
    "string",
    "",
    "with isolation `mesh`: this network and the one of that name reach each other, its other children not",
);
pub(crate) const DISABLE_CONTAINER_INTERFACE: KeySpec = KeySpec::new(
    "disableContainerInterface",
    "boolean",
    "false",
    "leave the container's interface down; without ipam",
);
pub(crate) const GROUP_FWD_MASK: KeySpec = KeySpec::new(
    "groupFwdMask",
    "number",
    "0",
    "link-local group addresses 01-80-C2-00-00-0X that the bridge forwards, as bits; 3, 4 and 5 (0 to 2) cannot be",
);
pub(crate) const UPLINK: KeySpec = KeySpec::new(
    "uplink",
    "string",
    "none",
    "a host interface to be made a port of the bridge",
);
pub(crate) const CLEANUP: KeySpec = KeySpec::new(
    "cleanup",
    "boolean",
    "false",
    "remove bridge, gateway addresses, uplink and tables with the last container that uses them",
);

/// Keys of the plugin's configuration.
pub(crate) const BRIDGE_KEYS: &[KeySpec] = &[
    BRIDGE,
    IS_GATEWAY,
    IS_DEFAULT_GATEWAY,
    FORCE_ADDRESS,
    IP_MASQ,
    IP_MASQ_BACKEND,
    MTU,
    HAIRPIN_MODE,
    PROMISC_MODE,
    VLAN,
    VLAN_TRUNK,
    PRESERVE_DEFAULT_VLAN,
    MACSPOOFCHK,
    PORT_ISOLATION,
    conf::ISOLATION,
    MESH,
    PARENT,
    conf::POLICY,
    conf::IGNORE_FOREIGN_FIREWALL,
    conf::INGRESS_POLICY,
    conf::ANTI_SPOOF,
    conf::DETECTION,
    DISABLE_CONTAINER_INTERFACE,
    conf::MAC,
    conf::SYSCTL,
    GROUP_FWD_MASK,
    UPLINK,
    CLEANUP,
];

pub(crate) const ENABLED: KeySpec =
    KeySpec::new("enabled", "boolean", "true", "`false` switches it off");
pub(crate) const EXCLUDE: KeySpec = KeySpec::new(
    "exclude",
    "list of prefixes",
    "",
    "destinations that see the container's own address",
);
pub(crate) const TO: KeySpec = KeySpec::new(
    "to",
    "address or list",
    "",
    "this source address instead of the outgoing interface's; one per family",
);
pub(crate) const IPV6: KeySpec = KeySpec::new("ipv6", "boolean", "true", "IPv6 addresses too");

/// Keys of `ipMasq` as an object.
pub(crate) const MASQUERADE_KEYS: &[KeySpec] = &[ENABLED, EXCLUDE, TO, IPV6];

pub(crate) const ID: KeySpec = KeySpec::new("id", "number", "", "one VLAN");
pub(crate) const MIN_ID: KeySpec = KeySpec::new("minID", "number", "", "the first of several");
pub(crate) const MAX_ID: KeySpec = KeySpec::new("maxID", "number", "", "the last of several");

/// Keys of an entry of `vlanTrunk`.
pub(crate) const TRUNK_KEYS: &[KeySpec] = &[ID, MIN_ID, MAX_ID];
