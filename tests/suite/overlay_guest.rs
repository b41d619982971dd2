//! A virtual machine on an overlay's bridge.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use weft_testkit::Host;

use crate::overlay_hosts::Hosts;

/// Debian's kernel, which `make deps` unpacks.
const KERNEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/vm/kernel");

/// A machine, ended with the value.
struct Machine(Child);

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn shell(command: &str) -> String {
    let output = Command::new("bash").args(["-c", command]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command}: {text}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A root file system of busybox and the driver of the network, which pings `target` until it answers.
fn make_initrd(dir: &Path, address: &str, target: &str) -> PathBuf {
    let (tree, initrd) = (dir.join("tree"), dir.join("initrd"));
    std::fs::create_dir_all(tree.join("bin")).unwrap();
    std::fs::create_dir_all(tree.join("proc")).unwrap();
    let kernel = Path::new(KERNEL).canonicalize().unwrap();
    let modules = shell(&format!(
        "cp $(command -v busybox) {tree}/bin/ && version=$(ls {kernel}/lib/modules) && \
         for module in virtio_pci virtio_net; do modprobe -d {kernel} -S $version --show-depends $module; done | \
         sed -n 's/^insmod \\(.*\\.ko\\).*/\\1/p' | awk '!seen[$0]++'",
        tree = tree.display(),
        kernel = kernel.display()
    ));
    let mut init =
        "#!/bin/busybox sh\n/bin/busybox --install -s /bin\nmount -t proc proc /proc\n".to_owned();
    for module in modules.lines() {
        let name = Path::new(module).file_name().unwrap();
        std::fs::copy(module, tree.join(name)).unwrap();
        init.push_str(&format!("insmod /{}\n", name.display()));
    }
    init.push_str(&format!(
        "ip addr add {address} dev eth0\nip link set eth0 up\nip link show eth0\n\
         until ping -c 1 -W 1 {target}; do sleep 0.2; done\necho the other host answers\nwhile true; do sleep 60; done\n"
    ));
    std::fs::write(tree.join("init"), init).unwrap();
    shell(&format!(
        "chmod +x {tree}/init && cd {tree} && find . | busybox cpio -o -H newc 2>/dev/null >{}",
        initrd.display(),
        tree = tree.display()
    ));
    initrd
}

fn start(host: &Host, initrd: &Path, console: &Path) -> Machine {
    let mut command = Command::new("qemu-system-x86_64");
    command
        .args([
            "-machine",
            "q35",
            "-cpu",
            "max",
            "-accel",
            "tcg",
            "-m",
            "256M",
            "-nodefaults",
        ])
        .args(["-no-user-config", "-display", "none", "-no-reboot"])
        .arg("-kernel")
        .arg(Path::new(KERNEL).join("vmlinux"))
        .arg("-initrd")
        .arg(initrd)
        .args(["-append", "console=ttyS0 panic=-1 mitigations=off"])
        .arg("-serial")
        .arg(format!("file:{}", console.display()))
        .args(["-netdev", "tap,id=lan,ifname=tap0,script=no,downscript=no"])
        .args([
            "-device",
            "virtio-net-pci,netdev=lan,host_mtu=1450,romfile=",
        ])
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    Machine(host.run(|| command.spawn().unwrap()))
}

/// Plugged in by a tap, it reaches the other host and is reached from there; its MTU is the overlay's.
#[test]
fn a_virtual_machine_is_reached_from_another_host() {
    let hosts = Hosts::new(2);
    for number in 1..=2 {
        let text = format!(
            "[[overlay]]\nvni = 40\nname = \"blue\"\nunderlay = {{ prefer_interfaces = [\"up0\"] }}\n\
             bridge = {{ name = \"br-blue\", ipv4 = \"10.40.0.{number}/24\" }}\n"
        );
        hosts.configure(number, &text, "192.0.2.");
    }
    let _daemons = hosts.start_all();
    let (one, two) = (hosts.host(1), hosts.host(2));
    crate::daemon::soon(|| one.succeeds("ip link show br-blue"));
    one.sh("ip tuntap add tap0 mode tap && ip link set tap0 mtu 1450 && ip link set tap0 master br-blue up");
    let console = one.dir().join("console");
    let initrd = make_initrd(one.dir(), "10.40.0.77/24", "10.40.0.2");
    let _machine = start(one, &initrd, &console);
    let said = || std::fs::read_to_string(&console).unwrap_or_default();
    let deadline = Instant::now() + Duration::from_secs(180);
    while !said().contains("the other host answers") {
        assert!(Instant::now() < deadline, "{}", said());
        std::thread::sleep(Duration::from_millis(200));
    }
    assert!(said().contains("mtu 1450"), "{}", said());
    assert!(two.succeeds("ping -n -c 3 -W 2 10.40.0.77"));
}
