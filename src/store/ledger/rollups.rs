//! Coverage, usage and statistics move with the rows: triggers on `participation_spans` and `sessions` count in the same
//! transaction. What is left to do here is to say who counts.

use rollcall_core::Epoch;
use sqlx::PgConnection;

use crate::store::StoreError;

/// Keeps this flush apart from every other writer of the counting tables, for the rest of the transaction.
pub(super) async fn count_as(conn: &mut PgConnection, epoch: Epoch) -> Result<(), StoreError> {
    sqlx::query("select set_config('rollcall.usage_shard', $1, true)").bind(epoch.to_string()).execute(conn).await?;
    Ok(())
}
