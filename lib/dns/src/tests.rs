//! Whole messages, as clients send them.

use proptest::prelude::*;

use crate::{Code, Data, Name, Outcome, Transport, View, answer, kind};

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

fn view(addresses: u8) -> View {
    let zones = vec![name("weft.internal")];
    let subnets = vec!["10.1.0.0/24".parse().unwrap()];
    let mut view = View::new(name("ns.demo.weft.internal"), zones, subnets, true);
    for last in 0..addresses {
        let ip = [10, 1, 0, last].into();
        view.insert(&name("web.demo.weft.internal"), Data::Address(ip));
    }
    view
}

/// A query, with EDNS if a payload is given. The name's case is kept.
fn query(text: &str, kind: u16, payload: Option<u16>) -> Vec<u8> {
    let mut message = vec![
        0x12,
        0x34,
        0x01,
        0x00,
        0,
        1,
        0,
        0,
        0,
        0,
        0,
        u8::from(payload.is_some()),
    ];
    for label in text.split('.') {
        message.push(u8::try_from(label.len()).unwrap());
        message.extend(label.as_bytes());
    }
    message.push(0);
    message.extend(kind.to_be_bytes());
    message.extend([0, 1]);
    if let Some(payload) = payload {
        message.extend([0, 0, 41]);
        message.extend(payload.to_be_bytes());
        message.extend([0, 0, 0, 0, 0, 0]);
    }
    message
}

struct Answer {
    bytes: Vec<u8>,
}

impl Answer {
    fn of(message: &[u8], view: &View, transport: Transport) -> Option<Self> {
        let mut bytes = Vec::new();
        match answer(message, view.into(), transport, 0, &mut bytes) {
            Outcome::Answered { .. } => Some(Self { bytes }),
            Outcome::Silent | Outcome::Forward(_) => None,
        }
    }

    fn number(&self, at: usize) -> u16 {
        u16::from_be_bytes([self.bytes[at], self.bytes[at + 1]])
    }

    fn code(&self) -> u16 {
        self.number(2) & 0xf
    }

    fn flags(&self) -> u16 {
        self.number(2) & !0xf
    }

    /// Answers, authorities, additional records.
    fn counts(&self) -> [u16; 3] {
        [6, 8, 10].map(|at| self.number(at))
    }
}

const AUTHORITATIVE: u16 = 0x0400;
const TRUNCATED: u16 = 0x0200;

#[test]
fn an_address_is_answered_in_the_case_it_was_asked_in() {
    let message = query("WeB.demo.weft.internal", kind::A, None);
    let found = Answer::of(&message, &view(1), Transport::Udp).unwrap();
    assert_eq!((found.code(), found.counts()), (0, [1, 0, 0]));
    assert_eq!(found.flags() & AUTHORITATIVE, AUTHORITATIVE);
    assert_eq!(found.number(0), 0x1234);
    assert_eq!(&found.bytes[12..message.len()], &message[12..]);
    assert!(found.bytes.ends_with(&[0, 0, 0, 5, 0, 4, 10, 1, 0, 0]));
}

#[test]
fn what_is_not_there_has_an_authority() {
    for (text, asked, code) in [
        ("web.demo.weft.internal", kind::AAAA, 0),
        ("web.demo.weft.internal", 65, 0),
        ("web.demo.weft.internal", 15, 0),
        ("db.demo.weft.internal", kind::A, 3),
        ("9.0.1.10.in-addr.arpa", kind::PTR, 3),
    ] {
        let found = Answer::of(&query(text, asked, Some(4096)), &view(1), Transport::Udp).unwrap();
        assert_eq!((found.code(), found.counts()), (code, [0, 1, 1]), "{text}");
    }
}

#[test]
fn many_addresses_are_cut_and_said_to_be() {
    let view = view(60);
    for (payload, transport, cut, most) in [
        (None, Transport::Udp, true, 512),
        (Some(100), Transport::Udp, true, 512),
        (Some(4096), Transport::Udp, false, 1232),
        (None, Transport::Tcp, false, 65535),
    ] {
        let message = query("web.demo.weft.internal", kind::A, payload);
        let found = Answer::of(&message, &view, transport).unwrap();
        assert_eq!(found.flags() & TRUNCATED != 0, cut, "{payload:?}");
        assert!(found.bytes.len() <= most, "{}", found.bytes.len());
        assert_eq!(found.counts()[0] == 60, !cut);
    }
}

#[test]
fn others_are_asked_for_what_is_elsewhere() {
    let message = query("example.com", kind::A, Some(1232));
    let mut out = Vec::new();
    let outcome = answer(&message, (&view(1)).into(), Transport::Udp, 0, &mut out);
    assert!(matches!(outcome, Outcome::Forward(query) if query.name == name("example.com")));
    let mut closed = view(1);
    closed.forwards = false;
    let found = Answer::of(&message, &closed, Transport::Udp).unwrap();
    assert_eq!(found.code(), Code::Refused as u16);
    // Extended error 18, Prohibited.
    assert!(found.bytes.ends_with(&[0, 6, 0, 15, 0, 2, 0, 18]));
}

#[test]
fn strange_queries_are_refused_or_dropped() {
    let view = view(1);
    let ask = |message: &[u8]| Answer::of(message, &view, Transport::Udp).map(|found| found.code());
    let good = query("web.demo.weft.internal", kind::A, Some(1232));
    assert_eq!(ask(&good), Some(0));
    let with = |at: usize, value: u8| {
        let mut message = good.clone();
        message[at] = value;
        message
    };
    assert_eq!(ask(&with(2, 0x80)), None, "an answer is not answered");
    assert_eq!(ask(&with(2, 0x28)), Some(4), "an update");
    assert_eq!(ask(&with(5, 2)), Some(1), "two questions");
    assert_eq!(ask(&with(12, 0xc0)), Some(1), "a pointer in the question");
    assert_eq!(ask(&good[..good.len() - 3]), Some(1), "half a record");
    assert_eq!(ask(&good[..11]), None);
    assert_eq!(ask(&query("weft.internal", kind::AXFR, None)), Some(5));
    let newer = with(good.len() - 5, 1);
    assert_eq!(ask(&newer).map(|code| code & 0xf), Some(0), "BADVERS is 16");
}

proptest! {
    #[test]
    fn whatever_comes_is_survived(message in prop::collection::vec(any::<u8>(), 0..600)) {
        let mut out = Vec::new();
        let _ = answer(&message, (&view(60)).into(), Transport::Udp, 7, &mut out);
        prop_assert!(out.len() <= 1232);
    }

    #[test]
    fn damaged_queries_are_survived(
        places in prop::collection::vec((0_usize..60, any::<u8>()), 0..6),
        length in 0_usize..60,
    ) {
        let mut message = query("web.demo.weft.internal", kind::ANY, Some(1232));
        for (at, value) in places {
            if let Some(byte) = message.get_mut(at) {
                *byte = value;
            }
        }
        message.truncate(length);
        let mut out = Vec::new();
        let _ = answer(&message, (&view(60)).into(), Transport::Udp, 7, &mut out);
        prop_assert!(out.len() <= 1232);
    }
}
