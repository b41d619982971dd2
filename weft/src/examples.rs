//! An example for each command, shown below its help.

use clap::Command;

/// By the command's words. Several lines are several examples.
const EXAMPLES: &[(&str, &str)] = &[
    ("cni add", "weft cni add weft /run/netns/blue"),
    ("cni del", "weft cni del weft /run/netns/blue"),
    ("cni check", "weft cni check weft /run/netns/blue"),
    (
        "cni gc",
        "weft cni gc weft\nweft cni gc --valid 4f5e6d/eth0 weft",
    ),
    ("cni status", "weft cni status weft"),
    ("cni version", "weft cni version weft"),
    (
        "config check",
        "weft config check\nweft config check /etc/cni/net.d/10-pods.conflist",
    ),
    ("config reference", "weft config reference configuration"),
    ("policy check", "weft policy check"),
    ("policy apply", "weft policy apply"),
    ("policy list", "weft policy list"),
    (
        "policy explain",
        "weft policy explain web db tcp/5432\nweft policy explain --probe 192.0.2.7 web tcp/80",
    ),
    ("firewall show", "weft firewall show demo"),
    ("firewall render", "weft firewall render | less"),
    ("firewall diff", "weft firewall diff"),
    ("firewall reload", "weft firewall reload"),
    ("doctor", "weft doctor"),
    (
        "dns query",
        "weft dns query db --from web\nweft dns query example.com AAAA --from web\nweft dns query 10.1.0.3 --from web",
    ),
    ("dns ls", "weft dns ls --network demo"),
    ("dns watch", "weft dns watch --network demo"),
    ("dns cache", "weft dns cache"),
    ("dns flush", "weft dns flush example.com"),
    ("dns upstreams", "weft dns upstreams"),
    ("dns reload", "weft dns reload"),
    ("overlay ls", "weft overlay ls"),
    (
        "overlay apply",
        "weft overlay apply --dry-run\nweft overlay apply",
    ),
    ("pki init", "weft pki init"),
    (
        "pki issue",
        "weft pki issue host-2 192.0.2.2 --out /tmp/host-2",
    ),
    ("pki show", "weft pki show"),
    ("overlay peers", "weft overlay peers"),
    ("overlay routes", "weft overlay routes --format json"),
    (
        "overlay libvirt-xml",
        "weft overlay libvirt-xml blue > blue.xml",
    ),
    ("overlay down", "weft overlay down"),
    ("warp status", "weft warp status"),
    (
        "warp explain",
        "weft warp explain web 192.0.2.7\nweft warp explain web 2001:db8::7 tcp/443",
    ),
    (
        "warp check",
        "weft warp check\nweft warp check -- --docker-socket /run/docker.sock",
    ),
    ("warp off", "weft warp off"),
    ("warp on", "weft warp on"),
    ("warp reload", "weft warp reload"),
    ("gc", "weft gc --dry-run"),
    ("plugins list", "weft plugins list"),
    ("plugins link", "weft plugins link /opt/cni/bin"),
    (
        "network create",
        "weft network create demo\n\
         weft network create --isolation none --subnet 10.8.0.0/24 --ip-range 10.8.0.128/25 web\n\
         weft network create --driver macvlan --uplink eth1 --subnet 192.168.1.0/24 \\\n    \
             --gateway 192.168.1.1 --ip-range 192.168.1.200-192.168.1.250 lan",
    ),
    (
        "network ls",
        "weft network ls --filter driver=bridge --filter label=tier=front",
    ),
    ("network inspect", "weft network inspect demo"),
    (
        "network update",
        "weft network update --label tier=front --label old- --option hairpinMode=true demo",
    ),
    ("network rm", "weft network rm demo"),
    ("network prune", "weft network prune"),
    (
        "network exists",
        "weft network exists demo || weft network create demo",
    ),
    (
        "network connect",
        "weft network connect demo web\n\
         weft network connect --ip 172.20.0.9 demo /run/netns/web\n\
         weft network connect front back",
    ),
    (
        "network disconnect",
        "weft network disconnect demo web\nweft network disconnect front back",
    ),
    ("endpoint ls", "weft endpoint ls --network demo"),
    ("endpoint inspect", "weft endpoint inspect web"),
    ("lease ls", "weft lease ls --network demo"),
    ("status", "weft status\nweft status --brief"),
    (
        "ops",
        "weft ops\nweft ops slowest --verb ADD\nweft ops errors --network demo",
    ),
    ("ops history", "weft ops history --network demo"),
    ("ops slowest", "weft ops slowest --verb ADD"),
    ("ops errors", "weft ops errors --network demo"),
    (
        "metrics",
        "weft metrics\nweft metrics --textfile /var/lib/prometheus/node-exporter/weft.prom",
    ),
    (
        "completions",
        "weft completions bash > /etc/bash_completion.d/weft",
    ),
    ("man", "weft man /usr/local/share/man/man1"),
    ("store dump", "weft store dump"),
    ("store check", "weft store check"),
    ("store rebuild", "weft store rebuild"),
];

/// A command with the examples of everything below it.
pub(crate) fn added(command: Command) -> Command {
    below(command, "")
}

fn below(command: Command, words: &str) -> Command {
    let found = EXAMPLES.iter().find(|(own, _)| *own == words);
    let command = match found {
        Some((_, text)) => {
            let lines: Vec<String> = text.lines().map(|line| format!("  {line}")).collect();
            let title = if text.contains("\nweft") {
                "Examples"
            } else {
                "Example"
            };
            command.after_help(format!("{title}:\n{}", lines.join("\n")))
        }
        None => command,
    };
    command.mut_subcommands(|inner| {
        let words = format!("{words} {}", inner.get_name());
        below(inner, words.trim_start())
    })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn commands(command: &Command, words: &str, found: &mut Vec<String>) {
        if command.get_subcommands().count() == 0 {
            found.push(words.to_owned());
        }
        for inner in command.get_subcommands() {
            let words = format!("{words} {}", inner.get_name());
            commands(inner, words.trim_start(), found);
        }
    }

    #[test]
    fn each_command_has_an_example_that_it_takes() {
        let mut all = Vec::new();
        commands(&crate::Arguments::command(), "", &mut all);
        for words in &all {
            assert!(EXAMPLES.iter().any(|(own, _)| own == words), "{words}");
        }
        for (words, text) in EXAMPLES {
            assert!(
                all.iter().any(|one| one == words) || *words == "ops",
                "{words}"
            );
            for line in text.replace("\\\n", "").lines() {
                let line = line.split(['|', '>']).next().unwrap();
                let outcome =
                    crate::Arguments::command().try_get_matches_from(line.split_whitespace());
                assert!(outcome.is_ok(), "{line}: {outcome:?}");
            }
        }
    }
}
