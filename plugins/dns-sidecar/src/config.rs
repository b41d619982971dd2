//! How the daemon answers: the table `[dns]` of weft.toml.

use std::io::Write;
use std::net::IpAddr;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use weft_cni::env::Env;
use weft_dns::Name;
use weft_node::{DnsDefaults, HostConfig};
use weft_store::{ForwardZone, StaticRecord};

/// Settings of the part that answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Settings {
    /// All containers' names are below it, unless their network has a domain of its own.
    pub(crate) domain: String,
    /// In seconds.
    pub(crate) ttl: u32,
    /// Empty: what resolv.conf names.
    pub(crate) upstreams: Vec<IpAddr>,
    pub(crate) zones: Vec<ForwardZone>,
    pub(crate) records: Vec<StaticRecord>,
    pub(crate) forward_single_label: bool,
    pub(crate) cache_entries: usize,
    pub(crate) max_in_flight: usize,
    pub(crate) max_in_flight_per_client: usize,
    /// systemd-resolved is told to ask here.
    pub(crate) host_resolver: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            domain: HostConfig::default().dns_domain,
            ttl: weft_dns::TTL,
            upstreams: Vec::new(),
            zones: Vec::new(),
            records: Vec::new(),
            forward_single_label: true,
            cache_entries: 8192,
            max_in_flight: 1024,
            max_in_flight_per_client: 128,
            host_resolver: false,
        }
    }
}

/// A name that is remembered for longer outlives its container.
const LONGEST_TTL: u32 = 3600;

impl Settings {
    /// Reads weft.toml.
    ///
    /// # Errors
    /// The file, and the key that is wrong.
    pub(crate) fn read(env: &Env) -> Result<Self> {
        let path = env.config_file();
        Self::of(DnsDefaults::read(env)?).with_context(|| path.display().to_string())
    }

    fn of(file: DnsDefaults) -> Result<Self> {
        let default = Self::default();
        let settings = Self {
            domain: file.domain.unwrap_or(default.domain),
            ttl: file.ttl.unwrap_or(default.ttl),
            upstreams: file.upstreams,
            zones: (file.zones.into_iter())
                .map(|(domain, servers)| ForwardZone { domain, servers })
                .collect(),
            records: file.records,
            forward_single_label: (file.forward_single_label)
                .unwrap_or(default.forward_single_label),
            cache_entries: file.cache_entries.unwrap_or(default.cache_entries),
            max_in_flight: file.max_in_flight.unwrap_or(default.max_in_flight),
            max_in_flight_per_client: (file.max_in_flight_per_client)
                .unwrap_or(default.max_in_flight_per_client),
            host_resolver: file.host_resolver.unwrap_or(default.host_resolver),
        };
        settings.validate()?;
        Ok(settings)
    }

    fn validate(&self) -> Result<()> {
        let name = |key: &str, text: &str| -> Result<()> {
            let name = Name::parse(text).with_context(|| format!("[dns] {key}"))?;
            if name == Name::root() {
                bail!("[dns] {key}: {text:?} is the root: name a domain");
            }
            Ok(())
        };
        name("domain", &self.domain)?;
        if !(0..=LONGEST_TTL).contains(&self.ttl) {
            bail!("[dns] ttl: {} must be 0 to {LONGEST_TTL} seconds", self.ttl);
        }
        for zone in &self.zones {
            name("zones", &zone.domain)?;
            if zone.servers.is_empty() {
                bail!("[dns] zones: {:?} has no servers", zone.domain);
            }
        }
        for record in &self.records {
            name("records", &record.name)?;
            if let Some(long) = record.txt.iter().find(|text| text.len() > 255) {
                bail!(
                    "[dns] records: {:?}: the text {long:?} is longer than 255 bytes",
                    record.name
                );
            }
            for place in &record.srv {
                name("records", &place.target)?;
            }
        }
        Ok(())
    }
}

/// Says whether the file can be understood.
pub(crate) fn check(env: &Env) -> Result<()> {
    HostConfig::read(env)?;
    let settings = Settings::read(env)?;
    crate::root::overlay::read(env)?;
    crate::warp::read(env, &crate::warp::Flags::default())?;
    let path = env.config_file();
    let found = if path.exists() {
        "is understood"
    } else {
        "is not there: all is as by default"
    };
    print(&format!("{} {found}\n", path.display()))?;
    if settings.domain.ends_with(".local") {
        tracing::warn!(
            "[dns] domain: names below .local belong to multicast DNS (RFC 6762): hosts may not ask here"
        );
    }
    Ok(())
}

const DEFAULT: &str = include_str!("default.toml");

/// Prints every key.
pub(crate) fn print_default() -> Result<()> {
    print(DEFAULT)
}

fn print(text: &str) -> Result<()> {
    std::io::stdout()
        .write_all(text.as_bytes())
        .context("standard output")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Settings> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("weft.toml");
        std::fs::write(&path, text).unwrap();
        Settings::read(&Env::from_pairs([("WEFT_CONFIG", path.to_str().unwrap())]))
    }

    /// The printed file, with its comment signs taken away, says the same as no file.
    #[test]
    fn what_is_printed_is_the_default() {
        let is_key = |line: &&str| {
            line.split_once(" = ")
                .is_some_and(|(key, _)| !key.contains(' '))
        };
        let line = |line: &'static str| line.strip_prefix("# ").filter(is_key).unwrap_or(line);
        let lines = DEFAULT
            .lines()
            .map(line)
            .filter(|line| !line.starts_with('#'));
        let keys: String = lines.flat_map(|line| [line, "\n"]).collect();
        assert_eq!(read(&keys).unwrap(), Settings::default());
        assert_eq!(read(DEFAULT).unwrap(), Settings::default());
        assert_eq!(keys.matches(" = ").count(), 10, "{keys}");
    }

    #[test]
    fn errors_name_the_key() {
        for (text, parts) in [
            ("[dns]\nttl = 9999", "[dns] ttl: 9999 must be 0 to 3600"),
            ("[dns]\ndomain = \"a..b\"", "[dns] domain"),
            ("[dns]\nzones = {\"x.y\" = []}", "has no servers"),
            ("[dns]\nupstreams = [\"x\"]", "line 2"),
            ("[dns]\nupsteams = []", "upsteams"),
            ("[dns]\nrecords = [{name = \"\"}]", "is the root"),
        ] {
            let error = format!("{:#}", read(text).unwrap_err());
            assert!(
                error.contains(parts) && error.contains("weft.toml"),
                "{error}"
            );
        }
    }
}
