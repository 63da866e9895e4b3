//! What somebody does while they are in: ping, show their state, look away, reload, vanish, flood, command, leave.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rollcall_core::{ParticipantId, Timestamp};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{End, Person, Storage, after_close, open_another, short};
use crate::tab::{Next, Tab};
use crate::world::{Phase, World};

/// Whom a forged token is for.
pub const FORGED_PARTICIPANT: ParticipantId = ParticipantId(Uuid::from_u128(0xf0));

/// A hidden page wakes up this often.
const HIDDEN_PING_INTERVAL: Duration = Duration::from_secs(60);

/// What somebody does next.
#[derive(Debug, Clone, Copy)]
enum Act {
    Nothing,
    Active,
    Update,
    Hide,
    Reload,
    Vanish,
    LoseNetwork,
    Leave,
    Duplicate,
    StealResume,
    StopReading,
    Flood,
    Host,
}

struct Stay {
    next_ping_at: Timestamp,
    next_act_at: Timestamp,
    is_hidden: bool,
    pinged_at: Option<Timestamp>,
}

pub(super) async fn stay(world: &World, person: &mut Person, tab: &mut Tab) -> End {
    let limits = world.plan.limits.clone();
    let now = world.now();
    let mut stay =
        Stay { next_ping_at: now + limits.ping_interval, next_act_at: pause(world), is_hidden: false, pinged_at: None };
    loop {
        // Somebody who hears nothing for this long gives the connection up, as the browser client does.
        let silent_at = stay.pinged_at.map_or(Timestamp::NEVER, |at| at.max(tab.heard_at.min(at)) + limits.dead_after);
        match tab.next(stay.next_ping_at.min(stay.next_act_at).min(silent_at)).await {
            Next::Closed(code) => return after_close(world, tab, code).await,
            Next::Gone => return End::Later(short(world)),
            Next::Joined { .. } => {}
            Next::Frame => {
                if stay.pinged_at.is_some_and(|at| tab.heard_at >= at) {
                    stay.pinged_at = None;
                }
            }
            Next::Time => {
                let now = world.now();
                if silent_at <= now {
                    world.note("tab.gives_up", tab.number as u64, String::new);
                    return End::Later(short(world));
                }
                if stay.next_ping_at <= now {
                    ping(world, tab, &mut stay);
                }
                if stay.next_act_at <= now {
                    stay.next_act_at = pause(world);
                    if let Some(end) = act(world, person, tab, &mut stay).await {
                        return end;
                    }
                }
            }
        }
    }
}

fn pause(world: &World) -> Timestamp {
    world.now() + world.dice().duration(Duration::from_millis(10)..=world.plan.habits.pause_max)
}

fn ping(world: &World, tab: &mut Tab, stay: &mut Stay) {
    let now = world.now();
    let text = if stay.is_hidden { r#"{"type":"ping","id":1,"active":false}"# } else { r#"{"type":"ping","id":1}"# };
    tab.say(text);
    stay.pinged_at.get_or_insert(now);
    let interval = if stay.is_hidden { HIDDEN_PING_INTERVAL } else { world.plan.limits.ping_interval };
    stay.next_ping_at = now + interval;
}

fn choose(world: &World, person: &Person) -> Act {
    let habits = &world.plan.habits;
    let mut dice = world.dice();
    if world.phase() != Phase::Chaos {
        return Act::Nothing;
    }
    dice.weighted(&[
        (100, Act::Nothing),
        (habits.active, Act::Active),
        (habits.update, Act::Update),
        (habits.hide, Act::Hide),
        (habits.reload, Act::Reload),
        (habits.vanish, Act::Vanish),
        (habits.lose_network, Act::LoseNetwork),
        (habits.leave, Act::Leave),
        (habits.duplicate, Act::Duplicate),
        (habits.steal_resume, Act::StealResume),
        (habits.stop_reading, Act::StopReading),
        (habits.flood, Act::Flood),
        (if person.is_host { habits.host } else { 0 }, Act::Host),
    ])
}

async fn act(world: &World, person: &mut Person, tab: &mut Tab, stay: &mut Stay) -> Option<End> {
    let act = choose(world, person);
    if !matches!(act, Act::Nothing) {
        world.note(name_of(act), tab.number as u64, String::new);
    }
    match act {
        Act::Nothing => {}
        Act::Active => {
            stay.is_hidden = false;
            tab.act(r#"{"type":"ping","active":true}"#);
        }
        Act::Update => {
            let state = world.dice().below(5);
            tab.act(&format!(r#"{{"type":"update","state":{{"n":{state}}}}}"#));
        }
        Act::Hide => {
            stay.is_hidden = true;
            ping(world, tab, stay);
        }
        Act::Reload => {
            tab.say_close();
            if world.dice().one_in(2) {
                tab.linger(Duration::from_millis(300)).await;
            }
            return Some(End::Later(world.dice().mostly_short(Duration::from_secs(20))));
        }
        Act::Vanish => {
            tab.link.reset_by_client();
            let pause = world.dice().mostly_short(Duration::from_secs(60));
            return Some(if world.dice().one_in(2) { End::Later(pause) } else { End::Forgotten(pause) });
        }
        Act::LoseNetwork => {
            tab.link.cut();
            let now = world.now();
            tab.truth(|attempt| attempt.cut_at = attempt.cut_at.or(Some(now)));
            // Some pages are told at once; the others find out by the silence.
            if world.dice().one_in(3) {
                return Some(End::Later(world.dice().mostly_short(Duration::from_secs(60))));
            }
        }
        Act::Leave => return Some(leave(world, tab).await),
        Act::Duplicate => open_another(world, Person { storage: Storage::default(), ..person.clone() }),
        Act::StealResume => {
            let is_forged = world.dice().one_in(2);
            open_another(world, if is_forged { forger(person) } else { person.clone() });
        }
        Act::StopReading => {
            tab.reads_from = world.now() + world.dice().duration(Duration::from_secs(1)..=Duration::from_secs(20));
            tab.truth(|attempt| attempt.stopped_reading = true);
        }
        Act::Flood => {
            tab.truth(|attempt| attempt.flooded = true);
            let count = world.dice().between(30..=200);
            for _ in 0..count {
                tab.say(r#"{"type":"ping"}"#);
            }
        }
        Act::Host => command(world, tab),
    }
    None
}

fn name_of(act: Act) -> &'static str {
    match act {
        Act::Nothing => "person.nothing",
        Act::Active => "person.active",
        Act::Update => "person.updates",
        Act::Hide => "person.hides",
        Act::Reload => "person.reloads",
        Act::Vanish => "person.vanishes",
        Act::LoseNetwork => "person.loses_network",
        Act::Leave => "person.leaves",
        Act::Duplicate => "person.opens_another",
        Act::StealResume => "person.copies_token",
        Act::StopReading => "person.stops_reading",
        Act::Flood => "person.floods",
        Act::Host => "host.commands",
    }
}

async fn leave(world: &World, tab: &mut Tab) -> End {
    let now = world.now();
    tab.say(r#"{"type":"leave"}"#);
    tab.truth(|attempt| attempt.leave_said_at = Some(now));
    let until = now + Duration::from_secs(5);
    loop {
        match tab.next(until).await {
            Next::Closed(_) => {
                tab.linger(Duration::from_millis(50)).await;
                break;
            }
            Next::Gone | Next::Time => break,
            Next::Joined { .. } | Next::Frame => {}
        }
    }
    End::Forgotten(world.dice().duration(Duration::from_secs(1)..=Duration::from_secs(40)))
}

/// Somebody who changes a resume token into one for somebody else.
fn forger(person: &Person) -> Person {
    let mut forger = person.clone();
    if let Some(forged) = person.storage.resume.as_deref().and_then(forge) {
        forger.storage.resume = Some(forged);
    }
    forger
}

fn forge(token: &str) -> Option<String> {
    let (body, signature) = token.strip_prefix("rcr_")?.split_once('.')?;
    let mut claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(body).ok()?).ok()?;
    claims["p"] = json!(FORGED_PARTICIPANT);
    Some(format!("rcr_{}.{signature}", URL_SAFE_NO_PAD.encode(claims.to_string())))
}

/// A host ends, extends, or removes somebody it sees.
fn command(world: &World, tab: &mut Tab) {
    let people: Vec<_> = tab.truth(|attempt| attempt.view.people.keys().copied().collect());
    let text = {
        let mut dice = world.dice();
        match dice.below(6) {
            0 => r#"{"type":"end"}"#.to_owned(),
            1..3 if !people.is_empty() => {
                format!(r#"{{"type":"kick","participant_id":"{}"}}"#, dice.pick(&people))
            }
            _ => r#"{"type":"extend","by_s":10}"#.to_owned(),
        }
    };
    tab.say(&text);
}
