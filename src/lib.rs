//! Rollcall: a realtime presence server whose product is the ledger.
//!
//! Reading order: [`app`] (what there is and how it is put together), [`ws`] (sockets), [`admission`] (who may come in),
//! [`hub`] (live state round the core), [`ledger`] (the way of a record to Postgres), [`store`] (SQL), [`audit`] (proof that the ledger was not changed), [`control`] and
//! [`http`] (the control plane), [`feed`] (what was decided elsewhere), [`embedded_pg`] (the private Postgres).
//! docs/ARCHITECTURE.md walks through a ping, a join, an expiry, a flush and a crash.

pub mod admission;
pub mod app;
pub mod audit;
pub mod cli;
pub mod clock;
pub mod config;
pub mod control;
pub mod embedded_pg;
pub mod feed;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
pub mod http;
pub mod hub;
pub mod ledger;
pub mod lifecycle;
pub mod metrics;
pub mod store;
pub mod telemetry;
pub mod ui;
pub mod usage_export;
pub mod ws;
