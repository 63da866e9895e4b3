//! The chains as they are stored: what a checkpoint is made from, and everything that a verifier reads.

use chrono::{DateTime, Utc};
use futures_util::TryStreamExt;
use futures_util::stream::BoxStream;
use rollcall_core::chain::{Frontier, Hash, Head};
use sqlx::{PgConnection, Postgres, Transaction};
use uuid::Uuid;

use super::{Store, StoreError};

/// A checkpoint as it is stored.
#[derive(Debug, Clone)]
pub struct CheckpointRow {
    pub incarnation: i32,
    pub size: i64,
    pub created_at: DateTime<Utc>,
    pub prior_root: Option<Hash>,
    pub leaf: Hash,
    pub root: Hash,
    pub note: String,
    pub heads: Vec<Head>,
}

/// The last checkpoint, as the next one continues it.
#[derive(Debug, Clone)]
pub struct LastCheckpoint {
    pub incarnation: i32,
    pub created_at: DateTime<Utc>,
    pub frontier: Frontier,
}

/// One row of the stream that export and verification read; which fields it has depends on `rank`.
#[derive(Debug)]
pub struct ChainRow {
    /// 0 epoch, 1 batch, 2 event, 3 mark, 4 refused record.
    pub rank: i32,
    pub epoch: i64,
    pub seq: i64,
    pub at: Option<DateTime<Utc>>,
    pub tenant_id: Option<Uuid>,
    pub session_id: Option<Uuid>,
    pub participant_id: Option<Uuid>,
    pub connection: Option<String>,
    /// The type of an event, the state of an epoch, the error of a refused record.
    pub word: Option<String>,
    /// The actor of an event, the node of an epoch.
    pub actor: Option<String>,
    pub metadata: Option<String>,
    pub body: Option<Vec<u8>>,
    pub recorded_at: Option<DateTime<Utc>>,
    /// The last number of a batch, the applied number of an epoch.
    pub last_seq: Option<i64>,
    pub connections: Option<i32>,
    pub root: Option<Vec<u8>>,
    pub prev_hash: Option<Vec<u8>>,
    /// The hash of a batch, the leaf of a record.
    pub hash: Option<Vec<u8>>,
}

/// What a detached partition holds of an epoch.
#[derive(Debug, Clone)]
pub struct DetachedRow {
    pub partition_name: String,
    pub epoch: i64,
    /// Half-open ranges of numbers.
    pub ranges: Vec<(i64, i64)>,
}

/// A row of `verify_audit_triggers`.
pub type TriggerProblem = String;

/// A transaction that sees one state of the database and changes nothing.
pub type Snapshot = Transaction<'static, Postgres>;

impl Store {
    /// The name of the log in its checkpoints.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn log_id(&self) -> Result<Uuid, StoreError> {
        Ok(sqlx::query_scalar!("select log_id from rollcall.audit_log_identity").fetch_one(&self.pool).await?)
    }

    /// Starts to read everything as it is at this moment. Reading it all may take long: no statement timeout.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn snapshot(&self) -> Result<Snapshot, StoreError> {
        let mut tx = self.pool.begin().await?;
        sqlx::query("set transaction isolation level repeatable read, read only").execute(&mut *tx).await?;
        sqlx::query("set local statement_timeout = 0").execute(&mut *tx).await?;
        Ok(tx)
    }

    /// Begins a checkpoint; `None` while another node makes one. Seals what the control plane has written since.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn begin_checkpoint(&self) -> Result<Option<Transaction<'static, Postgres>>, StoreError> {
        let mut tx = self.pool.begin().await?;
        let alone = sqlx::query_scalar!(
            r#"select pg_try_advisory_xact_lock(hashtext('rollcall.audit_checkpoint')) as "alone!""#
        )
        .fetch_one(&mut *tx)
        .await?;
        if !alone {
            tx.rollback().await?;
            return Ok(None);
        }
        sqlx::query!("select rollcall.seal_control_events()").fetch_one(&mut *tx).await?;
        Ok(Some(tx))
    }

    /// Notes of checkpoints after this one, in their order, at most `limit`.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn notes_after(
        &self,
        (incarnation, size): (i32, i64),
        limit: i64,
    ) -> Result<Vec<(i32, i64, String)>, StoreError> {
        let rows = sqlx::query!(
            "select incarnation, size, note from rollcall.audit_checkpoints
             where (incarnation, size) > ($1, $2) order by incarnation, size limit $3",
            incarnation,
            size,
            limit,
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(rows.into_iter().map(|row| (row.incarnation, row.size, row.note)).collect())
    }
}

/// The root of a checkpoint; `None` when there is no such checkpoint.
pub async fn checkpoint_root(
    conn: &mut PgConnection,
    incarnation: i32,
    size: i64,
) -> Result<Option<Vec<u8>>, StoreError> {
    let root = sqlx::query_scalar!(
        "select root from rollcall.audit_checkpoints where incarnation = $1 and size = $2",
        incarnation,
        size,
    )
    .fetch_optional(conn)
    .await?;
    Ok(root)
}

pub async fn last_checkpoint(conn: &mut PgConnection) -> Result<Option<LastCheckpoint>, StoreError> {
    let row = sqlx::query!(
        "select incarnation, size, created_at, subtrees from rollcall.audit_checkpoints
         order by incarnation desc, size desc limit 1"
    )
    .fetch_optional(conn)
    .await?;
    row.map(|row| {
        let subtrees = row.subtrees.iter().map(|hash| to_hash("subtrees", hash)).collect::<Result<_, _>>()?;
        let frontier = Frontier::from_parts(row.size as u64, subtrees)
            .ok_or_else(|| StoreError::Unreadable("audit_checkpoints.subtrees do not fit size".to_owned()))?;
        Ok(LastCheckpoint { incarnation: row.incarnation, created_at: row.created_at, frontier })
    })
    .transpose()
}

/// The heads that no checkpoint of this incarnation has seen, by epoch.
pub async fn moved_heads(conn: &mut PgConnection, incarnation: i32) -> Result<Vec<Head>, StoreError> {
    let rows = sqlx::query_file!("src/store/queries/chain_moved_heads.sql", incarnation).fetch_all(conn).await?;
    let head = |epoch, last_seq, hash: Vec<u8>| Ok(Head { epoch, last_seq, hash: to_hash("hash", &hash)? });
    rows.into_iter().map(|row| head(row.epoch, row.last_seq, row.hash)).collect()
}

pub async fn insert_checkpoint(
    conn: &mut PgConnection,
    row: &CheckpointRow,
    frontier: &Frontier,
) -> Result<(), StoreError> {
    let subtrees: Vec<Vec<u8>> = frontier.subtrees().iter().map(|hash| hash.to_vec()).collect();
    sqlx::query!(
        "insert into rollcall.audit_checkpoints (incarnation, size, created_at, prior_root, leaf, root, subtrees, note)
         values ($1, $2, $3, $4, $5, $6, $7, $8)",
        row.incarnation,
        row.size,
        row.created_at,
        row.prior_root.as_ref().map(|root| root.as_slice()),
        row.leaf.as_slice(),
        row.root.as_slice(),
        &subtrees,
        row.note,
    )
    .execute(&mut *conn)
    .await?;
    sqlx::query!(
        "insert into rollcall.audit_checkpoint_heads (incarnation, size, epoch, last_seq, hash)
         select $1, $2, f.epoch, f.last_seq, f.hash
         from unnest($3::bigint[], $4::bigint[], $5::bytea[]) as f (epoch, last_seq, hash)",
        row.incarnation,
        row.size,
        &row.heads.iter().map(|head| head.epoch).collect::<Vec<_>>(),
        &row.heads.iter().map(|head| head.last_seq).collect::<Vec<_>>(),
        &row.heads.iter().map(|head| head.hash.to_vec()).collect::<Vec<_>>(),
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Every checkpoint with its heads, in order.
pub fn checkpoints(conn: &mut PgConnection) -> BoxStream<'_, Result<CheckpointRow, StoreError>> {
    let rows = sqlx::query!(
        r#"select c.incarnation, c.size, c.created_at, c.prior_root, c.leaf, c.root, c.note,
                  array(select h.epoch from rollcall.audit_checkpoint_heads h
                        where h.incarnation = c.incarnation and h.size = c.size order by h.epoch) as "epochs!",
                  array(select h.last_seq from rollcall.audit_checkpoint_heads h
                        where h.incarnation = c.incarnation and h.size = c.size order by h.epoch) as "last_seqs!",
                  array(select h.hash from rollcall.audit_checkpoint_heads h
                        where h.incarnation = c.incarnation and h.size = c.size order by h.epoch) as "hashes!: Vec<Vec<u8>>"
           from rollcall.audit_checkpoints c order by c.incarnation, c.size"#
    )
    .fetch(conn)
    .map_err(StoreError::from)
    .and_then(|row| async move {
        let heads = row.epochs.iter().zip(&row.last_seqs).zip(&row.hashes);
        let heads = heads.map(|((epoch, last_seq), hash)| {
            Ok::<_, StoreError>(Head { epoch: *epoch, last_seq: *last_seq, hash: to_hash("hash", hash)? })
        });
        Ok(CheckpointRow {
            incarnation: row.incarnation,
            size: row.size,
            created_at: row.created_at,
            prior_root: row.prior_root.map(|root| to_hash("prior_root", &root)).transpose()?,
            leaf: to_hash("leaf", &row.leaf)?,
            root: to_hash("root", &row.root)?,
            note: row.note,
            heads: heads.collect::<Result<_, _>>()?,
        })
    });
    Box::pin(rows)
}

/// Epochs, batches and records of one epoch or of all, in the order in which they are verified.
pub fn rows(conn: &mut PgConnection, epoch: Option<i64>) -> BoxStream<'_, Result<ChainRow, StoreError>> {
    let rows = sqlx::query_file_as!(ChainRow, "src/store/queries/chain_records.sql", epoch).fetch(conn);
    Box::pin(rows.map_err(StoreError::from))
}

pub async fn detached(conn: &mut PgConnection) -> Result<Vec<DetachedRow>, StoreError> {
    let rows = sqlx::query!(
        r#"select d.partition_name, d.epoch,
                  array(select lower(r) from unnest(d.seqs) r order by 1) as "lowers!: Vec<i64>",
                  array(select upper(r) from unnest(d.seqs) r order by 1) as "uppers!: Vec<i64>"
           from rollcall.audit_detached d order by d.partition_name, d.epoch"#
    )
    .fetch_all(conn)
    .await?;
    let row = |partition_name, epoch, lowers: Vec<i64>, uppers: Vec<i64>| DetachedRow {
        partition_name,
        epoch,
        ranges: lowers.into_iter().zip(uppers).collect(),
    };
    Ok(rows.into_iter().map(|one| row(one.partition_name, one.epoch, one.lowers, one.uppers)).collect())
}

/// Tables of the ledger that do not refuse changes any more.
pub async fn trigger_problems(conn: &mut PgConnection) -> Result<Vec<TriggerProblem>, StoreError> {
    let rows = sqlx::query_scalar!(r#"select problem as "problem!" from rollcall.verify_audit_triggers()"#);
    Ok(rows.fetch_all(conn).await?)
}

/// # Errors
/// [`StoreError::Unreadable`] when it is not 32 bytes.
pub fn to_hash(column: &str, bytes: &[u8]) -> Result<Hash, StoreError> {
    bytes.try_into().map_err(|_| StoreError::Unreadable(format!("{column} has {} bytes, not 32", bytes.len())))
}
