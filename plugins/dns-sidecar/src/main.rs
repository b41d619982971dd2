//! weftd, the daemon: it answers containers' questions for names, and keeps what the kernel or others take away.
//!
//! It has two parts. The root part ([`root`]) reads Weft's store, binds sockets and mends; the part that answers
//! ([`answer`]) has no privilege, reads nothing but what the root part tells it, and gets its sockets from there. They
//! are joined by a socket ([`channel`]).
//!
//! Why it is so: docs/decisions/daemon.md.

#![warn(clippy::wildcard_enum_match_arm)]

mod answer;
mod certificate;
mod channel;
mod config;
mod netplan;
mod pki;
mod root;
mod warp;
mod wire;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use tracing_subscriber::filter::LevelFilter;
use weft_cni::env::Env;

/// weftd: names for containers, and a host that stays as Weft made it.
#[derive(Debug, Parser)]
#[command(version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run until a signal ends it (SIGHUP reads the configuration again)
    Run {
        #[command(flatten)]
        file: FromFile,
    },
    /// The configuration: /etc/weft/weft.toml, or what WEFT_CONFIG names
    #[command(subcommand)]
    Config(Config),
    /// Certificates for hosts that speak with each other: `weft pki` runs it
    #[command(hide = true, subcommand)]
    Pki(pki::Pki),
    /// Lead what containers send through other containers; `run` does so too where weft.toml has a table [warp]
    Warp {
        #[command(flatten)]
        flags: Box<warp::Flags>,
        #[command(subcommand)]
        what: Option<warp::Warp>,
    },
    /// The part that answers; `run` starts it, with a socket as its standard input
    #[command(hide = true)]
    Answer,
}

/// Where the configuration is.
#[derive(Debug, Args)]
struct FromFile {
    /// A weft.toml, or a file of n-netman's (.yaml) that says which overlays there are
    #[arg(long)]
    config: Option<PathBuf>,
}

impl FromFile {
    fn put_into(self, env: Env) -> Env {
        let Some(path) = self.config else {
            return env;
        };
        let ending = path
            .extension()
            .map(|one| one.to_string_lossy().into_owned());
        match ending.as_deref() {
            Some("yaml" | "yml") => env.with("WEFT_OVERLAY_CONFIG", path),
            _ => env.with("WEFT_CONFIG", path),
        }
    }
}

#[derive(Debug, Subcommand)]
enum Config {
    /// Tell whether it can be understood; the exit status says the same
    Check {
        #[command(flatten)]
        file: FromFile,
    },
    /// Print a configuration with every key of the daemon at its default
    Default,
}

// Each part has one thread that works: musl's own allocator is slower for it, and keeps more memory.
#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let env = Env::read();
    let level = env
        .get("WEFT_LOG")
        .and_then(|text| text.parse::<LevelFilter>().ok());
    let level = level.or_else(|| match &arguments.command {
        Command::Warp { flags, .. } => warp::level(&env, flags),
        Command::Run { .. } | Command::Config(_) | Command::Pki(_) | Command::Answer => None,
    });
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_max_level(level.unwrap_or(LevelFilter::INFO))
        .init();
    let outcome = match arguments.command {
        Command::Run { file } => root::run(&file.put_into(env)),
        Command::Config(Config::Check { file }) => config::check(&file.put_into(env)),
        Command::Config(Config::Default) => config::print_default(),
        Command::Pki(what) => pki::run(&what),
        Command::Warp { flags, what: None } => warp::run(&env, &flags),
        Command::Warp {
            what: Some(what), ..
        } => warp::command(&env, &what),
        Command::Answer => answer::run(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            match error.is::<warp::Unprivileged>() {
                true => ExitCode::from(warp::LACKS_RIGHTS),
                false => ExitCode::FAILURE,
            }
        }
    }
}
