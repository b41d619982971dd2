//! Keys of weft.toml that are about other hosts. The daemon reads them: lib/overlay.

use weft_cni::conf::KeySpec;

const fn key(
    name: &'static str,
    value: &'static str,
    default: &'static str,
    meaning: &'static str,
) -> KeySpec {
    KeySpec::new(name, value, default, meaning)
}

/// All of them.
pub(super) const OVERLAY_KEYS: &[KeySpec] = &[
    key(
        "[node] id",
        "string",
        "the host's name",
        "tells this host from others; the common name of its certificate",
    ),
    key(
        "[node] hostname, tags",
        "string, list of strings",
        "",
        "for people",
    ),
    key(
        "[node] remove_overlays_at_stop",
        "boolean",
        "false",
        "everything of overlays is removed when the daemon stops",
    ),
    key(
        "[[overlay]] vni",
        "number",
        "required",
        "VXLAN network identifier, 1 to 16777215: the same on all hosts",
    ),
    key(
        "[[overlay]] name",
        "string",
        "`vxlan` and the VNI",
        "the VXLAN device",
    ),
    key(
        "[[overlay]] mode",
        "string",
        "l2",
        "`l2`: one segment over all hosts; `routed`: each host has a subnet of its own",
    ),
    key(
        "[[overlay]] bridge",
        "table",
        "required",
        "`name` of the bridge; `ipv4`, `ipv6`: this host's addresses in the overlay, with the prefix length of the whole (`l2`) or of the host's subnet (`routed`); `mtu`: the same as the overlay's",
    ),
    key(
        "[[overlay]] networks",
        "list of prefixes",
        "required with `routed`",
        "what all hosts' subnets are parts of",
    ),
    key(
        "[[overlay]] containers",
        "list of prefixes",
        "",
        "with `l2`: parts of the bridge's subnets for containers of this host, for weft-overlay",
    ),
    key(
        "[[overlay]] underlay",
        "table",
        "the default route's interface",
        "what carries it: `address`, or `prefer_interfaces`, of which the first counts that is up and has an address",
    ),
    key(
        "[[overlay]] port",
        "number",
        "4789",
        "UDP port of all hosts; also `dstport`",
    ),
    key(
        "[[overlay]] mtu",
        "number",
        "the underlay's less 50, by IPv6 less 70",
        "of bridge and device, 1280 to 9000",
    ),
    key(
        "[[overlay]] learning",
        "boolean",
        "true",
        "with `l2`: the device notes from where MACs come",
    ),
    key(
        "[[overlay]] routing.export.networks",
        "list of prefixes",
        "",
        "other hosts are told that these lead here; with `routed` the host's subnets are among them",
    ),
    key(
        "[[overlay]] routing.export.metric",
        "number",
        "100",
        "lower is better",
    ),
    key(
        "[[overlay]] routing.export.include_connected",
        "boolean",
        "false",
        "the networks of the host's interfaces, too, but the overlays' and what carries them",
    ),
    key(
        "[[overlay]] routing.export.include_netplan_static",
        "boolean",
        "false",
        "routes of netplan's files, too",
    ),
    key(
        "[[overlay]] routing.export.export_all",
        "boolean",
        "false",
        "both, and the main table's routes by a gateway, without default routes",
    ),
    key(
        "[[overlay]] routing.import.accept_all",
        "boolean",
        "false",
        "prefixes of other hosts are taken",
    ),
    key(
        "[[overlay]] routing.import.allow",
        "list of prefixes",
        "",
        "these and parts of them are; with `routed` parts of `networks` are",
    ),
    key(
        "[[overlay]] routing.import.deny",
        "list of prefixes",
        "",
        "what overlaps with these is not, whatever else is said",
    ),
    key(
        "[[overlay]] routing.import.install.table",
        "number",
        "20000 and the VNI",
        "the routing table, 1 to 252 or from 256 on",
    ),
    key(
        "[[overlay]] routing.import.install.lookup_rules",
        "table",
        "enabled, interface",
        "`enabled`; `mode`: `interface` (packets from the bridge, of sockets bound to it, and to imported prefixes look into the table) or `prefix` (the last alone)",
    ),
    key(
        "[[overlay]] routing.import.install.route_lease_seconds",
        "number",
        "30",
        "routes of a host that is not heard of go after this time",
    ),
    key(
        "[[overlay]] routing.import.install.hold_seconds",
        "number",
        "600",
        "the same as long as packets come back from it",
    ),
    key(
        "[[overlay]] routing.import.install.flush_on_peer_down",
        "boolean",
        "false",
        "they go at once",
    ),
    key(
        "[[overlay]] routing.import.install.replace_existing",
        "boolean",
        "false",
        "a route of somebody else to the same prefix and with the same metric in that table gives way",
    ),
    key(
        "[[peer]] id",
        "string",
        "required",
        "another host's `node.id`",
    ),
    key(
        "[[peer]] address",
        "address",
        "required",
        "its underlay address; this host may be in the list too",
    ),
    key(
        "[[peer]] vnis",
        "list of numbers",
        "all",
        "overlays that it takes part in",
    ),
    key(
        "[[peer]] subnets",
        "list of prefixes",
        "any",
        "it may announce these and parts of them alone",
    ),
    key(
        "[[peer]] health",
        "table",
        "1500, 6000",
        "`keepalive_interval_ms`: how often it is asked; `dead_after_ms`: when it is taken for dead",
    ),
    key(
        "[security.control_plane]",
        "table",
        "",
        "hosts speak with each other; without it what the file says is all",
    ),
    key(
        "[security.control_plane] listen",
        "table",
        "0.0.0.0, 9898",
        "`address`, `port`; the port is the same on all hosts",
    ),
    key(
        "[security.control_plane] tls",
        "table",
        "",
        "`cert_file`, `key_file`, `ca_file`, in PEM form; weft pki makes them",
    ),
    key(
        "[security.control_plane] insecure",
        "boolean",
        "false",
        "in place of tls: in clear, and whoever comes is believed",
    ),
    key(
        "[observability] metrics, healthcheck",
        "table",
        "127.0.0.1:9109, 127.0.0.1:9110",
        "`enabled`, `listen`; on when there is an overlay",
    ),
    key(
        "[netplan] config_paths",
        "list of paths",
        "/etc/netplan",
        "files and directories of netplan's; they are read only",
    ),
];
