//! The commands of this project work wherever its checkout is.

use std::path::Path;
use std::process::{Command, Output};

use weft_testkit::Suite;

/// The root of this checkout.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

fn run(program: &str, arguments: &[&str], at: &Path) -> Output {
    Command::new(program)
        .args(arguments)
        .current_dir(at)
        .output()
        .unwrap()
}

/// What of a checkout the virtual machine needs, in a directory below `parent` whose name has a space, a comma, a quote
/// and a colon; and a program in it.
fn checkout_below(parent: &str) -> tempfile::TempDir {
    let dir = tempfile::Builder::new()
        .prefix("weft's test, a: ")
        .tempdir_in(parent)
        .unwrap();
    let to = dir.path().to_str().unwrap();
    std::fs::create_dir_all(dir.path().join("target/vm")).unwrap();
    let copy = |what: &str, to: &str| {
        let copied = run("cp", &["-a", "--reflink=auto", what, to], root());
        assert!(copied.status.success(), "{copied:?}");
    };
    copy("Makefile", to);
    copy("scripts", to);
    copy("target/vm/kernel", &format!("{to}/target/vm/kernel"));
    let program = Suite::weft().bin_dir.join("weft");
    copy(program.to_str().unwrap(), &format!("{to}/target/program"));
    dir
}

/// The directories that the virtual machine has of its own too: a program of the checkout runs there, by its path from
/// the root of the checkout, as those of the tests do.
#[test]
fn the_virtual_machine_sees_a_checkout_anywhere() {
    for parent in ["/tmp", "/dev/shm"] {
        let checkout = checkout_below(parent);
        let command = "set -e; unshare --mount --propagation private target/program --version; \
             touch target/new; test -d target/vm/shared; pwd; echo there >target/vm/shared/left";
        let output = run("scripts/vm.sh", &[command], checkout.path());
        let printed = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{parent}: {output:?}");
        assert!(printed.contains("weft "), "{printed}");
        assert!(
            printed.contains(checkout.path().to_str().unwrap()),
            "{printed}"
        );
        let left = checkout.path().join("target/vm/shared/left");
        assert_eq!(std::fs::read_to_string(left).unwrap(), "there\n");
        assert!(
            !checkout.path().join("target/new").exists(),
            "copy on write"
        );
    }
}
