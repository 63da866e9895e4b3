//! The integration tests: the real binary, real sockets, a real Postgres with one database for each test.
//!
//! Waits are for a state and bounded in time; nothing here sleeps and hopes.

#![allow(clippy::disallowed_methods)] // Tests read the clock to bound their waits.

mod support;

mod audit;
mod bad_input;
mod command_line;
mod conformance;
mod crash;
mod expiry;
mod faults;
mod invites;
mod journal;
mod model;
mod outage;
mod planted;
mod presence;
mod promises;
mod security;
mod sessions;
mod usage_export;
