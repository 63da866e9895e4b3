//! The steps of a random history.

use proptest::prelude::*;
use rollcall_core::{CloseProof, LeaveReason, Timestamp};

#[derive(Debug, Clone)]
pub enum Step {
    Wait { seconds: i64 },
    Join { participant: usize, invite: u128, token_s: Option<i64>, resumes: Option<usize> },
    Ping { pick: usize },
    Act { pick: usize },
    Update { pick: usize, state: u8 },
    Hide { pick: usize },
    Snapshot { pick: usize },
    Closed { pick: usize, reason: LeaveReason, proof: CloseProof },
    Kick { participant: usize },
    Revoke { invite: u128 },
    Freeze,
    Thaw,
    End,
    Extend { seconds: i64 },
    Recover,
}

pub fn steps() -> impl Strategy<Value = Vec<Step>> {
    let pick = 0..12_usize;
    let reason = prop_oneof![
        Just((LeaveReason::Left, CloseProof::Observed)),
        Just((LeaveReason::Closed, CloseProof::Observed)),
        Just((LeaveReason::Closed, CloseProof::Observed)),
        Just((LeaveReason::LivenessTimeout, CloseProof::Silent)),
        Just((LeaveReason::SlowConsumer, CloseProof::Silent)),
    ];
    let step = prop_oneof![
        8 => (1..25_i64).prop_map(|seconds| Step::Wait { seconds }),
        1 => (25..70_i64).prop_map(|seconds| Step::Wait { seconds }),
        8 => (0..4_usize, 1..3_u128, proptest::option::weighted(0.3, 1..90_i64), proptest::option::weighted(0.4, 0..6_usize))
            .prop_map(|(participant, invite, token_s, resumes)| Step::Join { participant, invite, token_s, resumes }),
        3 => pick.clone().prop_map(|pick| Step::Ping { pick }),
        6 => pick.clone().prop_map(|pick| Step::Act { pick }),
        2 => (pick.clone(), 0..3_u8).prop_map(|(pick, state)| Step::Update { pick, state }),
        3 => pick.clone().prop_map(|pick| Step::Hide { pick }),
        1 => pick.clone().prop_map(|pick| Step::Snapshot { pick }),
        6 => (pick, reason).prop_map(|(pick, (reason, proof))| Step::Closed { pick, reason, proof }),
        1 => (0..4_usize).prop_map(|participant| Step::Kick { participant }),
        1 => (1..3_u128).prop_map(|invite| Step::Revoke { invite }),
        1 => Just(Step::Freeze),
        2 => Just(Step::Thaw),
        1 => Just(Step::End),
        1 => (0..50_i64).prop_map(|seconds| Step::Extend { seconds }),
        2 => Just(Step::Recover),
    ];
    proptest::collection::vec(step, 1..80)
}

/// Participants are letters, as in scripts.
pub fn letter(participant: usize) -> char {
    ['a', 'b', 'c', 'd'][participant]
}

pub fn picked_name(names: &[String], pick: usize) -> Option<&String> {
    names.iter().rev().nth(pick)
}

pub fn earlier(names: &[String], id: char, pick: usize) -> Option<String> {
    names.iter().rev().filter(|name| name.starts_with(id)).nth(pick).cloned()
}

pub fn at(seconds: i64) -> Timestamp {
    Timestamp(seconds * 1_000_000)
}
