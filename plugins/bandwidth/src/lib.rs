//! weft-bandwidth: how fast a container sends and receives, and how much it may begin.
//!
//! Takes the configuration and the capability argument of the reference plugin `bandwidth`, and
//! limits besides; `BANDWIDTH_KEYS` and `LIMIT_KEYS` list the keys. It comes after the plugin that
//! makes the interface.

// A new kind of link, addition or shared object must be handled everywhere.
#![warn(clippy::wildcard_enum_match_arm)]

mod limit;

use limit::{Bandwidth, Rate};
use weft_attach::ChainedPlugin;
use weft_cni::conf::{Fields, KeySpec, KeyTable, Problems};
use weft_cni::{CniError, Declaration, Request};
use weft_firewall::ruleset::Limits;

/// What `weft-bandwidth` is called, takes and does.
pub const BANDWIDTH: ChainedPlugin<Bandwidth> = ChainedPlugin {
    declaration: Declaration {
        name: "weft-bandwidth",
        other_names: &["bandwidth"],
        intro: "How fast the container sends and receives, after the plugin that makes its \
            interface. The keys of the reference plugin `bandwidth`, and limits against floods. \
            What a runtime asks for comes as `runtimeConfig.bandwidth`, for which the \
            configuration declares `\"capabilities\": {\"bandwidth\": true}`.",
        keys: BANDWIDTH_KEYS,
        objects: &[KeyTable {
            title: "`limits`",
            intro: "Each is for one container.",
            keys: LIMIT_KEYS,
        }],
    },
    read,
    add: limit::add,
    del: limit::del,
    check: limit::check,
    status: weft_attach::chained::always_ready,
    needs_nft: true,
};

const INGRESS_RATE: KeySpec = KeySpec::new(
    "ingressRate",
    "number",
    "0",
    "what the container receives, in bits a second; 0 is no limit; also `runtimeConfig.bandwidth.ingressRate`, which takes precedence, as with the next three",
);
const INGRESS_BURST: KeySpec = KeySpec::new(
    "ingressBurst",
    "number",
    "50 ms of the rate, 10 packets at least",
    "bits at once; 2147483647 and more, which runtimes send for lack of a number, is none",
);
const EGRESS_RATE: KeySpec = KeySpec::new(
    "egressRate",
    "number",
    "0",
    "what the container sends, in bits a second",
);
const EGRESS_BURST: KeySpec = KeySpec::new(
    "egressBurst",
    "number",
    "50 ms of the rate, 10 packets at least",
    "bits at once",
);
const UNSHAPED_SUBNETS: KeySpec = KeySpec::new(
    "unshapedSubnets",
    "list",
    "",
    "refused: a rate is for all packets",
);
const SHAPED_SUBNETS: KeySpec = KeySpec::new(
    "shapedSubnets",
    "list",
    "",
    "refused: a rate is for all packets",
);
const LIMITS: KeySpec = KeySpec::new(
    "limits",
    "object",
    "none",
    "against floods; ports of bridges only",
);

/// Keys of the plugin's configuration.
pub(crate) const BANDWIDTH_KEYS: &[KeySpec] = &[
    INGRESS_RATE,
    INGRESS_BURST,
    EGRESS_RATE,
    EGRESS_BURST,
    UNSHAPED_SUBNETS,
    SHAPED_SUBNETS,
    LIMITS,
];

const PACKETS_PER_SECOND: KeySpec = KeySpec::new(
    "packetsPerSecond",
    "number",
    "none",
    "packets that the container sends",
);
const NEW_CONNECTIONS_PER_SECOND: KeySpec = KeySpec::new(
    "newConnectionsPerSecond",
    "number",
    "none",
    "connections that it begins through the host, by address",
);
const CONNECTIONS: KeySpec = KeySpec::new(
    "connections",
    "number",
    "none",
    "connections that it has begun and that the host still tracks, by address",
);

/// Keys of `limits`.
pub(crate) const LIMIT_KEYS: &[KeySpec] =
    &[PACKETS_PER_SECOND, NEW_CONNECTIONS_PER_SECOND, CONNECTIONS];

/// What runtimes send in `runtimeConfig.bandwidth`.
const RUNTIME_KEYS: &[KeySpec] = &[
    INGRESS_RATE,
    INGRESS_BURST,
    EGRESS_RATE,
    EGRESS_BURST,
    UNSHAPED_SUBNETS,
    SHAPED_SUBNETS,
];

fn read(request: &Request) -> Result<Bandwidth, CniError> {
    let problems = Problems::default();
    let fields = request.conf.fields(BANDWIDTH_KEYS, &problems);
    let runtime = fields
        .value("runtimeConfig")
        .and_then(|value| value.as_object());
    let runtime = runtime.map(|runtime| Fields::open(runtime, "runtimeConfig", &problems));
    let asked = runtime.and_then(|runtime| runtime.object("bandwidth", &[RUNTIME_KEYS]));
    for source in [Some(&fields), asked.as_ref()].into_iter().flatten() {
        for key in [UNSHAPED_SUBNETS, SHAPED_SUBNETS] {
            if !source.list(key).is_empty() {
                source.invalid(key, &"", "cannot be given: a rate is for all packets");
            }
        }
    }
    let rate = |rate_key: KeySpec, burst_key: KeySpec| {
        let own = rate_of(&fields, rate_key, burst_key);
        asked
            .as_ref()
            .and_then(|asked| rate_of(asked, rate_key, burst_key))
            .or(own)
    };
    let wanted = Bandwidth {
        ingress: rate(INGRESS_RATE, INGRESS_BURST),
        egress: rate(EGRESS_RATE, EGRESS_BURST),
        limits: limits(&fields),
    };
    problems.into_result(request.conf.strict)?;
    Ok(wanted)
}

/// A rate of 0 is none.
fn rate_of(fields: &Fields<'_>, rate_key: KeySpec, burst_key: KeySpec) -> Option<Rate> {
    /// math.MaxInt32: it or more is what runtimes send when they were told nothing.
    const NOTHING: u64 = 2_147_483_647;
    /// A bit less than a byte a second is no rate.
    const LEAST: u64 = 8;
    let burst = fields.large_number(burst_key).filter(|bits| *bits > 0);
    let bits = fields.large_number(rate_key).filter(|bits| *bits > 0);
    if bits.is_none() && burst.is_some_and(|burst| burst < NOTHING) {
        fields.invalid(burst_key, &burst.unwrap_or(0), "must come with a rate");
    }
    if let Some(bits) = bits.filter(|bits| *bits < LEAST) {
        fields.invalid(rate_key, &bits, "must be at least 8 bits a second");
        return None;
    }
    Some(Rate {
        bits: bits?,
        burst: burst.filter(|burst| *burst < NOTHING),
    })
}

fn limits(fields: &Fields<'_>) -> Limits {
    let Some(limits) = fields.object(LIMITS, &[LIMIT_KEYS]) else {
        return Limits::default();
    };
    let number = |key| limits.number(key, 1..=10_000_000);
    Limits {
        packets: number(PACKETS_PER_SECOND),
        new_connections: number(NEW_CONNECTIONS_PER_SECOND),
        connections: number(CONNECTIONS),
    }
}
