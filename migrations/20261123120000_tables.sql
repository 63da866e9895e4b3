-- The tables of Rollcall. Everything lives in schema rollcall, so that it can share a database with an app (and stays
-- out of the schemas that Supabase exposes). PostgreSQL 14 or newer, no extension.
--
-- Foreign keys guard what the control plane writes. The tables that the flusher writes (participants, participant_pii,
-- participation_spans, session_audit_log, evidence_marks) have none on purpose: a check per row costs a third of the
-- flush rate, and a record that met a missing parent would stop the whole ledger behind it. verify.sql looks for
-- orphans instead.
--
-- Lock order of every writer, so that writers never deadlock: own row of node_epochs, sessions (by id), participants
-- (by id), participation_spans (by id), row 0 of node_epochs, session_audit_log.

create schema if not exists rollcall;
comment on schema rollcall is 'Rollcall: who was in which session, when, for how long, and why they left.';
revoke all on schema rollcall from public;

create table rollcall.tenants (
    tenant_id uuid not null,
    name text not null,
    identity_salt bytea not null,
    signing_secret_version integer not null default 1,
    created_at timestamptz not null default clock_timestamp(),
    constraint tenants_pkey primary key (tenant_id),
    constraint tenants_name_key unique (name),
    constraint tenants_name_length check (length(name) between 1 and 200),
    constraint tenants_identity_salt_length check (length(identity_salt) = 32),
    constraint tenants_signing_secret_version_positive check (signing_secret_version > 0)
);
comment on table rollcall.tenants is 'The customer accounts everything belongs to.';
comment on column rollcall.tenants.identity_salt is
    'Key of the HMAC that turns an identity into a participant id. Changing it gives everybody a new participant id.';
comment on column rollcall.tenants.signing_secret_version is
    'Counts up when the secret for join tokens is changed; the secret itself is derived, never stored.';

create table rollcall.api_keys (
    key_id uuid not null,
    tenant_id uuid not null,
    name text not null,
    key_hash bytea not null,
    key_hint text not null,
    scopes text[] not null,
    created_at timestamptz not null default clock_timestamp(),
    revoked_at timestamptz,
    constraint api_keys_pkey primary key (key_id),
    constraint api_keys_tenant_fkey foreign key (tenant_id) references rollcall.tenants (tenant_id),
    constraint api_keys_key_hash_key unique (key_hash),
    constraint api_keys_key_hash_length check (length(key_hash) = 32),
    constraint api_keys_name_length check (length(name) between 1 and 200),
    constraint api_keys_scopes_known
        check (cardinality(scopes) > 0 and scopes <@ array['admin', 'write', 'read', 'billing'])
);
create index api_keys_tenant_idx on rollcall.api_keys (tenant_id, created_at, key_id);
comment on table rollcall.api_keys is 'API keys of a tenant. The key itself is shown once and never stored.';
comment on column rollcall.api_keys.key_hash is 'SHA-256 of the whole key.';
comment on column rollcall.api_keys.key_hint is 'The first eight characters, so that people can tell keys apart.';
comment on column rollcall.api_keys.revoked_at is 'Since when the key is refused; null while it is good.';

create table rollcall.sessions (
    session_id uuid not null,
    tenant_id uuid not null,
    external_id text,
    title text,
    metadata jsonb not null default '{}',
    status text not null default 'active',
    idle_timeout_s integer not null,
    max_duration_s integer,
    max_participants integer,
    warn_before_s integer[] not null default '{300,60}',
    created_at timestamptz not null,
    started_at timestamptz,
    ended_at timestamptz,
    end_reason text,
    last_activity_at timestamptz not null,
    last_seen_at timestamptz not null,
    hold_until timestamptz not null,
    expires_at timestamptz,
    version bigint not null default 1,
    constraint sessions_pkey primary key (session_id),
    constraint sessions_tenant_fkey foreign key (tenant_id) references rollcall.tenants (tenant_id),
    constraint sessions_status_known check (status in ('active', 'ended')),
    constraint sessions_end_reason_known
        check (end_reason in ('completed', 'idle', 'max_duration', 'abandoned')),
    constraint sessions_end_complete
        check ((status = 'ended') = (ended_at is not null) and (status = 'ended') = (end_reason is not null)),
    constraint sessions_metadata_object check (jsonb_typeof(metadata) = 'object'),
    constraint sessions_limits_positive
        check (idle_timeout_s > 0 and max_duration_s > 0 and max_participants > 0 and 0 < all (warn_before_s)),
    constraint sessions_times_finite
        check (isfinite(created_at) and isfinite(started_at) and isfinite(ended_at) and isfinite(last_activity_at)
               and isfinite(last_seen_at) and isfinite(hold_until) and isfinite(expires_at)),
    constraint sessions_version_positive check (version > 0)
) with (fillfactor = 75);
create unique index sessions_external_id_key on rollcall.sessions (tenant_id, external_id)
    where external_id is not null and status = 'active';
-- On the id and not on last_activity_at: a column that every flush raises must not be in an index, or no update of this
-- table would be heap-only. The clean-up reads the active sessions only, and these are few.
create index sessions_active_idx on rollcall.sessions (session_id) where status = 'active';
create index sessions_tenant_created_idx on rollcall.sessions (tenant_id, created_at desc, session_id);
create index sessions_ended_idx on rollcall.sessions (ended_at) where status = 'ended';
comment on table rollcall.sessions is 'The rooms people meet in. A recovered session is the same row, active again.';
comment on column rollcall.sessions.external_id is 'The app''s own name for the session; unique among the active ones.';
comment on column rollcall.sessions.idle_timeout_s is 'The session ends when nobody was active for this many seconds.';
comment on column rollcall.sessions.max_duration_s is 'As asked for at creation; what counts is expires_at.';
comment on column rollcall.sessions.warn_before_s is 'How many seconds before the end warnings go out.';
comment on column rollcall.sessions.started_at is 'When the first participant ever came in.';
comment on column rollcall.sessions.ended_at is
    'The logical end: the deadline that passed, or the instant of the request; never when somebody noticed.';
comment on column rollcall.sessions.last_activity_at is 'When a person was last active: a join, an update, an active ping.';
comment on column rollcall.sessions.last_seen_at is 'The latest evidence or event of the session; never runs backwards.';
comment on column rollcall.sessions.hold_until is 'No idle end before this instant; extend moves it.';
comment on column rollcall.sessions.expires_at is 'The hard end; null without a maximal duration.';
comment on column rollcall.sessions.version is 'Counts changes by the control plane, for conditional updates.';

create table rollcall.invites (
    invite_id uuid not null,
    tenant_id uuid not null,
    session_id uuid not null,
    token_hash bytea not null,
    token_hint text not null,
    role text not null,
    identity text,
    name text,
    not_before timestamptz,
    expires_at timestamptz not null,
    max_uses integer,
    uses integer not null default 0,
    revoked_at timestamptz,
    created_at timestamptz not null default clock_timestamp(),
    constraint invites_pkey primary key (invite_id),
    constraint invites_tenant_fkey foreign key (tenant_id) references rollcall.tenants (tenant_id),
    constraint invites_session_fkey foreign key (session_id) references rollcall.sessions (session_id),
    constraint invites_token_hash_key unique (token_hash),
    constraint invites_token_hash_length check (length(token_hash) = 32),
    constraint invites_role_form check (role ~ '^[a-z0-9_-]{1,32}$'),
    constraint invites_uses_within check (uses >= 0 and (max_uses is null or (max_uses > 0 and uses <= max_uses))),
    constraint invites_times_finite check (isfinite(not_before) and isfinite(expires_at))
);
create index invites_session_idx on rollcall.invites (session_id, created_at, invite_id);
create index invites_tenant_idx on rollcall.invites (tenant_id);
comment on table rollcall.invites is 'Links into one session. The token is shown once and never stored.';
comment on column rollcall.invites.token_hash is 'SHA-256 of the whole token.';
comment on column rollcall.invites.token_hint is 'The first characters of the token, so that people can tell invites apart.';
comment on column rollcall.invites.identity is 'The identity this invite fixes; null where the visitor may choose.';
comment on column rollcall.invites.name is 'Personal data: the display name given to whoever comes by this invite.';
comment on column rollcall.invites.max_uses is 'How many different participants may come in by it; null for any number.';
comment on column rollcall.invites.uses is 'How many did; equals the rows of invite_uses.';

create table rollcall.invite_uses (
    invite_id uuid not null,
    participant_id uuid not null,
    used_at timestamptz not null,
    constraint invite_uses_pkey primary key (invite_id, participant_id)
);
comment on table rollcall.invite_uses is
    'Who came in by which invite. A use is the first admission of a participant; its returns are free.';

create table rollcall.participants (
    session_id uuid not null,
    participant_id uuid not null,
    tenant_id uuid not null,
    identity text not null,
    identity_verified boolean not null,
    role text not null,
    invite_id uuid,
    state jsonb,
    status text not null,
    first_joined_at timestamptz not null,
    joined_at timestamptz not null,
    last_seen_at timestamptz not null,
    left_at timestamptz,
    leave_reason text,
    kicked_at timestamptz,
    constraint participants_pkey primary key (session_id, participant_id),
    constraint participants_status_known check (status in ('active', 'away', 'reconnecting', 'left')),
    constraint participants_leave_complete check ((status = 'left') = (left_at is not null))
) with (fillfactor = 75);
create index participants_identity_idx on rollcall.participants (session_id, identity);
comment on table rollcall.participants is
    'One row per identity and session, however often it comes back. Presence as people see it; bill from participation_spans.';
comment on column rollcall.participants.participant_id is
    'HMAC-SHA256 of session, verified and identity under the tenant''s salt, as a version 8 UUID.';
comment on column rollcall.participants.identity is 'The app''s stable name for the person.';
comment on column rollcall.participants.identity_verified is 'True where the token fixed the identity, false where the client chose it.';
comment on column rollcall.participants.state is 'The app''s own state of the participant.';
comment on column rollcall.participants.joined_at is 'Start of the current or latest stay.';
comment on column rollcall.participants.last_seen_at is 'The latest evidence; never runs backwards.';
comment on column rollcall.participants.left_at is 'End of the latest stay, grace period included; null while present.';
comment on column rollcall.participants.kicked_at is 'Since when the participant is not let in any more.';

create table rollcall.participant_pii (
    session_id uuid not null,
    participant_id uuid not null,
    tenant_id uuid not null,
    name text not null,
    updated_at timestamptz not null,
    constraint participant_pii_pkey primary key (session_id, participant_id)
);
comment on table rollcall.participant_pii is
    'The personal data of participants, kept apart so that it can be erased without touching the ledger.';

create table rollcall.node_epochs (
    epoch bigint generated by default as identity (minvalue 0 start 1),
    node_name text not null,
    state text not null default 'active',
    started_at timestamptz not null default clock_timestamp(),
    applied_seq bigint not null default 0,
    attested_until timestamptz not null default clock_timestamp(),
    lease_until timestamptz not null default clock_timestamp(),
    closed_at timestamptz,
    constraint node_epochs_pkey primary key (epoch),
    constraint node_epochs_state_known check (state in ('active', 'drained', 'recovered', 'fenced', 'control')),
    constraint node_epochs_control_is_zero check ((epoch = 0) = (state = 'control')),
    constraint node_epochs_applied_seq_not_negative check (applied_seq >= 0),
    constraint node_epochs_closed_complete check ((state in ('active', 'control')) = (closed_at is null))
) with (fillfactor = 20);
create index node_epochs_active_idx on rollcall.node_epochs (epoch) where state = 'active';
insert into rollcall.node_epochs (epoch, node_name, state) values (0, 'control', 'control') on conflict do nothing;
comment on table rollcall.node_epochs is
    'One row per boot of a node; its records are numbered densely from 1. Row 0 numbers the events of the control plane.';
comment on column rollcall.node_epochs.applied_seq is
    'The last record of the epoch that is in this database. Moved by compare-and-set in the transaction that brings the records.';
comment on column rollcall.node_epochs.attested_until is
    'Up to this instant everything the node heard is in this database.';
comment on column rollcall.node_epochs.lease_until is 'Renewed with every flush; a node that is past it may be gone.';

create table rollcall.participation_spans (
    epoch bigint not null,
    connection bigint not null,
    session_id uuid not null,
    tenant_id uuid not null,
    participant_id uuid not null,
    role text not null,
    invite_id uuid,
    connected_at timestamptz not null,
    disconnected_at timestamptz,
    last_evidence_at timestamptz not null,
    end_reason text,
    uncertainty_us bigint not null default 0,
    resumed_from text,
    constraint participation_spans_pkey primary key (epoch, connection),
    constraint participation_spans_order check (disconnected_at >= connected_at),
    constraint participation_spans_end_complete check ((disconnected_at is null) = (end_reason is null)),
    constraint participation_spans_uncertainty_not_negative check (uncertainty_us >= 0)
) with (fillfactor = 75);
create index participation_spans_session_idx on rollcall.participation_spans (session_id, participant_id);
create index participation_spans_tenant_idx on rollcall.participation_spans (tenant_id, connected_at);
create index participation_spans_open_idx on rollcall.participation_spans (epoch) where disconnected_at is null;
comment on table rollcall.participation_spans is
    'The metered time of one connection, half-open [connected_at, disconnected_at). Spans of one participant may overlap; billable is their union.';
comment on column rollcall.participation_spans.connection is 'The counter of the connection inside its epoch.';
comment on column rollcall.participation_spans.disconnected_at is
    'The observed close, else the last evidence; never the moment somebody noticed. Null while open.';
comment on column rollcall.participation_spans.last_evidence_at is 'The latest proof that the connection lives. An open span counts up to here.';
comment on column rollcall.participation_spans.uncertainty_us is
    'How much longer, in microseconds, the connection may have been there: unproven and unbilled.';
comment on column rollcall.participation_spans.resumed_from is 'The connection (epoch-counter) the same client had before.';

create table rollcall.session_audit_log (
    occurred_at timestamptz not null,
    epoch bigint not null,
    seq bigint not null,
    tenant_id uuid not null,
    session_id uuid,
    participant_id uuid,
    connection text,
    event_type text not null,
    actor text not null,
    metadata jsonb not null default '{}',
    recorded_at timestamptz not null default clock_timestamp(),
    constraint session_audit_log_pkey primary key (epoch, seq, occurred_at)
) partition by range (occurred_at);
create index session_audit_log_session_idx on rollcall.session_audit_log (session_id, occurred_at);
create index session_audit_log_occurred_idx on rollcall.session_audit_log using brin (occurred_at);
comment on table rollcall.session_audit_log is
    'The audit trail, append-only, in monthly partitions. Together with evidence_marks (epoch, seq) is dense, so a gap shows.';
comment on column rollcall.session_audit_log.occurred_at is 'The logical instant of the event: a deadline, the last evidence.';
comment on column rollcall.session_audit_log.seq is 'Place within the epoch. Epoch 0 holds the events of the control plane and of SQL.';
comment on column rollcall.session_audit_log.connection is 'The connection concerned, as epoch-counter.';
comment on column rollcall.session_audit_log.actor is 'Who caused it: server, operator, key:<key id> or participant:<id>. Never a secret.';
comment on column rollcall.session_audit_log.metadata is 'Details of the event. Never names, e-mail addresses, tokens or keys.';
comment on column rollcall.session_audit_log.recorded_at is 'When the row reached this database.';

create table rollcall.session_audit_log_default partition of rollcall.session_audit_log default;
comment on table rollcall.session_audit_log_default is 'Safety net: rows for months without a partition of their own.';

create table rollcall.refused_records (
    epoch bigint not null,
    seq bigint not null,
    body bytea not null,
    error text not null,
    refused_at timestamptz not null default clock_timestamp(),
    constraint refused_records_pkey primary key (epoch, seq)
);
comment on table rollcall.refused_records is
    'Records that the tables refused as data: kept whole for a person to look at, so that one record never stops the ledger. Counts as present in (epoch, seq).';
comment on column rollcall.refused_records.body is 'The record as the journal has it, JSON in UTF-8.';

create table rollcall.evidence_marks (
    epoch bigint not null,
    seq bigint not null,
    marked_at timestamptz not null,
    connections integer not null,
    constraint evidence_marks_pkey primary key (epoch, seq),
    constraint evidence_marks_connections_not_negative check (connections >= 0)
);
comment on table rollcall.evidence_marks is
    'One row per evidence mark: which connections were heard went into participation_spans, that it was looked is kept here.';
comment on column rollcall.evidence_marks.connections is 'How many connections were heard since the mark before.';

create table rollcall.event_keys (
    scope_id uuid not null,
    idempotency_key text not null,
    seq bigint not null,
    event_type text not null,
    created_at timestamptz not null default clock_timestamp(),
    constraint event_keys_pkey primary key (scope_id, idempotency_key),
    constraint event_keys_key_length check (length(idempotency_key) between 1 and 255)
);
comment on table rollcall.event_keys is 'Idempotency keys of log_session_event: the same key in the same session is the same event.';
comment on column rollcall.event_keys.scope_id is 'The session; the tenant for events without a session.';
comment on column rollcall.event_keys.seq is 'The event, in epoch 0.';

create table rollcall.idempotency_keys (
    tenant_id uuid not null,
    key text not null,
    request_hash bytea not null,
    status integer,
    body jsonb,
    created_at timestamptz not null default clock_timestamp(),
    constraint idempotency_keys_pkey primary key (tenant_id, key),
    constraint idempotency_keys_tenant_fkey foreign key (tenant_id) references rollcall.tenants (tenant_id),
    constraint idempotency_keys_key_length check (length(key) between 1 and 255)
);
create index idempotency_keys_created_idx on rollcall.idempotency_keys (created_at);
comment on table rollcall.idempotency_keys is 'Answers of API writes, kept for a while so that a repeated request gets the same answer.';
comment on column rollcall.idempotency_keys.request_hash is 'SHA-256 of method, path and body: the same key with another request is refused.';
comment on column rollcall.idempotency_keys.status is 'HTTP status of the answer; null while the first request is under way.';

create table rollcall.applied_functions (
    name text not null,
    body_hash text not null,
    applied_at timestamptz not null default clock_timestamp(),
    constraint applied_functions_pkey primary key (name)
);
comment on table rollcall.applied_functions is
    'Which text of each file in migrations/functions is in force, so that a migrate run applies only what changed.';
