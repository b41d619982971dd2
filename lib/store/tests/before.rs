//! The store of a host that runs is read after an update: `before/` was written by the version in which a record was
//! one flat structure in the program too. It has a bridge port with all chained plugins, one of a closed network, an
//! interface on a parent with the host's way to it, one of the host's that was moved, and the host itself.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use weft_store::{AttachmentRecord, BackendKind, LinkRecord, Store, StoreConfig};

fn store() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let before = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/before");
    for file in ["store.redb", "store.redb.delta"] {
        std::fs::copy(before.join(file), dir.path().join(file)).unwrap();
    }
    let store = Store::new(StoreConfig {
        dir: dir.path().to_owned(),
        backend: BackendKind::Redb,
        lock_timeout: Duration::from_secs(1),
        boot_id: None,
    });
    (dir, store)
}

fn attachments(store: &Store) -> Vec<AttachmentRecord> {
    store.read(|t| t.attachments()).unwrap()
}

#[test]
fn records_of_before_are_read_and_written_as_they_were() {
    let (_dir, store) = store();
    let written: Value = serde_json::from_str(include_str!("before/attachments.json")).unwrap();
    let read = attachments(&store);
    assert_eq!(serde_json::to_value(&read).unwrap(), written);
    let of = |network: &str| {
        let mut all = read.iter();
        all.find(|record| record.id.network.as_str() == network)
            .unwrap()
    };
    let chain = of("chain");
    assert_eq!(chain.additions.len(), 4);
    assert_eq!(chain.ports()[0].host_port, 8080);
    assert!(matches!(chain.link, LinkRecord::Port { .. }));
    assert!(matches!(of("full").link, LinkRecord::Port { .. }));
    assert!(
        matches!(&of("mac").link, LinkRecord::OnParent { host_routes, .. }
        if host_routes.len() == 1)
    );
    assert!(matches!(of("moved").link, LinkRecord::Moved { .. }));
    assert!(matches!(of("host").link, LinkRecord::Host { .. }));
}

#[test]
fn attachments_of_before_are_removed_whole() {
    let (_dir, store) = store();
    for record in attachments(&store) {
        store.write(|t| t.remove_attachment(&record.id)).unwrap();
        let findings = store.read(|t| t.findings()).unwrap();
        assert!(findings.is_empty(), "{findings:?}");
    }
    let idle = store.read(|t| t.idle_objects()).unwrap();
    store
        .write(|t| idle.iter().try_for_each(|object| t.forget_idle(object)))
        .unwrap();
    let left = store.read(|t| t.shared_objects()).unwrap();
    assert!(left.is_empty(), "{left:?}");
    let leases = store.read(|t| t.dump()).unwrap().leases;
    assert!(leases.is_empty(), "{leases:?}");
}

#[test]
fn a_kind_of_interface_that_is_not_known_is_named() {
    let (_dir, store) = store();
    let mut record = serde_json::to_value(&attachments(&store)[0]).unwrap();
    record.as_object_mut().unwrap().remove("hostLinks");
    let error = serde_json::from_value::<AttachmentRecord>(record).unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("does not know its kind of interface"),
        "{text}"
    );
}
