//! Faults of the machine and of Postgres, one at a time: what clients see of each, what is kept, how it heals. The
//! reconciliation (`rollcall-load reconcile --faults …`) makes the same ones at random and judges the bill.

mod journal_disk;
mod pause;
mod postgres;
mod restored;
mod storage;
mod vanished;
mod wall_clock;
