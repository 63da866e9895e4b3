//! placeholder
pub mod embedded_pg;
