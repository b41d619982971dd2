use super::*;

const TWO: &str = r#"version: 2
node:
  id: host-a
  hostname: a.example
netplan:
  enabled: true
  underlay:
    prefer_interfaces: [eth9]
overlays:
  - vni: 100
    name: vxlan100
    bridge:
      name: br-prod
      ipv4: 10.100.0.1/24
    routing:
      export:
        networks: ["172.16.10.0/24"]
        metric: 50
      import:
        accept_all: true
        install:
          table: 100
          lookup_rules: {enabled: true, mode: prefix}
  - vni: 200
    mtu: 1400
    learning: false
    bridge: {name: br-dev, ipv6: "fd20::1/64"}
peers:
  - id: host-b
    endpoint: {address: 192.0.2.2, via_interface: eth0}
    vnis: [100]
    auth: {mode: psk, psk_ref: x}
    health: {keepalive_interval_ms: 500, dead_after_ms: 2000}
topology: {mode: full-mesh}
security:
  control_plane:
    listen: {port: 9999}
observability:
  logging: {level: debug}
  metrics: {listen: "127.0.0.1:9500"}
"#;

#[test]
fn version_two_means_the_same() {
    let Translated { overlays, remarks } = translate(TWO).unwrap();
    assert_eq!(overlays.node.id.as_deref(), Some("host-a"));
    let [prod, dev] = &overlays.overlay[..] else {
        panic!()
    };
    assert_eq!((prod.vni, prod.mtu, prod.table()), (100, Some(1450), 100));
    assert_eq!(prod.underlay.prefer_interfaces, ["eth9"]);
    assert!(prod.routing.import.accept_all && prod.learning && !dev.learning);
    assert_eq!(
        prod.routing.import.install.lookup_rules.mode,
        crate::config::LookupMode::Prefix
    );
    assert_eq!((dev.device().as_str(), dev.mtu), ("vxlan200", Some(1400)));
    let peer = &overlays.peer[0];
    assert_eq!(
        (peer.id.as_str(), peer.health.dead_after_ms),
        ("host-b", 2000)
    );
    assert!(peer.is_in(100) && !peer.is_in(200));
    let plane = overlays.security.control_plane.unwrap();
    assert!(plane.insecure && plane.listen.port == 9999);
    assert_eq!(overlays.observability.metrics.listen.port(), 9500);
    assert_eq!(overlays.observability.healthcheck.listen.port(), 9110);
    let lines: Vec<&str> = remarks
        .iter()
        .map(|text| text.split(" means").next().unwrap())
        .collect();
    assert_eq!(
        lines,
        [
            "line 30: peers[0].endpoint.via_interface:",
            "line 32: peers[0].auth:",
            "line 34: topology:",
            "line 39: observability.logging:",
        ]
    );
}

#[test]
fn version_one_means_the_same() {
    let text = "version: 1\nnode: {id: a}\noverlay:\n  vxlan:\n    vni: 7\n    bridge: br7\n    dstport: 4790\n  peers:\n    - id: b\n      endpoint:\n        address: 192.0.2.2\nrouting:\n  import: {allow: [10.0.0.0/8]}\n\
        security:\n  control_plane:\n    tls: {enabled: true, cert_file: /a, key_file: /b, ca_file: /c}\n";
    let Translated { overlays, remarks } = translate(text).unwrap();
    let one = &overlays.overlay[0];
    assert_eq!(
        (one.vni, one.port, one.bridge.name.as_str()),
        (7, 4790, "br7")
    );
    assert_eq!(one.routing.import.allow.len(), 1);
    assert_eq!(overlays.peer.len(), 1);
    assert!(overlays.security.control_plane.unwrap().tls.is_some());
    assert!(remarks.is_empty(), "{remarks:?}");
}

#[test]
fn everything_that_is_wrong_is_told_with_its_line() {
    let wrong = TWO
        .replace("vni: 200", "vni: 100")
        .replace("version: 2", "version: 3")
        .replace("192.0.2.2", "nowhere")
        .replace("dead_after_ms: 2000", "dead_after_ms: 2000, more: 1");
    let problems = translate(&wrong).unwrap_err();
    for says in [
        "line 1: version: must be 1 or 2",
        "line 24: overlay[1].vni: 100 is there twice",
        "line 29: peers[0]",
    ] {
        assert!(
            problems.iter().any(|text| text.starts_with(says)),
            "{says}: {problems:?}"
        );
    }
    let unknown = TWO.replace("learning: false", "lerning: false");
    let remarks = translate(&unknown).unwrap().remarks;
    assert!(
        remarks
            .iter()
            .any(|text| text == "line 26: overlays[1].lerning: no version has this key"),
        "{remarks:?}"
    );
    assert_eq!(translate("a: [").unwrap_err().len(), 1);
    assert!(translate("").is_err());
}
