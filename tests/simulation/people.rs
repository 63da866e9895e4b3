//! What people do: come by an invite, stay, look away, reload, lose the network, come back, leave.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rollcall_core::{InviteId, ParticipantId, SessionId, Timestamp};
use serde_json::{Value, json};
use uuid::Uuid;

use super::backend;
use super::executor::Group;
use super::tab::{Next, Tab};
use super::truth::Token;
use super::world::{Phase, World};

/// Tabs that one seed may open beside the first ones.
const EXTRA_TABS_MAX: u64 = 12;

/// Whom a forged token is for.
pub const FORGED_PARTICIPANT: ParticipantId = ParticipantId(Uuid::from_u128(0xf0));

/// A hidden page wakes up this often.
const HIDDEN_PING_INTERVAL: Duration = Duration::from_secs(60);

/// One tab with its storage. Whoever opens another has another.
#[derive(Debug, Clone)]
pub struct Person {
    pub number: u64,
    pub session: SessionId,
    /// `None`: comes by a token that the app signs.
    pub invite: Option<InviteId>,
    pub identity: Option<String>,
    pub is_host: bool,
    pub storage: Storage,
}

/// What survives a reload.
#[derive(Debug, Clone, Default)]
pub struct Storage {
    pub resume: Option<String>,
    /// When the last socket was seen to end.
    pub closed_at: Option<Timestamp>,
    /// Until when the token lets its holder stay that the resume token came from.
    pub stay_until: Option<Timestamp>,
}

/// How a visit ended, for what comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// Do not come back with this token.
    Final,
    /// Come back with the resume token after this time.
    Later(Duration),
    /// The storage is gone with the tab.
    Forgotten(Duration),
    /// Nobody answered.
    NoAnswer,
}

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

impl Person {
    /// With this link there is nothing to be had any more: perhaps with another.
    fn turn_elsewhere(&mut self, world: &World) {
        self.storage = Storage::default();
        let truth = world.truth();
        let mut dice = world.dice();
        let invites: Vec<_> = truth.invites.iter().collect();
        let (invite, known) = *dice.pick(&invites);
        (self.invite, self.session, self.is_host) = (Some(*invite), known.session, known.is_host);
        if dice.one_in(4) {
            (self.invite, self.is_host) = (None, false);
        }
    }
}

pub fn start(world: &World, person: Person) {
    let task = world.clone();
    world.spawner.spawn(Group::World, live(task, person));
}

/// Somebody comes at this very moment, by one of the links into this session, or into any.
pub fn arrive(world: &World, session: Option<SessionId>) {
    let person = {
        let truth = world.truth();
        let links: Vec<_> =
            truth.invites.iter().filter(|(_, known)| session.is_none_or(|session| known.session == session)).collect();
        if links.is_empty() {
            return;
        }
        let (invite, known) = *world.dice().pick(&links);
        let number = world.plan.people;
        Person {
            number,
            session: known.session,
            invite: Some(*invite),
            identity: None,
            is_host: known.is_host,
            storage: Storage::default(),
        }
    };
    if may_open_another(world) {
        world.note("person.arrives", person.number, String::new);
        world.spawner.spawn(Group::World, come_and_go(world.clone(), person));
    }
}

async fn live(world: World, person: Person) {
    let first = world.dice().duration(Duration::ZERO..=Duration::from_secs(15));
    world.sleep(first).await;
    come_and_go(world, person).await;
}

async fn come_and_go(world: World, mut person: Person) {
    loop {
        if world.phase() == Phase::End {
            return;
        }
        let pause = match visit(&world, &mut person).await {
            End::Final => {
                if world.phase() != Phase::Chaos {
                    return;
                }
                person.turn_elsewhere(&world);
                world.dice().duration(Duration::from_secs(1)..=Duration::from_secs(20))
            }
            End::Later(pause) => pause,
            End::Forgotten(pause) => {
                person.storage = Storage::default();
                pause
            }
            End::NoAnswer => world.dice().duration(Duration::from_millis(100)..=Duration::from_secs(2)),
        };
        world.sleep(pause).await;
    }
}

/// From opening a socket until it is over.
async fn visit(world: &World, person: &mut Person) -> End {
    let (token, text) = present(world, person);
    let stay_until = person.storage.stay_until;
    let Some(mut tab) = Tab::open(world, person.session, token, stay_until) else {
        return End::NoAnswer;
    };
    world.note("tab.opened", tab.number as u64, || format!("person {} {token:?}", person.number));
    let asked_at = tab.say(&join_frame(world, person, &text));
    tab.truth(|attempt| {
        attempt.asked_at = Some(asked_at);
        attempt.activities.push(asked_at);
    });
    let end = match enter(world, person, &mut tab).await {
        Ok(()) => stay(world, person, &mut tab).await,
        Err(end) => end,
    };
    tab.over();
    // A socket that never joined is none that the resume token is about.
    if tab.truth(|attempt| attempt.joined.is_some()) {
        person.storage.closed_at = Some(world.now());
    }
    end
}

/// The token that somebody comes with, and its text.
fn present(world: &World, person: &mut Person) -> (Token, String) {
    if let Some(resume) = &person.storage.resume {
        return (Token::Resume(person.invite), resume.clone());
    }
    match person.invite {
        Some(invite) => (Token::Invite(invite), world.truth().invites[&invite].token.clone()),
        None => {
            let lasts = Duration::from_secs(world.dice().between(1..=60));
            let (text, stay_until) = backend::sign(person, world.now() + lasts);
            person.storage.stay_until = Some(stay_until);
            (Token::Jwt, text)
        }
    }
}

fn join_frame(world: &World, person: &Person, token: &str) -> String {
    let closed_ms_ago = person
        .storage
        .closed_at
        .filter(|_| person.storage.resume.is_some())
        .map(|at| world.now().since(at).as_millis());
    let client = closed_ms_ago.map_or(String::new(), |ago| format!(r#","client":{{"closed_ms_ago":{ago}}}"#));
    let identity = person.identity.as_ref().map_or(String::new(), |name| format!(r#","identity":"{name}""#));
    format!(r#"{{"type":"join","token":"{token}"{identity}{client}}}"#)
}

/// Waits for the answer to the join.
async fn enter(world: &World, person: &mut Person, tab: &mut Tab) -> Result<(), End> {
    let patience = world.now() + world.dice().duration(Duration::from_millis(300)..=Duration::from_secs(25));
    loop {
        match tab.next(patience).await {
            Next::Joined { resume } => {
                person.storage.resume = Some(resume);
                person.storage.closed_at = None;
                return Ok(());
            }
            Next::Frame => {}
            Next::Closed(code) => return Err(after_close(world, tab, code).await),
            Next::Gone | Next::Time => return Err(End::Later(short(world))),
        }
    }
}

/// The close code's hundreds say what to do.
async fn after_close(world: &World, tab: &mut Tab, code: u16) -> End {
    tab.linger(Duration::from_millis(50)).await;
    match code {
        1000 | 4000..=4099 => End::Final,
        4100..=4199 => End::Forgotten(short(world)),
        _ => End::Later(short(world)),
    }
}

fn short(world: &World) -> Duration {
    world.dice().duration(Duration::from_millis(50)..=Duration::from_secs(3))
}

struct Stay {
    next_ping_at: Timestamp,
    next_act_at: Timestamp,
    is_hidden: bool,
    pinged_at: Option<Timestamp>,
}

async fn stay(world: &World, person: &mut Person, tab: &mut Tab) -> End {
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

fn open_another(world: &World, person: Person) {
    if may_open_another(world) {
        world.note("person.tab", person.number, String::new);
        start(world, person);
    }
}

fn may_open_another(world: &World) -> bool {
    let trace = world.trace();
    let met = |what| trace.met.get(&(what, "")).copied().unwrap_or(0);
    met("person.tab") + met("person.arrives") < EXTRA_TABS_MAX
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
