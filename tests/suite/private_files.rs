//! What Weft writes is the superuser's alone, and what stands in a file's place is neither waited for nor followed.

use std::fs;
use std::os::unix::fs::{FileTypeExt, PermissionsExt, symlink};
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use weft_store::BackendKind;
use weft_testkit::{Call, Container, Host, Suite};

fn conf() -> Value {
    json!({"cniVersion": "1.0.0", "name": "net1", "type": "weft-bridge", "bridge": "wtest1",
        "isDefaultGateway": true, "isolation": "mesh",
        "ipam": {"type": "weft-ipam", "subnet": "10.1.0.0/24", "sticky": true}})
}

fn call(suite: &Suite, host: &Host, verb: &str, container: &Container) -> weft_testkit::Outcome {
    let mut conf = conf();
    conf["dns"] = json!({});
    Call::new(suite, verb, &conf)
        .container(container)
        .var(
            "CNI_ARGS",
            "IgnoreUnknown=1;K8S_POD_NAME=p;K8S_POD_NAMESPACE=n",
        )
        .under(
            ["sh", "-c", "umask 0; exec \"$@\"", "sh"]
                .map(str::to_owned)
                .to_vec(),
        )
        .on(host)
}

fn everything_below(directory: &Path, found: &mut Vec<(String, u32)>) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
        found.push((entry.path().display().to_string(), mode));
        if entry.path().is_dir() {
            everything_below(&entry.path(), found);
        }
    }
}

#[test]
fn a_umask_of_zero_opens_nothing() {
    let suite = Suite::weft();
    for backend in [BackendKind::Redb, BackendKind::Sled] {
        let host = Host::with_backend(backend);
        let (first, second) = (host.container(), host.container());
        call(&suite, &host, "ADD", &first).ok();
        call(&suite, &host, "ADD", &second).ok();
        call(&suite, &host, "DEL", &first).ok();
        let umask = ["sh", "-c", "umask 0; exec \"$@\"", "sh"].map(str::to_owned);
        for arguments in [
            ["network", "connect", "--network", "net1", "net2"].as_slice(),
            &["gc"],
            &["store", "rebuild"],
        ] {
            let outcome = Call::weft(&suite, arguments)
                .under(umask.to_vec())
                .on(&host);
            drop(outcome);
        }
        let mut found = Vec::new();
        for directory in [host.state_dir(), host.data_dir()] {
            everything_below(&directory, &mut found);
        }
        assert!(found.len() > 8, "{found:?}");
        for name in ["connections.json", "sticky/", "attachments.lock"] {
            assert!(
                found.iter().any(|(path, _)| path.contains(name)),
                "{name}: {found:?}"
            );
        }
        // What the database libraries make is below a directory that is the superuser's.
        let open = found.iter().filter(|(path, mode)| {
            let is_librarys = path.contains("store.sled/") || path.contains("store.damaged-1/");
            mode & if is_librarys { 0o022 } else { 0o077 } != 0
        });
        assert_eq!(
            open.collect::<Vec<_>>(),
            Vec::<&(String, u32)>::new(),
            "{backend}"
        );
    }
}

/// A directory that was made open by somebody keeps its mode, and doctor says what that means.
#[test]
fn doctor_names_a_directory_that_others_can_write() {
    let (suite, host) = (Suite::weft(), Host::new());
    let doctor = || Call::weft(&suite, &["doctor"]).on(&host);
    call(&suite, &host, "ADD", &host.container()).ok();
    host.sh(&format!(
        "chmod 700 {0} {1}; true",
        host.state_dir().display(),
        host.data_dir().display()
    ));
    assert!(!doctor().stdout.contains("chmod 700"), "{:?}", doctor());
    host.sh(&format!("chmod 777 {}", host.data_dir().display()));
    assert!(doctor().stdout.contains("chmod 700"), "{:?}", doctor());
}

/// Every file of the state and data directories in turn is a FIFO, then a link to a file of somebody else's: calls end
/// soon, and the other file is as it was.
#[test]
fn nothing_is_waited_for_and_no_link_is_followed() {
    let suite = Suite::weft();
    let host = Host::new();
    let container = host.container();
    call(&suite, &host, "ADD", &container).ok();
    call(&suite, &host, "DEL", &container).ok();
    Call::weft(&suite, &["network", "connect", "--network", "net1", "net2"]).on(&host);
    let mut files = Vec::new();
    everything_below(&host.state_dir(), &mut files);
    everything_below(&host.data_dir(), &mut files);
    files.retain(|(path, _)| Path::new(path).is_file());
    assert!(files.len() > 5, "{files:?}");
    let theirs = host.dir().join("theirs");
    for (path, _) in &files {
        let path = Path::new(path);
        for is_link in [false, true] {
            let aside = path.with_extension("aside");
            fs::rename(path, &aside).unwrap();
            fs::write(&theirs, "theirs").unwrap();
            if is_link {
                symlink(&theirs, path).unwrap();
            } else {
                host.sh(&format!("mkfifo {}", path.display()));
            }
            let begin = Instant::now();
            // It may go on or say why not.
            call(&suite, &host, "ADD", &container);
            call(&suite, &host, "DEL", &container);
            Call::weft(&suite, &["policy", "list"]).on(&host);
            let what = format!(
                "{} is a {}",
                path.display(),
                if is_link { "link" } else { "FIFO" }
            );
            assert!(begin.elapsed() < Duration::from_secs(10), "{what}");
            assert_eq!(fs::read_to_string(&theirs).unwrap(), "theirs", "{what}");
            let is_special = fs::symlink_metadata(path)
                .is_ok_and(|meta| meta.file_type().is_fifo() || meta.is_symlink());
            if is_special || !path.exists() {
                let _ = fs::remove_file(path);
                fs::rename(&aside, path).unwrap();
            } else {
                fs::remove_file(&aside).unwrap();
            }
            call(&suite, &host, "DEL", &container).ok();
        }
    }
}

#[test]
fn a_resolv_conf_that_never_ends_is_refused() {
    let suite = Suite::weft();
    let host = Host::new();
    let fifo = host.dir().join("fifo");
    host.sh(&format!("mkfifo {}", fifo.display()));
    for path in [fifo.to_str().unwrap(), "/dev/zero", "/dev/tty"] {
        let mut conf = conf();
        conf["ipam"]["resolvConf"] = path.into();
        let begin = Instant::now();
        let error = Call::new(&suite, "ADD", &conf)
            .container(&host.container())
            .on(&host)
            .error();
        assert!(begin.elapsed() < Duration::from_secs(5), "{path}");
        let text = error["msg"].as_str().unwrap();
        assert!(text.contains(path), "{error}");
    }
}
