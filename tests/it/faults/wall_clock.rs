//! Somebody sets the wall clock of the server's machine, while it runs and between two runs.

use serde_json::json;

use crate::outage::assert_dense;
use crate::support::{Client, Preload, TestApp};

const HOUR_S: i64 = 3_600;

/// The clock of a server that is started with the library.
struct WallClock {
    library: Preload,
}

impl WallClock {
    fn build() -> Option<Self> {
        let this = Self { library: Preload::build("load-tests/src/ground/wall_clock.c")? };
        this.set(0);
        Some(this)
    }

    fn file(&self) -> String {
        self.library.folder.path().join("offset").to_string_lossy().into_owned()
    }

    /// In place: the library has the file mapped, and must not see an empty one.
    fn set(&self, seconds: i64) {
        let file = std::fs::File::options().create(true).truncate(false).write(true).open(self.file()).expect("file");
        let nanos = seconds * 1_000_000_000;
        std::os::unix::fs::FileExt::write_all_at(&file, &nanos.to_ne_bytes(), 0).expect("written");
    }

    async fn start(&self) -> TestApp {
        TestApp::start_in(&[("LD_PRELOAD", &self.library.library()), ("WALL_CLOCK_OFFSET_FILE", &self.file())]).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_while_the_server_runs_changes_no_duration() {
    let Some(clock) = WallClock::build() else { return };
    let app = clock.start().await;
    let (_, token) = app.room().await;
    let mut people = Vec::new();
    for (number, offset) in [0, HOUR_S, -HOUR_S, 0].into_iter().enumerate() {
        clock.set(offset);
        let mut client = app.join(&token, &format!("Person {number}")).await;
        client.ping(Some(true)).await;
        people.push(client);
    }
    for client in people {
        client.close().await;
    }
    app.eventually_counts("select count(*) from rollcall.participation_spans where end_reason = 'closed'", 4).await;
    let near = "select count(*) from rollcall.participation_spans
                where connected_at between clock_timestamp() - interval '2 minutes' and clock_timestamp()
                  and disconnected_at - connected_at between interval '0' and interval '1 minute'";
    assert_eq!(app.database.number(near).await, 4, "no span begins or ends an hour off");
    assert_dense(&app).await;
}

/// The books are in the wall time of each run. A clock that was set back makes runs overlap in the books: what overlaps of
/// one participant counts once, so the bill can only be less than the truth.
#[tokio::test(flavor = "multi_thread")]
async fn a_step_between_two_runs_never_bills_more() {
    let Some(clock) = WallClock::build() else { return };
    for offset in [HOUR_S, -HOUR_S] {
        clock.set(0);
        let mut app = clock.start().await;
        let session = app.session(json!({ "idle_timeout_s": 86_400 })).await;
        let token = app.invite(&session, json!({})).await.token;
        let began = std::time::Instant::now();
        let mut ann = app.join(&token, "Ann").await;
        ann.ping(Some(true)).await;
        let resume = ann.resume().to_owned();
        app.crash().await;
        clock.set(offset);
        app.run().await;
        let back = Client::join_with(&app.url, json!({ "token": resume, "client": { "closed_ms_ago": 5 } })).await;
        assert_eq!(back.participant(), ann.participant(), "whoever was inside comes back");
        back.close().await;
        let most_us = began.elapsed().as_micros() as i64;
        app.eventually_counts("select count(*) from rollcall.participation_spans where disconnected_at is null", 0)
            .await;
        let billed = format!(
            "select coalesce((sum(billable_seconds) * 1000000)::bigint, 0) from rollcall.get_session_billing_data('{session}')"
        );
        let billed = app.database.number(&billed).await;
        assert!((0..most_us).contains(&billed), "{offset} s: billed {billed} us of at most {most_us}");
        assert_dense(&app).await;
    }
}
