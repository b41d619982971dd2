//! `weft config`: is a configuration file right?

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Subcommand;
use serde_json::Value;
use weft_attach::delegate::is_own_type;
use weft_cni::conf::{Fields, NetConf, Problems};
use weft_cni::runtime::ConfList;
use weft_cni::{CniError, Request, SpecVersion};
use weft_ipam::{IPAM_KEYS, IpamConfig};

use crate::cni::environment;
use crate::output;
use crate::plugins::by_type;

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Report every problem of network configuration files, unknown keys included
    Check {
        /// The files
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
    /// Print the reference of configuration keys, variables and error codes as Markdown
    Reference {
        /// Which page
        page: Page,
    },
}

/// A generated page of the documentation.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub(crate) enum Page {
    /// docs/configuration.md
    Configuration,
    /// docs/errors.md
    Errors,
}

pub(crate) fn run(verb: &Verb) -> Result<()> {
    match verb {
        Verb::Check { files } => {
            let mut wrong = 0;
            for file in files {
                for text in check(file)? {
                    output::line(&format!("{}: {text}", file.display()));
                    wrong += 1;
                }
            }
            if wrong > 0 {
                bail!("{wrong} problems");
            }
            output::line("no problems");
        }
        Verb::Reference {
            page: Page::Configuration,
        } => {
            output::line(crate::reference::configuration().trim_end());
        }
        Verb::Reference { page: Page::Errors } => {
            output::line(crate::reference::errors().trim_end());
        }
    }
    Ok(())
}

fn check(file: &std::path::Path) -> Result<Vec<String>> {
    let list = match ConfList::read(file, SpecVersion::NEWEST) {
        Ok(list) => list,
        Err(error) => return Ok(vec![error.msg]),
    };
    let mut texts = Vec::new();
    for plugin in &list.plugins {
        let mut object = plugin.clone();
        object.insert("cniVersion".to_owned(), list.version.as_str().into());
        object.insert("name".to_owned(), list.name.clone().into());
        let kind = plugin
            .get("type")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let found = check_plugin(kind, &Value::Object(object));
        texts.extend(found.into_iter().map(|text| format!("{kind}: {text}")));
    }
    Ok(texts)
}

fn check_plugin(kind: &str, conf: &Value) -> Vec<String> {
    let input = conf.to_string().into_bytes();
    let conf = match NetConf::parse(&input) {
        Ok(conf) => conf,
        Err(error) => return vec![error.msg],
    };
    let mut texts = Vec::new();
    let problems = Problems::default();
    let plugin = by_type(kind);
    if let Some(plugin) = plugin {
        conf.fields(plugin.declaration().keys, &problems);
    }
    let path = environment().plugin_path();
    if conf
        .ipam_type()
        .is_some_and(|kind| is_own_type(kind, &path))
    {
        if let Some(ipam) = conf.ipam() {
            Fields::new(ipam, "ipam", &[IPAM_KEYS], &problems);
        }
        let values = Problems::default();
        IpamConfig::read(&conf, &weft_cni::args::CniArgs::default(), &values);
        if plugin.is_none() {
            texts.extend(values.invalid_values());
        }
    }
    texts.extend(
        problems
            .unknown_keys()
            .into_iter()
            .map(|key| format!("unknown key {key}")),
    );
    if let Some(plugin) = plugin {
        let request = Request {
            env: weft_cni::env::Env::default(),
            conf,
            input,
        };
        let outcome = plugin.validate(&request);
        texts.extend(outcome.err().map(|error: CniError| error.msg));
    }
    texts
}
