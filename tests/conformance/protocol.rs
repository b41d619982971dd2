//! Items 1 to 29: protocol and environment.

use std::process::Stdio;

use serde_json::{Value, json};
use weft_testkit::Call;

use crate::{Item, NotApplicable, World};

const VERSIONS: [&str; 7] = [
    "0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0",
];

fn plugins(w: &World) -> [&'static str; 3] {
    [w.suite.plugin, w.suite.ipam, w.suite.loopback]
}

fn version(w: &World, plugin: &str, input: &[u8]) -> Value {
    let conf = json!({"type": plugin});
    let call = Call::new(&w.suite, "VERSION", &conf)
        .var("CNI_NETNS", "dummy")
        .var("CNI_IFNAME", "dummy")
        .var("CNI_PATH", "dummy")
        .without("CNI_CONTAINERID")
        .input(input);
    call.on(&w.host).ok()
}

fn env_error(w: &World, name: &str, value: &str) -> u64 {
    let container = w.host.container();
    let call = Call::new(&w.suite, "ADD", &w.conf())
        .container(&container)
        .var(name, value);
    call.on(&w.host).code()
}

/// Input that a plugin must refuse with a code, on every verb that reads it.
fn input_error(w: &World, input: &[u8], code: u64) {
    let container = w.host.container();
    for plugin in plugins(w) {
        for command in ["ADD", "DEL", "CHECK"] {
            let call = Call::new(&w.suite, command, &json!({"type": plugin}));
            let outcome = call.container(&container).input(input).on(&w.host);
            let text = String::from_utf8_lossy(input);
            assert_eq!(
                outcome.code(),
                code,
                "{plugin} {command} {text}: {}",
                outcome.stdout
            );
        }
    }
}

fn supported_versions(w: &World) -> Result<(), NotApplicable> {
    for plugin in plugins(w) {
        let answer = version(w, plugin, br#"{"cniVersion":"1.0.0"}"#);
        assert!(answer["cniVersion"].is_string(), "{answer}");
        assert!(!answer["supportedVersions"].as_array().unwrap().is_empty());
    }
    Ok(())
}

fn version_echo(w: &World) -> Result<(), NotApplicable> {
    for asked in VERSIONS {
        let input = json!({"cniVersion": asked}).to_string();
        let answer = version(w, w.suite.plugin, input.as_bytes());
        assert_eq!(answer["cniVersion"], asked);
    }
    Ok(())
}

fn literal_versions(w: &World) -> Result<(), NotApplicable> {
    let answer = version(w, w.suite.plugin, b"{}");
    for version in VERSIONS {
        let is_listed = answer["supportedVersions"]
            .as_array()
            .unwrap()
            .contains(&version.into());
        let container = w.host.container();
        let accepted = w.call("ADD", &w.conf_of(version), &container).is_success();
        assert_eq!(is_listed, accepted, "{version}");
    }
    Ok(())
}

fn banner(w: &World) -> Result<(), NotApplicable> {
    for plugin in plugins(w) {
        let call = Call::new(&w.suite, "", &json!({"type": plugin})).without("CNI_COMMAND");
        let outcome = call.on(&w.host);
        assert!(outcome.is_success());
        assert_eq!(outcome.stdout, "");
        assert!(
            outcome.stderr.contains("protocol versions supported"),
            "{}",
            outcome.stderr
        );
    }
    Ok(())
}

fn missing_env(w: &World) -> Result<(), NotApplicable> {
    for command in ["ADD", "CHECK"] {
        let error = Call::new(&w.suite, command, &w.conf_of("0.4.0"))
            .on(&w.host)
            .error();
        assert_eq!(error["code"], 4);
        for name in ["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"] {
            assert!(error["msg"].as_str().unwrap().contains(name), "{error}");
        }
    }
    let error = Call::new(&w.suite, "DEL", &w.conf()).on(&w.host).error();
    assert!(
        error["msg"].as_str().unwrap().contains("CNI_CONTAINERID"),
        "{error}"
    );
    Ok(())
}

fn one_document(w: &World) -> Result<(), NotApplicable> {
    for call in [
        Call::new(&w.suite, "ADD", &w.conf()),
        Call::new(&w.suite, "NOSUCH", &w.conf()),
        Call::new(&w.suite, "ADD", &w.conf())
            .id("a")
            .netns("/nonexistent".as_ref())
            .ifname("e"),
        Call::new(&w.suite, "ADD", &w.conf())
            .id("a")
            .netns("/n".as_ref())
            .ifname("e")
            .input(b"{"),
    ] {
        call.on(&w.host).error();
    }
    Ok(())
}

fn error_members(w: &World) -> Result<(), NotApplicable> {
    let error = Call::new(&w.suite, "ADD", &w.conf()).on(&w.host).error();
    for key in ["cniVersion", "code", "msg", "details"] {
        assert!(!error[key].is_null(), "no {key} in {error}");
    }
    Ok(())
}

fn no_999(w: &World) -> Result<(), NotApplicable> {
    let container = w.host.container();
    container.sh("ip link add eth0 type veth peer name x");
    let outcomes = [
        w.call("ADD", &w.conf(), &container),
        Call::new(&w.suite, "ADD", &w.conf())
            .container(&container)
            .netns("/no".as_ref())
            .on(&w.host),
        w.call("CHECK", &w.conf(), &container),
        w.call("ADD", &w.conf_with(&json!({"mtu": "big"})), &container),
    ];
    for outcome in outcomes {
        let code = outcome.code();
        let is_reserved = [1, 2, 3, 4, 5, 6, 7, 8, 11, 50, 51].contains(&code);
        assert!(
            is_reserved || (code >= 100 && code != 999),
            "{}",
            outcome.stdout
        );
    }
    Ok(())
}

fn broken_stdin(w: &World) -> Result<(), NotApplicable> {
    // A directory as standard input: reading it fails with EISDIR.
    let container = w.host.container();
    let call = Call::new(&w.suite, "ADD", &w.conf()).container(&container);
    let output = w.host.run(|| {
        let directory = std::fs::File::open("/").unwrap();
        call.command(&w.host)
            .stdin(Stdio::from(directory))
            .output()
            .unwrap()
    });
    let error: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(error["code"], 5, "{error}");
    Ok(())
}

fn large_input(w: &World) -> Result<(), NotApplicable> {
    let container = w.host.container();
    let routes: Vec<Value> = (0..3000)
        .map(|i| json!({"dst": format!("10.{}.{}.0/24", 100 + i / 250, i % 250)}))
        .collect();
    let mut conf = w.conf();
    conf["comment"] = "x".repeat(200_000).into();
    conf["ipam"]["routes"] = routes.into();
    let result = w.add(&conf, &container);
    assert!(result["routes"].as_array().unwrap().len() >= 3000);
    Ok(())
}

fn own_netns(w: &World) -> Result<(), NotApplicable> {
    let path = w.host.netns_path();
    let call = Call::new(&w.suite, "ADD", &w.conf())
        .id("own")
        .netns(&path)
        .ifname("eth0");
    let before = weft_testkit::HostState::of(&w.host);
    assert_eq!(call.on(&w.host).code(), 8);
    before.assert_same(&w.host, "ADD into the host's own namespace");
    assert_eq!(w.leases(), 0);
    let allowed = call.var("CNI_NETNS_OVERRIDE", "1").on(&w.host);
    allowed.ok();
    Ok(())
}

fn args(w: &World) -> Result<(), NotApplicable> {
    let add = |args: &str| {
        let container = w.host.container();
        Call::new(&w.suite, "ADD", &w.conf())
            .container(&container)
            .var("CNI_ARGS", args)
            .on(&w.host)
    };
    assert!(!add("NOEQUALS").is_success());
    assert!(!add("FOO=bar").is_success());
    assert!(add("FOO=bar;IgnoreUnknown=1").is_success());
    assert!(add("IgnoreUnknown=true;FOO=bar").is_success());
    Ok(())
}

fn kubernetes_args(w: &World) -> Result<(), NotApplicable> {
    let container = w.host.container();
    let args = "K8S_POD_UID=u;K8S_POD_NAME=p;IgnoreUnknown=1;K8S_POD_NAMESPACE=n;\
                K8S_POD_INFRA_CONTAINER_ID=c";
    let call = Call::new(&w.suite, "ADD", &w.conf())
        .container(&container)
        .var("CNI_ARGS", args);
    call.on(&w.host).ok();
    Ok(())
}

fn trace_context(w: &World) -> Result<(), NotApplicable> {
    let container = w.host.container();
    let call = Call::new(&w.suite, "ADD", &w.conf())
        .container(&container)
        .var("WEFT_LOG", "trace")
        .var(
            "TRACEPARENT",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        );
    let outcome = call.on(&w.host);
    outcome.ok();
    if w.suite.is_weft() {
        assert!(
            outcome.stderr.contains("0af7651916cd43dd8448eb211c80319c"),
            "{}",
            outcome.stderr
        );
    }
    Ok(())
}

pub(crate) const ITEMS: &[Item] = &[
    Item {
        number: "1",
        kind: 'M',
        title: "VERSION lists versions",
        check: supported_versions,
    },
    Item {
        number: "2",
        kind: 'M',
        title: "VERSION echoes cniVersion",
        check: version_echo,
    },
    Item {
        number: "3",
        kind: 'R',
        title: "VERSION with empty input and dummy variables",
        check: |w| {
            for plugin in plugins(w) {
                version(w, plugin, b"");
            }
            Ok(())
        },
    },
    Item {
        number: "4",
        kind: 'R',
        title: "accepted versions are listed literally",
        check: literal_versions,
    },
    Item {
        number: "5",
        kind: 'R',
        title: "no verb: banner on standard error",
        check: banner,
    },
    Item {
        number: "6",
        kind: 'M',
        title: "unknown verb: code 4",
        check: |w| {
            assert_eq!(
                Call::new(&w.suite, "NOSUCH", &w.conf()).on(&w.host).code(),
                4
            );
            Ok(())
        },
    },
    Item {
        number: "7",
        kind: 'M',
        title: "missing variables: code 4, all named",
        check: missing_env,
    },
    Item {
        number: "8",
        kind: 'M',
        title: "bad container id: code 4",
        check: |w| {
            for bad in ["a/b", "a b", "-a"] {
                assert_eq!(env_error(w, "CNI_CONTAINERID", bad), 4);
            }
            Ok(())
        },
    },
    Item {
        number: "9",
        kind: 'M',
        title: "bad interface name: code 4",
        check: |w| {
            for bad in ["sixteen-bytes-xx", ".", "..", "a/b", "a:b", "a b"] {
                assert_eq!(env_error(w, "CNI_IFNAME", bad), 4, "{bad}");
            }
            Ok(())
        },
    },
    Item {
        number: "10",
        kind: 'R',
        title: "DEL with CNI_NETNS unset or empty",
        check: |w| {
            let call = Call::new(&w.suite, "DEL", &w.conf()).id("a").ifname("eth0");
            call.on(&w.host).ok();
            call.var("CNI_NETNS", "").on(&w.host).ok();
            Ok(())
        },
    },
    Item {
        number: "11",
        kind: 'R',
        title: "GC and STATUS with empty variables",
        check: |w| {
            for command in ["GC", "STATUS"] {
                let call = Call::new(&w.suite, command, &w.conf_of("1.1.0"));
                let call = call
                    .var("CNI_CONTAINERID", "")
                    .var("CNI_NETNS", "")
                    .var("CNI_IFNAME", "");
                call.on(&w.host).ok();
            }
            Ok(())
        },
    },
    Item {
        number: "12",
        kind: 'R',
        title: "GC needs CNI_PATH",
        check: |w| {
            let call = Call::new(&w.suite, "GC", &w.conf_of("1.1.0")).without("CNI_PATH");
            assert_eq!(call.on(&w.host).code(), 4);
            Ok(())
        },
    },
    Item {
        number: "13",
        kind: 'M',
        title: "input not JSON: code 6",
        check: |w| {
            input_error(w, b"{", 6);
            input_error(w, b"", 6);
            Ok(())
        },
    },
    Item {
        number: "14",
        kind: 'M',
        title: "name missing or a path: code 7",
        check: |w| {
            input_error(w, br#"{"cniVersion":"1.0.0","type":"x"}"#, 7);
            input_error(w, br#"{"cniVersion":"1.0.0","type":"x","name":"../x"}"#, 7);
            Ok(())
        },
    },
    Item {
        number: "15",
        kind: 'M',
        title: "unknown cniVersion: code 1, details name both sides",
        check: |w| {
            let container = w.host.container();
            let error = w.call("ADD", &w.conf_of("9.9.9"), &container).error();
            assert_eq!(error["code"], 1);
            let details = error["details"].as_str().unwrap_or_default();
            assert!(
                details.contains("9.9.9") && details.contains("1.0.0"),
                "{error}"
            );
            Ok(())
        },
    },
    Item {
        number: "16",
        kind: 'R',
        title: "no cniVersion: 0.1.0",
        check: |w| {
            let container = w.host.container();
            let mut conf = w.conf();
            conf.as_object_mut().unwrap().remove("cniVersion");
            let result = w.add(&conf, &container);
            assert!(result["ip4"]["ip"].is_string(), "{result}");
            Ok(())
        },
    },
    Item {
        number: "17",
        kind: 'R',
        title: "CHECK before 0.4.0: code 1",
        check: |w| {
            let container = w.host.container();
            assert_eq!(w.call("CHECK", &w.conf_of("0.3.1"), &container).code(), 1);
            Ok(())
        },
    },
    Item {
        number: "18",
        kind: 'R',
        title: "GC and STATUS before 1.1.0: code 1",
        check: |w| {
            for command in ["GC", "STATUS"] {
                assert_eq!(w.verb(command, &w.conf_of("1.0.0")).code(), 1, "{command}");
            }
            Ok(())
        },
    },
    Item {
        number: "19",
        kind: 'M',
        title: "failure: one error document",
        check: one_document,
    },
    Item {
        number: "20",
        kind: 'S',
        title: "errors have cniVersion, code, msg, details",
        check: error_members,
    },
    Item {
        number: "21",
        kind: 'M',
        title: "success: status 0",
        check: |w| {
            let container = w.host.container();
            w.add(&w.conf(), &container);
            w.del(&w.conf(), &container);
            Ok(())
        },
    },
    Item {
        number: "22",
        kind: 'S',
        title: "codes: reserved ones, or 100 and above, never 999",
        check: no_999,
    },
    Item {
        number: "23",
        kind: 'R',
        title: "free text only on standard error",
        check: |w| {
            let container = w.host.container();
            let call = Call::new(&w.suite, "ADD", &w.conf())
                .container(&container)
                .var("WEFT_LOG", "trace");
            call.on(&w.host).ok();
            Ok(())
        },
    },
    Item {
        number: "24",
        kind: 'R',
        title: "broken standard input: code 5",
        check: broken_stdin,
    },
    Item {
        number: "25",
        kind: 'B',
        title: "input and result larger than a pipe",
        check: large_input,
    },
    Item {
        number: "26",
        kind: 'R',
        title: "own namespace: code 8 before any effect",
        check: own_netns,
    },
    Item {
        number: "27",
        kind: 'R',
        title: "CNI_ARGS: malformed and unknown pairs",
        check: args,
    },
    Item {
        number: "28",
        kind: 'R',
        title: "CNI_ARGS: K8S_* accepted",
        check: kubernetes_args,
    },
    Item {
        number: "29",
        kind: 'B',
        title: "TRACEPARENT continued",
        check: trace_context,
    },
];
