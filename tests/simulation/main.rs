//! A deterministic simulation of the whole server: one seed, one history, one verdict. docs/SIMULATION.md says what is real
//! in it and what is not.
//!
//! Reading order: [`run`] (the life of a seed), [`plan`] (what it draws), [`world`], [`executor`], [`node`] (the server's
//! process), [`people`] and [`tab`] (browsers), [`director`] (faults), [`database`], [`disk`] and [`wire`] (where they
//! happen), [`truth`], [`calm`] and [`oracle`] (what must hold).

mod backend;
mod calm;
mod codec;
mod database;
mod desk;
mod dice;
mod director;
mod disk;
mod executor;
#[allow(dead_code)] // tests/it/model reads more of it.
mod model;
mod node;
mod oracle;
mod people;
mod plan;
mod planted;
mod run;
mod seeds;
mod setting;
mod tab;
mod trace;
mod truth;
mod wire;
mod world;

use rollcall_core::Timestamp;

/// When every simulation begins: 2027-01-15T08:00:00Z.
pub const START: Timestamp = Timestamp(1_800_000_000_000_000);
