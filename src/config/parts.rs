//! Who may connect and what the server keeps: everything but the two network parts, which are in `network.rs`.

use std::path::PathBuf;

use secrecy::SecretString;

use super::setting::settings;
use super::values::{Acknowledge, Bytes, DatabaseUrl, Hours, LogFormat, Millis, Seconds};

settings! {
    /// Keys of the server itself.
    pub struct Auth in "auth" {
        /// The secret that every other secret of this installation is derived from: resume tokens and the signing secrets
        /// of tenants. At least 32 characters, like those that `openssl rand -hex 32` prints; `serve` refuses to start without
        /// it. All nodes of an installation share it. A change makes every resume token and minted join token invalid.
        root_key: SecretString = SecretString::from("");
        /// TOML file with public keys of tenants that sign join tokens by themselves. Each `[[keys]]` has `tenant` (its id),
        /// `kid`, `algorithm` (`EdDSA`, `ES256` or `RS256`) and `public_key` (PEM). Read at start.
        jwt_keys_file: Option<PathBuf> = None;
    }
}

settings! {
    /// Where the ledger lives.
    pub struct Database in "database" {
        /// The Postgres to use, version 14 or newer. `DATABASE_URL` sets the same. Empty: the embedded Postgres, always in
        /// `dev`, and in `serve` with `database.embedded`.
        url: Option<DatabaseUrl> = None;
        /// Lets `serve` run a private Postgres in the data folder when no URL is set.
        embedded: bool = false;
        /// Folder with `initdb` and `postgres` for the embedded Postgres. `ROLLCALL_PG_BIN` sets the same. Empty: looked for
        /// in the usual places.
        pg_bin: Option<PathBuf> = None;
        /// Connections of the pool. A request that finds none free waits for `database.acquire_timeout_ms`. Two more
        /// are outside the pool, and a third one once the server was behind with writing.
        max_connections: u32 = 16, in 2..=1_000;
        /// How long a request waits for a free connection before it is answered 503 `database_unavailable`.
        acquire_timeout_ms: Millis = Millis(2_000), in 50..=60_000;
        /// How long a start or a verb waits for the database before it gives up with exit code 69.
        connect_timeout_s: Seconds = Seconds(10), in 1..=300;
        /// How long a batch of records waits for the answer of Postgres before its connection is given up and made anew. Only a
        /// Postgres that vanished without a word takes so long: one that is slow cancels the statement itself after 60 s.
        answer_timeout_s: Seconds = Seconds(90), in 2..=3_600;
    }
}

settings! {
    /// What other people see of somebody whose connection is gone. Never used for money.
    pub struct Presence in "presence" {
        /// How long somebody without a connection is shown as `reconnecting` before the leave is announced.
        grace_s: Seconds = Seconds(15), in 0..=600;
        /// The same for somebody whose client last said that it is hidden: browsers throttle hidden pages.
        grace_hidden_s: Seconds = Seconds(75), in 0..=3_600;
        /// After this long without activity a participant is shown as `away`.
        away_after_s: Seconds = Seconds(300), in 10..=86_400;
        /// Connections (tabs, devices) of one participant. One more replaces the oldest, which is closed with 4010.
        connections_per_participant_max: u32 = 5, in 1..=100;
    }
}

settings! {
    /// Sessions and invites.
    pub struct Sessions in "sessions" {
        /// How long after its end a session can be recovered. Later the call is refused.
        recover_window_h: Hours = Hours(24), in 0..=720;
        /// How often the database is searched for idle sessions that no node holds in memory.
        cleanup_interval_s: Seconds = Seconds(900), in 10..=86_400;
        /// Sessions held in memory by this node. At the limit a session that is not in memory refuses joins with 4204.
        sessions_live_max: u64 = 100_000, in 1..=10_000_000;
        /// Invites remembered in memory. At the limit the least recently used one is forgotten and read again when needed.
        invites_live_max: u64 = 200_000, in 1..=10_000_000;
    }
}

settings! {
    /// The journal between memory and Postgres.
    pub struct Ledger in "ledger" {
        /// Records in one batch. A batch is sent when it is full or `ledger.flush_interval_ms` is over.
        flush_rows_max: u32 = 5_000, in 1..=20_000;
        /// How long a record waits for others before its batch is sent.
        flush_interval_ms: Millis = Millis(200), in 1..=60_000;
        /// How often the connections heard since the last mark are written down. It bounds what a crash can lose of a span.
        mark_interval_ms: Millis = Millis(1_000), in 100..=60_000;
        /// Size of the journal on disk. It grows only while Postgres is away.
        journal_bytes_max: Bytes = Bytes::gib(8), in (16 << 20)..=(1 << 44);
        /// How full the journal may be before joins are refused with a retryable error. Leaves are always accepted: the rest
        /// is theirs.
        journal_refuse_percent: u32 = 85, in 10..=95;
        /// What a join waits for before it is answered. `journal`: its record is durable on this node's disk. `postgres`: it
        /// is in Postgres, so that it survives the loss of the node; then joins wait while Postgres is away.
        acknowledge: Acknowledge = Acknowledge::Journal;
        /// Records that stay in the journal after they reached Postgres, so that a Postgres restored to an earlier point can
        /// be fed again. The oldest go first. One takes about 300 bytes.
        tail_records_max: u32 = 1_000_000, in 0..=100_000_000;
        /// How long the epoch of a node that says nothing stays its own. Renewed with every flush; a node that cannot renew
        /// it keeps serving, and other nodes may close its spans.
        lease_s: Seconds = Seconds(15), in 3..=3_600;
    }
}

settings! {
    /// Proof that the audit trail was not changed, and how long it stays in one piece. docs/AUDIT.md explains it.
    pub struct Audit in "audit" {
        /// How often a signed checkpoint over the whole ledger is written, and once more at the end. Nothing new, no checkpoint.
        /// What was cut off from the end since the last one cannot be noticed.
        checkpoint_interval_s: Seconds = Seconds(60), in 1..=86_400;
        /// Where checkpoints are written outside the database. Empty: `checkpoints` in the data folder. Copy it to a place that
        /// whoever runs the database cannot change.
        checkpoint_dir: Option<PathBuf> = None;
        /// The Ed25519 key that signs checkpoints, PKCS#8 in PEM. Empty: `checkpoint.key` in the data folder, made when missing.
        key_file: Option<PathBuf> = None;
        /// Whole months before the present one that stay in the audit log. Older ones are detached: they stay in the database as
        /// tables of their own. 0 keeps everything in the log for ever.
        keep_months: u32 = 0, in 0..=1_200;
    }
}

settings! {
    /// Log lines, always on stderr.
    pub struct Log in "log" {
        /// `auto` is pretty on a terminal and JSON lines otherwise.
        format: LogFormat = LogFormat::Auto;
        /// Which lines: a level, or levels per module like `info,rollcall::ledger=debug`.
        filter: String = "info".to_owned();
    }
}

settings! {
    /// What happens between SIGTERM or Ctrl-C and the end. A second signal skips the waiting, not the flush.
    pub struct Shutdown in "shutdown" {
        /// How long `/readyz` says no while connections are still accepted, so that a load balancer looks elsewhere first.
        delay_ms: Millis = Millis(0), in 0..=120_000;
        /// Connections are told to come back (4200), spread over this time, so that they do not all return at once.
        drain_ms: Millis = Millis(5_000), in 0..=600_000;
        /// How long the last flush to Postgres may take. What is left stays in the journal and is flushed at the next start.
        flush_timeout_s: Seconds = Seconds(30), in 1..=3_600;
    }
}
