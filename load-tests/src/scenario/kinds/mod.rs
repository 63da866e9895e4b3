//! One file for each kind of scenario.

pub mod expired;
pub mod expiry;
mod expiry_core;
pub mod flush;
pub mod idle;
pub mod join_storm;
pub mod mass;
pub mod ping_rate;
pub mod reconcile;
pub mod restart_storm;
pub mod room;
pub mod rooms;
pub mod slow_loris;
pub mod soak;
