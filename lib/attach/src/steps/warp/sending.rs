//! The table of nf_tables in a gateway's namespace: what targets send leaves with the gateway's address, and nobody is told
//! of a shorter way than by the gateway.

use std::hash::{DefaultHasher, Hash, Hasher};

use ipnetwork::IpNetwork;
use weft_cni::{IfName, IpFamily};
use weft_kernel::KernelError;
use weft_kernel::nft::{
    BaseChain, Batch, Chain, Expression, Family, NftSocket, Table, Verdict, name,
};

use weft_warp::GatewayPlan;

use super::namespace::Namespace;

const TABLE: Table = Table {
    family: Family::Inet,
    name: name("weft-warp"),
};
/// NF_INET_POST_ROUTING, srcnat.
const LEAVING: Chain = Chain {
    table: TABLE,
    name: name("leaving"),
    base: Some(BaseChain {
        kind: "nat",
        hook: 4,
        priority: 100,
    }),
};
/// NF_INET_FORWARD.
const FORWARD: Chain = Chain {
    table: TABLE,
    name: name("forward"),
    base: Some(BaseChain {
        kind: "filter",
        hook: 2,
        priority: 0,
    }),
};
/// NF_INET_LOCAL_OUT.
const OUTPUT: Chain = Chain {
    table: TABLE,
    name: name("output"),
    base: Some(BaseChain {
        kind: "filter",
        hook: 3,
        priority: 0,
    }),
};
/// NFT_REG32_00.
const REGISTER: u32 = 8;
const NFT_META_NFPROTO: u32 = 15;
const NFT_META_L4PROTO: u32 = 16;
const NETWORK_HEADER: u32 = 1;
const TRANSPORT_HEADER: u32 = 2;

/// Makes the table, or makes it anew where it is for other networks. Whether anything was to be done.
///
/// # Errors
/// The kernel's.
pub(super) fn put(namespace: &Namespace, plan: &GatewayPlan) -> Result<bool, KernelError> {
    let mut nft = NftSocket::open_in(namespace.netns(), namespace.home())?;
    let there = nft.user_data(&TABLE)?;
    let mark = mark(plan);
    if there.as_deref() == Some(mark.as_slice()) {
        return Ok(false);
    }
    let mut batch = Batch::new();
    if there.is_some() || nft.has_table(&TABLE)? {
        TABLE.delete(&mut batch);
    }
    TABLE.create(&mark, &mut batch);
    LEAVING.create(&mut batch);
    OUTPUT.create(&mut batch);
    FORWARD.create(&mut batch);
    for subnet in &plan.subnets {
        let mut rule = comes_from(subnet);
        rule.push(Expression::Masquerade);
        LEAVING.append(&rule, &mut batch);
        if let Some(interface) = &plan.interface {
            FORWARD.append(&by_another(subnet, interface), &mut batch);
        }
    }
    for (protocol, number) in [(1, 5), (58, 137)] {
        OUTPUT.append(&redirect(protocol, number), &mut batch);
    }
    nft.commit(&batch)?;
    Ok(true)
}

/// Whether the table is there, for these networks.
///
/// # Errors
/// The kernel's.
pub(super) fn is_right(namespace: &Namespace, plan: &GatewayPlan) -> Result<bool, KernelError> {
    let mut nft = NftSocket::open_in(namespace.netns(), namespace.home())?;
    Ok(nft.user_data(&TABLE)?.as_deref() == Some(mark(plan).as_slice()))
}

/// Removes the table. Whether there was one.
///
/// # Errors
/// The kernel's.
pub(super) fn remove(namespace: &Namespace) -> Result<bool, KernelError> {
    let mut nft = NftSocket::open_in(namespace.netns(), namespace.home())?;
    if !nft.has_table(&TABLE)? {
        return Ok(false);
    }
    let mut batch = Batch::new();
    TABLE.delete(&mut batch);
    nft.commit(&batch)?;
    Ok(true)
}

/// What the table was made for, by which it is told whether it is right.
fn mark(plan: &GatewayPlan) -> Vec<u8> {
    let mut hasher = DefaultHasher::new();
    (&plan.subnets, &plan.interface).hash(&mut hasher);
    format!("weft warp {:016x}", hasher.finish()).into_bytes()
}

/// What targets send leaves by one interface, or not at all.
fn by_another(subnet: &IpNetwork, interface: &str) -> Vec<Expression> {
    const NFT_META_OIFNAME: u32 = 7;
    let mut rule = comes_from(subnet);
    if let Ok(name) = IfName::try_from(interface) {
        let mut value = name.as_str().as_bytes().to_vec();
        value.resize(16, 0);
        rule.push(Expression::Meta {
            key: NFT_META_OIFNAME,
            register: REGISTER,
        });
        rule.push(Expression::Compare {
            register: REGISTER,
            negated: true,
            value,
        });
    }
    rule.push(Expression::Counter);
    rule.push(Expression::Verdict(Verdict::Drop));
    rule
}

fn comes_from(subnet: &IpNetwork) -> Vec<Expression> {
    let (family, offset, length, mask) = match subnet {
        IpNetwork::V4(one) => (IpFamily::V4, 12, 4, one.mask().octets().to_vec()),
        IpNetwork::V6(one) => (IpFamily::V6, 8, 16, one.mask().octets().to_vec()),
    };
    let network = match subnet {
        IpNetwork::V4(one) => one.network().octets().to_vec(),
        IpNetwork::V6(one) => one.network().octets().to_vec(),
    };
    vec![
        Expression::Meta {
            key: NFT_META_NFPROTO,
            register: REGISTER,
        },
        is(vec![family.number()]),
        Expression::Payload {
            base: NETWORK_HEADER,
            offset,
            length,
            register: REGISTER,
        },
        Expression::Mask {
            register: REGISTER,
            mask,
        },
        is(network),
    ]
}

/// The kernel would tell targets of a router that is nearer (RFC 792, RFC 4861): they would pass the gateway by.
fn redirect(protocol: u8, number: u8) -> Vec<Expression> {
    vec![
        Expression::Meta {
            key: NFT_META_L4PROTO,
            register: REGISTER,
        },
        is(vec![protocol]),
        Expression::Payload {
            base: TRANSPORT_HEADER,
            offset: 0,
            length: 1,
            register: REGISTER,
        },
        is(vec![number]),
        Expression::Verdict(Verdict::Drop),
    ]
}

const fn is(value: Vec<u8>) -> Expression {
    Expression::Compare {
        register: REGISTER,
        negated: false,
        value,
    }
}
