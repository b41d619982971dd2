//! The plugin's configuration: keys of the chain, and the table `[warp]` of weft.toml for all else.

use std::collections::BTreeMap;
use std::time::Duration;

use weft_cni::conf::{KeySpec, Problems};
use weft_cni::env::Env;
use weft_cni::{CniError, Code, Request};
use weft_warp::{Answers, Ipv6, OnMissing, Reference, RoutingRule, VARIABLES, WarpConfig};

const VIA: KeySpec = KeySpec::new(
    "via",
    "string",
    "the label",
    "the gateway of all containers of this configuration: `NAME`, `LABEL=VALUE`, or one of both behind `NETWORK/`",
);
const GATEWAY: KeySpec = KeySpec::new(
    "gateway",
    "boolean",
    "false",
    "all containers of this configuration are gateways",
);
const RULES: KeySpec = KeySpec::new(
    "rules",
    "list of strings",
    "those of weft.toml: everything",
    "what goes through the gateway: `10.0.0.0/8 tcp:443,8000-8080`, `all udp:53`, `all`",
);
const IPV6: KeySpec = KeySpec::new(
    "ipv6",
    "string",
    "block",
    "IPv6 where the gateway has none: `block` or `keep`",
);
const ON_MISSING: KeySpec = KeySpec::new(
    "onMissing",
    "string",
    "block",
    "while there is no gateway: `block`, `direct`, or `wait`: an ADD waits for it, and fails with code 11",
);
const WAIT_SECONDS: KeySpec = KeySpec::new(
    "waitSeconds",
    "number",
    "10",
    "how long an ADD waits, 0 to 300",
);
const EGRESS: KeySpec = KeySpec::new(
    "egress",
    "string",
    "another one than the targets'",
    "a gateway's network by which it sends on what targets send it",
);

const INTERFACE: KeySpec = KeySpec::new(
    "interface",
    "string",
    "any",
    "the only interface by which targets' packets may leave a gateway: a tunnel's",
);
const ANSWERS: KeySpec = KeySpec::new(
    "answers",
    "string",
    "direct",
    "what is sent from the number of a published port: `direct`, so that the port is answered, or `led`",
);

/// Keys of the plugin's configuration.
pub(crate) const WARP_KEYS: &[KeySpec] = &[
    VIA,
    GATEWAY,
    RULES,
    IPV6,
    ON_MISSING,
    WAIT_SECONDS,
    EGRESS,
    INTERFACE,
    ANSWERS,
];

/// What a configuration asks for.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// The host's.
    pub host: WarpConfig,
    /// What the keys say, as labels.
    pub labels: BTreeMap<String, String>,
    /// The gateway of all that are none themselves.
    pub via: Option<String>,
    /// How long an ADD waits.
    pub wait: Duration,
}

pub(crate) fn read(request: &Request) -> Result<Wanted, CniError> {
    let problems = Problems::default();
    let fields = request.conf.fields(WARP_KEYS, &problems);
    let host = of_host(&request.env)?;
    let mut labels = BTreeMap::new();
    let via = fields.string(VIA).filter(|text| !text.is_empty());
    if let Some(text) = via
        && let Err(why) = Reference::parse(text)
    {
        problems.conflict(format!("via: {why}"));
    }
    let is_gateway = fields.boolean(GATEWAY) == Some(true);
    if is_gateway && via.is_some() {
        problems.conflict("via: containers of a configuration with \"gateway\" lead others");
    }
    if is_gateway {
        labels.insert(host.gateway_label.clone(), "true".to_owned());
    }
    let rules = fields.parsed_list::<String>(RULES, "must be a string");
    for rule in &rules {
        if let Err(why) = RoutingRule::parse(rule) {
            problems.conflict(format!("rules: {why}"));
        }
    }
    if !rules.is_empty() {
        labels.insert("weft.warp.rules".to_owned(), rules.join("; "));
    }
    let mut word = |key: KeySpec, label: &str, is_right: fn(&str) -> Result<(), String>| {
        let Some(text) = fields.string(key).filter(|text| !text.is_empty()) else {
            return;
        };
        match is_right(text) {
            Ok(()) => drop(labels.insert(label.to_owned(), text.to_owned())),
            Err(why) => problems.conflict(format!("{}: {why}", key.name)),
        }
    };
    word(IPV6, "weft.warp.ipv6", |text| Ipv6::parse(text).map(drop));
    word(ON_MISSING, "weft.warp.on-missing", |text| {
        OnMissing::parse(text).map(drop)
    });
    word(EGRESS, "weft.warp.egress", |_| Ok(()));
    word(ANSWERS, "weft.warp.answers", |text| {
        Answers::parse(text).map(drop)
    });
    word(INTERFACE, "weft.warp.interface", |text| {
        let name = weft_cni::IfName::try_from(text);
        name.map(drop)
            .map_err(|error| format!("{text:?} {}", error.rule))
    });
    let seconds = fields.number(WAIT_SECONDS, 0..=300);
    let wanted = Wanted {
        wait: seconds.map_or(host.wait, |seconds| Duration::from_secs(seconds.into())),
        via: via.map(str::to_owned),
        labels,
        host,
    };
    problems.into_result(request.conf.strict)?;
    Ok(wanted)
}

/// The table of weft.toml, and the environment over it.
fn of_host(env: &Env) -> Result<WarpConfig, CniError> {
    let path = env.config_file();
    let text = match weft_cni::file::read_text(&path) {
        Ok(text) => Some(text),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => {
            let text = format!("{}: cannot be read: {error}", path.display());
            return Err(CniError::new(Code::Io, text));
        }
    };
    let over = |key: &str| {
        let (_, name) = VARIABLES.iter().find(|(known, _)| *known == key)?;
        env.get(&format!("WEFT_WARP_{name}")).map(str::to_owned)
    };
    WarpConfig::read(text.as_deref(), &over).map_err(|problems| {
        let text = format!("{}: {}", path.display(), problems.join("; "));
        CniError::new(Code::InvalidConfig, text)
    })
}
