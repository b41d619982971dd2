//! Messages of containers and of other servers: whatever they are, they are answered, refused or dropped, in no more
//! bytes than a client takes.
#![no_main]

use std::sync::LazyLock;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use weft_dns::cache::{Cache, Key};
use weft_dns::message::{is_answer_to, outcome, records};
use weft_dns::query::read;
use weft_dns::{Data, Name, Transport, View, answer};

static VIEW: LazyLock<View> = LazyLock::new(|| {
    let name = |text: &str| Name::parse(text).expect("a name");
    let zones = vec![name("weft.internal"), name("net.weft.internal")];
    let mut view = View::new(name("gateway.net.weft.internal"), zones, Vec::new(), true);
    for last in 0..60 {
        view.insert(&name("web.net.weft.internal"), Data::Address([10, 1, 0, last].into()));
    }
    view.insert(&name("*.apps.net.weft.internal"), Data::Text("x".repeat(255)));
    view
});

fuzz_target!(|input: &[u8]| {
    let mut out = Vec::new();
    for transport in [Transport::Udp, Transport::Tcp] {
        let _ = answer(input, (&*VIEW).into(), transport, 7, &mut out);
        assert!(transport == Transport::Tcp || out.len() <= 1232);
    }
    for record in records(input).unwrap_or_default() {
        let _ = (record.owner(), record.data_text(), record.negative_ttl());
    }
    let _ = outcome(input);
    if let Ok(query) = read(input) {
        let _ = is_answer_to(query.question, query.id, input);
        if let Some(key) = Key::of(&query, 1) {
            let mut cache = Cache::new(4);
            cache.put(key.clone(), input, Duration::ZERO);
            let _ = cache.get(&key, &query, 512, Duration::from_secs(1), &mut out);
        }
    }
});
