//! The change log, as a process that stays reads it.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::json;
use weft_store::{Change, Position, Store, StoreError};
use weft_testkit::AtEnd;

use crate::bridge::Net;
use crate::commands::{ok, weft};

/// The attachments as a process knows them that follows the log.
struct Reader {
    store: Store,
    seen: Position,
    known: BTreeSet<String>,
    read_anew: usize,
}

impl Reader {
    fn look(&mut self) {
        let news = self.store.news_since(self.seen).unwrap();
        self.seen = news.position;
        let Some(changes) = news.changes else {
            return self.read_everything();
        };
        for change in changes {
            match change {
                Change::Attached { id } => self.known.insert(id.to_string()),
                Change::Detached { id } => self.known.remove(&id.to_string()),
                Change::Network { .. } | Change::NetworkRemoved { .. } => false,
            };
        }
    }

    fn read_everything(&mut self) {
        let all = self.store.read(|transaction| {
            Ok::<_, StoreError>((transaction.position()?, transaction.attachments()?))
        });
        let (position, attachments) = all.unwrap();
        self.seen = position;
        self.known = attachments.iter().map(|one| one.id.to_string()).collect();
        self.read_anew += 1;
    }
}

#[test]
fn a_reader_misses_nothing_though_the_store_is_made_anew() {
    const PAUSE: Duration = Duration::from_millis(30);
    let net = Net::new();
    let conf = net.conf(&json!({}));
    let [is_calm, is_over] = [AtomicBool::new(false), AtomicBool::new(false)];
    let storm = || {
        let pairs = (0..10).map(|_| {
            net.del(&conf, &net.add(&conf).0);
            net.add(&conf).0
        });
        pairs.collect::<Vec<_>>()
    };
    let rebuild_often = || {
        let mut count = 0;
        while !is_calm.load(Ordering::Relaxed) || count < 4 {
            ok(&weft(&net.suite, &net.host, &["store", "rebuild"]));
            count += 1;
            std::thread::sleep(PAUSE);
        }
        count
    };
    let follow = || {
        let mut reader = Reader {
            store: net.host.store(),
            seen: Position::default(),
            known: BTreeSet::new(),
            read_anew: 0,
        };
        while !is_over.load(Ordering::Relaxed) {
            reader.look();
            std::thread::sleep(Duration::from_millis(1));
        }
        reader.look();
        reader
    };
    std::thread::scope(|scope| {
        let storms = [(); 3].map(|()| scope.spawn(storm));
        let rebuilds = scope.spawn(rebuild_often);
        let reader = scope.spawn(follow);
        let [calm, over] = [AtEnd(&is_calm), AtEnd(&is_over)];
        let alive = storms.map(|one| one.join().unwrap());
        drop(calm);
        let rebuilds = rebuilds.join().unwrap();
        drop(over);
        let reader = reader.join().unwrap();
        let recorded = net.host.store().read(|t| t.attachments()).unwrap();
        let recorded: BTreeSet<String> = recorded.iter().map(|one| one.id.to_string()).collect();
        assert_eq!(reader.known, recorded);
        let alive = alive.iter().flatten();
        let alive: BTreeSet<String> = alive.map(|one| format!("net/{}/eth0", one.id())).collect();
        assert_eq!(recorded, alive);
        assert!(
            rebuilds > 3 && reader.read_anew > 3,
            "{rebuilds}, {}",
            reader.read_anew
        );
    });
}
