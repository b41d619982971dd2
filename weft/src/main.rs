//! Every program of Weft: the plugins by their names, and `weft`, for which see `weft --help`.
//!
//! Why it is so: docs/decisions/speed.md.

#![warn(clippy::wildcard_enum_match_arm)]

mod called;
mod cni;
mod config;
mod container;
mod daemon;
mod dns;
mod doctor;
mod endpoint;
mod examples;
mod firewall;
mod gc;
mod lease;
mod links;
mod log;
mod manual;
mod metrics;
mod network;
mod operations;
mod ops;
mod output;
mod overlay;
mod pki;
mod plugins;
mod policy;
mod reference;
mod status;
mod store;
mod warp;
mod weftd;

use std::process::ExitCode;

use called::Program;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use nix::sys::stat::{Mode, umask};
use weft_cni::env::Env;

/// Weft: container networking you can look into.
#[derive(Debug, Parser)]
#[command(version, about, disable_help_subcommand = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Attach and detach containers by hand, as a runtime does
    #[command(subcommand)]
    Cni(Box<cni::Verb>),
    /// Check network configuration files
    #[command(subcommand)]
    Config(config::Verb),
    /// Say what is allowed, and why; put rules in force
    #[command(subcommand)]
    Policy(policy::Verb),
    /// Show what is closed to whom; compare the kernel with it, and put it right
    #[command(subcommand)]
    Firewall(firewall::Verb),
    Doctor(doctor::Doctor),
    Gc(gc::Gc),
    /// List the plugins, and give the program the names by which runtimes call them
    #[command(subcommand)]
    Plugins(links::Verb),
    /// Make networks, look at them, join them with containers and each other, remove them
    #[command(subcommand)]
    Network(network::Verb),
    /// Look at containers' interfaces in networks
    #[command(subcommand)]
    Endpoint(endpoint::Verb),
    /// Look at leased addresses
    #[command(subcommand)]
    Lease(lease::Verb),
    /// Ask for names as containers do, list them, watch questions
    #[command(subcommand)]
    Dns(dns::Verb),
    /// Look at networks over several hosts, apply weft.toml, take them down
    #[command(subcommand)]
    Overlay(overlay::Verb),
    /// Look at containers whose traffic goes through others, and why
    #[command(subcommand)]
    Warp(warp::Verb),
    /// Make certificates for hosts that speak with each other
    #[command(subcommand)]
    Pki(pki::Verb),
    Status(status::Status),
    Ops(ops::Ops),
    Metrics(metrics::Metrics),
    Completions(manual::Completions),
    Man(manual::Man),
    /// Look into Weft's store, check it, make it anew
    #[command(subcommand)]
    Store(store::Verb),
}

// musl's allocator asks the kernel for every few pages anew, which is a hundred system calls and as many page faults
// in a process of two milliseconds.
#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

fn main() -> ExitCode {
    let is_call = std::env::var_os("CNI_COMMAND").is_some();
    // Nothing that this process or a plugin that it calls makes is for others to write.
    umask(umask(Mode::empty()) | Mode::S_IWGRP | Mode::S_IWOTH);
    match called::program(std::env::args_os().next(), is_call) {
        Program::Plugin(plugin) => {
            let env = Env::read();
            log::start(&env);
            let (code, completed) = weft_cni::run(plugin, &env);
            if let Some(completed) = completed {
                operations::note(plugin.name(), &env, completed);
            }
            code
        }
        Program::Unknown(error) => weft_cni::refuse(error),
        Program::CommandLine => command_line(),
    }
}

/// The command line with everything that its help shows.
fn described() -> clap::Command {
    examples::added(Arguments::command())
}

fn command_line() -> ExitCode {
    let matches = described().get_matches();
    let arguments = Arguments::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let outcome = match arguments.command {
        Command::Cni(verb) => cni::run(&verb),
        Command::Config(verb) => config::run(&verb),
        Command::Policy(verb) => policy::run(&verb),
        Command::Firewall(verb) => firewall::run(&verb),
        Command::Doctor(doctor) => return finish(doctor::run(&doctor)),
        Command::Gc(gc) => gc::run(&gc),
        Command::Plugins(verb) => links::run(&verb),
        Command::Network(verb) => network::run(&verb),
        Command::Endpoint(verb) => endpoint::run(&verb),
        Command::Lease(verb) => lease::run(&verb),
        Command::Dns(verb) => dns::run(&verb),
        Command::Overlay(verb) => overlay::run(&verb),
        Command::Warp(verb) => warp::run(&verb),
        Command::Pki(verb) => pki::run(&verb),
        Command::Status(status) => return finish(status::run(&status)),
        Command::Ops(ops) => ops::run(&ops),
        Command::Metrics(metrics) => metrics::run(&metrics),
        Command::Completions(wanted) => {
            manual::completions(&wanted);
            Ok(())
        }
        Command::Man(wanted) => manual::man(&wanted),
        Command::Store(verb) => store::run(&verb),
    };
    finish(outcome.map(|()| ExitCode::SUCCESS))
}

fn finish(outcome: anyhow::Result<ExitCode>) -> ExitCode {
    match outcome {
        Ok(code) if output::is_written() => code,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            output::failure(&error);
            ExitCode::FAILURE
        }
    }
}
