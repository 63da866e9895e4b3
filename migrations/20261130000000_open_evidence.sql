-- How much of a node's time may still grow, so that the watermark of a bill need not read every open connection: 10,000 take 5 ms.
-- Measured by the flush with an evidence mark, at most once a second. What is measured stays a lower bound until the next time:
-- evidence only grows, and who joins later joined after all that the node had attested.
alter table rollcall.node_epochs
    add column open_connections bigint not null default 0,
    add column open_evidence_from timestamptz,
    add column open_measured_at timestamptz not null default '-infinity',
    add constraint node_epochs_open_measured check (open_connections = 0 or open_evidence_from is not null);
comment on column rollcall.node_epochs.open_connections is 'Open connections of the epoch when that was last measured.';
comment on column rollcall.node_epochs.open_evidence_from is
    'No open connection of the epoch has its last evidence before this instant, those that come included.';
comment on column rollcall.node_epochs.open_measured_at is 'When the two were measured, by the clock of the database.';
