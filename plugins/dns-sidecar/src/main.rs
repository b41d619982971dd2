//! weftd, the daemon: it answers containers' questions for names, and keeps what the kernel or others take away.
//!
//! It has two parts. The root part ([`root`]) reads Weft's store, binds sockets and mends; the part that answers
//! ([`answer`]) has no privilege, reads nothing but what the root part tells it, and gets its sockets from there. They
//! are joined by a socket ([`channel`]).
//!
//! Why it is so: docs/decisions/daemon.md.

#![warn(clippy::wildcard_enum_match_arm)]

mod answer;
mod channel;
mod config;
mod netplan;
mod root;
mod wire;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
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
    Run,
    /// The configuration: /etc/weft/weft.toml, or what WEFT_CONFIG names
    #[command(subcommand)]
    Config(Config),
    /// The part that answers; `run` starts it, with a socket as its standard input
    #[command(hide = true)]
    Answer,
}

#[derive(Debug, Subcommand)]
enum Config {
    /// Tell whether it can be understood; the exit status says the same
    Check,
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
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_max_level(level.unwrap_or(LevelFilter::INFO))
        .init();
    let outcome = match arguments.command {
        Command::Run => root::run(&env),
        Command::Config(Config::Check) => config::check(&env),
        Command::Config(Config::Default) => config::print_default(),
        Command::Answer => answer::run(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}
