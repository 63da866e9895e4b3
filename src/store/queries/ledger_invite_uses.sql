-- Uses of invites. Those of limited ones were counted when they were granted, and are here already. An invite that is
-- gone, after a restore or by hand, must not stop the ledger: the trail still names it.
with used as (
    insert into rollcall.invite_uses (invite_id, participant_id, used_at)
    select f.invite_id, f.participant_id, f.used_at
    from unnest($1::uuid[], $2::uuid[], $3::timestamptz[]) as f (invite_id, participant_id, used_at)
    join rollcall.invites as i using (invite_id)
    order by f.invite_id, f.participant_id
    on conflict do nothing
    returning invite_id
), counted as (
    select invite_id, count(*)::integer as uses from used group by invite_id
)
update rollcall.invites as i
set uses = i.uses + c.uses
from counted as c
where i.invite_id = c.invite_id
