//! The Rollcall server.

pub mod store;
