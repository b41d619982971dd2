use proptest::prelude::*;

use super::*;

fn full() -> CniResult {
    CniResult {
        interfaces: vec![Interface {
            name: "eth0".into(),
            mac: "02:00:00:00:00:01".into(),
            mtu: Some(1400),
            sandbox: "/run/netns/a".into(),
            ..Interface::default()
        }],
        ips: vec![IpConfig {
            interface: Some(0),
            address: "10.0.0.2/24".parse().unwrap(),
            gateway: Some("10.0.0.1".parse().unwrap()),
        }],
        routes: vec![Route {
            priority: Some(7),
            ..Route::new(
                "0.0.0.0/0".parse().unwrap(),
                Some("10.0.0.1".parse().unwrap()),
            )
        }],
        dns: Default::default(),
    }
}

#[test]
fn each_version_has_its_own_shape() {
    let shapes: Vec<String> = SpecVersion::ALL
        .into_iter()
        .map(|version| full().to_value(version).unwrap().to_string())
        .collect();
    insta::assert_snapshot!(shapes.join("\n"), @r#"
    {"cniVersion":"0.1.0","dns":{},"ip4":{"gateway":"10.0.0.1","ip":"10.0.0.2/24","routes":[{"dst":"0.0.0.0/0","gw":"10.0.0.1"}]}}
    {"cniVersion":"0.2.0","dns":{},"ip4":{"gateway":"10.0.0.1","ip":"10.0.0.2/24","routes":[{"dst":"0.0.0.0/0","gw":"10.0.0.1"}]}}
    {"cniVersion":"0.3.0","dns":{},"interfaces":[{"mac":"02:00:00:00:00:01","name":"eth0","sandbox":"/run/netns/a"}],"ips":[{"address":"10.0.0.2/24","gateway":"10.0.0.1","interface":0,"version":"4"}],"routes":[{"dst":"0.0.0.0/0","gw":"10.0.0.1"}]}
    {"cniVersion":"0.3.1","dns":{},"interfaces":[{"mac":"02:00:00:00:00:01","name":"eth0","sandbox":"/run/netns/a"}],"ips":[{"address":"10.0.0.2/24","gateway":"10.0.0.1","interface":0,"version":"4"}],"routes":[{"dst":"0.0.0.0/0","gw":"10.0.0.1"}]}
    {"cniVersion":"0.4.0","dns":{},"interfaces":[{"mac":"02:00:00:00:00:01","name":"eth0","sandbox":"/run/netns/a"}],"ips":[{"address":"10.0.0.2/24","gateway":"10.0.0.1","interface":0,"version":"4"}],"routes":[{"dst":"0.0.0.0/0","gw":"10.0.0.1"}]}
    {"cniVersion":"1.0.0","interfaces":[{"mac":"02:00:00:00:00:01","name":"eth0","sandbox":"/run/netns/a"}],"ips":[{"address":"10.0.0.2/24","gateway":"10.0.0.1","interface":0}],"routes":[{"dst":"0.0.0.0/0","gw":"10.0.0.1"}]}
    {"cniVersion":"1.1.0","interfaces":[{"mac":"02:00:00:00:00:01","mtu":1400,"name":"eth0","sandbox":"/run/netns/a"}],"ips":[{"address":"10.0.0.2/24","gateway":"10.0.0.1","interface":0}],"routes":[{"dst":"0.0.0.0/0","gw":"10.0.0.1","priority":7}]}
    "#);
}

#[test]
fn the_oldest_shapes_need_an_address() {
    let empty = CniResult::default();
    assert_eq!(empty.to_value(SpecVersion::V0_2_0).unwrap_err().code, 7);
    assert!(empty.to_value(SpecVersion::V0_3_0).is_ok());
}

proptest! {
    #[test]
    fn what_the_newest_version_writes_is_read_back(
        address in any::<[u8; 4]>(), prefix in 0u8..=32, mtu in proptest::option::of(1u32..9000),
        priority in proptest::option::of(1u32..100), search in proptest::collection::vec("[a-z.]{1,9}", 0..3)
    ) {
        let mut result = full();
        result.ips[0].address = IpNetwork::new(address.into(), prefix).unwrap();
        result.interfaces[0].mtu = mtu;
        result.routes[0].priority = priority;
        result.dns.search = search;
        let value = result.to_value(SpecVersion::V1_1_0).unwrap();
        prop_assert_eq!(CniResult::from_value(&value).unwrap(), result);
    }

    #[test]
    fn no_json_makes_the_reader_panic(text in "\\PC{0,80}") {
        if let Ok(value) = serde_json::from_str::<Value>(&text) {
            let _ = CniResult::from_value(&value);
        }
    }
}
