//! Warp: what a container sends to given destinations goes through another container, the gateway.
//!
//! Inputs are values: containers as a runtime describes them ([`Container`]), and their comings and goings. Outputs are
//! values: the rules and routes of each namespace ([`TargetPlan`], [`GatewayPlan`]). Sockets, namespaces and clocks are
//! elsewhere.
//!
//! The parts, as Docker network warp names them: the event monitor and the network manager are the daemon's; the
//! container classifier is [`Class`], the route manager [`Engine`], the configuration manager [`WarpConfig`].

#![warn(clippy::wildcard_enum_match_arm)]

mod breaker;
mod classify;
mod config;
mod container;
mod engine;
mod explain;
mod gateway;
mod rule;
mod target;

pub use breaker::{Breaker, BreakerState};
pub use classify::{By, Class, Classifier, GatewaySettings, Reference, Wish};
pub use config::{
    Answers, ConnectionMethod, DockerConfig, Ipv6, Logging, OnMissing, PodmanConfig, VARIABLES,
    WarpConfig,
};
pub use container::{Container, ContainerId, Endpoint, NetnsPlace, Source};
pub use engine::{Engine, Led, Plan};
pub use explain::{Way, way};
pub use gateway::{EGRESS_TABLE, GatewayPlan, Near, Wiring};
pub use rule::{Ports, RoutingRule, parse_rules};
pub use target::{Hop, TargetPlan};
