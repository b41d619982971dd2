//! Keys of weft.toml that are about containers led through others. The daemon reads them: lib/warp.

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
pub(super) const WARP_KEYS: &[KeySpec] = &[
    key(
        "[warp] enabled",
        "boolean",
        "true where there is the table",
        "containers of Docker and Podman are led through others",
    ),
    key(
        "[warp] docker_connection_method",
        "string",
        "socket",
        "`socket`; `http`: TCP in clear; `ssl`: TCP with certificates of both sides; `none`: Docker is not asked",
    ),
    key(
        "[warp] warp_container_name_pattern",
        "regular expression",
        "`^warp-`",
        "containers whose name matches are gateways; empty: none by name",
    ),
    key(
        "[warp] warp_container_label",
        "string",
        "weft.warp.gateway",
        "containers with this label are gateways",
    ),
    key(
        "[warp] target_container_label",
        "string",
        "weft.warp.via",
        "containers with this label are targets; its value is the gateway: `NAME`, `LABEL=VALUE`, `NETWORK/NAME`",
    ),
    key(
        "[warp] network_preference_label",
        "string",
        "weft.warp.network",
        "the label of a target with the network in which it meets its gateway",
    ),
    key(
        "[warp] routing_rules",
        "list",
        "everything",
        "what goes through the gateway: `\"10.0.0.0/8 tcp:443,8000-8080\"`, or `{ destinations = [], protocol = \"tcp\", ports = [443, \"8000-8080\"] }`",
    ),
    key(
        "[warp] ipv6",
        "string",
        "block",
        "IPv6 where the gateway has none: `block` or `keep`",
    ),
    key(
        "[warp] on_missing",
        "string",
        "block",
        "while there is no gateway: `block`, `direct` or `wait`",
    ),
    key(
        "[warp] wait_seconds",
        "number",
        "10",
        "how long an ADD of weft-warp waits, 0 to 300",
    ),
    key(
        "[warp] table",
        "number",
        "77",
        "the routing table of targets, in their namespaces",
    ),
    key(
        "[warp] rule_priority",
        "number",
        "98",
        "the first of three priorities of routing rules",
    ),
    key(
        "[warp] remove_at_stop",
        "boolean",
        "false",
        "rules and routes are removed when the daemon stops",
    ),
    key(
        "[warp] logging",
        "string",
        "info",
        "`error`, `warn`, `info` or `debug`: of `weftd warp`; `WEFT_LOG` counts before it",
    ),
    key(
        "[warp.docker] socket",
        "path",
        "/var/run/docker.sock",
        "Docker's unix socket",
    ),
    key(
        "[warp.docker] host",
        "string",
        "127.0.0.1:2375",
        "HOST:PORT, for `http` and `ssl`",
    ),
    key(
        "[warp.docker] cert_dir",
        "path",
        "/etc/docker/certs",
        "the directory with `ca.pem`, `cert.pem` and `key.pem`, for `ssl`",
    ),
    key(
        "[warp.docker] api_version",
        "string",
        "auto",
        "a version of Docker's API as `1.41`; `auto`: the newest that both sides know",
    ),
    key(
        "[warp.docker] netns_dir",
        "path",
        "/var/run/docker/netns",
        "where Docker keeps containers' namespaces",
    ),
    key(
        "[warp.podman] socket",
        "path",
        "none",
        "the unix socket of Podman's service; without it Podman is not asked",
    ),
    key(
        "[warp.podman] netns_dir",
        "path",
        "/run/netns",
        "where Podman keeps containers' namespaces",
    ),
];
