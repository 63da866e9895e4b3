//! The journal's disk fails (EIO at fsync). After that nobody knows what is on it: the server acknowledges nothing more and
//! ends, and the next start goes on from what is proven.

use serde_json::json;

use crate::outage::assert_dense;
use crate::support::{Client, Preload, TestApp};

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_fsync_acknowledges_nothing_and_ends_the_server() {
    let Some(storage) = Preload::build("tests/it/faults/storage.c") else { return };
    let failed = storage.folder.path().join("failed");
    let mut app =
        TestApp::start_in(&[("LD_PRELOAD", &storage.library()), ("STORAGE_FAILS_FILE", &failed.to_string_lossy())])
            .await;
    let (_, token) = app.room().await;
    let ann = app.join(&token, "Ann").await;
    std::fs::write(&failed, b"").expect("written");
    // A record that cannot become durable is not acknowledged; whether there still is somebody to say no depends on who
    // meets the disk first.
    let mut late = Client::connect(&app.url).await;
    late.send_join(json!({ "token": token, "name": "Bob" })).await;
    while let Ok(Some(frame)) = late.next_within(crate::support::PATIENCE).await {
        assert_ne!(frame["type"], "joined", "acknowledged without being durable");
    }
    assert_eq!(app.wait().await, Some(1), "{}", app.log());
    assert!(app.log().contains("journal failed, the server must stop"));

    std::fs::remove_file(&failed).expect("mended");
    app.run().await;
    let spans = |condition: &str| format!("select count(*) from rollcall.participation_spans where {condition}");
    let of_ann = format!("epoch || '-' || connection = '{}' and disconnected_at is not null", ann.connection());
    assert_eq!(app.database.number(&spans(&of_ann)).await, 1, "what was acknowledged is there");
    app.join(&token, "Bob").await;
    assert_dense(&app).await;
}
