//! The machine of Postgres is gone without a word, as when it lost its power or a failover moved its address: old
//! connections stay open and silent for ever, new ones reach its successor.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use serde_json::json;
use sqlx::postgres::PgConnectOptions;
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::watch;

use crate::outage::assert_dense;
use crate::support::{Database, TestApp, eventually};

/// A way to Postgres that can be cut without either side hearing of it.
struct Way {
    address: SocketAddr,
    /// Raised, all connections that there are fall silent.
    silenced: watch::Sender<u32>,
}

impl Way {
    async fn to(socket: PathBuf) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let (silenced, seen) = watch::channel(0);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(carry(client, socket.clone(), seen.clone()));
            }
        });
        Self { address, silenced }
    }

    fn vanish(&self) {
        self.silenced.send_modify(|count| *count += 1);
    }
}

async fn carry(mut client: TcpStream, socket: PathBuf, mut silenced: watch::Receiver<u32>) {
    silenced.borrow_and_update();
    let mut postgres = UnixStream::connect(socket).await.expect("Postgres is there");
    let vanished = tokio::select! {
        _ = tokio::io::copy_bidirectional(&mut client, &mut postgres) => false,
        _ = silenced.changed() => true,
    };
    if vanished {
        // Its successor knows nothing of what was under way; the client is told nothing for as long as the test lasts.
        drop(postgres);
        std::future::pending::<()>().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_postgres_that_vanished_is_given_up_and_nothing_is_lost() {
    let database = Database::new().await;
    let options = PgConnectOptions::from_str(&database.url).expect("a URL of ours");
    let socket = options.get_socket().expect("over a Unix socket").join(format!(".s.PGSQL.{}", options.get_port()));
    let way = Way::to(socket).await;
    let url = format!(
        "postgresql://{}@{}/{}?sslmode=disable",
        options.get_username(),
        way.address,
        options.get_database().expect("named")
    );
    let database = Arc::new(database.by_way_of(url));
    let app = TestApp::start_on(database, &[("DATABASE__ANSWER_TIMEOUT_S", "2")]).await;
    let (_, token) = app.room().await;
    let mut ann = app.join(&token, "Ann").await;
    app.eventually_counts("select count(*) from rollcall.participation_spans", 1).await;

    way.vanish();
    app.join(&token, "Bob").await;
    ann.ping(Some(true)).await;
    app.eventually_counts("select count(*) from rollcall.participation_spans", 2).await;
    eventually("requests are served again", || async {
        (app.api.post("/v1/sessions", json!({})).await.0 == 201).then_some(())
    })
    .await;
    eventually("ready again", || async { (app.api.get("/readyz").await.0 == 200).then_some(()) }).await;
    assert_dense(&app).await;
}
