//! weftd in a host of its own, and questions to it.

use std::io::{Read, Write};
use std::net::{IpAddr, TcpStream, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use weft_dns::Name;
use weft_testkit::{Container, Host, Suite};

/// A running weftd, ended with the value.
pub(crate) struct Daemon {
    process: Child,
}

impl Daemon {
    pub(crate) fn start(suite: &Suite, host: &Host) -> Self {
        let mut command = Command::new(suite.bin_dir.join("weftd"));
        command
            .arg("run")
            .env("WEFT_STATE_DIR", host.state_dir())
            .env("WEFT_DATA_DIR", host.data_dir())
            .env("WEFT_POLICY_DIR", host.policy_dir())
            .env("WEFT_PUBLIC_DIR", host.dir().join("public"))
            .env("WEFT_LOG", "warn")
            .env("WEFT_CONFIG", host.dir().join("weft.toml"))
            .stdout(Stdio::null());
        let process = host.run(|| command.spawn().unwrap());
        Self { process }
    }

    /// The processes that answer: children of the root part.
    pub(crate) fn answering(&self) -> Vec<u32> {
        let id = self.process.id();
        let children = format!("/proc/{id}/task/{id}/children");
        let text = std::fs::read_to_string(children).unwrap_or_default();
        text.split_whitespace()
            .map(|one| one.parse().unwrap())
            .collect()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
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
    Reply {
        code: answer[3] & 0xf,
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
