//! The model of the database against the database.

#[path = "../simulation/model/mod.rs"]
#[allow(dead_code)] // The simulation reads more of it.
mod model;
