-- How far the books are complete. Every node attests with each evidence mark that all it heard until then is here; the
-- slowest node that has not finished decides.
create or replace function rollcall.get_billing_watermark(out complete_through timestamptz)
    language sql stable set search_path = pg_catalog, pg_temp as $$
    select least(coalesce(min(e.attested_until), statement_timestamp()), statement_timestamp())
    from rollcall.node_epochs e
    where e.state = 'active' and e.epoch <> 0
$$;

comment on function rollcall.get_billing_watermark() is
    'Up to this instant all usage is in this database; numbers for later time are provisional.';
