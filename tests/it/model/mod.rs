//! The model of the database (`tests/simulation/model`) against the database: random histories of real sessions on two
//! nodes, with crashes, restarts, clean-ups and batches that come twice, in part or too early, run through both; then every
//! row must be the same.

#[path = "../../simulation/model/mod.rs"]
#[allow(dead_code)] // The simulation reads more of it than this.
#[allow(clippy::module_inception)] // The other side of the comparison has this name wherever it is used.
mod model;

mod node;
mod plan;
mod recovery;
mod tables;
mod world;

use proptest::test_runner::{Config, TestRunner};

use plan::steps;
use world::World;

/// Histories; each has a database of its own.
const CASES: u32 = 30;

#[test]
fn the_model_holds_what_postgres_holds() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("runtime");
    let mut runner =
        TestRunner::new(Config { cases: CASES, failure_persistence: None, max_shrink_iters: 60, ..Config::default() });
    let outcome = runner.run(&steps(), |steps| {
        runtime.block_on(async {
            let mut world = World::new().await;
            for step in &steps {
                world.step(step).await;
            }
            world.compare().await;
            world.finish().await;
            world.close().await;
        });
        Ok(())
    });
    outcome.expect("the model and Postgres agree");
}
