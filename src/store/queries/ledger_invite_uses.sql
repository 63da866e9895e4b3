-- Uses of invites. Those of limited ones were counted when they were granted, and are here already. An invite that is
-- gone, or that others have used up since a restore, must not stop the ledger: whoever was in was in, and the trail names
-- the invite. Locked first, so that a use that is being granted at this moment is seen.
with invite as materialized (
    select i.invite_id, i.max_uses - i.uses as room
    from rollcall.invites as i
    where i.invite_id = any ($1::uuid[])
    order by i.invite_id
    for no key update
), use as (
    select f.invite_id, f.participant_id, f.used_at, i.room,
           row_number() over (partition by f.invite_id order by f.place) as nth
    from unnest($1::uuid[], $2::uuid[], $3::timestamptz[], $4::bigint[]) as f (invite_id, participant_id, used_at, place)
    join invite as i using (invite_id)
    where not exists (select from rollcall.invite_uses as u
                      where u.invite_id = f.invite_id and u.participant_id = f.participant_id)
), used as (
    insert into rollcall.invite_uses (invite_id, participant_id, used_at)
    select n.invite_id, n.participant_id, n.used_at
    from use as n
    where n.room is null or n.nth <= n.room
    order by n.invite_id, n.participant_id
    on conflict do nothing
    returning invite_id
), counted as (
    select invite_id, count(*)::integer as uses from used group by invite_id
)
update rollcall.invites as i
set uses = i.uses + c.uses
from counted as c
where i.invite_id = c.invite_id
