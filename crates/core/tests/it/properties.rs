//! Random histories: the session must do what the naive model does, however it is driven.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use rollcall_core::{
    CloseProof, Command, LeaveReason, ParticipantView, PresencePolicy, RestoredParticipant, Session, SessionSpec,
    Status,
};

use crate::driver::{Driver, Ticks, WINDOW};
use crate::model::Model;
use crate::steps::{Step, at, earlier, letter, picked_name, steps};

fn model_step(model: &mut Model, names: &mut Vec<String>, joins: &mut BTreeMap<char, u32>, step: &Step) {
    let picked = |pick: &usize| picked_name(names, *pick).cloned();
    match step {
        Step::Wait { seconds } => model.wait(*seconds),
        Step::Join { participant, invite, token_s, resumes } => {
            let id = letter(*participant);
            let number = joins.entry(id).or_default();
            *number += 1;
            let name = if *number == 1 { id.to_string() } else { format!("{id}{number}") };
            let resumed = resumes.and_then(|pick| earlier(names, id, pick));
            if model.join(id, &name, *invite, *token_s, resumed.as_deref()) {
                names.push(name);
            }
        }
        Step::Ping { pick } | Step::Snapshot { pick } => {
            picked(pick).inspect(|name| model.hear(name));
        }
        Step::Act { pick } => {
            picked(pick).inspect(|name| {
                model.hear(name);
                model.act(name);
            });
        }
        Step::Update { pick, state } => {
            picked(pick).inspect(|name| {
                model.hear(name);
                model.update(name, &state.to_string());
            });
        }
        Step::Hide { pick } => {
            picked(pick).inspect(|name| {
                model.hear(name);
                model.hide(name);
            });
        }
        Step::Closed { pick, reason, proof } => {
            picked(pick).inspect(|name| model.closed(name, *reason, *proof == CloseProof::Observed));
        }
        Step::Kick { participant } => model.kick(letter(*participant)),
        Step::Revoke { invite } => model.revoke(*invite),
        Step::Freeze => model.freeze(),
        Step::Thaw => model.thaw(),
        Step::End => model.end(),
        Step::Extend { seconds } => model.extend(*seconds),
        Step::Recover => {
            model.recover();
        }
    }
}

fn compare_people(driver: &Driver, model: &Model) {
    assert_eq!(driver.session.ended().is_some(), model.ended);
    if !model.ended {
        assert_eq!(driver.session.ends_at().0, at(model.ends_at().0), "the end of the session");
    }
    let shown = driver.session.snapshot(driver.now).participants;
    let shown: Vec<_> = shown.iter().map(|view| (&*view.identity, view.status, view.connections as usize)).collect();
    let expected: Vec<_> =
        model.participants.iter().map(|(id, one)| (id.to_string(), one.status, one.connections.len())).collect();
    let expected: Vec<_> = expected.iter().map(|(id, status, count)| (&**id, *status, *count)).collect();
    assert_eq!(shown, expected);
}

fn run(steps: &[Step], ticks: Ticks, window: Duration) -> Driver {
    let mut driver = Driver::new(ticks, window);
    steps.iter().for_each(|step| driver.step(step));
    driver.finish();
    driver
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]

    /// Same people after every step, same records at the end, one end per active period.
    #[test]
    fn session_does_what_the_model_does(steps in steps()) {
        let mut driver = Driver::new(Ticks::Punctual, Duration::ZERO);
        let mut model = Model::new();
        let (mut names, mut joins) = (Vec::new(), BTreeMap::new());
        let mut periods = 1;
        for step in &steps {
            periods += usize::from(matches!(step, Step::Recover) && model.ended);
            driver.step(step);
            model_step(&mut model, &mut names, &mut joins, step);
            compare_people(&driver, &model);
        }
        driver.finish();
        model.thaw();
        model.end();
        for name in &names {
            model.closed(name, LeaveReason::Closed, true);
        }
        prop_assert_eq!(&driver.records, &model.records);
        prop_assert_eq!(driver.ends, periods);
    }

    /// `next_deadline` names every instant at which time alone changes something, and a late look changes nothing that
    /// is recorded. Warnings are dated to their sending, so only punctual ones are the same.
    #[test]
    fn ticks_do_not_matter(steps in steps(), is_windowed: bool) {
        let window = if is_windowed { WINDOW } else { Duration::ZERO };
        let punctual = run(&steps, Ticks::Punctual, window);
        let dense = run(&steps, Ticks::Dense, window);
        prop_assert_eq!(&punctual.records, &dense.records);
        prop_assert_eq!(&punctual.warnings, &dense.warnings);
        let late = run(&steps, Ticks::Late, window);
        prop_assert_eq!(&punctual.records, &late.records);
    }

    /// After a drain the same people are there, and who does not return leaves when the grace is over.
    #[test]
    fn restored_session_has_the_same_people(steps in steps(), down_s in 0..30_i64) {
        let mut driver = Driver::new(Ticks::Punctual, WINDOW);
        steps.iter().for_each(|step| driver.step(step));
        if driver.session.ended().is_some() {
            return Ok(());
        }
        driver.apply(Command::Drain);
        let people = driver.session.snapshot(driver.now).participants;
        prop_assert!(people.iter().all(|view| view.status == Status::Reconnecting && view.connections == 0));
        let restart = driver.now + Duration::from_secs(down_s as u64);
        let spec = SessionSpec { hold_until: restart + Duration::from_secs(1000), expires_at: None, ..driver.session.spec().clone() };
        let mut session = Session::new(spec, Arc::new(PresencePolicy::default()), restart);
        session.restore(people.iter().map(restored).collect(), restart);
        let shown = session.snapshot(driver.now).participants;
        prop_assert_eq!(&shown, &people);
        let over_at = restart + PresencePolicy::default().grace_hidden;
        let mut effects = Vec::new();
        prop_assert_eq!(session.apply(Command::Tick, over_at - Duration::from_micros(1), &mut effects), Ok(()));
        prop_assert!(effects.is_empty());
        prop_assert_eq!(session.apply(Command::Tick, over_at, &mut effects), Ok(()));
        prop_assert!(session.snapshot(over_at).participants.is_empty());
    }
}

fn restored(view: &ParticipantView) -> RestoredParticipant {
    RestoredParticipant {
        participant: view.participant,
        identity: view.identity.clone(),
        verified: view.verified,
        name: view.name.clone(),
        role: view.role.clone(),
        state: view.state.clone(),
        joined_at: view.joined_at,
        last_seen_at: view.last_seen_at,
        reason: LeaveReason::ServerDrain,
        crashed: None,
    }
}
