//! How people come and go: by an invite or a token of the app, and back after a reload or a lost network. What they do while
//! they are in is in [`stay`].

mod stay;

use std::time::Duration;

use rollcall_core::{InviteId, SessionId, Timestamp};

pub use stay::FORGED_PARTICIPANT;

use super::backend;
use super::executor::Group;
use super::tab::{Next, Tab};
use super::truth::Token;
use super::world::{Phase, World};

/// Tabs that one seed may open beside the first ones.
const EXTRA_TABS_MAX: u64 = 12;

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
        Ok(()) => stay::stay(world, person, &mut tab).await,
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
