//! weftd in a host of its own, and questions to it.

use std::io::{Read, Write};
use std::net::{IpAddr, TcpStream, UdpSocket};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use weft_dns::Name;
use weft_testkit::{Container, Host, Suite};

/// A running weftd, ended with the value.
pub(crate) struct Daemon {
    process: Child,
    /// The file with the number of the process, if a supervisor has started it.
    pid_file: Option<PathBuf>,
}

/// Speaks systemd's protocol.
const SUPERVISOR: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/suite/supervisor.py");

impl Daemon {
    pub(crate) fn start(suite: &Suite, host: &Host) -> Self {
        let mut command = Command::new(suite.bin_dir.join("weftd"));
        command.arg("run");
        Self::spawn(command, host, None)
    }

    /// Another file of the program.
    pub(crate) fn of_file(program: &Path, host: &Host) -> Self {
        let mut command = Command::new(program);
        command.arg("run");
        Self::spawn(command, host, None)
    }

    /// A command that runs it.
    pub(crate) fn of_command(command: Command, host: &Host) -> Self {
        Self::spawn(command, host, None)
    }

    /// The same by another program, which is given its name and words.
    pub(crate) fn by(mut command: Command, suite: &Suite, host: &Host) -> Self {
        command.arg(suite.bin_dir.join("weftd")).arg("run");
        Self::spawn(command, host, None)
    }

    /// The same under a supervisor, which starts it again and keeps its sockets.
    pub(crate) fn supervised(suite: &Suite, host: &Host) -> Self {
        let pid_file = host.dir().join("weftd.pid");
        let mut command = Command::new("/usr/bin/python3");
        command.arg(SUPERVISOR).arg(&pid_file);
        command.arg(suite.bin_dir.join("weftd")).arg("run");
        Self::spawn(command, host, Some(pid_file))
    }

    fn spawn(mut command: Command, host: &Host, pid_file: Option<PathBuf>) -> Self {
        command
            .env("WEFT_STATE_DIR", host.state_dir())
            .env("WEFT_DATA_DIR", host.data_dir())
            .env("WEFT_POLICY_DIR", host.policy_dir())
            .env("WEFT_PUBLIC_DIR", host.dir().join("public"))
            .env("WEFT_LOG", "warn")
            .env("WEFT_CONFIG", host.dir().join("weft.toml"))
            .stdout(Stdio::null());
        let process = host.run(|| command.spawn().unwrap());
        let daemon = Self { process, pid_file };
        soon(|| daemon.root().is_some());
        daemon
    }

    /// The root part.
    pub(crate) fn root(&self) -> Option<u32> {
        match &self.pid_file {
            None => Some(self.process.id()),
            Some(file) => std::fs::read_to_string(file).ok()?.parse().ok(),
        }
    }

    /// Has the supervisor replace it.
    pub(crate) fn restart(&self) {
        signal(self.process.id(), "USR1");
    }

    /// What one of its sockets says to a GET.
    pub(crate) fn get(host: &Host, path: &str) -> String {
        let socket = host.dir().join("public/status.sock");
        let mut stream = UnixStream::connect(socket).unwrap();
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: weft\r\nConnection: close\r\n\r\n"
        )
        .unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    }

    /// How it ends.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        self.process.wait().unwrap()
    }

    /// The processes that answer: children of the root part.
    pub(crate) fn answering(&self) -> Vec<u32> {
        let Some(id) = self.root() else {
            return Vec::new();
        };
        let children = format!("/proc/{id}/task/{id}/children");
        let text = std::fs::read_to_string(children).unwrap_or_default();
        text.split_whitespace()
            .map(|one| one.parse().unwrap())
            .collect()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // The supervisor ends what it has started.
        if self.pid_file.is_some() {
            signal(self.process.id(), "TERM");
        } else {
            let _ = self.process.kill();
        }
        let _ = self.process.wait();
    }
}

pub(crate) fn signal(process: u32, name: &str) {
    let status = Command::new("kill")
        .arg(format!("-{name}"))
        .arg(process.to_string())
        .status();
    assert!(status.unwrap().success(), "{process} {name}");
}

/// What a socket says to somebody that is not the superuser.
pub(crate) fn as_nobody(socket: &Path, line: &str) -> String {
    const SCRIPT: &str = "import socket, sys\n\
        s = socket.socket(socket.AF_UNIX)\n\
        s.settimeout(2)\n\
        s.connect(sys.argv[1])\n\
        s.sendall(sys.argv[2].encode())\n\
        s.shutdown(socket.SHUT_WR)\n\
        print(s.recv(4096).decode(), end='')";
    let output = Command::new("setpriv")
        .args([
            "--reuid=65534",
            "--regid=65534",
            "--clear-groups",
            "/usr/bin/python3",
            "-c",
        ])
        .arg(SCRIPT)
        .arg(socket)
        .arg(line)
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success()
            || stderr.contains("ConnectionReset")
            || stderr.contains("BrokenPipe"),
        "{stderr}"
    );
    String::from_utf8(output.stdout).unwrap()
}

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reply {
    /// RCODE.
    pub(crate) code: u8,
    /// How many records are in the sections for answers and authorities.
    pub(crate) counts: (u16, u16),
    /// The data of the first answer.
    pub(crate) data: Vec<u8>,
    /// For how many seconds it may be remembered.
    pub(crate) ttl: u32,
    pub(crate) is_authoritative: bool,
    pub(crate) is_cut: bool,
}

pub(crate) fn query(name: &str, kind: u16) -> Vec<u8> {
    let mut message = vec![0x5a, 0xa5, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        message.push(u8::try_from(label.len()).unwrap());
        message.extend(label.as_bytes());
    }
    message.push(0);
    message.extend(kind.to_be_bytes());
    message.extend([0, 1]);
    message
}

fn reply(query: &[u8], answer: &[u8]) -> Reply {
    assert_eq!(answer[..2], query[..2], "the number");
    let number = |at: usize| u16::from_be_bytes([answer[at], answer[at + 1]]);
    let counts = (number(6), number(8));
    let data = match counts.0 {
        0 => Vec::new(),
        _ => {
            // A pointer, type, class, lifetime, length.
            let start = query.len() + 12;
            let length = usize::from(number(start - 2));
            answer[start..start + length].to_vec()
        }
    };
    let ttl_at = query.len() + 6;
    let ttl = match counts.0 {
        0 => 0,
        _ => u32::from_be_bytes(answer[ttl_at..ttl_at + 4].try_into().unwrap()),
    };
    Reply {
        code: answer[3] & 0xf,
        ttl,
        counts,
        data,
        is_authoritative: answer[2] & 4 != 0,
        is_cut: answer[2] & 2 != 0,
    }
}

/// Asks from a container by a datagram; none if there is no answer within six seconds.
pub(crate) fn ask(container: &Container, server: &str, name: &str, kind: u16) -> Option<Reply> {
    let server: IpAddr = server.parse().unwrap();
    let any = if server.is_ipv4() {
        "0.0.0.0:0"
    } else {
        "[::]:0"
    };
    container.run(|| {
        let socket = UdpSocket::bind(any).unwrap();
        socket
            .set_read_timeout(Some(Duration::from_secs(6)))
            .unwrap();
        socket.connect((server, 53)).unwrap();
        let message = query(name, kind);
        socket.send(&message).ok()?;
        let mut answer = vec![0; 4096];
        let length = socket.recv(&mut answer).ok()?;
        Some(reply(&message, &answer[..length]))
    })
}

/// The same by a stream.
pub(crate) fn ask_by_stream(container: &Container, server: &str, name: &str, kind: u16) -> Reply {
    container.run(|| {
        let server: IpAddr = server.parse().unwrap();
        let mut stream = TcpStream::connect((server, 53)).unwrap();
        let message = query(name, kind);
        let length = u16::try_from(message.len()).unwrap();
        stream.write_all(&length.to_be_bytes()).unwrap();
        stream.write_all(&message).unwrap();
        let mut length = [0; 2];
        stream.read_exact(&mut length).unwrap();
        let mut answer = vec![0; u16::from_be_bytes(length).into()];
        stream.read_exact(&mut answer).unwrap();
        reply(&message, &answer)
    })
}

/// Asks until the answer is the wanted one.
#[track_caller]
pub(crate) fn soon(what: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !what() {
        assert!(Instant::now() < deadline, "not within twenty seconds");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A name's bytes in a message.
pub(crate) fn wire(name: &str) -> Vec<u8> {
    let mut wire = Name::parse(name).unwrap().wire().to_vec();
    wire.push(0);
    wire
}
