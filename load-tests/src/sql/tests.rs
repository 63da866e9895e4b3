//! The data set at its smallest, in a throw-away Postgres: it must be what verify.sql takes for a sound installation.

use rollcall::embedded_pg;

use super::figures::{Budget, Figure, Figures, Latencies};
use super::{Books, Effort, cleanup, data, flush, proof, reads};

#[tokio::test(flavor = "multi_thread")]
async fn a_small_data_set_is_sound_and_every_question_is_answered() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut options = embedded_pg::Options::new(folder.path());
    options.throw_away = true;
    let postgres = embedded_pg::start(options).await.expect("Postgres starts");
    let books = Books::open(postgres.database_url(embedded_pg::DATABASE)).await.expect("opens");
    let effort = Effort { runs: 3, batches: 2, idle_sessions: 100 };
    let mut figures = Figures::default();
    data::make(&books, 10_000, &mut figures).await.expect("made");
    data::describe(&books, &mut figures).await.expect("described");
    reads::measure(&books, effort, &mut figures).await.expect("read");
    flush::measure(&books, effort, &mut figures).await.expect("flushed");
    cleanup::measure(&books, effort, &mut figures).await.expect("cleaned up");
    proof::measure_in_sql(&books, &mut figures).await.expect("proved");
    let value = |name: &str| figures.figures.iter().find(|figure| figure.name == name).expect(name).value;
    assert!(value("audit rows") > 9_000.0, "{}", figures.table());
    assert_eq!(value("differences recompute_billing finds"), 0.0);
    sqlx::raw_sql(rollcall::store::migrate::VERIFY_SQL).execute(&books.pool).await.expect("sound");
    postgres.stop().await.expect("stopped");
}

#[test]
fn what_is_no_number_keeps_no_budget() {
    let figure = Figure::new("x", f64::NAN, "ms");
    assert_eq!(figure.clone().against(Budget::AtMost(1.0)).kept, Some(false));
    assert_eq!(figure.against(Budget::AtLeast(1.0)).kept, Some(false));
    assert!(Latencies::default().quantile_ms(0.99).is_nan());
}

#[test]
fn a_quantile_is_a_value_that_was_measured() {
    let mut latencies = Latencies::default();
    (1..=100).for_each(|ms| latencies.record(ms * 1000));
    let quantiles = [0.5, 0.99, 1.0].map(|quantile| latencies.quantile_ms(quantile));
    assert_eq!(quantiles, [50.0, 99.0, 100.0]);
}
