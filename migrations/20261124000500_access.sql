-- Who sees which tenant. What the roles may do at all is in functions/privileges.sql.

create table rollcall.tenant_logins (
    login name not null,
    tenant_id uuid not null,
    bound_at timestamptz not null default clock_timestamp(),
    constraint tenant_logins_pkey primary key (login),
    constraint tenant_logins_tenant_fkey foreign key (tenant_id) references rollcall.tenants (tenant_id)
);
comment on table rollcall.tenant_logins is
    'Logins that see one tenant only, for a tenant''s own analysts and auditors. Whoever may set rollcall.tenant_id may also reset it; a row here cannot be escaped.';
comment on column rollcall.tenant_logins.login is 'The role that logs in (session_user), a member of rollcall_billing or rollcall_auditor.';

-- The outbox of usage exports: what was told to whom, so that an export can be resumed and nothing is told twice.

create table rollcall.usage_sinks (
    sink text not null,
    tenant_id uuid,
    slice text not null default 'day',
    time_zone text not null default 'UTC',
    starts_at timestamptz not null,
    filled_through timestamptz not null,
    position bigint not null default 0,
    acknowledged bigint not null default 0,
    created_at timestamptz not null default clock_timestamp(),
    acknowledged_at timestamptz,
    constraint usage_sinks_pkey primary key (sink),
    constraint usage_sinks_tenant_fkey foreign key (tenant_id) references rollcall.tenants (tenant_id),
    constraint usage_sinks_sink_form check (sink ~ '^[a-z0-9][a-z0-9_-]{0,62}$'),
    constraint usage_sinks_slice_known check (slice in ('hour', 'day')),
    constraint usage_sinks_times_order check (isfinite(starts_at) and starts_at <= filled_through),
    constraint usage_sinks_positions_order check (0 <= acknowledged and acknowledged <= position)
);
comment on table rollcall.usage_sinks is 'Where usage is exported to: one row per receiver, such as a billing engine.';
comment on column rollcall.usage_sinks.tenant_id is 'The only tenant that is exported to it; null for all.';
comment on column rollcall.usage_sinks.slice is 'How usage is cut, in UTC: by hour or by day. An event is told when its hour or day is complete.';
comment on column rollcall.usage_sinks.time_zone is 'Usage is cut at the midnights of this zone too, so that no event lies in two billing periods.';
comment on column rollcall.usage_sinks.starts_at is 'Usage before this instant is not exported to it.';
comment on column rollcall.usage_sinks.filled_through is 'Up to here usage is in the outbox. What comes to light later is added by comparison.';
comment on column rollcall.usage_sinks.position is 'The newest event in the outbox; they are numbered densely from 1.';
comment on column rollcall.usage_sinks.acknowledged is 'Up to this event the receiver has said that it has them.';

create table rollcall.usage_outbox (
    sink text not null,
    position bigint not null,
    event_id uuid not null,
    kind text not null,
    tenant_id uuid not null,
    session_id uuid not null,
    participant_id uuid,
    slice_start timestamptz not null,
    slice_end timestamptz not null,
    usage_us bigint not null,
    uncertainty_us bigint not null default 0,
    reverses uuid,
    recorded_at timestamptz not null default clock_timestamp(),
    constraint usage_outbox_pkey primary key (sink, position),
    constraint usage_outbox_event_key unique (sink, event_id),
    constraint usage_outbox_kind_known check (kind in ('usage', 'late', 'retraction')),
    constraint usage_outbox_slice_order check (slice_start < slice_end),
    constraint usage_outbox_retraction_complete
        check ((kind = 'retraction') = (reverses is not null) and (kind = 'retraction') = (usage_us < 0)),
    constraint usage_outbox_us_is_slice
        check (abs(usage_us) = extract(epoch from slice_end - slice_start) * 1000000)
);
create index usage_outbox_slice_idx on rollcall.usage_outbox (sink, slice_start, tenant_id);
create unique index usage_outbox_reverses_key on rollcall.usage_outbox (sink, reverses) where reverses is not null;
comment on table rollcall.usage_outbox is
    'What is told to each sink, in order. Append-only: a correction is an event of its own. The slices that no retraction reverses never overlap for one participant of a session.';
comment on column rollcall.usage_outbox.event_id is 'Follows from session, participant and slice: told again, it is the same.';
comment on column rollcall.usage_outbox.kind is
    'usage; late: usage of an hour or day that had been told before; retraction: takes back the event in reverses, whole.';
comment on column rollcall.usage_outbox.usage_us is 'Microseconds of the slice; negative for a retraction.';
comment on column rollcall.usage_outbox.uncertainty_us is 'How much may be missing behind connections that end in the slice.';

create table rollcall.usage_sink_cells (
    sink text not null,
    tenant_id uuid not null,
    cell timestamptz not null,
    told_us bigint not null,
    constraint usage_sink_cells_pkey primary key (sink, cell, tenant_id)
);
comment on table rollcall.usage_sink_cells is
    'Sums of usage_outbox by hour or day. A cell whose sum differs from the usage known now is compared slice by slice.';

create trigger usage_outbox_append_only before update or delete on rollcall.usage_outbox
    for each row execute function rollcall.deny_change();
create trigger usage_outbox_no_truncate before truncate on rollcall.usage_outbox
    for each statement execute function rollcall.deny_change();
alter table rollcall.usage_outbox enable always trigger usage_outbox_append_only;
alter table rollcall.usage_outbox enable always trigger usage_outbox_no_truncate;
