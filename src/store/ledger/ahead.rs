//! Two connections that take turns where batches wait in line: while Postgres counts one batch on the first, it stores the
//! trail of the next one on the second.
//!
//! The trail is the largest part of a batch, and but for the ends of sessions it depends on nothing that comes before. So
//! its transaction may begin early: until the batch before is committed it holds new rows of the trail and nothing else.
//! Then it takes its place in the sequence and does the rest. What is committed, and in which order, stays the same.

use std::sync::Arc;
use std::time::Duration;

use rollcall_core::{Epoch, Record};
use sqlx::PgConnection;
use tokio_util::task::AbortOnDropHandle;
use tracing::debug;

use super::audit::{self, Row};
use super::fold::{Folded, fold};
use super::write::{insert_audit, write};
use super::{BatchOutcome, advance, apply_or_set_aside};
use crate::store::{Store, StoreError};

/// The locks that the rest of the batch before may still ask for. Whoever waits to change the table must not get between
/// the two, each of which would then wait for the other.
const BEGIN: &str = "begin; lock table rollcall.session_audit_log in row exclusive mode";

/// What the flusher sends batches over: one connection, and a second one from when two batches waited in line.
/// After an error it must be dropped: calling again with the same batch on a new one is always right.
#[derive(Debug)]
pub struct FlushConnection {
    store: Store,
    /// At most two, with the one that is with `ahead`.
    idle: Vec<PgConnection>,
    ahead: Option<Ahead>,
}

/// A batch whose trail is being stored. Dropping it closes the connection, which takes the rows back.
#[derive(Debug)]
struct Ahead {
    epoch: Epoch,
    first_seq: i64,
    records: Arc<Vec<Record>>,
    task: AbortOnDropHandle<Result<Begun, StoreError>>,
}

/// A transaction that holds the trail of a batch and nothing else.
#[derive(Debug)]
struct Begun {
    conn: PgConnection,
    rows: Vec<Row>,
    folded: Folded,
}

impl FlushConnection {
    /// # Errors
    /// [`StoreError::Unavailable`] when it cannot be made.
    pub async fn open(store: &Store) -> Result<Self, StoreError> {
        Ok(Self { store: store.clone(), idle: vec![store.dedicated().await?], ahead: None })
    }

    /// One that is not in a transaction.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when it has to be made and cannot be.
    pub async fn idle(&mut self) -> Result<&mut PgConnection, StoreError> {
        if self.idle.is_empty() {
            self.idle.push(self.store.dedicated().await?);
        }
        Ok(self.idle.last_mut().expect("one is there"))
    }

    /// Applies a batch like [`apply_or_set_aside`]. Meanwhile the trail of `next`, which follows it, goes ahead.
    ///
    /// # Errors
    /// As [`apply_or_set_aside`].
    pub async fn apply(
        &mut self,
        epoch: Epoch,
        first_seq: i64,
        records: &Arc<Vec<Record>>,
        next: Option<Arc<Vec<Record>>>,
        lease: Duration,
    ) -> Result<(BatchOutcome, u64), StoreError> {
        let mut begun = match self.ahead.take() {
            Some(ahead) if ahead.is(epoch, first_seq, records) => ahead.begun().await,
            _ => None,
        };
        if let Some(next) = next {
            if begun.is_none() {
                let conn = self.idle.pop();
                begun = Begun::new(&self.store, conn, epoch, first_seq, records).await.inspect_err(note).ok();
            }
            if begun.is_some() {
                self.send_ahead(epoch, first_seq + records.len() as i64, next);
            }
        }
        if let Some(begun) = begun {
            let (conn, applied) = begun.finish(epoch, first_seq, records, lease).await?;
            self.idle.push(conn);
            if let Some(audit_rows) = applied {
                return Ok((BatchOutcome::Applied { audit_rows }, 0));
            }
            // Its place is not free, or something in it was refused. What went ahead of that does not follow it.
            self.ahead = None;
        }
        apply_or_set_aside(self.idle().await?, epoch, first_seq, records, lease).await
    }

    fn send_ahead(&mut self, epoch: Epoch, first_seq: i64, records: Arc<Vec<Record>>) {
        let (store, conn, next) = (self.store.clone(), self.idle.pop(), records.clone());
        let task = tokio::spawn(async move { Begun::new(&store, conn, epoch, first_seq, &next).await });
        self.ahead = Some(Ahead { epoch, first_seq, records, task: AbortOnDropHandle::new(task) });
    }
}

impl Ahead {
    fn is(&self, epoch: Epoch, first_seq: i64, records: &Arc<Vec<Record>>) -> bool {
        (self.epoch, self.first_seq) == (epoch, first_seq) && self.records == *records
    }

    /// None where something came between: then the batch has to go the usual way, which says what.
    async fn begun(self) -> Option<Begun> {
        self.task.await.inspect_err(note).ok()?.inspect_err(note).ok()
    }
}

fn note(error: &(impl std::error::Error + 'static)) {
    debug!(error = error as &dyn std::error::Error, "the trail of a batch did not go ahead");
}

impl Begun {
    async fn new(
        store: &Store,
        conn: Option<PgConnection>,
        epoch: Epoch,
        first_seq: i64,
        records: &[Record],
    ) -> Result<Self, StoreError> {
        let mut conn = match conn {
            Some(conn) => conn,
            None => store.dedicated().await?,
        };
        sqlx::raw_sql(BEGIN).execute(&mut conn).await?;
        let rows = audit::rows(epoch, first_seq, records);
        let insert = insert_audit(epoch, &rows);
        let stored = async {
            match insert {
                Some(insert) => insert.execute(&mut conn).await.map(drop),
                None => Ok(()),
            }
        };
        let (stored, folded) = tokio::join!(stored, async { fold(epoch, first_seq, records) });
        stored?;
        Ok(Self { conn, rows, folded })
    }

    /// The rest of the batch. Returns the number of audit rows; none where the transaction was rolled back: the batch has to
    /// go the usual way.
    async fn finish(
        self,
        epoch: Epoch,
        first_seq: i64,
        records: &[Record],
        lease: Duration,
    ) -> Result<(PgConnection, Option<u64>), StoreError> {
        let Self { mut conn, rows, folded } = self;
        let applied = async {
            let to_seq = first_seq + records.len() as i64 - 1;
            let Some(moved) = advance(&mut conn, epoch, first_seq - 1, to_seq, folded.attested_until, lease).await?
            else {
                return Ok(None);
            };
            let audit_rows = write(&mut conn, epoch, first_seq, records, folded, Some(rows), &moved).await?;
            sqlx::raw_sql("commit").execute(&mut conn).await?;
            Ok(Some(audit_rows))
        };
        match applied.await {
            Ok(Some(audit_rows)) => return Ok((conn, Some(audit_rows))),
            Err(error) if !StoreError::is_about_data(&error) => return Err(error),
            Ok(None) | Err(_) => {}
        }
        sqlx::raw_sql("rollback").execute(&mut conn).await?;
        Ok((conn, None))
    }
}
