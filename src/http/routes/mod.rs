//! The routes, by what they are about.

pub mod books;
pub mod health;
pub mod invites;
pub mod participants;
pub mod sessions;
