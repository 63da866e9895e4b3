//! Postgres is put back to an earlier point, as from a backup, under a server that runs.

use crate::outage::assert_dense;
use crate::support::{TestApp, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_postgres_is_fed_again_from_the_journal() {
    let app = TestApp::start().await;
    let (session, token) = app.room().await;
    let mut ann = app.join(&token, "Ann").await;
    app.eventually_counts("select count(*) from rollcall.participation_spans", 1).await;
    let backup = app.database.back_up().await;
    let bob = app.join(&token, "Bob").await;
    bob.close().await;
    app.eventually_counts("select count(*) from rollcall.participation_spans where end_reason = 'closed'", 1).await;

    app.database.restore(backup).await;
    eventually("Bob is there again", || async {
        let closed = "select count(*) from rollcall.participation_spans where end_reason = 'closed'";
        (app.database.try_number(closed).await == Some(1)).then_some(())
    })
    .await;
    ann.ping(Some(true)).await;
    ann.close().await;
    app.eventually_counts("select count(*) from rollcall.participation_spans where end_reason = 'closed'", 2).await;
    let differences = format!(
        "select count(*) from rollcall.recompute_billing((select tenant_id from rollcall.sessions
         where session_id = '{session}'), now() - interval '1 day', now() + interval '1 day')"
    );
    assert_eq!(app.database.number(&differences).await, 0);
    assert_dense(&app).await;
}
