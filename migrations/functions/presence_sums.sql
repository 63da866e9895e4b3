-- How long participants were there in a period, summed, and how many at most at the same time. Out of the quarters of an
-- hour; where the period cuts a quarter, out of the participants of that day. Open connections come on top, up to their
-- last evidence.
--
-- The peak is known at each full minute. Between two minutes more may have been there for a moment: the three quarters that
-- can hold the most (those present at their start, and all that joined) are looked at arrival by arrival, on days with up
-- to 5,000 participants. So the peak is exact where little happens and exact to the minute where much does.
drop function if exists rollcall.presence_sums(uuid, timestamptz, timestamptz, uuid[]);

create function rollcall.presence_sums(
    p_tenant_id uuid, p_from timestamptz, p_to timestamptz, p_open uuid[], out covered_us bigint, out peak bigint
)
    language plpgsql stable set search_path = pg_catalog, pg_temp
    set jit = off set plan_cache_mode = force_generic_plan as $$
#variable_conflict use_column
declare
    v_from timestamptz := date_bin('15 minutes', p_from + interval '15 minutes' - interval '1 microsecond', 'epoch');
    v_to timestamptz := date_bin('15 minutes', p_to, 'epoch');
    v_cut_us bigint := 0;
    v_open_us bigint := 0;
    v_busiest timestamptz[];
    v_possible numeric[];
begin
    with quarter as (
        select u.bucket, u.covered_us, 0 as open_us, u.joins, u.present from rollcall.usage_15m u
        where p_tenant_id is not null and u.tenant_id = p_tenant_id
          and u.bucket > p_from - interval '15 minutes' and u.bucket < p_to
        union all
        select u.bucket, u.covered_us, 0, u.joins, u.present from rollcall.total_15m u
        where p_tenant_id is null and u.bucket > p_from - interval '15 minutes' and u.bucket < p_to
        union all
        select o.bucket, 0, o.covered_us, o.joins, o.present from rollcall.open_minutes(p_open, p_from, p_to) o where cardinality(p_open) > 0
    ), summed as (
        select q.bucket, sum(q.covered_us) as covered_us, sum(q.open_us) as open_us, sum(q.joins) as joins, array[
            sum(q.present[1]), sum(q.present[2]), sum(q.present[3]), sum(q.present[4]), sum(q.present[5]),
            sum(q.present[6]), sum(q.present[7]), sum(q.present[8]), sum(q.present[9]), sum(q.present[10]),
            sum(q.present[11]), sum(q.present[12]), sum(q.present[13]), sum(q.present[14]), sum(q.present[15])] as present
        from quarter q group by q.bucket
    )
    -- What is open is cut to the period already.
    select coalesce(sum(s.covered_us) filter (where s.bucket >= v_from and s.bucket < v_to), 0), coalesce(sum(s.open_us), 0),
           coalesce(max(m.highest), 0),
           (array_agg(s.bucket order by s.present[1] + s.joins desc, s.bucket))[1:3],
           (array_agg(s.present[1] + s.joins order by s.present[1] + s.joins desc, s.bucket))[1:3]
    into covered_us, v_open_us, peak, v_busiest, v_possible
    from summed s,
         lateral (select case when s.bucket >= v_from and s.bucket < v_to
                              then greatest(s.present[1], s.present[2], s.present[3], s.present[4], s.present[5],
                                            s.present[6], s.present[7], s.present[8], s.present[9], s.present[10],
                                            s.present[11], s.present[12], s.present[13], s.present[14], s.present[15])
                              -- A quarter that the period cuts: those of its minutes that lie inside.
                              else (select max(n) from unnest(s.present) with ordinality as p (n, minute)
                                    where s.bucket + (minute - 1) * interval '1 minute' >= p_from
                                      and s.bucket + (minute - 1) * interval '1 minute' < p_to) end as highest) m;

    for v_place in 1 .. coalesce(cardinality(v_busiest), 0) loop
        continue when v_possible[v_place] <= peak or 5000 < (
            select sum(u.participants) from rollcall.usage_day u
            where (p_tenant_id is null or u.tenant_id = p_tenant_id) and u.day = (v_busiest[v_place] at time zone 'UTC')::date);
        peak := greatest(peak, rollcall.quarter_peak(
            p_tenant_id, greatest(p_from, v_busiest[v_place]),
            least(p_to, v_busiest[v_place] + interval '15 minutes'), p_open));
    end loop;

    if p_from < v_from or v_to < p_to then
        with tenant as materialized (
            select p_tenant_id as tenant_id where p_tenant_id is not null
            union all
            select t.tenant_id from rollcall.tenants t where p_tenant_id is null
        ), cut (from_at, to_at) as (
            values (p_from, least(v_from, p_to)), (greatest(v_to, v_from), p_to)
        )
        select coalesce(sum(rollcall.coverage_seconds(
                   coalesce(c.covered, rollcall.coverage_of(c.session_id, c.participant_id))
                   * tstzmultirange(tstzrange(e.from_at, e.to_at))) * 1000000), 0)
        into v_cut_us
        from cut e, tenant t,
             lateral (select o.* from rollcall.participant_coverage o
                      where o.tenant_id = t.tenant_id and o.day = (e.from_at at time zone 'UTC')::date
                        and o.first_at < e.to_at and o.last_at > e.from_at offset 0) c
        where e.from_at < e.to_at;
    end if;
    covered_us := covered_us + v_cut_us + v_open_us;
end
$$;

comment on function rollcall.presence_sums(uuid, timestamptz, timestamptz, uuid[]) is
    'Internal: covered time of a tenant (null: of all) in [p_from, p_to) and the most participants at the same time.';
