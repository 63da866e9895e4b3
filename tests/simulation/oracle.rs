//! The books against the truth.

use super::world::World;

pub fn check(_world: &World) {}
