//! What an element carries besides its key: a value, a chain to jump to, a limit, a counter.

use super::attribute::{Attributes, attributes};
use super::expression::{Expression, NFTA_DATA_VALUE, NFTA_DATA_VERDICT, Verdict};
use super::set_kind::SetKind;

pub(super) const ELEM_DATA: u16 = 2;
pub(super) const ELEM_EXPRESSION: u16 = 7;
/// The data type of verdicts (NFT_DATA_VERDICT).
pub(super) const VERDICT_TYPE: u32 = 0xffff_ff00;
/// What a set of limits shows as its elements' kind: every element has its own.
pub(super) const NO_LIMIT: [u8; 8] = [0, 0, 0, 1, 0, 0, 0, 1];
const NFTA_EXPR_NAME: u16 = 1;
const NFTA_EXPR_DATA: u16 = 2;

fn number(bytes: Option<&[u8]>) -> u32 {
    let word = bytes.and_then(|bytes| bytes.first_chunk::<4>());
    word.copied().map_or(0, u32::from_be_bytes)
}

/// The expression that every element of such a set has.
pub(super) fn element_expression(kind: SetKind, value: &[u8]) -> Option<Expression> {
    match kind {
        SetKind::Counted => Some(Expression::Counter),
        SetKind::Rate => Some(Expression::RateOver {
            packets: number(Some(value)),
            burst: number(value.get(4..)),
        }),
        SetKind::Connections => Some(Expression::ConnectionsOver {
            count: number(Some(value)),
        }),
        SetKind::Hash | SetKind::Interval | SetKind::Map(_) | SetKind::Verdicts => None,
    }
}

pub(super) fn put_value(kind: SetKind, value: &[u8], element: &mut Attributes) {
    match (kind, element_expression(kind, value)) {
        (SetKind::Verdicts, _) => {
            let chain = String::from_utf8_lossy(value).into_owned();
            element.nest(ELEM_DATA, |data| Verdict::put_jump(&chain, data));
        }
        (_, Some(expression)) => {
            element.nest(ELEM_EXPRESSION, |nest| expression.put_parts(nest));
        }
        (_, None) => element.nest(ELEM_DATA, |data| data.put(NFTA_DATA_VALUE, value)),
    }
}

/// The chain that an element leads to.
pub(super) fn read_verdict(data: &[u8]) -> Option<Vec<u8>> {
    const NFTA_VERDICT_CHAIN: u16 = 2;
    let (_, verdict) = attributes(data).find(|(kind, _)| *kind == NFTA_DATA_VERDICT)?;
    let (_, chain) = attributes(verdict).find(|(kind, _)| *kind == NFTA_VERDICT_CHAIN)?;
    Some(chain.strip_suffix(&[0]).unwrap_or(chain).to_vec())
}

/// Which verdict an element of a map of verdicts has.
pub(super) fn read_verdict_code(data: &[u8]) -> Option<i32> {
    const NFTA_VERDICT_CODE: u16 = 1;
    let (_, verdict) = attributes(data).find(|(kind, _)| *kind == NFTA_DATA_VERDICT)?;
    let (_, code) = attributes(verdict).find(|(kind, _)| *kind == NFTA_VERDICT_CODE)?;
    Some(number(Some(code)).cast_signed())
}

/// What an element's expression says.
#[derive(Debug, Default)]
pub(super) struct ElementState {
    pub(super) limit: Option<Vec<u8>>,
    pub(super) packets: u64,
}

impl ElementState {
    pub(super) fn read(expression: &[u8]) -> Self {
        let part = |wanted| attributes(expression).find(|(kind, _)| *kind == wanted);
        let (Some((_, name)), Some((_, data))) = (part(NFTA_EXPR_NAME), part(NFTA_EXPR_DATA))
        else {
            return Self::default();
        };
        let field = |wanted| {
            attributes(data)
                .find(|(kind, _)| *kind == wanted)
                .map(|(_, v)| v)
        };
        let mut state = Self::default();
        match name.strip_suffix(&[0]).unwrap_or(name) {
            b"counter" => {
                const PACKETS: u16 = 2;
                let bytes = field(PACKETS).and_then(|value| value.first_chunk::<8>());
                state.packets = bytes.copied().map_or(0, u64::from_be_bytes);
            }
            b"limit" => {
                const RATE: u16 = 1;
                const BURST: u16 = 3;
                let rate = field(RATE).and_then(|value| value.get(4..8));
                let mut limit = number(rate).to_be_bytes().to_vec();
                limit.extend(number(field(BURST)).to_be_bytes());
                state.limit = Some(limit);
            }
            b"connlimit" => state.limit = Some(number(field(1)).to_be_bytes().to_vec()),
            _ => {}
        }
        state
    }
}
