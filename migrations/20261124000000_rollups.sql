-- Usage, counted in the transaction that brings the spans. A statement trigger on participation_spans keeps every table
-- of this file in step with the closed spans, so no writer can forget it: the flusher, recovery, the clean-up, a person
-- with psql. Open spans are not in here; the reading functions add them up to their last evidence.
--
-- Lock order: sessions (by id) come before everything here. A session that is locked cannot be counted by two at once,
-- so what a change adds is found by comparing the union of spans before and after it. Rows of usage_* and total_* are
-- kept apart by shard: two flushes never wait for each other.

-- How long a pause a tenant forgives: gaps up to this length are billed as if the participant had stayed.
alter table rollcall.tenants
    add column reconnect_grace interval not null default '0',
    add constraint tenants_reconnect_grace_within
        check (reconnect_grace >= interval '0' and reconnect_grace <= interval '24 hours');
comment on column rollcall.tenants.reconnect_grace is
    'Gaps of a participant up to this length are billed as presence. Applied when usage is read, so it can be changed at any time.';

-- A longer span is a clock gone wrong; the record is set aside instead of filling years of usage.
alter table rollcall.participation_spans
    add constraint participation_spans_length check (disconnected_at - connected_at <= interval '400 days');

-- By the end: what touches a stretch of time is found without reading all that was over before it, so a client that
-- comes and goes ten thousand times costs no more each time.
drop index rollcall.participation_spans_session_idx;
create index participation_spans_session_idx
    on rollcall.participation_spans (session_id, participant_id, disconnected_at);
create index participation_spans_open_tenant_idx
    on rollcall.participation_spans (tenant_id) where disconnected_at is null;
-- Where recovery gave an end that a returning client may still move.
create index participation_spans_crashed_idx
    on rollcall.participation_spans (epoch) where end_reason = 'node_crash';

create type rollcall.span_change as (
    sign integer, epoch bigint, connection bigint, session_id uuid, tenant_id uuid, participant_id uuid,
    connected_at timestamptz, disconnected_at timestamptz, uncertainty_us bigint);
comment on type rollcall.span_change is 'A closed span that came (sign 1) or went (sign -1); one that moved is both.';

create type rollcall.session_change as (
    sign integer, tenant_id uuid, started_at timestamptz, ended_at timestamptz, end_reason text);
comment on type rollcall.session_change is 'What a session counts for that came (sign 1) or went (sign -1).';

create type rollcall.due_session as (
    session_id uuid, tenant_id uuid, end_reason text, last_activity_at timestamptz, ended_at timestamptz);
comment on type rollcall.due_session is 'A session that is over, with its logical end.';

create table rollcall.participant_coverage (
    session_id uuid not null,
    participant_id uuid not null,
    day date not null,
    tenant_id uuid not null,
    first_day date not null,
    first_at timestamptz not null,
    last_at timestamptz not null,
    covered tstzmultirange,
    covered_us bigint not null,
    connected_us bigint not null,
    connections bigint not null,
    connection_minutes bigint not null,
    uncertainty_us bigint not null,
    constraint participant_coverage_pkey primary key (session_id, participant_id, day)
) with (fillfactor = 80);
create index participant_coverage_tenant_idx on rollcall.participant_coverage (tenant_id, day);
create index participant_coverage_return_idx on rollcall.participant_coverage (tenant_id, day) where day > first_day;
comment on table rollcall.participant_coverage is
    'When each participant was there, one row per participant and day (UTC): the union of its closed spans, cut at midnight.';
comment on column rollcall.participant_coverage.first_day is 'The first day of this participant in this session.';
comment on column rollcall.participant_coverage.first_at is 'Where the first span of the day starts, not before midnight.';
comment on column rollcall.participant_coverage.last_at is 'Where the last span of the day ends, not after midnight.';
comment on column rollcall.participant_coverage.covered is
    'The union itself. Null above 1,000 pieces: then take it from participation_spans.';
comment on column rollcall.participant_coverage.covered_us is 'Length of the union in microseconds: billable.';
comment on column rollcall.participant_coverage.connected_us is 'Sum over all spans: two tabs count twice.';
comment on column rollcall.participant_coverage.connections is 'Spans that touch the day.';
comment on column rollcall.participant_coverage.connection_minutes is 'Sum over all spans, each rounded up to minutes.';
comment on column rollcall.participant_coverage.uncertainty_us is 'Of the spans that end on this day.';

create table rollcall.session_usage_day (
    session_id uuid not null,
    day date not null,
    tenant_id uuid not null,
    first_day date not null,
    participants bigint not null,
    covered_us bigint not null,
    constraint session_usage_day_pkey primary key (session_id, day)
) with (fillfactor = 80);
create index session_usage_day_tenant_idx on rollcall.session_usage_day (tenant_id, day);
create index session_usage_day_return_idx on rollcall.session_usage_day (tenant_id, day) where day > first_day;
comment on table rollcall.session_usage_day is 'Usage of each session and day (UTC): the sums of participant_coverage.';
comment on column rollcall.session_usage_day.first_day is 'The first day of this session with anybody in it.';

create table rollcall.usage_15m (
    tenant_id uuid not null,
    bucket timestamptz not null,
    shard bigint not null,
    covered_us bigint not null,
    connected_us bigint not null,
    joins bigint not null,
    present integer[] not null,
    constraint usage_15m_pkey primary key (tenant_id, bucket, shard),
    constraint usage_15m_present_minutes check (cardinality(present) = 15)
) with (fillfactor = 70);
comment on table rollcall.usage_15m is
    'Usage of each tenant in quarters of an hour: every time zone in use today is off UTC by a multiple of them. Sum over the shards.';
comment on column rollcall.usage_15m.shard is 'Who counted: the epoch of the spans, -1 for the clean-up. Keeps writers apart.';
comment on column rollcall.usage_15m.joins is 'Connections that began in the quarter.';
comment on column rollcall.usage_15m.present is 'How many participants were there at each of the 15 full minutes.';

create table rollcall.total_15m (
    bucket timestamptz not null,
    shard bigint not null,
    covered_us bigint not null,
    joins bigint not null,
    present integer[] not null,
    constraint total_15m_pkey primary key (bucket, shard),
    constraint total_15m_present_minutes check (cardinality(present) = 15)
) with (fillfactor = 70);
comment on table rollcall.total_15m is 'usage_15m summed over all tenants.';

create table rollcall.usage_day (
    tenant_id uuid not null,
    day date not null,
    shard bigint not null,
    sessions bigint not null default 0,
    sessions_new bigint not null default 0,
    participants bigint not null default 0,
    participants_new bigint not null default 0,
    connections bigint not null default 0,
    connections_carried bigint not null default 0,
    connected_us bigint not null default 0,
    covered_us bigint not null default 0,
    uncertainty_us bigint not null default 0,
    whole_seconds bigint not null default 0,
    connection_minutes bigint not null default 0,
    participant_minutes bigint not null default 0,
    session_minutes bigint not null default 0,
    constraint usage_day_pkey primary key (tenant_id, day, shard)
) with (fillfactor = 70);
create index usage_day_day_idx on rollcall.usage_day (day);
comment on table rollcall.usage_day is 'Usage of each tenant and day (UTC). Sum over the shards; a single shard may be negative.';
comment on column rollcall.usage_day.shard is 'Who counted: the epoch of the spans, -1 for the clean-up. Keeps writers apart.';
comment on column rollcall.usage_day.sessions_new is 'Sessions whose first day this is.';
comment on column rollcall.usage_day.participants is 'Participants of sessions: one person in two sessions is two.';
comment on column rollcall.usage_day.participants_new is 'Participants whose first day in their session this is.';
comment on column rollcall.usage_day.connections_carried is 'Those of the connections that began before the day.';
comment on column rollcall.usage_day.whole_seconds is 'Billable time, rounded up to seconds for each participant.';
comment on column rollcall.usage_day.connection_minutes is 'Connected time, rounded up to minutes for each connection.';
comment on column rollcall.usage_day.participant_minutes is 'Billable time, rounded up to minutes for each participant.';
comment on column rollcall.usage_day.session_minutes is 'Billable time, rounded up to minutes for each session.';

-- How sessions went.
create function rollcall.duration_us(p_started_at timestamptz, p_ended_at timestamptz) returns bigint
    language sql immutable parallel safe
begin atomic
    select greatest(0, (extract(epoch from p_ended_at - p_started_at) * 1000000)::bigint);
end;
comment on function rollcall.duration_us(timestamptz, timestamptz) is 'Internal: from start to end in microseconds.';

-- The top six bits of the duration and their place (the bins of HdrHistogram, http://hdrhistogram.org): bins are at most 1/32 wide, and integers
-- give the same bin everywhere, which logarithms do not promise.
create function rollcall.duration_bin(p_us bigint) returns smallint
    language sql immutable parallel safe
begin atomic
    select case when p_us < 64 then p_us
                else (bits - 6) * 32 + (p_us >> (bits - 6)) end::smallint
    from (select pg_catalog.length(pg_catalog.ltrim(p_us::bit(64)::text, '0')) as bits) b;
end;
comment on function rollcall.duration_bin(bigint) is 'Internal: the bin of a duration in a histogram whose bins are 1/32 wide.';

create index sessions_tenant_started_idx on rollcall.sessions (tenant_id, started_at) where started_at is not null;
create index sessions_tenant_ended_idx on rollcall.sessions (tenant_id, ended_at) where status = 'ended';
create index sessions_started_idx on rollcall.sessions (started_at) where started_at is not null;
-- The exact median of a month lies in one bin; these find its few sessions.
create index sessions_duration_idx
    on rollcall.sessions (rollcall.duration_bin(rollcall.duration_us(started_at, ended_at)), ended_at)
    where status = 'ended' and started_at is not null;
create index sessions_tenant_duration_idx
    on rollcall.sessions (tenant_id, rollcall.duration_bin(rollcall.duration_us(started_at, ended_at)), ended_at)
    where status = 'ended' and started_at is not null;

create table rollcall.session_stats_day (
    tenant_id uuid not null,
    day date not null,
    shard bigint not null,
    started bigint not null,
    completed bigint not null,
    idle bigint not null,
    max_duration bigint not null,
    abandoned bigint not null,
    no_shows bigint not null,
    timed bigint not null,
    duration_us bigint not null,
    constraint session_stats_day_pkey primary key (tenant_id, day, shard)
) with (fillfactor = 70);
create index session_stats_day_day_idx on rollcall.session_stats_day (day);
comment on table rollcall.session_stats_day is
    'Sessions of each tenant and day (UTC): started on it, and ended on it by reason. Sum over the shards.';
comment on column rollcall.session_stats_day.shard is 'Who counted: the epoch of the flush, -1 for the clean-up, below for the rest. Keeps writers apart.';
comment on column rollcall.session_stats_day.no_shows is 'Ended without anybody ever having come in, whatever the reason.';
comment on column rollcall.session_stats_day.timed is 'Ended, and somebody had come in: these have a duration.';

create table rollcall.session_durations_day (
    tenant_id uuid not null,
    day date not null,
    bin smallint not null,
    shard bigint not null,
    sessions bigint not null,
    constraint session_durations_day_pkey primary key (tenant_id, day, bin, shard)
) with (fillfactor = 70);
comment on table rollcall.session_durations_day is
    'Histogram of the durations of sessions that ended on a day (UTC); duration_bin() says which bin is which.';

create table rollcall.total_durations_day (
    day date not null,
    bin smallint not null,
    shard bigint not null,
    sessions bigint not null,
    constraint total_durations_day_pkey primary key (day, bin, shard)
) with (fillfactor = 70);
comment on table rollcall.total_durations_day is 'session_durations_day summed over all tenants.';

-- Periods that are closed, and what came after.
create table rollcall.billing_statements (
    statement_id uuid not null default gen_random_uuid(),
    tenant_id uuid not null,
    period_from timestamptz not null,
    period_to timestamptz not null,
    complete_through timestamptz not null,
    sessions bigint not null,
    participants bigint not null,
    connections bigint not null,
    connected_us bigint not null,
    billable_us bigint not null,
    uncertainty_us bigint not null,
    adjustments_us bigint not null,
    adjustments_through bigint not null,
    lines_hash bytea not null,
    closed_at timestamptz not null default clock_timestamp(),
    constraint billing_statements_pkey primary key (statement_id),
    constraint billing_statements_tenant_fkey foreign key (tenant_id) references rollcall.tenants (tenant_id),
    constraint billing_statements_period_key unique (tenant_id, period_from),
    constraint billing_statements_order check (period_from < period_to and period_to <= complete_through),
    constraint billing_statements_lines_hash_length check (length(lines_hash) = 32)
);
create index billing_statements_period_idx on rollcall.billing_statements (tenant_id, period_to);
comment on table rollcall.billing_statements is
    'Closed billing periods, append-only. What arrives later for such a period goes into billing_adjustments.';
comment on column rollcall.billing_statements.billable_us is
    'Billable microseconds in [period_from, period_to), exact: without grace and rounding, which are the price list''s.';
comment on column rollcall.billing_statements.adjustments_us is
    'Adjustments to earlier periods that no earlier statement has: to be charged with this one.';
comment on column rollcall.billing_statements.adjustments_through is 'The last adjustment that is in adjustments_us.';
comment on column rollcall.billing_statements.lines_hash is
    'SHA-256 over the lines "session participant microseconds", in order of the ids, each ended by a line feed.';

create table rollcall.billing_adjustments (
    adjustment_id bigint generated always as identity,
    statement_id uuid not null,
    tenant_id uuid not null,
    session_id uuid not null,
    participant_id uuid not null,
    starts_at timestamptz not null,
    ends_at timestamptz not null,
    delta_us bigint not null,
    created_at timestamptz not null default clock_timestamp(),
    constraint billing_adjustments_pkey primary key (adjustment_id),
    constraint billing_adjustments_order check (starts_at < ends_at),
    constraint billing_adjustments_not_nothing check (delta_us <> 0)
);
create index billing_adjustments_tenant_idx on rollcall.billing_adjustments (tenant_id, adjustment_id);
create index billing_adjustments_session_idx on rollcall.billing_adjustments (session_id, participant_id);
comment on table rollcall.billing_adjustments is
    'Billable time that came to light (or turned out not to be) after its period was closed, append-only. Written in the transaction that brings the fact.';
comment on column rollcall.billing_adjustments.statement_id is 'The statement of the period in which the time lies.';
comment on column rollcall.billing_adjustments.delta_us is 'The length of [starts_at, ends_at); negative where the time was taken away.';

create trigger billing_statements_append_only before update or delete on rollcall.billing_statements
    for each row execute function rollcall.deny_change();
create trigger billing_statements_no_truncate before truncate on rollcall.billing_statements
    for each statement execute function rollcall.deny_change();
create trigger billing_adjustments_append_only before update or delete on rollcall.billing_adjustments
    for each row execute function rollcall.deny_change();
create trigger billing_adjustments_no_truncate before truncate on rollcall.billing_adjustments
    for each statement execute function rollcall.deny_change();
alter table rollcall.billing_statements enable always trigger billing_statements_append_only;
alter table rollcall.billing_statements enable always trigger billing_statements_no_truncate;
alter table rollcall.billing_adjustments enable always trigger billing_adjustments_append_only;
alter table rollcall.billing_adjustments enable always trigger billing_adjustments_no_truncate;
