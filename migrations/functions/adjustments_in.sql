-- What came to light after a period was closed, cut at p_bounds; bucket n lies between bounds n and n+1.
drop function if exists rollcall.adjustments_in(uuid, timestamptz[]);

create function rollcall.adjustments_in(p_tenant_id uuid, p_bounds timestamptz[])
    returns table (tenant_id uuid, bucket integer, session_id uuid, participant_id uuid, us numeric)
    language plpgsql stable set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_column
declare
    v_last integer := cardinality(p_bounds) - 1;
begin
    return query
    select a.tenant_id, b.bucket, a.session_id, a.participant_id,
           sign(a.delta_us::numeric) * rollcall.us_between(greatest(a.starts_at, p_bounds[b.bucket]),
                                                           least(a.ends_at, p_bounds[b.bucket + 1]))
    from rollcall.billing_adjustments a,
         lateral generate_series(greatest(1, width_bucket(a.starts_at, p_bounds)),
                                 least(v_last, width_bucket(a.ends_at - interval '1 microsecond', p_bounds)))
             as b (bucket)
    where (p_tenant_id is null or a.tenant_id = p_tenant_id)
      and a.starts_at < p_bounds[v_last + 1] and a.ends_at > p_bounds[1];
end
$$;

comment on function rollcall.adjustments_in(uuid, timestamptz[]) is
    'Internal: adjustments of a tenant (null: of all) in microseconds, per bucket.';
