//! placeholder
pub mod config;
pub mod embedded_pg;
pub mod telemetry;
