//! Connections between hosts: in clear or by TLS, with certificates of both sides.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use anyhow::{Context as _, Result, bail};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::OwnedSemaphorePermit;
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tokio_util::either::Either;
use tonic::transport::server::Connected;
use x509_cert::Certificate;
use x509_cert::der::Decode;

use crate::certificate::common_name;
use crate::channel::peers::Keys;

type Io = Either<TcpStream, Box<tokio_rustls::TlsStream<TcpStream>>>;

/// gRPC's.
const HTTP2: &[u8] = b"h2";

/// A connection, and whose it is.
#[derive(Debug)]
pub(super) struct Stream {
    io: Io,
    caller: Caller,
    /// Its place among the connections that there may be.
    _place: Option<OwnedSemaphorePermit>,
}

impl Stream {
    /// The place is free again when the connection ends.
    pub(super) fn holding(mut self, place: OwnedSemaphorePermit, epoch: u64) -> Self {
        self.caller.epoch = epoch;
        self._place = Some(place);
        self
    }
}

/// The other side of a connection.
#[derive(Debug, Clone)]
pub(super) struct Caller {
    pub(super) address: Option<SocketAddr>,
    /// The common name of its certificate; none in clear.
    pub(super) name: Option<String>,
    /// Under which configuration it has come.
    pub(super) epoch: u64,
}

impl Connected for Stream {
    type ConnectInfo = Caller;

    fn connect_info(&self) -> Caller {
        self.caller.clone()
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(context, buffer)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}

/// Makes connections of both directions.
#[derive(Clone)]
pub(super) enum Secrecy {
    /// Whoever comes is believed.
    Clear,
    /// Certificates of both sides.
    Tls(TlsAcceptor, TlsConnector),
}

impl Secrecy {
    pub(super) fn of(keys: Option<&Keys>) -> Result<Self> {
        let Some(keys) = keys else {
            return Ok(Self::Clear);
        };
        let read = CertificateDer::pem_slice_iter(keys.certificate.as_bytes());
        let chain: Vec<CertificateDer<'static>> =
            read.collect::<Result<_, _>>().context("tls.cert_file")?;
        let key = || PrivateKeyDer::from_pem_slice(keys.key.as_bytes()).context("tls.key_file");
        let mut roots = RootCertStore::empty();
        for one in CertificateDer::pem_slice_iter(keys.authority.as_bytes()) {
            let one = one.context("tls.ca_file")?;
            roots.add(one).context("tls.ca_file")?;
        }
        if chain.is_empty() || roots.is_empty() {
            bail!("tls: a file has no certificate in PEM form");
        }
        let provider: Arc<CryptoProvider> = Arc::new(ring::default_provider());
        let roots = Arc::new(roots);
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider))
                .build()
                .context("tls.ca_file")?;
        let mut server = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()?
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain.clone(), key()?)
            .context("tls.cert_file and tls.key_file")?;
        server.alpn_protocols = vec![HTTP2.to_vec()];
        let mut client = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key()?)
            .context("tls.cert_file and tls.key_file")?;
        client.alpn_protocols = vec![HTTP2.to_vec()];
        Ok(Self::Tls(
            TlsAcceptor::from(Arc::new(server)),
            TlsConnector::from(Arc::new(client)),
        ))
    }

    /// One that has come.
    pub(super) async fn accept(&self, stream: TcpStream) -> Result<Stream> {
        let address = stream.peer_addr().ok();
        stream.set_nodelay(true)?;
        Ok(match self {
            Self::Clear => Stream {
                io: Either::Left(stream),
                caller: Caller {
                    address,
                    name: None,
                    epoch: 0,
                },
                _place: None,
            },
            Self::Tls(acceptor, _) => {
                let stream = acceptor.accept(stream).await?;
                let name = name_of(stream.get_ref().1.peer_certificates())?;
                Stream {
                    io: Either::Right(Box::new(stream.into())),
                    caller: Caller {
                        address,
                        name: Some(name),
                        epoch: 0,
                    },
                    _place: None,
                }
            }
        })
    }

    /// Goes to a host that has to be the one of this id. Packets leave from this host's underlay address.
    pub(super) async fn connect(
        &self,
        id: &str,
        address: SocketAddr,
        local: Option<IpAddr>,
    ) -> Result<Stream> {
        let socket = match address {
            SocketAddr::V4(_) => TcpSocket::new_v4()?,
            SocketAddr::V6(_) => TcpSocket::new_v6()?,
        };
        if let Some(local) = local {
            socket
                .bind(SocketAddr::new(local, 0))
                .with_context(|| format!("the underlay address {local}"))?;
        }
        let stream = socket.connect(address).await?;
        stream.set_nodelay(true)?;
        let (io, name) = match self {
            Self::Clear => (Either::Left(stream), None),
            Self::Tls(_, connector) => {
                let server = ServerName::IpAddress(address.ip().into());
                let stream = connector.connect(server, stream).await?;
                let name = name_of(stream.get_ref().1.peer_certificates())?;
                if name != id {
                    bail!("the certificate there is of {name:?}, and peer {id:?} was expected");
                }
                (Either::Right(Box::new(stream.into())), Some(name))
            }
        };
        let caller = Caller {
            address: Some(address),
            name,
            epoch: 0,
        };
        Ok(Stream {
            io,
            caller,
            _place: None,
        })
    }
}

/// The common name of the first certificate: a host's id.
fn name_of(chain: Option<&[CertificateDer<'_>]>) -> Result<String> {
    let first = chain.and_then(<[_]>::first);
    let first = first.context("the other side has no certificate")?;
    let certificate = Certificate::from_der(first).context("the other side's certificate")?;
    common_name(&certificate)
}
