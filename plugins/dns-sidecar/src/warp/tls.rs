//! TLS to Docker, with certificates of both sides, in the files that its own client uses.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// Connects to HOST:PORT. `ca.pem` says which servers are believed, `cert.pem` and `key.pem` are this side's.
///
/// # Errors
/// The file that is wrong; the connection's.
pub(super) async fn connect(host: &str, directory: &Path) -> Result<TlsStream<TcpStream>> {
    let read = |name: &str| {
        let path = directory.join(name);
        weft_cni::file::read_text(&path).with_context(|| path.display().to_string())
    };
    let mut roots = RootCertStore::empty();
    for one in CertificateDer::pem_slice_iter(read("ca.pem")?.as_bytes()) {
        roots.add(one.context("ca.pem")?).context("ca.pem")?;
    }
    let chain: Vec<CertificateDer<'static>> =
        CertificateDer::pem_slice_iter(read("cert.pem")?.as_bytes())
            .collect::<Result<_, _>>()
            .context("cert.pem")?;
    let key = PrivateKeyDer::from_pem_slice(read("key.pem")?.as_bytes()).context("key.pem")?;
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)
        .context("cert.pem and key.pem")?;
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    let name = ServerName::try_from(name.to_owned()).with_context(|| host.to_owned())?;
    let stream = TcpStream::connect(host).await?;
    stream.set_nodelay(true)?;
    let connector = TlsConnector::from(Arc::new(config));
    Ok(connector.connect(name, stream).await?)
}
