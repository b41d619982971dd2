//! weft-tuning: settings of a container's interface and of its namespace.
//!
//! Takes the configuration of the reference plugin `tuning`; `TUNING_KEYS` lists the keys. It
//! comes after the plugin that makes the interface.

// A new kind of link, addition or shared object must be handled everywhere.
#![warn(clippy::wildcard_enum_match_arm)]

mod tune;

use tune::Tuning;
use weft_attach::{ChainedPlugin, Sysctls, conf};
use weft_cni::conf::{Fields, KeySpec, Problems};
use weft_cni::{CniError, Declaration, Request};

/// What `weft-tuning` is called, takes and does.
pub const TUNING: ChainedPlugin<Tuning> = ChainedPlugin {
    declaration: Declaration {
        name: "weft-tuning",
        other_names: &["tuning"],
        intro: "Settings of an interface and its namespace, after the plugin that makes it. The \
            keys of the reference plugin `tuning`. What was there before comes back with DEL.",
        keys: TUNING_KEYS,
        objects: &[],
    },
    read,
    add: tune::add,
    del: tune::del,
    check: tune::check,
    status: weft_attach::chained::always_ready,
    needs_nft: false,
};

const MAC: KeySpec = KeySpec {
    default: "as it is",
    doc: "the interface's MAC; also CNI_ARGS MAC, args.cni.mac, runtimeConfig.mac",
    ..conf::MAC
};
const MTU: KeySpec = KeySpec::new(
    "mtu",
    "number",
    "as it is",
    "MTU in bytes, of both ends of a pair",
);
const PROMISC: KeySpec = KeySpec::new(
    "promisc",
    "boolean",
    "as it is",
    "the interface takes in all frames",
);
const ALLMULTI: KeySpec = KeySpec::new(
    "allmulti",
    "boolean",
    "as it is",
    "the interface takes in all multicast frames",
);
const TX_Q_LEN: KeySpec = KeySpec::new(
    "txQLen",
    "number",
    "as it is",
    "length of the transmit queue in packets",
);
const DATA_DIR: KeySpec = KeySpec::new(
    "dataDir",
    "string",
    "",
    "accepted; what was there before is in Weft's store",
);

/// Keys of the plugin's configuration.
pub(crate) const TUNING_KEYS: &[KeySpec] = &[
    conf::SYSCTL,
    MAC,
    MTU,
    PROMISC,
    ALLMULTI,
    TX_Q_LEN,
    DATA_DIR,
];

fn read(request: &Request) -> Result<Tuning, CniError> {
    let problems = Problems::default();
    let args = request.env.args()?;
    let fields = request.conf.fields(TUNING_KEYS, &problems);
    let mut wanted = Tuning {
        sysctls: Sysctls::read(&fields, request),
        mac: conf::mac(request, &args, &fields),
        ..settings(&fields)
    };
    if let Some(cni) = request.conf.all_args_cni() {
        let asked = Fields::open(cni, "args.cni", &problems);
        wanted.sysctls.extend(&asked, request);
        let asked = settings(&asked);
        wanted = Tuning {
            mtu: asked.mtu.or(wanted.mtu),
            promiscuous: asked.promiscuous.or(wanted.promiscuous),
            all_multicast: asked.all_multicast.or(wanted.all_multicast),
            tx_queue_len: asked.tx_queue_len.or(wanted.tx_queue_len),
            ..wanted
        };
    }
    problems.into_result(request.conf.strict)?;
    Ok(wanted)
}

/// 0 is "as it is", as some configurations have it.
fn settings(fields: &Fields<'_>) -> Tuning {
    let number = |key, max| fields.number(key, 0..=max).filter(|number| *number > 0);
    Tuning {
        mtu: number(MTU, 65_535),
        promiscuous: fields.boolean(PROMISC),
        all_multicast: fields.boolean(ALLMULTI),
        tx_queue_len: number(TX_Q_LEN, u32::MAX),
        ..Tuning::default()
    }
}
