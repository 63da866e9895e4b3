//! Metrics in the Prometheus text form, under names that begin with `rollcall_`. No label holds an id of a person, a
//! session or a tenant.

use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;
use rollcall_core::LeaveReason;
use rollcall_protocol::ErrorCode;

use crate::hub::Hub;

/// What sockets count.
#[derive(Debug, Clone)]
pub struct WsMetrics {
    opened: Counter,
    closed: Family<Reason, Counter>,
    refused: Family<Code, Counter>,
    join_seconds: Histogram,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reason {
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Code {
    code: &'static str,
}

impl WsMetrics {
    pub fn register(registry: &mut Registry) -> Self {
        let this = Self {
            opened: Counter::default(),
            closed: Family::default(),
            refused: Family::default(),
            join_seconds: Histogram::new(exponential_buckets(0.000_5, 2.0, 14)),
        };
        registry.register("rollcall_connections_opened", "Sockets that joined a session", this.opened.clone());
        registry.register("rollcall_connections_closed", "Joined sockets that ended", this.closed.clone());
        registry.register("rollcall_joins_refused", "Joins that were refused", this.refused.clone());
        registry.register(
            "rollcall_join_duration_seconds",
            "From the join frame until its record is durable",
            this.join_seconds.clone(),
        );
        this
    }

    pub fn connection_opened(&self) {
        self.opened.inc();
    }

    pub fn connection_closed(&self, reason: LeaveReason) {
        self.closed.get_or_create(&Reason { reason: reason.as_str() }).inc();
    }

    pub fn join_refused(&self, code: ErrorCode) {
        self.refused.get_or_create(&Code { code: code.as_str() }).inc();
    }

    pub fn join_took(&self, duration: Duration) {
        self.join_seconds.observe(duration.as_secs_f64());
    }
}

/// What is read off the live state when somebody asks, rather than counted all the time.
pub struct LiveMetrics {
    pub hub: Hub,
}

impl std::fmt::Debug for LiveMetrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LiveMetrics")
    }
}

impl Collector for LiveMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let status = self.hub.ledger().status();
        let gauges: [(&str, &str, u64); 8] = [
            ("rollcall_connections", "Open joined sockets", self.hub.connections_open() as u64),
            ("rollcall_sessions_live", "Sessions in memory", self.hub.sessions_live() as u64),
            ("rollcall_invites_live", "Invites in memory", self.hub.invites().len() as u64),
            ("rollcall_journal_backlog_bytes", "Bytes of records not yet in Postgres", status.backlog_bytes),
            (
                "rollcall_journal_backlog_records",
                "Records not yet in Postgres",
                (status.appended_seq - status.applied_seq).max(0) as u64,
            ),
            ("rollcall_journal_admitting", "1 while joins are taken", u64::from(status.admitting)),
            ("rollcall_postgres_failing", "1 while batches cannot be flushed", u64::from(status.postgres_failing)),
            ("rollcall_draining", "1 while the server is stopping", u64::from(self.hub.is_draining())),
        ];
        for (name, help, value) in gauges {
            let gauge = ConstGauge::<i64>::new(value as i64);
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)?;
        }
        let counters: [(&str, &str, u64); 4] = [
            (
                "rollcall_records_refused",
                "Records that Postgres refused as data; look into rollcall.refused_records",
                status.records_refused_total,
            ),
            ("rollcall_ledger_records", "Records numbered", status.appended_seq as u64),
            ("rollcall_flush_batches", "Batches that Postgres took", status.flush_batches_total),
            ("rollcall_flush_failures", "Batches that Postgres did not take", status.flush_failures_total),
        ];
        for (name, help, value) in counters {
            let counter = ConstCounter::<u64>::new(value);
            counter.encode(encoder.encode_descriptor(name, help, None, counter.metric_type())?)?;
        }
        Ok(())
    }
}

/// The registry that /metrics shows.
pub fn registry(hub: Hub) -> (Registry, WsMetrics) {
    let mut registry = Registry::default();
    let ws = WsMetrics::register(&mut registry);
    registry.register_collector(Box::new(LiveMetrics { hub }));
    let build = prometheus_client::metrics::info::Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]);
    registry.register("rollcall_build", "The version of this server", build);
    (registry, ws)
}
