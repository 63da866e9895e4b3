//! Usage as events for other programs: [`event`] (what is told), [`encoder`] (CSV, JSON lines, CloudEvents), [`destination`]
//! (a file that is whole or not there at all). The events themselves are made in SQL: migrations/functions/usage_slices.sql
//! and fill_usage_cell.sql.

pub mod destination;
pub mod encoder;
pub mod event;

pub use destination::Destination;
pub use encoder::{Encoder, Format};
pub use event::UsageEvent;
