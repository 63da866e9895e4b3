-- The id of an exported event: the first half of a SHA-256 as a version 8 UUID. The same slice has the same id in every
-- export, so a receiver that knows the id has the event.
create or replace function rollcall.usage_event_id(
    p_session_id uuid, p_participant_id uuid, p_from timestamptz, p_to timestamptz, p_word text default 'usage'
) returns uuid
    language sql immutable parallel safe set search_path = pg_catalog, pg_temp as $$
    select (substr(h, 1, 12) || '8' || substr(h, 14, 3) || '8' || substr(h, 18, 15))::uuid
    from encode(sha256(convert_to(
        concat_ws('|', 'rollcall.usage.v1', p_word, p_session_id, p_participant_id,
                  (extract(epoch from p_from) * 1000000)::bigint, (extract(epoch from p_to) * 1000000)::bigint),
        'UTF8')), 'hex') as h
$$;

comment on function rollcall.usage_event_id(uuid, uuid, timestamptz, timestamptz, text) is
    'The id of the usage event of a slice of one participant; p_word tells a retraction from the usage it takes back.';
