//! Filters where packets come in by an interface (`tc ... ingress`), before connection tracking and nf_tables see them.
//! They stay when the ruleset is flushed.

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};

use crate::error::KernelError;
use crate::netlink::{Batch, RouteSocket, kind};
use crate::nft::attribute_bytes;
use crate::qdisc::{Bytes, HEADER_BYTES, TCA_KIND, TCA_OPTIONS, header_at};

/// TC_H_CLSACT, and its two sides (linux/pkt_sched.h).
const CLSACT: u32 = 0xffff_fff1;
const INGRESS: u32 = 0xffff_fff2;
const EGRESS: u32 = 0xffff_fff3;
/// Where filters hang: TC_H_MAKE(TC_H_CLSACT, 0).
const HANDLE: u32 = 0xffff_0000;
/// Behind those that administrators have.
const FIRST_PREFERENCE: u32 = 49_000;

/// The loopback network, 127.0.0.0/8.
const LOOPBACK: [u8; 4] = [127, 0, 0, 0];
const LOOPBACK_MASK: [u8; 4] = [255, 0, 0, 0];
/// Where the source and the destination stand in an IPv4 header.
const PLACES: [u32; 2] = [12, 16];

/// struct tcmsg's last field: the filter's preference, and the protocol (ETH_P_IP).
fn info(preference: u32) -> u32 {
    let protocol = u16::from_ne_bytes([0x08, 0x00]);
    preference << 16 | u32::from(protocol)
}

/// Drops IPv4 packets from or to 127.0.0.0/8 that come in by an interface.
///
/// # Errors
/// The kernel's; one without `cls_u32` or `act_gact` cannot do it. Nothing is left then.
pub fn drop_loopback(socket: &mut RouteSocket, index: u32) -> Result<(), KernelError> {
    let mut batch = Batch::new();
    let mut message = header_at(index, HANDLE, CLSACT, 0);
    message.extend(attribute_bytes(TCA_KIND, b"clsact\0"));
    let flags = NLM_F_CREATE | NLM_F_EXCL;
    let words = format!("prepare filters of link {index} (clsact)");
    batch.push(kind::NEW_QDISC, &Bytes(message), flags, words);
    for (place, preference) in PLACES.into_iter().zip(FIRST_PREFERENCE..) {
        let mut message = header_at(index, 0, INGRESS, info(preference));
        message.extend(attribute_bytes(TCA_KIND, b"u32\0"));
        message.extend(attribute_bytes(TCA_OPTIONS, &drop_at(place)));
        let words = format!("drop packets of 127.0.0.0/8 that come in by link {index}");
        batch.push(kind::NEW_FILTER, &Bytes(message), flags, words);
    }
    for outcome in socket.send_all(batch)? {
        match outcome {
            Err(error) if !error.is_present() => {
                allow_loopback(socket, index)?;
                return Err(error);
            }
            _ => {}
        }
    }
    Ok(())
}

/// The options of a filter that drops what has 127.0.0.0/8 at a place of its header: struct tc_u32_sel with one key, and
/// the action.
fn drop_at(place: u32) -> Vec<u8> {
    const TCA_U32_SEL: u16 = 5;
    const TCA_U32_ACT: u16 = 7;
    const TERMINAL: u8 = 1;
    const ONE_KEY: u8 = 1;
    const TCA_ACT_KIND: u16 = 1;
    const TCA_ACT_OPTIONS: u16 = 2;
    const TCA_GACT_PARMS: u16 = 2;
    const TC_ACT_SHOT: u32 = 2;
    let mut selector = vec![TERMINAL, 0, ONE_KEY, 0];
    selector.extend([0; 12]);
    selector.extend(LOOPBACK_MASK);
    selector.extend(LOOPBACK);
    selector.extend(place.to_ne_bytes());
    selector.extend([0; 4]);
    // struct tc_gact: index, capabilities, action, two counts.
    let parameters = [0, 0, TC_ACT_SHOT, 0, 0].map(u32::to_ne_bytes).concat();
    let mut action = attribute_bytes(TCA_ACT_KIND, b"gact\0");
    action.extend(attribute_bytes(
        TCA_ACT_OPTIONS,
        &attribute_bytes(TCA_GACT_PARMS, &parameters),
    ));
    let mut options = attribute_bytes(TCA_U32_SEL, &selector);
    options.extend(attribute_bytes(TCA_U32_ACT, &attribute_bytes(1, &action)));
    options
}

/// Takes these filters away, and what they hang on if nothing else does.
///
/// # Errors
/// The kernel's.
pub fn allow_loopback(socket: &mut RouteSocket, index: u32) -> Result<(), KernelError> {
    let mut batch = Batch::new();
    for (_, preference) in PLACES.into_iter().zip(FIRST_PREFERENCE..) {
        let message = header_at(index, 0, INGRESS, info(preference));
        let words = format!("remove a filter of link {index}");
        batch.push(kind::DELETE_FILTER, &Bytes(message), 0, words);
    }
    // Those that are absent are as good as removed.
    socket.send_all(batch)?;
    for parent in [INGRESS, EGRESS] {
        let query = header_at(index, 0, parent, 0);
        let words = format!("list the filters of link {index}");
        if !socket.dump(kind::GET_FILTER, &query, &words)?.is_empty() {
            return Ok(());
        }
    }
    let mut batch = Batch::new();
    let message = header_at(index, HANDLE, CLSACT, 0);
    let words = format!("remove what filters of link {index} hang on");
    batch.push(kind::DELETE_QDISC, &Bytes(message), 0, words);
    for outcome in socket.send_all(batch)? {
        outcome.or_else(|error| match error.is_absent() || error.is_invalid() {
            true => Ok(()),
            false => Err(error),
        })?;
    }
    Ok(())
}

/// Whether packets of 127.0.0.0/8 are dropped where they come in.
///
/// # Errors
/// The kernel's.
pub fn drops_loopback(socket: &mut RouteSocket, index: u32) -> Result<bool, KernelError> {
    let query = header_at(index, 0, INGRESS, 0);
    let words = format!("list the filters of link {index}");
    let answers = socket.dump(kind::GET_FILTER, &query, &words)?;
    let has = |preference: u32| {
        let info = info(preference).to_ne_bytes();
        answers
            .iter()
            .any(|answer| answer.get(HEADER_BYTES - 4..HEADER_BYTES) == Some(&info))
    };
    Ok(has(FIRST_PREFERENCE) && has(FIRST_PREFERENCE + 1))
}
