//! Questions to the API of Docker or Podman: HTTP over a unix socket, TCP or TLS; a connection each.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::HOST;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use weft_warp::{ConnectionMethod, DockerConfig};

/// An answer is waited for so long, up to its headers; its body, so long from piece to piece.
const PATIENCE: Duration = Duration::from_secs(10);
/// No answer is longer, in bytes: ten thousand containers are listed in less.
const LONGEST: usize = 64 << 20;
/// Neither is an event.
const LONGEST_LINE: usize = 1 << 20;
/// The API that this client was written for, and the oldest that it takes.
const NEWEST: (u16, u16) = (1, 43);
const OLDEST: (u16, u16) = (1, 24);

/// Where an API is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    Socket(PathBuf),
    Tcp(String),
    #[cfg(feature = "ssl")]
    Tls {
        host: String,
        certificates: PathBuf,
    },
}

impl Place {
    /// Docker's; none if it is not asked.
    ///
    /// # Errors
    /// That this program was built without TLS.
    pub(super) fn of_docker(config: &DockerConfig) -> Result<Option<Self>> {
        Ok(Some(match config.method {
            ConnectionMethod::None => return Ok(None),
            ConnectionMethod::Socket => Self::Socket(config.socket.clone()),
            ConnectionMethod::Http => Self::Tcp(config.host.clone()),
            #[cfg(feature = "ssl")]
            ConnectionMethod::Ssl => Self::Tls {
                host: config.host.clone(),
                certificates: config.certificates.clone(),
            },
            #[cfg(not(feature = "ssl"))]
            ConnectionMethod::Ssl => bail!(
                "docker_connection_method: this weftd was built without the feature ssl: use socket, or http"
            ),
        }))
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Socket(path) => write!(f, "{}", path.display()),
            Self::Tcp(host) => write!(f, "http://{host}"),
            #[cfg(feature = "ssl")]
            Self::Tls { host, .. } => write!(f, "https://{host}"),
        }
    }
}

/// What was asked for is not there.
#[derive(Debug)]
pub(super) struct NotThere;

impl std::fmt::Display for NotThere {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("it is not there")
    }
}

impl std::error::Error for NotThere {}

/// An API, and the version that is spoken.
#[derive(Debug, Clone)]
pub(super) struct Api {
    place: Place,
    version: String,
}

impl Api {
    /// Finds out which version both sides know, unless one is given.
    ///
    /// # Errors
    /// The connection's; that the API is too new or too old.
    pub(super) async fn open(place: &Place, version: Option<&str>) -> Result<Self> {
        let mut api = Self {
            place: place.clone(),
            version: String::new(),
        };
        let said = api.get("/version").await?;
        let of = |key: &str| said.get(key).and_then(Value::as_str).and_then(parts);
        let newest = of("ApiVersion").unwrap_or(NEWEST);
        let oldest = of("MinAPIVersion").unwrap_or(OLDEST);
        let wanted = match version {
            Some(text) => parts(text).context("api_version")?,
            None => newest.min(NEWEST),
        };
        if wanted < oldest || wanted > newest || newest < OLDEST {
            bail!(
                "{place} speaks versions {}.{} to {}.{} of the API, and weftd {}.{}",
                oldest.0,
                oldest.1,
                newest.0,
                newest.1,
                wanted.0,
                wanted.1
            );
        }
        api.version = format!("/v{}.{}", wanted.0, wanted.1);
        Ok(api)
    }

    pub(super) fn version(&self) -> &str {
        self.version.trim_start_matches("/v")
    }

    /// One answer.
    ///
    /// # Errors
    /// The connection's; what the API says.
    pub(super) async fn get(&self, path: &str) -> Result<Value> {
        let asked = async {
            let mut body = self.ask(path).await?;
            let mut text = Vec::new();
            while let Some(frame) = body.frame().await {
                if let Some(data) = frame?.data_ref() {
                    text.extend_from_slice(data);
                }
                if text.len() > LONGEST {
                    bail!(
                        "{}{path}: the answer has more than {LONGEST} bytes",
                        self.place
                    );
                }
            }
            serde_json::from_slice(&text).with_context(|| format!("{}{path}", self.place))
        };
        let answered = tokio::time::timeout(PATIENCE, asked).await;
        answered.with_context(|| format!("{} does not answer within {PATIENCE:?}", self.place))?
    }

    /// A stream of lines of JSON. Its headers may come with the first of them: they are not waited for here.
    pub(super) fn stream(&self, path: String) -> Lines {
        Lines {
            api: self.clone(),
            path,
            body: None,
            half: Vec::new(),
        }
    }

    async fn ask(&self, path: &str) -> Result<Incoming> {
        let what = || format!("{}", self.place);
        let connected = async {
            match &self.place {
                Place::Socket(path) => {
                    let stream = UnixStream::connect(path).await?;
                    self.speak(stream).await
                }
                Place::Tcp(host) => self.speak(TcpStream::connect(host).await?).await,
                #[cfg(feature = "ssl")]
                Place::Tls { host, certificates } => {
                    self.speak(super::tls::connect(host, certificates).await?)
                        .await
                }
            }
        };
        let mut sender = tokio::time::timeout(PATIENCE, connected)
            .await
            .with_context(what)?
            .with_context(what)?;
        let request = Request::get(format!("{}{path}", self.version))
            .header(HOST, "weft")
            .body(Empty::<Bytes>::new())?;
        let response = sender.send_request(request).await.with_context(what)?;
        let status = response.status();
        let mut body = response.into_body();
        if status == StatusCode::OK {
            return Ok(body);
        }
        let said = match body.frame().await {
            Some(Ok(frame)) => frame.into_data().unwrap_or_default(),
            Some(Err(_)) | None => Bytes::new(),
        };
        let said: Value = serde_json::from_slice(&said).unwrap_or_default();
        let why = said.get("message").and_then(Value::as_str).unwrap_or("");
        if status == StatusCode::NOT_FOUND {
            return Err(NotThere.into());
        }
        bail!("{}{path}: {status} {why}", self.place)
    }

    async fn speak<S>(&self, stream: S) -> Result<http1::SendRequest<Empty<Bytes>>>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        // It ends with the answer.
        tokio::spawn(async move { drop(connection.await) });
        Ok(sender)
    }
}

/// A version such as 1.41.
fn parts(text: &str) -> Option<(u16, u16)> {
    let (major, minor) = text.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// Lines of JSON without end.
#[derive(Debug)]
pub(super) struct Lines {
    api: Api,
    path: String,
    body: Option<Incoming>,
    half: Vec<u8>,
}

impl Lines {
    /// The next one; none at the end.
    ///
    /// # Errors
    /// The connection's.
    pub(super) async fn next(&mut self) -> Result<Option<Value>> {
        loop {
            if let Some(end) = self.half.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.half.drain(..=end).collect();
                match serde_json::from_slice(&line) {
                    Ok(value) => return Ok(Some(value)),
                    Err(error) => tracing::debug!("an event that is no JSON: {error}"),
                }
                continue;
            }
            if self.half.len() > LONGEST_LINE {
                bail!("an event has more than {LONGEST_LINE} bytes");
            }
            let body = match &mut self.body {
                Some(body) => body,
                None => self.body.insert(self.api.ask(&self.path).await?),
            };
            match body.frame().await {
                None => return Ok(None),
                Some(frame) => {
                    if let Some(data) = frame?.data_ref() {
                        self.half.extend_from_slice(data);
                    }
                }
            }
        }
    }
}

/// Text as a part of a path or query (RFC 3986).
pub(super) fn encoded(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                out.push(char::from(byte));
            }
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out
}
