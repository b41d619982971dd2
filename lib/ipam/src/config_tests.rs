use serde_json::json;

use super::*;

fn read(conf: Value, args: &str) -> (IpamConfig, Vec<String>) {
    let problems = Problems::default();
    let conf = NetConf::parse(conf.to_string().as_bytes()).unwrap();
    let config = IpamConfig::read(&conf, &CniArgs::parse(args).unwrap(), &problems);
    (config, problems.invalid_values())
}

fn conf(ipam: Value) -> Value {
    json!({"cniVersion": "1.0.0", "name": "n", "ipam": ipam})
}

#[test]
fn ranges_and_subnet_are_read_as_host_local_does() {
    let (config, wrong) = read(
        conf(json!({
            "type": "weft-ipam", "subnet": "10.1.0.0/16", "rangeStart": "10.1.2.0",
            "ranges": [[{"subnet": "fd00::/64"}], [{"subnet": "10.2.0.0/24"}, {"subnet": "10.3.0.0/24"}]],
            "routes": [{"dst": "0.0.0.0/0"}, {"dst": "192.168.0.0/16", "gw": "10.1.0.9", "priority": 5}]
        })),
        "",
    );
    assert_eq!(wrong, Vec::<String>::new());
    assert_eq!(
        config.sets.iter().map(Vec::len).collect::<Vec<_>>(),
        [1, 1, 2]
    );
    assert_eq!(config.routes[1].priority, Some(5));
    assert_eq!(config.pool().name, "n");
}

#[test]
fn every_problem_is_found() {
    let (_, wrong) = read(
        conf(json!({
            "ranges": [[{"subnet": "10.0.0.1/24"}], [], [{}], {"subnet": "x"}, [{"subnet": "10.9.0.0/24", "rangeEnd": "y"}]],
            "routes": [{"dst": "nowhere"}], "resolvConf": "/nonexistent/resolv.conf", "coolDown": -1
        })),
        "IP=300.1.1.1",
    );
    let all = wrong.join("\n");
    for part in [
        "ipam.ranges[0][0].subnet: 10.0.0.1/24 has host bits set",
        "ipam.ranges[1]: [] must hold at least one range",
        "ipam.ranges[2][0].subnet:  must be given",
        "ipam.ranges[3]:",
        "ipam.ranges[4][0].rangeEnd: \"y\" must be an IP address",
        "ipam.routes[0].dst: \"nowhere\"",
        "ipam.resolvConf: /nonexistent/resolv.conf cannot be read",
        "ipam.coolDown: -1",
        "CNI_ARGS IP: 300.1.1.1",
    ] {
        assert!(all.contains(part), "{part} not in:\n{all}");
    }
}

#[test]
fn the_strongest_request_wins() {
    let mut with_all = conf(json!({"subnet": "10.1.0.0/24"}));
    with_all["runtimeConfig"] = json!({"ips": ["10.1.0.7/24"]});
    with_all["args"] = json!({"cni": {"ips": ["10.1.0.8"]}});
    let requested = |conf: Value| read(conf, "IP=10.1.0.9").0.requested;
    let ip = |text: &str| vec![text.parse::<IpAddr>().unwrap()];
    assert_eq!(requested(with_all.clone()), ip("10.1.0.7"));
    with_all["runtimeConfig"] = Value::Null;
    assert_eq!(requested(with_all.clone()), ip("10.1.0.8"));
    with_all["args"] = Value::Null;
    assert_eq!(requested(with_all), ip("10.1.0.9"));
}

#[test]
fn fixed_addresses_are_replaced_by_requests() {
    let ipam = json!({"addresses": [{"address": "10.1.0.5/24", "gateway": "10.1.0.1"}]});
    let (config, wrong) = read(conf(ipam.clone()), "");
    assert_eq!((config.fixed.len(), wrong.len()), (1, 0));
    let (config, _) = read(conf(ipam), "IP=10.1.0.6/24,fd00::6/64;GATEWAY=10.1.0.254");
    assert_eq!(config.fixed[0].gateway, Some("10.1.0.254".parse().unwrap()));
    assert_eq!(config.fixed[1].address.to_string(), "fd00::6/64");
}

#[test]
fn overlapping_ranges_are_refused() {
    let ipam = json!({"ranges": [[{"subnet": "10.1.0.0/16"}], [{"subnet": "10.1.2.0/24"}]]});
    assert!(read(conf(ipam), "").1.join("").contains("overlap"));
}

#[test]
fn sticky_keys_name_the_pod() {
    let ipam = json!({"subnet": "10.1.0.0/24", "sticky": true});
    let (config, _) = read(conf(ipam), "K8S_POD_NAMESPACE=ns;K8S_POD_NAME=web-0");
    assert_eq!(config.sticky_key.as_deref(), Some("ns/web-0"));
}
