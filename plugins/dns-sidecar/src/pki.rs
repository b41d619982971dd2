//! Certificates for hosts that speak with each other: an authority, and a certificate of each host.

use std::io::Write;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, Result, anyhow, bail};
use clap::{Args, Subcommand};
use pem_rfc7468::LineEnding;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, DnValue, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, SanType,
};
use time::{Duration, OffsetDateTime};
use tokio_rustls::rustls::pki_types::PrivatePkcs8KeyDer;
use x509_cert::Certificate;
use x509_cert::der::Decode;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

use crate::certificate::common_name;

/// What `weft pki` asks for. It has the defaults and the words for people; here everything is named.
#[derive(Debug, Subcommand)]
pub(crate) enum Pki {
    Init(Init),
    Issue(Issue),
    Show(Show),
}

#[derive(Debug, Args)]
pub(crate) struct Init {
    #[arg(long)]
    dir: PathBuf,
    #[arg(long)]
    name: String,
    #[arg(long)]
    days: u16,
}

#[derive(Debug, Args)]
pub(crate) struct Issue {
    #[arg(long)]
    dir: PathBuf,
    #[arg(long)]
    days: u16,
    #[arg(long)]
    out: Option<PathBuf>,
    id: String,
    #[arg(required = true)]
    addresses: Vec<IpAddr>,
}

#[derive(Debug, Args)]
pub(crate) struct Show {
    #[arg(long)]
    dir: PathBuf,
    files: Vec<PathBuf>,
}

const AUTHORITY: &str = "ca.pem";
const AUTHORITY_KEY: &str = "ca-key.pem";
const CERTIFICATE: &str = "CERTIFICATE";
const KEY: &str = "PRIVATE KEY";

/// Does it.
///
/// # Errors
/// The file, and what is wrong with it.
pub(crate) fn run(pki: &Pki) -> Result<()> {
    match pki {
        Pki::Init(init) => make_authority(init),
        Pki::Issue(issue) => make_certificate(issue),
        Pki::Show(show) => print_certificates(show),
    }
}

fn params(name: &str, days: u16) -> Result<CertificateParams> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    let name = DnValue::Utf8String(name.to_owned());
    params.distinguished_name.push(DnType::CommonName, name);
    let now = OffsetDateTime::now_utc();
    // Clocks of other hosts may be behind.
    params.not_before = now - Duration::days(1);
    params.not_after = now + Duration::days(days.into());
    Ok(params)
}

fn authority(name: &str, days: u16) -> Result<CertificateParams> {
    let mut params = params(name, days)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}

fn make_authority(init: &Init) -> Result<()> {
    let (certificate, key_file) = (init.dir.join(AUTHORITY), init.dir.join(AUTHORITY_KEY));
    for path in [&certificate, &key_file] {
        if path.exists() {
            bail!(
                "{} is there: hosts that know it would not know another one; take another --dir",
                path.display()
            );
        }
    }
    make_dir(&init.dir)?;
    let key = KeyPair::generate()?;
    let made = authority(&init.name, init.days)?.self_signed(&key)?;
    write(&key_file, KEY, key.serialized_der(), true)?;
    write(&certificate, CERTIFICATE, made.der(), false)?;
    say(&format!(
        "{} and its key: every host gets the first, the key stays here\n",
        certificate.display()
    ))
}

fn make_certificate(issue: &Issue) -> Result<()> {
    let is_plain = |char: char| char.is_ascii_alphanumeric() || matches!(char, '-' | '_' | '.');
    if issue.id.is_empty() || issue.id.len() > 64 || !issue.id.chars().all(is_plain) {
        bail!(
            "{:?} is no id: letters, digits, '-', '_' and '.', 64 at most",
            issue.id
        );
    }
    // Files of these names are the authority's, and keys.
    if issue.id == "ca" || issue.id.ends_with("-key") || issue.id.starts_with('.') {
        bail!("{:?} is no id: its file would be another one's", issue.id);
    }
    let unusable = issue
        .addresses
        .iter()
        .find(|ip| ip.is_unspecified() || ip.is_multicast());
    if let Some(ip) = unusable {
        bail!("{ip} is no address at which a host can be called");
    }
    let authority_file = issue.dir.join(AUTHORITY);
    let ours = read(&authority_file).context("weft pki init makes an authority")?;
    let name = common_name(&ours)?;
    let (_, key) = decode(&issue.dir.join(AUTHORITY_KEY))?;
    let key = KeyPair::try_from(&PrivatePkcs8KeyDer::from(key))?;
    let issuer = Issuer::new(authority(&name, 1)?, key);
    let mut params = params(&issue.id, issue.days)?;
    let addresses = issue.addresses.iter().copied();
    params.subject_alt_names = addresses.map(SanType::IpAddress).collect();
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
    let key = KeyPair::generate()?;
    let made = params.signed_by(&key, &issuer)?;
    let out = issue.out.as_ref().unwrap_or(&issue.dir);
    make_dir(out)?;
    let path = |ending: &str| out.join(format!("{}{ending}", issue.id));
    write(&path("-key.pem"), KEY, key.serialized_der(), true)?;
    write(&path(".pem"), CERTIFICATE, made.der(), false)?;
    say(&format!(
        "tls = {{ cert_file = {:?}, key_file = {:?}, ca_file = {authority_file:?} }}\n",
        path(".pem"),
        path("-key.pem"),
    ))
}

fn print_certificates(show: &Show) -> Result<()> {
    let mut files = show.files.clone();
    if files.is_empty() {
        let entries =
            std::fs::read_dir(&show.dir).with_context(|| show.dir.display().to_string())?;
        let all = entries.flatten().map(|entry| entry.path());
        let is_certificate = |path: &PathBuf| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.ends_with(".pem") && !name.ends_with("-key.pem")
        };
        files.extend(all.filter(is_certificate));
        files.sort();
    }
    for file in &files {
        let certificate = read(file)?;
        let body = certificate.tbs_certificate();
        let end = body.validity().not_after.to_system_time();
        let days = match end.duration_since(SystemTime::now()) {
            Ok(left) => format!("{} days left", left.as_secs() / 86_400),
            Err(_) => "is over".to_owned(),
        };
        let addresses = addresses(&certificate)?;
        say(&format!(
            "{}: {} {} until {} ({days})\n",
            file.display(),
            common_name(&certificate)?,
            addresses.join(" "),
            body.validity().not_after,
        ))?;
    }
    Ok(())
}

fn addresses(certificate: &Certificate) -> Result<Vec<String>> {
    let mut found = Vec::new();
    let names = certificate
        .tbs_certificate()
        .get_extension::<SubjectAltName>()?;
    for name in names.map(|(_, names)| names.0).unwrap_or_default() {
        if let GeneralName::IpAddress(bytes) = name {
            let bytes = bytes.as_bytes();
            let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
            let ip = v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from));
            found.extend(ip.map(|ip| ip.to_string()));
        }
    }
    Ok(found)
}

fn read(path: &Path) -> Result<Certificate> {
    let (label, bytes) = decode(path)?;
    if label != CERTIFICATE {
        bail!("{} has no certificate, but a {label}", path.display());
    }
    let what = || path.display().to_string();
    Certificate::from_der(&bytes).with_context(what)
}

fn decode(path: &Path) -> Result<(String, Vec<u8>)> {
    let what = || path.display().to_string();
    let text = weft_cni::file::read(path).with_context(what)?;
    let decoded = pem_rfc7468::decode_vec(&text);
    let (label, bytes) = decoded.map_err(|error| anyhow!(error)).with_context(what)?;
    Ok((label.to_owned(), bytes))
}

fn write(path: &Path, label: &str, bytes: &[u8], is_secret: bool) -> Result<()> {
    let what = || format!("{} cannot be written", path.display());
    let text = pem_rfc7468::encode_string(label, LineEnding::LF, bytes);
    let text = text.map_err(|error| anyhow!(error))?;
    let mut by_way_of = path.as_os_str().to_owned();
    by_way_of.push(".new");
    let by_way_of = PathBuf::from(by_way_of);
    let mut file = weft_cni::file::create_own(&by_way_of).with_context(what)?;
    let mode = if is_secret { 0o600 } else { 0o644 };
    file.set_permissions(std::fs::Permissions::from_mode(mode))
        .with_context(what)?;
    file.write_all(text.as_bytes())
        .and_then(|()| file.sync_all())
        .with_context(what)?;
    std::fs::rename(&by_way_of, path).with_context(what)
}

fn make_dir(dir: &Path) -> Result<()> {
    weft_cni::file::make_own_dir(dir).with_context(|| dir.display().to_string())
}

fn say(text: &str) -> Result<()> {
    std::io::stdout()
        .write_all(text.as_bytes())
        .context("standard output")
}
