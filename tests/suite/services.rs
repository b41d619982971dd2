//! Small servers in hosts and containers, and clients that ask them.

use std::io::{Read, Write};
use std::net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use weft_testkit::{Container, Host};

const PATIENCE: Duration = Duration::from_millis(700);

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
        UdpSocket::bind((Ipv6Addr::UNSPECIFIED, port)).unwrap()
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

/// Asks a TCP server from where the calling thread is: its name and whom it sees.
pub(crate) fn ask_tcp(address: &str) -> Option<String> {
    let address: SocketAddr = address.parse().unwrap();
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    Some(text).filter(|text| !text.is_empty())
}

/// Asks a UDP server.
pub(crate) fn ask_udp(address: &str) -> Option<String> {
    let address: SocketAddr = address.parse().unwrap();
    let from = if address.is_ipv4() {
        "0.0.0.0:0"
    } else {
        "[::]:0"
    };
    ask_udp_by(&UdpSocket::bind(from).unwrap(), address)
}

/// The same by a socket that is there already.
pub(crate) fn ask_udp_by(socket: &UdpSocket, address: SocketAddr) -> Option<String> {
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut buffer = [0; 64];
    for _ in 0..2 {
        let _ = socket.send_to(b"?", address);
        if let Ok(length) = socket.recv(&mut buffer) {
            return Some(String::from_utf8_lossy(&buffer[..length]).into_owned());
        }
    }
    None
}
