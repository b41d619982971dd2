//! Whose a certificate is.

use anyhow::{Context, Result};
use x509_cert::Certificate;
use x509_cert::der::asn1::ObjectIdentifier;

/// id-at-commonName (X.520).
const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");

/// The common name of its subject: a host's id.
///
/// # Errors
/// That it has none.
pub(crate) fn common_name(certificate: &Certificate) -> Result<String> {
    let mut names = certificate.tbs_certificate().subject().iter();
    let name = names.find(|one| one.oid == COMMON_NAME);
    let name = name.context("the certificate has no common name")?;
    let text = std::str::from_utf8(name.value.value());
    Ok(text.context("the certificate's common name")?.to_owned())
}
