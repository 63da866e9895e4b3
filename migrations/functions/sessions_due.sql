-- The sessions that are over by their own deadlines and by what every node has attested. Internal to
-- cleanup_inactive_sessions(); p_only narrows to these sessions (null: all active ones).
drop function if exists rollcall.sessions_due(interval, timestamptz, uuid[]);

create or replace function rollcall.sessions_due(p_inactivity interval, p_now timestamptz, p_only uuid[])
    returns setof rollcall.due_session
    language sql stable set search_path = pg_catalog, pg_temp as $$
    with attested as (
        -- min() over no active epoch is null: then nothing is on the way from anywhere.
        select coalesce(min(e.attested_until), 'infinity') as until
        from rollcall.node_epochs e
        where e.state = 'active' and e.epoch <> 0
          and not (e.lease_until < p_now - rollcall.epoch_lost_after()
                   and pg_postmaster_start_time() < p_now - rollcall.epoch_lost_after())
    ), deadlines as (
        select s.session_id, s.tenant_id, s.started_at, s.last_activity_at, s.expires_at, s.hold_until,
               greatest(s.last_activity_at + make_interval(secs => s.idle_timeout_s), s.hold_until) as idle_at
        from rollcall.sessions s
        where s.status = 'active' and (p_only is null or s.session_id in (select o.id from unnest(p_only) as o (id)))
          and (s.expires_at <= p_now
               or greatest(s.last_activity_at + greatest(p_inactivity, make_interval(secs => s.idle_timeout_s)),
                           s.hold_until) <= p_now)
    )
    select d.session_id, d.tenant_id,
           case when d.started_at is null then 'abandoned'
                when d.expires_at <= d.idle_at then 'max_duration'
                else 'idle' end,
           d.last_activity_at,
           least(d.expires_at, d.idle_at)
    from deadlines d, attested a
    where a.until >= least(d.expires_at, d.idle_at)
$$;

comment on function rollcall.sessions_due(interval, timestamptz, uuid[]) is
    'Internal: sessions whose deadline has passed, with the logical end, as far as every active node has attested.';
