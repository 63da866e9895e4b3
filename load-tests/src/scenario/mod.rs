//! Scenarios: what is done to a server, as data. [`file`] reads them, [`kind`] lists what there is to do, `kinds/` does it
//! with what [`stage`] and [`subject`] set up, [`run`] goes through them and makes the report.

pub mod canary;
pub mod catalogue;
pub mod file;
pub mod kind;
mod kinds;
pub mod parameters;
pub mod run;
mod source;
pub mod stage;
pub mod subject;
mod watch;
