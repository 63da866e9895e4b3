-- Whole sessions answer what a day of any time zone, or any other period, had: most lie within it as a whole, and there are
-- fewer of them than of participants. The function that counts fills what is there already (functions/apply_span_changes.sql).
alter table rollcall.session_usage_day
    add column first_at timestamptz,
    add column last_at timestamptz,
    add column connections bigint not null default 0,
    add column connected_us bigint not null default 0,
    add column uncertainty_us bigint not null default 0,
    add column whole_seconds bigint not null default 0,
    add column connection_minutes bigint not null default 0,
    add column participant_minutes bigint not null default 0;
comment on column rollcall.session_usage_day.first_at is 'Where the first span of the day starts, not before midnight. Never too late.';
comment on column rollcall.session_usage_day.last_at is 'Where the last span of the day ends, not after midnight. Never too early.';
comment on column rollcall.session_usage_day.whole_seconds is 'Billable time, rounded up to seconds for each participant.';
comment on column rollcall.session_usage_day.connection_minutes is 'Connected time, rounded up to minutes for each connection.';
comment on column rollcall.session_usage_day.participant_minutes is 'Billable time, rounded up to minutes for each participant.';
