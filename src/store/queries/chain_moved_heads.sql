-- The newest batch of every epoch, where no checkpoint of this incarnation has seen it.
select e.epoch, b.last_seq, b.hash
from rollcall.node_epochs e
cross join lateral (
    select b.last_seq, b.hash from rollcall.audit_batches b where b.epoch = e.epoch order by b.first_seq desc limit 1
) b
where not exists (
    select from rollcall.audit_checkpoint_heads h
    where h.epoch = e.epoch and h.last_seq = b.last_seq and h.hash = b.hash and h.incarnation = $1)
order by e.epoch
