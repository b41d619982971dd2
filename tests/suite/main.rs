//! Tests of the whole, against the executables that `make build` leaves in `target/bin`. They need
//! root; each makes its own hosts, so they run in parallel and leave nothing.
#![allow(
    clippy::panic,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a test fails by panicking"
)]

mod address_rules;
mod bad_input;
mod bandwidth;
mod bridge;
mod change_log;
mod checkout;
mod commands;
mod concurrency;
mod config_check;
mod conformance;
mod crash;
mod crash_chained;
mod crash_shared;
mod daemon;
mod dead_holders;
mod dependencies;
mod dhcp;
mod dns;
mod dns_firewall;
mod dns_places;
mod dns_probes;
mod dns_upstream;
mod docs;
mod doctor;
mod examples;
mod firewall;
mod firewall_state;
mod first_packet;
mod foreign_rules;
mod frames;
mod gateway;
mod host;
mod host_settings;
mod hostile;
mod ipam;
mod ipvlan;
mod isolation;
mod kubernetes;
mod lan;
mod layers;
mod leaving;
mod lent;
mod localhost;
mod macvlan;
mod masquerade;
mod monitor;
mod neighbours;
mod networks;
mod odd_calls;
mod operations;
mod overlay;
mod overlay_containers;
mod overlay_guest;
mod overlay_hosts;
mod overlay_peers;
mod overlay_routed;
mod policy;
mod policy_names;
mod portmap;
mod private_files;
mod put_back;
mod reload_flood;
mod ruleset_page;
mod runtimes;
mod sctp;
mod services;
mod spoofing;
mod store;
mod subnets;
mod tuning;
mod two_networks;
mod untranslated;
mod vlan;
mod warp;
mod weftd;
mod weftd_host;
