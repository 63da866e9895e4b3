//! Tests of the state machine through its public door: scripts with printed effects, and random histories against a
//! naive model.

mod describe;
mod driver;
mod ending;
mod fanout;
mod joining;
mod leaving;
mod limits;
mod model;
mod properties;
mod purity;
mod restart;
mod script;
mod steps;
