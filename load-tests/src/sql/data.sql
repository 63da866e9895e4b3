-- Functions that make the data set of `rollcall-load sql`, in a schema of their own.
drop schema if exists load cascade;
create schema load;

create function load.tenant_id(n integer) returns uuid language sql immutable as $$ select md5('tenant ' || n)::uuid $$;

-- Tenants, and the partitions of the months behind us, which a real installation would have had.
create function load.make_tenants(p_tenants integer, p_days integer) returns void
    language plpgsql as $$
declare
    v_month timestamp;
    v_name text;
begin
    insert into rollcall.tenants (tenant_id, name, identity_salt)
    select load.tenant_id(n), 'tenant ' || n, sha256(n::text::bytea) from generate_series(0, p_tenants - 1) n;
    for v_month in
        select generate_series(date_trunc('month', now() at time zone 'UTC' - make_interval(days => p_days + 1)),
                               date_trunc('month', now() at time zone 'UTC'), '1 month')
    loop
        v_name := 'session_audit_log_y' || to_char(v_month, 'YYYY"m"MM');
        continue when to_regclass('rollcall.' || v_name) is not null;
        execute format('create table rollcall.%I partition of rollcall.session_audit_log for values from (%L) to (%L)',
                       v_name, v_month at time zone 'UTC', (v_month + interval '1 month') at time zone 'UTC');
        execute format('create trigger session_audit_log_no_truncate before truncate on rollcall.%I
                        for each statement execute function rollcall.deny_change()', v_name);
        execute format('alter table rollcall.%I enable always trigger session_audit_log_no_truncate', v_name);
        execute format('alter table rollcall.%I enable always trigger session_audit_log_append_only', v_name);
    end loop;
end
$$;

-- One day of a node's life: an epoch with its sessions, their people, connections and records, sealed like flushed batches.
create function load.make_day(p_day date, p_epoch bigint, p_sessions integer, p_tenants integer,
                              out audit_rows bigint, out spans bigint)
    language plpgsql set search_path = pg_catalog, pg_temp set jit = off as $$
declare
    -- Spans in one statement: as much as the counting triggers like to have at once.
    c_sessions_at_once constant integer := 4000;
    c_batch constant bigint := 2000;
    v_first bigint;
begin
    perform setseed((p_epoch % 997) / 997.0);
    perform set_config('rollcall.usage_shard', p_epoch::text, true);

    -- A few tenants have most sessions. 3 of 100 sessions nobody comes to. Lengths are exponential, 38 minutes on average.
    create temporary table day_session on commit drop as
    select n, md5('session ' || p_epoch || ' ' || n)::uuid as session_id,
           load.tenant_id(floor(p_tenants * power(random(), 2))::integer) as tenant_id,
           p_day::timestamp at time zone 'UTC' + random() * interval '23 hours' as started_at,
           least(interval '4 hours', interval '3 minutes' - ln(1 - random()) * interval '35 minutes') as stays,
           case when random() < 0.03 then 0 else 1 + floor(random() * 5)::integer end as people,
           random() as fate
    from generate_series(1, p_sessions) n;

    create temporary table day_person on commit drop as
    select s.n, s.session_id, s.tenant_id, md5('person ' || p_epoch || ' ' || s.n || ' ' || k)::uuid as participant_id,
           'user-' || floor(random() * 20000)::integer as identity, j.joined_at,
           j.joined_at + (0.5 + 0.5 * random()) * (s.started_at + s.stays - j.joined_at) as left_at
    from day_session s
    cross join generate_series(1, s.people) k
    cross join lateral (select s.started_at + case k when 1 then 0 else random() * 0.3 end * s.stays as joined_at) j;

    -- Every third person comes back after a pause or opens a second tab.
    create temporary table day_span on commit drop as
    select row_number() over (order by x.connected_at) as connection, x.*,
           (array['left', 'closed', 'closed', 'session_ended', 'liveness_timeout'])[1 + floor(random() * 5)::integer] as end_reason
    from (select p.*, c,
                 case c when 1 then p.joined_at else p.joined_at + (0.3 + 0.5 * r) * (p.left_at - p.joined_at) end as connected_at,
                 case c when 1 then p.joined_at + (0.5 + 0.5 * r) * (p.left_at - p.joined_at) else p.left_at end as disconnected_at
          from (select q.*, 1 + (random() < 0.35)::integer + (random() < 0.15)::integer as connections from day_person q) p
          cross join lateral (select c, random() as r from generate_series(1, p.connections) c) y) x;
    get diagnostics spans = row_count;

    insert into rollcall.sessions (session_id, tenant_id, external_id, status, idle_timeout_s, created_at, started_at, ended_at,
                                   end_reason, last_activity_at, last_seen_at, hold_until)
    select s.session_id, s.tenant_id, 'lesson-' || p_epoch || '-' || s.n, 'ended', 3600, s.started_at - interval '10 minutes',
           case when s.people > 0 then s.started_at end,
           s.started_at + s.stays,
           case when s.people = 0 then 'abandoned' when s.fate < 0.7 then 'completed' when s.fate < 0.95 then 'idle' else 'max_duration' end,
           s.started_at + s.stays, s.started_at + s.stays, s.started_at
    from day_session s;
    insert into rollcall.participants (session_id, participant_id, tenant_id, identity, identity_verified, role, status,
                                       first_joined_at, joined_at, last_seen_at, left_at, leave_reason)
    select p.session_id, p.participant_id, p.tenant_id, p.identity, true, 'guest', 'left', p.joined_at, p.joined_at, p.left_at,
           p.left_at, 'left'
    from day_person p;
    insert into rollcall.node_epochs (epoch, node_name, state, started_at, applied_seq, attested_until, lease_until, closed_at)
    values (p_epoch, 'made', 'drained', p_day, 0, p_day + 2, p_day + 2, p_day + 2);

    for v_first in select generate_series(1, p_sessions, c_sessions_at_once) loop
        insert into rollcall.participation_spans (epoch, connection, session_id, tenant_id, participant_id, role, connected_at,
                                                  disconnected_at, last_evidence_at, end_reason, uncertainty_us)
        select p_epoch, s.connection, s.session_id, s.tenant_id, s.participant_id, 'guest', s.connected_at, s.disconnected_at,
               s.disconnected_at, s.end_reason, case s.end_reason when 'liveness_timeout' then 45000000 else 0 end
        from day_span s where s.n >= v_first and s.n < v_first + c_sessions_at_once
        order by s.session_id, s.participant_id;
    end loop;

    insert into rollcall.session_audit_log (occurred_at, epoch, seq, tenant_id, session_id, participant_id, connection, event_type,
                                            actor, metadata, recorded_at, leaf)
    select e.at, p_epoch, e.seq, e.tenant_id, e.session_id, e.participant_id, e.connection, e.event_type, e.actor, e.metadata,
           e.at + interval '200 milliseconds',
           rollcall.audit_leaf(p_epoch, e.seq, e.at, e.tenant_id, e.session_id, e.participant_id, e.connection, e.event_type,
                               e.actor, e.metadata)
    from (select x.*, row_number() over (order by x.at, x.session_id, x.participant_id, x.event_type, x.connection) as seq
          from (select s.started_at as at, s.tenant_id, s.session_id, null::uuid as participant_id, null::text as connection,
                       'session_started' as event_type, 'server' as actor, '{}'::jsonb as metadata
                from day_session s where s.people > 0
                union all
                select s.started_at + s.stays, s.tenant_id, s.session_id, null, null, 'session_ended', 'server',
                       '{"reason": "completed"}'
                from day_session s
                union all
                select v.at, p.tenant_id, p.session_id, p.participant_id, null, v.event_type, v.actor, v.metadata::jsonb
                from day_person p
                cross join lateral (values
                    (p.joined_at, 'participant_joined', 'participant:' || p.participant_id,
                     '{"role": "guest", "identity_verified": true}'),
                    (p.joined_at + 0.4 * (p.left_at - p.joined_at), 'presence_changed', 'server', '{"status": "away"}'),
                    (p.joined_at + 0.5 * (p.left_at - p.joined_at), 'presence_changed', 'server', '{"status": "active"}'),
                    (p.left_at, 'participant_left', 'server', '{"reason": "left"}')) as v (at, event_type, actor, metadata)
                union all
                select v.at, c.tenant_id, c.session_id, c.participant_id, v.connection, v.event_type, v.actor, v.metadata
                from day_span c
                cross join lateral (values
                    (c.connected_at, p_epoch || '-' || c.connection, 'connection_opened', 'participant:' || c.participant_id,
                     '{"role": "guest"}'::jsonb),
                    (c.connected_at + 0.3 * (c.disconnected_at - c.connected_at), null, 'state_updated',
                     'participant:' || c.participant_id, '{"bytes": 24}'),
                    (c.connected_at + 0.6 * (c.disconnected_at - c.connected_at), null, 'state_updated',
                     'participant:' || c.participant_id, '{"bytes": 31}'),
                    (c.disconnected_at, p_epoch || '-' || c.connection, 'connection_closed', 'server',
                     jsonb_build_object('reason', c.end_reason, 'uncertainty_us', 0,
                                        'duration_us', (extract(epoch from c.disconnected_at - c.connected_at) * 1000000)::bigint))
                    ) as v (at, connection, event_type, actor, metadata)) x) e
    order by e.seq;
    get diagnostics audit_rows = row_count;
    update rollcall.node_epochs set applied_seq = audit_rows where epoch = p_epoch;
    for v_first in select generate_series(1, audit_rows, c_batch) loop
        perform rollcall.seal_audit_batch(p_epoch, v_first, least(v_first + c_batch - 1, audit_rows), null,
                                          p_day - interval '1 day', p_day + interval '3 days');
    end loop;
    drop table day_session, day_person, day_span;
end
$$;
