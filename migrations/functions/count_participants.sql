-- How many participants were there in a period, each once; those with connections that are still open among them.
--
-- Whole days (UTC): the new ones of each day, and once each those who were there on an earlier day already. Only at the
-- two ends of a period, where a day is cut, and for open connections single participants are looked at.
create or replace function rollcall.count_participants(
    p_tenant_id uuid, p_from timestamptz, p_to timestamptz, p_open uuid[]
) returns bigint
    language plpgsql stable set search_path = pg_catalog, pg_temp set jit = off as $$
declare
    v_day date := (p_from at time zone 'UTC')::date;
    v_last_day date := ((p_to - interval '1 microsecond') at time zone 'UTC')::date;
    v_whole date := v_day + (v_day::timestamp at time zone 'UTC' < p_from)::integer;
    v_whole_to date := v_last_day + 1 - (p_to < (v_last_day + 1)::timestamp at time zone 'UTC')::integer;
    v_new bigint;
    v_others bigint;
begin
    v_whole_to := greatest(v_whole, v_whole_to);
    select coalesce(sum(u.participants_new), 0) into v_new from rollcall.usage_day u
    where (p_tenant_id is null or u.tenant_id = p_tenant_id) and u.day >= v_whole and u.day < v_whole_to;

    with tenant as materialized (
        select p_tenant_id as tenant_id where p_tenant_id is not null
        union all
        select t.tenant_id from rollcall.tenants t where p_tenant_id is null
    )
    select count(*) into v_others
    from (select c.session_id, c.participant_id
          from tenant t
          join rollcall.participant_coverage c on c.tenant_id = t.tenant_id and c.day > c.first_day
          where c.day >= v_whole and c.day < v_whole_to and c.first_day < v_whole and c.connections > 0
          union
          select c.session_id, c.participant_id
          from tenant t
          join rollcall.participant_coverage c on c.tenant_id = t.tenant_id and c.connections > 0
          where ((c.day >= v_day and c.day < v_whole) or (c.day >= v_whole_to and c.day <= v_last_day))
            -- Who was new on a whole day is counted.
            and not (c.first_day >= v_whole and c.first_day < v_whole_to)
            and c.first_at < p_to and (c.last_at > p_from or c.first_at >= p_from)
            and ((c.first_at >= p_from and c.last_at <= p_to)
                 or exists (select from rollcall.participation_spans s
                            where s.session_id = c.session_id and s.participant_id = c.participant_id
                              and s.disconnected_at >= p_from and s.connected_at < p_to
                              and (s.disconnected_at > p_from or s.connected_at >= p_from)))
          union
          select s.session_id, s.participant_id
          from rollcall.participation_spans s
          where s.session_id = any (p_open) and s.disconnected_at is null and s.connected_at < p_to
            and (s.connected_at >= p_from or s.last_evidence_at > p_from)
            and not exists (select from rollcall.participant_coverage c
                            where c.session_id = s.session_id and c.participant_id = s.participant_id
                              and c.first_day = c.day and c.connections > 0
                              and c.day >= v_whole and c.day < v_whole_to)) x;
    return v_new + v_others;
end
$$;

comment on function rollcall.count_participants(uuid, timestamptz, timestamptz, uuid[]) is
    'Internal: participants of sessions of a tenant (null: of all) in [p_from, p_to); p_open are the sessions with open connections.';
