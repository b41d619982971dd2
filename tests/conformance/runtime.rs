//! Items 100 to 106: the runtime's side, which is Weft's own (`weft cni`), whatever the suite.

use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};

use crate::{Item, NotApplicable, World};

/// A directory of configurations and a plugin that records how it is called.
struct Runtime<'a> {
    w: &'a World,
    weft: PathBuf,
}

fn runtime(w: &World) -> Result<Runtime<'_>, NotApplicable> {
    use std::os::unix::fs::PermissionsExt;
    let weft = w.suite.bin_dir.join("weft");
    if !weft.exists() {
        return Err(NotApplicable(
            "this suite has no runtime of its own".to_owned(),
        ));
    }
    let dir = w.host.dir();
    std::fs::create_dir_all(dir.join("conf")).unwrap();
    for name in ["one", "two"] {
        let file = dir.join(name);
        let script = format!(
            "#!/bin/bash\ninput=$(cat)\n\
             printf '%s\\n' \"{{\\\"plugin\\\":\\\"{name}\\\",\\\"command\\\":\\\"$CNI_COMMAND\\\",\\\"input\\\":$input}}\" >> {0}/log\n\
             case $CNI_COMMAND in\n\
             ADD) echo '{{\"cniVersion\":\"'$(grep -o '\"cniVersion\":\"[0-9.]*' <<< \"$input\" | head -1 | cut -d'\"' -f4)'\",\"ips\":[{{\"address\":\"10.0.0.2/24\"}}]}}';;\n\
             esac\n",
            dir.display()
        );
        std::fs::write(&file, script).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    Ok(Runtime { w, weft })
}

impl Runtime<'_> {
    fn conflist(&self, conf: &Value) {
        let file = self.w.host.dir().join("conf/a.conflist");
        std::fs::write(file, conf.to_string()).unwrap();
    }

    fn run(&self, arguments: &[&str], capability_args: &str) -> bool {
        let dir = self.w.host.dir();
        let mut command = Command::new(&self.weft);
        command
            .args(["cni"])
            .args(arguments)
            .args(["--cache-dir", dir.join("cache").to_str().unwrap()])
            .env("NETCONFPATH", dir.join("conf"))
            .env("CNI_PATH", dir)
            .env("CAP_ARGS", capability_args);
        let output = self.w.host.run(|| command.output().unwrap());
        output.status.success()
    }

    fn log(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.w.host.dir().join("log")).unwrap_or_default();
        let parse =
            |line: &str| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
        text.lines().map(parse).collect()
    }

    fn calls(&self) -> Vec<String> {
        let text = |one: &Value, key: &str| one[key].as_str().unwrap().to_owned();
        self.log()
            .iter()
            .map(|one| text(one, "command") + " " + &text(one, "plugin"))
            .collect()
    }
}

fn list(keys: &Value) -> Value {
    let mut conf = json!({"cniVersion": "1.0.0", "name": "n",
                          "plugins": [{"type": "one"}, {"type": "two"}]});
    for (key, value) in keys.as_object().unwrap() {
        conf[key] = value.clone();
    }
    conf
}

const ADD: &[&str] = &["add", "n", "/dev/null", "--container-id", "c"];

fn version_choice(w: &World) -> Result<(), NotApplicable> {
    for (versions, newest, chosen) in [
        (
            json!(["0.4.0", "1.0.0", "1.1.0", "9.0.0"]),
            "1.1.0",
            "1.1.0",
        ),
        (json!(["0.4.0", "1.0.0", "1.1.0"]), "1.0.0", "1.0.0"),
        (json!(["0.4.0"]), "1.1.0", "1.0.0"),
    ] {
        let world = World::new(&w.suite);
        let r = runtime(&world)?;
        r.conflist(&list(&json!({"cniVersions": versions})));
        let max = format!("--max-version={newest}");
        assert!(r.run(&[ADD, &[max.as_str()]].concat(), ""));
        assert_eq!(r.log()[0]["input"]["cniVersion"], chosen, "{versions}");
    }
    Ok(())
}

fn subdirectory(w: &World) -> Result<(), NotApplicable> {
    let r = runtime(w)?;
    let sub = w.host.dir().join("conf/n");
    std::fs::create_dir_all(&sub).unwrap();
    std::fs::write(sub.join("10-two.conf"), r#"{"type":"two"}"#).unwrap();
    r.conflist(&list(&json!({"plugins": [{"type": "one"}]})));
    assert!(r.run(ADD, ""));
    assert_eq!(r.calls(), ["ADD one", "ADD two"]);
    r.conflist(&list(
        &json!({"plugins": [{"type": "one"}], "loadOnlyInlinedPlugins": true}),
    ));
    assert!(r.run(&["add", "n", "/dev/null", "--container-id", "d"], ""));
    assert_eq!(r.calls().len(), 3);
    Ok(())
}

fn disabled_verbs(w: &World) -> Result<(), NotApplicable> {
    let r = runtime(w)?;
    r.conflist(&list(
        &json!({"cniVersion": "1.1.0", "disableCheck": true, "disableGC": "true"}),
    ));
    assert!(r.run(ADD, ""));
    let before = r.calls();
    assert!(r.run(&["check", "n", "/dev/null", "--container-id", "c"], ""));
    // Whoever asks for it is not told that it was done.
    assert!(!r.run(&["gc", "n", "--all"], ""));
    assert_eq!(r.calls(), before);
    Ok(())
}

fn reverse_del(w: &World) -> Result<(), NotApplicable> {
    let r = runtime(w)?;
    r.conflist(&list(&json!({})));
    assert!(r.run(ADD, ""));
    assert!(r.run(&["del", "n", "/dev/null", "--container-id", "c"], ""));
    assert_eq!(r.calls(), ["ADD one", "ADD two", "DEL two", "DEL one"]);
    for del in &r.log()[2..] {
        assert_eq!(
            del["input"]["prevResult"]["ips"][0]["address"], "10.0.0.2/24",
            "{del}"
        );
    }
    assert!(!w.host.dir().join("cache/results/n-c-eth0").exists());
    Ok(())
}

fn capabilities(w: &World) -> Result<(), NotApplicable> {
    let r = runtime(w)?;
    r.conflist(&list(&json!({"plugins": [
        {"type": "one", "capabilities": {"mac": true, "ips": false}}, {"type": "two"}]})));
    assert!(r.run(
        ADD,
        r#"{"mac":"02:00:00:00:00:09","ips":["10.0.0.9"],"portMappings":[]}"#
    ));
    assert_eq!(
        r.log()[0]["input"]["runtimeConfig"],
        json!({"mac": "02:00:00:00:00:09"})
    );
    assert!(r.log()[1]["input"]["runtimeConfig"].is_null());
    Ok(())
}

fn cache_format(w: &World) -> Result<(), NotApplicable> {
    let r = runtime(w)?;
    r.conflist(&list(
        &json!({"plugins": [{"type": "one", "capabilities": {"mac": true}}]}),
    ));
    let arguments = [ADD, &["--args", "IgnoreUnknown=1;A=b"]].concat();
    assert!(r.run(&arguments, r#"{"mac":"02:00:00:00:00:09"}"#));
    let text = std::fs::read_to_string(w.host.dir().join("cache/results/n-c-eth0")).unwrap();
    let cached: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(cached["kind"], "cniCacheV1");
    assert_eq!(
        (&cached["containerId"], &cached["ifName"]),
        (&json!("c"), &json!("eth0"))
    );
    assert_eq!(
        (&cached["networkName"], &cached["netns"]),
        (&json!("n"), &json!("/dev/null"))
    );
    assert_eq!(
        cached["cniArgs"],
        json!([["IgnoreUnknown", "1"], ["A", "b"]])
    );
    assert_eq!(
        cached["capabilityArgs"],
        json!({"mac": "02:00:00:00:00:09"})
    );
    assert_eq!(cached["result"]["cniVersion"], "1.0.0");
    assert!(
        cached["config"].as_str().unwrap().starts_with("eyJ"),
        "base 64 of the list's text"
    );
    Ok(())
}

fn both_gc_keys(w: &World) -> Result<(), NotApplicable> {
    let r = runtime(w)?;
    r.conflist(&list(
        &json!({"cniVersion": "1.1.0", "plugins": [{"type": "one"}]}),
    ));
    assert!(r.run(ADD, ""));
    assert!(r.run(&["gc", "n", "--valid", "other/eth0"], ""));
    assert_eq!(r.calls(), ["ADD one", "DEL one", "GC one"]);
    let input = &r.log()[2]["input"];
    let expected = json!([{"containerID": "other", "ifname": "eth0"}]);
    assert_eq!(input["cni.dev/valid-attachments"], expected);
    assert_eq!(input["cni.dev/attachments"], expected);
    Ok(())
}

pub(crate) const ITEMS: &[Item] = &[
    Item {
        number: "100",
        kind: 'M',
        title: "runtime: cniVersions",
        check: version_choice,
    },
    Item {
        number: "101",
        kind: 'M',
        title: "runtime: loadOnlyInlinedPlugins",
        check: subdirectory,
    },
    Item {
        number: "102",
        kind: 'M',
        title: "runtime: disableCheck, disableGC",
        check: disabled_verbs,
    },
    Item {
        number: "103",
        kind: 'M',
        title: "runtime: DEL in reverse with the final result",
        check: reverse_del,
    },
    Item {
        number: "104",
        kind: 'M',
        title: "runtime: capabilities are filtered",
        check: capabilities,
    },
    Item {
        number: "105",
        kind: 'M',
        title: "runtime: libcni's cache format",
        check: cache_format,
    },
    Item {
        number: "106",
        kind: 'M',
        title: "runtime: both GC keys",
        check: both_gc_keys,
    },
];
