//! Small servers in hosts and containers, and clients that ask them.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{Shutdown, shutdown};
use weft_testkit::{Container, Host};

/// How long one attempt waits, and all that is waited for who is not to answer.
const ATTEMPT: Duration = Duration::from_millis(700);

/// How long an answer that is to come is waited for: packets get lost where nothing is wrong, since all
/// network namespaces share a processor's queue of arriving packets (`net.core.netdev_max_backlog`), which
/// a flood in another test fills, and a lost SYN is repeated only after a second. And a bridge that has
/// just been made asks for IPv6 neighbours only once its own address is known to be unique.
const PATIENCE: Duration = Duration::from_secs(8);

/// A server that tells its name and who asks, until it is dropped.
pub(crate) struct Server {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// On a TCP port, of both families.
    pub(crate) fn tcp(container: &Container, port: u16, name: &'static str) -> Self {
        let listener = container.run(|| TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).unwrap());
        Self::serve_tcp(listener, name)
    }

    /// The same on a host.
    pub(crate) fn tcp_on(host: &Host, port: u16, name: &'static str) -> Self {
        let listener = host.run(|| TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).unwrap());
        Self::serve_tcp(listener, name)
    }

    fn serve_tcp(listener: TcpListener, name: &'static str) -> Self {
        listener.set_nonblocking(true).unwrap();
        Self::start(listener, move |listener| {
            if let Ok((mut stream, peer)) = listener.accept() {
                let _ = write!(stream, "{name} {}", peer.ip().to_canonical());
            }
        })
    }

    /// On a UDP port, of both families.
    pub(crate) fn udp(container: &Container, port: u16, name: &'static str) -> Self {
        Self::serve_udp(container.run(|| Self::udp_socket(port)), name)
    }

    /// The same on a host.
    pub(crate) fn udp_on(host: &Host, port: u16, name: &'static str) -> Self {
        Self::serve_udp(host.run(|| Self::udp_socket(port)), name)
    }

    fn udp_socket(port: u16) -> UdpSocket {
        bound(|| UdpSocket::bind((Ipv6Addr::UNSPECIFIED, port)))
    }

    fn serve_udp(socket: UdpSocket, name: &'static str) -> Self {
        socket.set_nonblocking(true).unwrap();
        Self::start(socket, move |socket| {
            let mut buffer = [0; 64];
            if let Ok((_, peer)) = socket.recv_from(&mut buffer) {
                let text = format!("{name} {}", peer.ip().to_canonical());
                let _ = socket.send_to(text.as_bytes(), peer);
            }
        })
    }

    /// Takes a step whenever something has come, and looks now and then whether it is to stop.
    fn start<S: AsFd + Send + 'static>(socket: S, step: impl Fn(&S) + Send + 'static) -> Self {
        const PAUSE_MILLIS: u8 = 20;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                let mut polled = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
                let _ = poll(&mut polled, PollTimeout::from(PAUSE_MILLIS));
                step(&socket);
            }
            // The port is free when nobody listens, not when the socket is closed (`bound`). One of UDP has
            // nothing to end.
            let _ = shutdown(socket.as_fd().as_raw_fd(), Shutdown::Both);
        });
        Self {
            stop,
            thread: Some(thread),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        drop(self.thread.take().map(JoinHandle::join));
    }
}

/// A socket at a port that was used just now. Its last one may be closed and still there: the child that
/// another test has begun has all open files until it executes something.
pub(crate) fn bound<T>(bind: impl Fn() -> std::io::Result<T>) -> T {
    let socket = patiently(|| match bind() {
        Err(error) if error.kind() == ErrorKind::AddrInUse => None,
        outcome => Some(outcome),
    });
    socket.expect("nobody lets go of the port").unwrap()
}

/// Asks a TCP server from where the calling thread is, until it answers: its name and whom it sees.
pub(crate) fn ask_tcp(address: &str) -> Option<String> {
    patiently(|| try_tcp(address))
}

/// Whether nobody answers there.
pub(crate) fn silent_tcp(address: &str) -> bool {
    try_tcp(address).is_none()
}

/// Whether there is an answer, or none, as it should be.
pub(crate) fn answers_tcp_only_if(expected: bool, address: &str) -> bool {
    if expected {
        ask_tcp(address).is_some()
    } else {
        silent_tcp(address)
    }
}

fn patiently<T>(attempt: impl Fn() -> Option<T>) -> Option<T> {
    const PAUSE: Duration = Duration::from_millis(50);
    let begin = Instant::now();
    loop {
        let answer = attempt();
        if answer.is_some() || begin.elapsed() > PATIENCE {
            return answer;
        }
        std::thread::sleep(PAUSE);
    }
}

/// Asks a TCP server once.
pub(crate) fn try_tcp(address: &str) -> Option<String> {
    let address: SocketAddr = address.parse().unwrap();
    let mut stream = TcpStream::connect_timeout(&address, ATTEMPT).ok()?;
    stream.set_read_timeout(Some(ATTEMPT)).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    Some(text).filter(|text| !text.is_empty())
}

/// Asks a UDP server until it answers.
pub(crate) fn ask_udp(address: &str) -> Option<String> {
    ask_udp_by(&any_socket(), address)
}

/// The same by a socket that is there already.
pub(crate) fn ask_udp_by(socket: &UdpSocket, address: &str) -> Option<String> {
    patiently(|| try_udp(socket, address))
}

/// Whether no UDP server answers.
pub(crate) fn silent_udp(address: &str) -> bool {
    silent_udp_by(&any_socket(), address)
}

/// The same by a socket that is there already.
pub(crate) fn silent_udp_by(socket: &UdpSocket, address: &str) -> bool {
    try_udp(socket, address).is_none()
}

pub(crate) fn any_socket() -> UdpSocket {
    UdpSocket::bind("0.0.0.0:0").unwrap()
}

pub(crate) fn try_udp(socket: &UdpSocket, address: &str) -> Option<String> {
    let mut buffer = [0; 64];
    // An answer to an earlier attempt is none to this one.
    socket.set_nonblocking(true).unwrap();
    while socket.recv(&mut buffer).is_ok() {}
    socket.set_nonblocking(false).unwrap();
    socket.set_read_timeout(Some(ATTEMPT)).unwrap();
    let _ = socket.send_to(b"?", address);
    let length = socket.recv(&mut buffer).ok()?;
    Some(String::from_utf8_lossy(&buffer[..length]).into_owned())
}
