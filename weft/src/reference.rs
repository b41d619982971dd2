//! Pages of the documentation that are made from the code they describe.

use std::fmt::Write;

use clap::Command;
use weft_cni::Code;
use weft_cni::conf::{KeySpec, SPEC_KEYS};
use weft_cni::env::VARIABLES;

use crate::described;
use crate::plugins::ALL;

/// Keys of weft.toml; lib/node, lib/vnet and the daemon read them.
const HOST_KEYS: &[KeySpec] = &[
    KeySpec::new(
        "[host] state_dir",
        "path",
        "/run/weft",
        "where live state is: a reboot may empty it",
    ),
    KeySpec::new(
        "[host] data_dir",
        "path",
        "/var/lib/weft",
        "where what outlives a reboot is",
    ),
    KeySpec::new(
        "[host] public_dir",
        "path",
        "/run/weft-pub",
        "where the daemon's socket for everybody's questions is",
    ),
    KeySpec::new(
        "[host] policy_dir",
        "path",
        "/etc/weft/policies.d",
        "where the host's policies are",
    ),
    KeySpec::new(
        "[host] store",
        "string",
        "redb",
        "the store's database: redb or sled",
    ),
    KeySpec::new(
        "[host] lock_timeout_seconds",
        "number",
        "30",
        "how long locks are waited for",
    ),
    KeySpec::new(
        "[vnet] default_driver",
        "string",
        "bridge",
        "the kind of a network that `weft network create` makes: bridge, macvlan, ipvlan or host",
    ),
    KeySpec::new(
        "[vnet] default_isolation",
        "string",
        "full",
        "how closed a bridge network is: full, peer, mesh or none; the other kinds cannot be closed",
    ),
    KeySpec::new(
        "[vnet] ipv6_enabled",
        "boolean",
        "false",
        "networks have IPv6 addresses too",
    ),
    KeySpec::new(
        "[vnet] default_subnet",
        "prefix",
        "172.20.0.0/16",
        "what subnets are taken from, each a /26",
    ),
    KeySpec::new(
        "[vnet] default_subnet_v6",
        "prefix",
        "a /48 of the host's own, from /etc/machine-id",
        "the same for IPv6, each a /64",
    ),
    KeySpec::new(
        "[vnet] max_networks",
        "number",
        "1000",
        "how many networks there may be",
    ),
    KeySpec::new(
        "[vnet] metrics_enabled",
        "boolean",
        "true",
        "calls are counted in the operations file",
    ),
    KeySpec::new(
        "[dns] domain",
        "string",
        "weft.internal",
        "the domain that all containers' names are below, unless their network has one of its own",
    ),
    KeySpec::new(
        "[dns] ttl",
        "number",
        "5",
        "for how many seconds clients may remember a container's name, 3600 at most",
    ),
    KeySpec::new(
        "[dns] upstreams",
        "list of addresses",
        "those of /etc/resolv.conf",
        "what is asked for names of others",
    ),
    KeySpec::new(
        "[dns] zones",
        "table",
        "{}",
        "domains with servers of their own: domain to list of addresses",
    ),
    KeySpec::new(
        "[dns] records",
        "list of tables",
        "[]",
        "names of no container, for all networks; the keys of weft-dns's `records`",
    ),
    KeySpec::new(
        "[dns] forward_single_label",
        "boolean",
        "true",
        "names of one label that no container has are asked for elsewhere",
    ),
    KeySpec::new(
        "[dns] cache_entries",
        "number",
        "8192",
        "how many answers of other servers are remembered; 0: none",
    ),
    KeySpec::new(
        "[dns] max_in_flight",
        "number",
        "1024",
        "how many questions to other servers may be open",
    ),
    KeySpec::new(
        "[dns] max_in_flight_per_client",
        "number",
        "128",
        "how many of them one client may have",
    ),
    KeySpec::new(
        "[dns] host_resolver",
        "boolean",
        "false",
        "systemd-resolved is told to ask the daemon for containers' names",
    ),
    KeySpec::new(
        "[[overlay]] vni",
        "number",
        "required",
        "VXLAN network identifier, 1 to 16777215: the same on all hosts",
    ),
    KeySpec::new(
        "[[overlay]] name",
        "string",
        "`vxlan` and the VNI",
        "the VXLAN device",
    ),
    KeySpec::new(
        "[[overlay]] bridge",
        "table",
        "required",
        "`name` of the bridge; `ipv4`, `ipv6`: this host's addresses in the overlay, with the prefix length of the whole",
    ),
    KeySpec::new(
        "[[overlay]] underlay",
        "table",
        "the default route's interface",
        "what carries it: `address`, or `prefer_interfaces`, of which the first counts that is up and has an address",
    ),
    KeySpec::new(
        "[[overlay]] port",
        "number",
        "4789",
        "UDP port of all hosts",
    ),
    KeySpec::new(
        "[[overlay]] mtu",
        "number",
        "the underlay's less 50, by IPv6 less 70",
        "of bridge and device, 1280 to 9000",
    ),
    KeySpec::new(
        "[[overlay]] learning",
        "boolean",
        "true",
        "the device notes from where MACs come",
    ),
    KeySpec::new(
        "[[peer]] id",
        "string",
        "required",
        "tells another host from the others",
    ),
    KeySpec::new(
        "[[peer]] address",
        "address",
        "required",
        "its underlay address; this host may be in the list too",
    ),
    KeySpec::new(
        "[[peer]] vnis",
        "list of numbers",
        "all",
        "overlays that it takes part in",
    ),
];

const GENERATED: &str = "<!-- Generated by `make docs`; a test compares it with the code. -->\n";

fn table(page: &mut String, title: &str, intro: &str, keys: &[KeySpec]) {
    let _ = write!(page, "\n## {title}\n\n{intro}\n");
    if !keys.is_empty() {
        page.push_str("\n| key | value | default | meaning |\n|---|---|---|---|\n");
    }
    for key in keys {
        let _ = writeln!(
            page,
            "| `{}` | {} | {} | {} |",
            key.name, key.kind, key.default, key.doc
        );
    }
}

/// docs/configuration.md.
pub(crate) fn configuration() -> String {
    let mut page = format!("{GENERATED}# Configuration\n\n");
    page.push_str(
        "Keys match in any case, `null` means absent, `\"true\"` is true. Unknown keys are logged \
         and otherwise ignored; `\"strict\": true` makes them errors (code 2). Where several \
         sources give a MAC or addresses the order is: configuration < `CNI_ARGS` < `args.cni` < \
         `runtimeConfig`. `weft config check FILE` reports everything that is wrong with a file.\n",
    );
    table(
        &mut page,
        "Every plugin",
        "The specification's keys, and two of Weft's.",
        SPEC_KEYS,
    );
    for plugin in ALL {
        let declared = plugin.declaration();
        table(&mut page, declared.name, declared.intro, declared.keys);
        for object in declared.objects {
            let title = format!("{}: {}", declared.name, object.title);
            table(&mut page, &title, object.intro, object.keys);
        }
    }
    table(
        &mut page,
        "weft.toml",
        "The host's configuration, `/etc/weft/weft.toml`; it works when absent. Unknown keys are errors. An environment \
         variable counts before its key.",
        HOST_KEYS,
    );
    page.push_str("\n## Environment\n\n| variable | meaning |\n|---|---|\n");
    for variable in VARIABLES {
        let _ = writeln!(page, "| `{}` | {} |", variable.name, variable.doc);
    }
    page
}

/// docs/commands.md.
pub(crate) fn commands() -> String {
    let mut page = format!("{GENERATED}# Commands\n\n");
    page.push_str(
        "What `weft COMMAND --help` prints. `weft completions SHELL` prints what a shell needs to complete commands, \
         `weft man DIRECTORY` writes manual pages.\n",
    );
    let mut weft = described().disable_help_subcommand(true).term_width(100);
    weft.build();
    describe(&mut page, &weft, "weft");
    page
}

fn describe(page: &mut String, command: &Command, name: &str) {
    let inner: Vec<&Command> = command.get_subcommands().collect();
    if inner.is_empty() {
        let hidden = |arg: clap::Arg| arg.hide_env_values(true);
        let mut command = command.clone().bin_name(name).mut_args(hidden);
        let help = command.render_long_help().to_string();
        let lines: Vec<&str> = help.trim_end().lines().map(str::trim_end).collect();
        let _ = write!(page, "\n## {name}\n\n```text\n{}\n```\n", lines.join("\n"));
    }
    for one in inner {
        describe(page, one, &format!("{name} {}", one.get_name()));
    }
}

/// docs/errors.md.
pub(crate) fn errors() -> String {
    let mut page = format!("{GENERATED}# Error codes\n\n");
    page.push_str(
        "A failed verb exits with a status other than 0 and prints one JSON document with \
         `cniVersion`, `code`, `msg` and `details` on standard output. 1 to 99 are the \
         specification's codes, 100 and above are Weft's. A delegate's error keeps its own code.\n\n\
         | code | meaning | what to do |\n|---|---|---|\n",
    );
    for code in Code::ALL {
        let _ = writeln!(
            page,
            "| {} | {} | {} |",
            code.number(),
            code.title(),
            code.remedy()
        );
    }
    page
}
