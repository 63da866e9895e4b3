//! What becomes of a node: it starts, flushes, crashes, drains, is given up, and the clean-up ends what it left behind.

use std::sync::Arc;
use std::time::Duration;

use rollcall::ledger::{JournalRead, LedgerStore, recover};
use rollcall::store::mapping::to_utc;
use rollcall::store::{BatchOutcome, EpochState};
use rollcall_core::{CloseProof, Command, Epoch, LeaveReason, Record, SessionId};
use uuid::Uuid;

use super::super::model::cleanup::CleanUp;
use super::super::node::Node;
use super::super::plan::{NODES, Order};
use super::{FIRST_SESSION, LEASE, MARK_INTERVAL, World, end_command, wall};

impl World {
    pub(super) async fn start(&mut self, node: usize) {
        // The journal keeps a tail of the epoch that is running, so a copy is good for as long as nobody restarts.
        if let Some((copy, _)) = self.copy.take() {
            copy.discard().await;
        }
        let name = self.nodes[node].name.clone();
        let epoch = self.store.open_epoch(&name, self.now, LEASE).await.expect("opens");
        assert_eq!(self.model.open_epoch(&name, self.now, LEASE, wall()), Some(epoch));
        let loaded = self.store.load_active_sessions(None, 100).await.expect("answers");
        assert_eq!(self.model.load_active_sessions(None, 100, wall()), loaded);
        let is_ours = |session: SessionId| session.0.as_u128() as usize % NODES == node;
        let loaded = loaded.into_iter().filter(|loaded| is_ours(loaded.spec.session)).collect();
        self.nodes[node].start(epoch, loaded, self.now);
        let expired_before = self.now - Duration::from_secs(60);
        let invites = self.store.load_live_invites(None, expired_before, 100).await.expect("answers");
        assert_eq!(self.model.load_live_invites(None, expired_before, 100), invites);
    }

    pub(super) async fn flush(&mut self, node: usize, rows: usize, order: Order) {
        let epoch = self.nodes[node].epoch;
        let applied = self.store.applied_seq(epoch).await.expect("answers");
        assert_eq!(self.model.applied_seq(epoch), applied);
        let Some(applied) = applied else { return self.reinstate(node).await };
        let (after, rows) = match order {
            Order::Next => (applied, rows),
            Order::Overlapping(back) => ((applied - back).max(0), rows + back as usize),
            Order::Again(back) => ((applied - back).max(0), back.min(applied) as usize),
            Order::Early(skipped) => (applied + skipped, rows),
        };
        let batch = self.nodes[node].reader.read(epoch, after, rows).expect("readable");
        if batch.records.is_empty() {
            let connection = self.connection.as_mut().expect("connected");
            let renewed = LedgerStore::renew_lease(&self.store, connection, epoch, LEASE).await;
            assert_eq!(self.model.renew_lease(epoch, LEASE, wall()), renewed.expect("answers"));
        } else {
            // Whatever follows goes ahead, also where something else is sent then.
            let next = self.nodes[node].reader.read(epoch, batch.last_seq(), rows).expect("readable");
            let next = (!next.records.is_empty()).then_some(next.records);
            self.send(epoch, batch.first_seq, batch.records, next).await;
        }
    }

    /// A batch from an epoch that is over.
    pub(super) async fn late(&mut self, node: usize, rows: usize) {
        let node = &self.nodes[node];
        let earlier = node.over.iter().chain(&node.written).filter(|(epoch, _)| **epoch < node.epoch);
        let Some((epoch, records)) = earlier.max_by_key(|(epoch, _)| **epoch) else { return };
        let (epoch, first) = (*epoch, records.len().saturating_sub(rows));
        let mut records = records[first..].to_vec();
        // And one that nobody ever sent.
        records.extend(records.last().cloned());
        self.send(epoch, first as i64 + 1, Arc::new(records), None).await;
    }

    async fn send(&mut self, epoch: Epoch, first_seq: i64, records: Arc<Vec<Record>>, next: Option<Arc<Vec<Record>>>) {
        let connection = self.connection.as_mut().expect("connected");
        let (outcome, refused) = LedgerStore::apply(&self.store, connection, epoch, first_seq, &records, next, LEASE)
            .await
            .expect("answers");
        let expected = self.model.apply_batch(epoch, first_seq, &records, LEASE, wall());
        assert_eq!(expected.1, refused);
        match (expected.0, outcome) {
            // Where a batch was split, only the rows of its last part are told.
            (BatchOutcome::Applied { .. }, BatchOutcome::Applied { .. }) if refused > 0 => {}
            (expected, outcome) => assert_eq!(expected, outcome),
        }
    }

    pub(super) async fn crash(&mut self, node: usize, loses_memory: bool) {
        if !loses_memory {
            self.nodes[node].write();
        }
        // What went ahead is lost with the connection of whoever crashed.
        self.connect().await;
        let name = self.nodes[node].name.clone();
        self.reinstate(node).await;
        let Node { journal, written, .. } = &mut self.nodes[node];
        let report = recover(journal, &self.store, &name, MARK_INTERVAL, LEASE, self.now).await.expect("recovers");
        let spans_closed = self.model.recover(&name, written, MARK_INTERVAL, LEASE, wall());
        assert_eq!(spans_closed, report.spans_closed);
        self.nodes[node].forget();
        self.start(node).await;
    }

    pub(super) async fn drain(&mut self, node: usize) {
        let now = self.now;
        let sessions: Vec<_> = self.nodes[node].sessions.keys().copied().collect();
        for session in sessions {
            self.nodes[node].apply(session, Command::Drain, now);
        }
        let closes: Vec<_> = self.nodes[node].opened.iter().map(|opened| (opened.session, opened.member)).collect();
        for (session, member) in closes {
            let proof = if member.connection.counter % 2 == 0 { CloseProof::Observed } else { CloseProof::Silent };
            let close = Command::Closed { member, reason: LeaveReason::Closed, proof };
            self.nodes[node].apply(session, close, now);
        }
        self.nodes[node].write();
        self.reinstate(node).await;
        self.flush(node, usize::MAX >> 1, Order::Next).await;
        let epoch = self.nodes[node].epoch;
        let closed = self.store.close_epoch(epoch, EpochState::Drained, 0).await.expect("answers");
        assert_eq!(self.model.close_epoch(epoch, (EpochState::Drained, 0), wall()), closed);
        self.start(node).await;
    }

    pub(super) async fn lapse(&mut self, node: usize) {
        let epoch = self.nodes[node].epoch;
        let long_ago = wall() - Duration::from_secs(3 * 86_400);
        sqlx::query("update rollcall.node_epochs set lease_until = $2 where epoch = $1")
            .bind(epoch.0)
            .bind(to_utc(long_ago))
            .execute(&self.database.pool)
            .await
            .expect("updates");
        if let Some(row) = self.model.epochs.get_mut(&epoch) {
            row.lease_until = long_ago;
        }
    }

    pub(super) async fn clean_up(&mut self, inactivity_s: u64, sessions_max: usize, gives_up_on_lost: bool) {
        let lost_after = if gives_up_on_lost { Duration::from_millis(1) } else { Duration::from_secs(86_400) };
        let request = CleanUp {
            inactivity: Duration::from_secs(inactivity_s),
            sessions_max,
            lost_after,
            up_since: self.up_since,
        };
        let ended: Vec<Uuid> = sqlx::query_scalar(
            "select c.session_id from (select set_config('rollcall.epoch_lost_after', $1, true)) x,
                    lateral rollcall.cleanup_inactive_sessions(make_interval(secs => $2), $3) c
             where x is not null order by 1",
        )
        .bind(format!("{} ms", lost_after.as_millis()))
        .bind(inactivity_s as f64)
        .bind(sessions_max as i32)
        .fetch_all(&self.database.pool)
        .await
        .expect("cleans up");
        let expected = self.model.clean_up(request, wall());
        assert_eq!(expected.iter().map(|session| session.0).collect::<Vec<_>>(), ended);
        // As the feed tells the nodes.
        for session in expected {
            let place = (session.0.as_u128() - FIRST_SESSION) as usize;
            if let Some((at, reason)) = self.model.sessions.get(&session).and_then(|row| row.ended) {
                self.apply(place, end_command(reason, at));
            }
        }
    }
}
