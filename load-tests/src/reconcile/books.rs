//! What the ledger says, read by SQL as a billing team reads it. All instants and lengths as whole microseconds.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

/// No question that is asked here takes anywhere near as long.
const QUERY_TIMEOUT: Duration = Duration::from_secs(60);

/// The check of the whole installation that people run as well.
const VERIFY: &str = include_str!("../../../migrations/verify.sql");

/// A way to ask.
#[derive(Debug, Clone)]
pub struct Books {
    database_url: String,
}

/// Everything that is compared with the truth.
#[derive(Debug, Clone, Default)]
pub struct Statement {
    pub spans: Vec<Span>,
    pub bills: Vec<Bill>,
    pub sessions: Vec<SessionRow>,
    pub ends: Vec<SessionEnd>,
    /// Ends by a timer that met a session that Postgres had ended already: people were sent away then, too.
    pub superseded_ends: Vec<SessionEnd>,
    pub trails: Vec<Trail>,
    /// Epochs whose numbers have a gap or a double, in words.
    pub not_dense: Vec<String>,
    /// Records that Postgres refused as data.
    pub refused: i64,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Span {
    /// As the client knows it: epoch-counter.
    pub connection: String,
    pub session: String,
    pub participant: String,
    pub connected_at: i64,
    pub disconnected_at: Option<i64>,
    pub end_reason: Option<String>,
    pub uncertainty_us: i64,
}

/// One row of `get_session_billing_data()`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Bill {
    pub session: String,
    pub participant: String,
    pub connections: i64,
    pub connected_us: i64,
    pub billable_us: i64,
    pub overlap_us: i64,
    pub uncertainty_us: i64,
    pub is_open: bool,
}

/// What a participant is billed up to an instant.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct FinalPart {
    pub session: String,
    pub participant: String,
    pub through: i64,
    pub connected_us: i64,
    pub billable_us: i64,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct SessionRow {
    pub session: String,
    pub status: String,
}

/// An audit event `session_ended`, or `session_end_superseded`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct SessionEnd {
    pub session: String,
    pub at: i64,
}

/// How often the audit log says that a connection was opened and closed.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Trail {
    pub connection: String,
    pub opened: i64,
    pub closed: i64,
}

#[derive(Debug, Deserialize)]
struct Watermark {
    complete_through: i64,
    open_spans: i64,
}

#[derive(Debug, Deserialize)]
struct Count {
    count: i64,
}

#[derive(Debug, Deserialize)]
struct NotDense {
    words: String,
}

const SPANS: &str = "
    select epoch || '-' || connection as connection, session_id as session, participant_id as participant,
           (extract(epoch from connected_at) * 1000000)::bigint as connected_at,
           (extract(epoch from disconnected_at) * 1000000)::bigint as disconnected_at, end_reason, uncertainty_us
    from rollcall.participation_spans order by epoch, connection";

const BILLS: &str = "
    select s.session_id as session, b.participant_id as participant, b.connections,
           (b.connected_seconds * 1000000)::bigint as connected_us,
           (b.billable_seconds * 1000000)::bigint as billable_us,
           (b.overlap_seconds * 1000000)::bigint as overlap_us,
           (b.uncertainty_seconds * 1000000)::bigint as uncertainty_us, b.is_open
    from rollcall.sessions s, rollcall.get_session_billing_data(s.session_id) b
    order by 1, 2";

const SESSIONS: &str = "select session_id as session, status from rollcall.sessions";

const ENDS: &str = "
    select session_id as session, (extract(epoch from occurred_at) * 1000000)::bigint as at
    from rollcall.session_audit_log where event_type = 'session_ended'";

const SUPERSEDED_ENDS: &str = "
    select session_id as session, (extract(epoch from occurred_at) * 1000000)::bigint as at
    from rollcall.session_audit_log where event_type = 'session_end_superseded'";

const TRAILS: &str = "
    select connection, count(*) filter (where event_type = 'connection_opened') as opened,
           count(*) filter (where event_type = 'connection_closed') as closed
    from rollcall.session_audit_log where connection is not null group by connection";

const NOT_DENSE: &str = "
    select format('epoch %s: %s records, %s numbers, %s to %s, applied up to %s', e.epoch, coalesce(n.records, 0),
                  coalesce(n.numbers, 0), n.first, n.last, e.applied_seq) as words
    from rollcall.node_epochs e
    left join (select epoch, count(*) as records, count(distinct seq) as numbers, min(seq) as first, max(seq) as last
               from (select epoch, seq from rollcall.session_audit_log
                     union all select epoch, seq from rollcall.evidence_marks
                     union all select epoch, seq from rollcall.refused_records) x group by epoch) n using (epoch)
    where (coalesce(n.records, 0), coalesce(n.numbers, 0), coalesce(n.last, 0))
          is distinct from (e.applied_seq, e.applied_seq, e.applied_seq)
       or n.first <> 1";

const WATERMARK: &str = "
    select (extract(epoch from complete_through) * 1000000)::bigint as complete_through,
           (select count(*) from rollcall.participation_spans where disconnected_at is null) as open_spans
    from rollcall.get_billing_watermark()";

impl Statement {
    /// Every instant at which somebody or something ended this session, whichever of them counts.
    pub fn ends_of<'a>(&'a self, session: &'a str) -> impl Iterator<Item = i64> + 'a {
        let all = self.ends.iter().chain(&self.superseded_ends);
        all.filter(move |end| end.session == session).map(|end| end.at)
    }
}

impl Books {
    pub fn new(database_url: &str) -> Self {
        Self { database_url: database_url.to_owned() }
    }

    /// # Errors
    /// The database does not answer, or says something else.
    pub async fn read(&self) -> anyhow::Result<Statement> {
        let not_dense: Vec<NotDense> = self.rows(NOT_DENSE).await?;
        let refused: Vec<Count> = self.rows("select count(*) from rollcall.refused_records").await?;
        Ok(Statement {
            spans: self.rows(SPANS).await?,
            bills: self.rows(BILLS).await?,
            sessions: self.rows(SESSIONS).await?,
            ends: self.rows(ENDS).await?,
            superseded_ends: self.rows(SUPERSEDED_ENDS).await?,
            trails: self.rows(TRAILS).await?,
            not_dense: not_dense.into_iter().map(|one| one.words).collect(),
            refused: refused.first().map_or(0, |one| one.count),
        })
    }

    /// The bills up to the instant up to which they are final now, of one and the same moment.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn parts_now(&self) -> anyhow::Result<Vec<FinalPart>> {
        self.parts("(select complete_through from rollcall.get_billing_watermark())").await
    }

    /// The bills up to an instant.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn parts_through(&self, instant: i64) -> anyhow::Result<Vec<FinalPart>> {
        self.parts(&format!("timestamptz 'epoch' + {instant} * interval '1 microsecond'")).await
    }

    async fn parts(&self, through: &str) -> anyhow::Result<Vec<FinalPart>> {
        let query = format!(
            "select s.session_id as session, b.participant_id as participant,
                    (extract(epoch from w.through) * 1000000)::bigint as through,
                    (b.connected_seconds * 1000000)::bigint as connected_us,
                    (b.billable_seconds * 1000000)::bigint as billable_us
             from (select {through} as through) w, rollcall.sessions s,
                  rollcall.get_session_billing_data(s.session_id, null, w.through) b"
        );
        self.rows(&query).await
    }

    /// Whether the spans of all connections have reached the database and are closed.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn is_settled(&self) -> anyhow::Result<bool> {
        Ok(self.watermark().await?.open_spans == 0)
    }

    /// Up to when the bills are final.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn complete_through(&self) -> anyhow::Result<i64> {
        Ok(self.watermark().await?.complete_through)
    }

    /// What `migrations/verify.sql` finds: nothing, or its message.
    ///
    /// # Errors
    /// `psql` cannot be run.
    pub async fn verify(&self) -> anyhow::Result<Option<String>> {
        Ok(self.psql(VERIFY).await?.err())
    }

    async fn watermark(&self) -> anyhow::Result<Watermark> {
        let mut rows: Vec<Watermark> = self.rows(WATERMARK).await?;
        rows.pop().context("no watermark")
    }

    async fn rows<T: DeserializeOwned>(&self, query: &str) -> anyhow::Result<Vec<T>> {
        let wrapped = format!("select coalesce(json_agg(row_to_json(t)), '[]') from ({query}) t;");
        match self.psql(&wrapped).await? {
            Ok(json) => Ok(serde_json::from_str(&json)?),
            Err(message) => bail!("the database refused a question: {message}"),
        }
    }

    async fn psql(&self, script: &str) -> anyhow::Result<Result<String, String>> {
        let mut child = Command::new("psql")
            .args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-f", "-", &self.database_url])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("cannot start psql; install the client of PostgreSQL")?;
        let mut stdin = child.stdin.take().context("psql has no input")?;
        let talk = async {
            stdin.write_all(script.as_bytes()).await?;
            drop(stdin);
            child.wait_with_output().await
        };
        let output = tokio::time::timeout(QUERY_TIMEOUT, talk).await.context("the database does not answer")??;
        if output.status.success() {
            return Ok(Ok(String::from_utf8(output.stdout)?));
        }
        Ok(Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
    }
}
