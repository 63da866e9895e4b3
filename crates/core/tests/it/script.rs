//! A small language for histories of one session. `check` runs a script and compares what came out of the session.
//!
//! Commands are separated by `;`. Time begins at 0 s. A connection is named by its participant's letter and a number
//! where it is not the first: `a`, `a2`. What a connection is told appears after its name, what all are told after `all`.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use expect_test::Expect;
use rollcall_core::{
    Actor, CloseProof, Command, ConnectionClock, ConnectionId, CrashedConnection, Effect, Epoch, Fact, InviteId, Join,
    LeaveReason, Member, ParticipantId, PresencePolicy, Recipients, RestoredParticipant, Role, Session,
    SessionEndReason, SessionId, SessionSpec, TenantId, Testimony, Timestamp,
};
use uuid::Uuid;

use crate::describe::{connection_name, describe_event, describe_fact, describe_snapshot, seconds};

/// How long after its last mark a crashed node may have lived.
const MARK_INTERVAL: Duration = Duration::from_secs(1);

/// Runs the script and compares the effects, one a line, with the expectation.
pub fn check(script: &str, expect: Expect) {
    let mut world = World::new();
    for line in script.split([';', '\n']).map(str::trim).filter(|line| !line.is_empty()) {
        world.run(line);
    }
    expect.assert_eq(&world.out);
}

struct World {
    session: Session,
    policy: Arc<PresencePolicy>,
    now: Timestamp,
    members: BTreeMap<String, (Member, Arc<ConnectionClock>)>,
    out: String,
    /// Lines that are of no interest to this script; see `quiet`.
    quiet: bool,
}

/// The words after the verb: plain ones and `key=value` options.
struct Words<'a>(Vec<&'a str>);

impl<'a> Words<'a> {
    fn plain(&self, index: usize) -> &'a str {
        self.0.iter().filter(|word| !word.contains('=')).nth(index).copied().expect("a missing word")
    }

    fn option(&self, key: &str) -> Option<&'a str> {
        self.0.iter().find_map(|word| word.split_once('=').filter(|(name, _)| *name == key)).map(|(_, value)| value)
    }

    fn duration(&self, key: &str) -> Option<Duration> {
        self.option(key).map(parse_duration)
    }

    fn has(&self, word: &str) -> bool {
        self.0.contains(&word)
    }
}

impl World {
    fn new() -> Self {
        let policy = Arc::new(PresencePolicy::default());
        let session = Session::new(spec(&Words(Vec::new()), Timestamp::ZERO), policy.clone(), Timestamp::ZERO);
        Self { session, policy, now: Timestamp::ZERO, members: BTreeMap::new(), out: String::new(), quiet: false }
    }

    fn run(&mut self, line: &str) {
        let mut parts = line.split_whitespace();
        let verb = parts.next().expect("a verb");
        let words = Words(parts.collect());
        match verb {
            // A new session; idle= max= (hard end) capacity= warn=60s,10s started=yes.
            "create" => self.session = Session::new(spec(&words, self.now), self.policy.clone(), self.now),
            // Diff windows that apply from the first participant on.
            "window" => self.set_window(parse_duration(words.plain(0))),
            "quiet" => self.quiet = true,
            "loud" => self.quiet = false,
            // Time passes and nobody looks: the timer task is late.
            "late" => self.now = self.now + parse_duration(words.plain(0)),
            "tick" => self.apply(Command::Tick),
            "join" => self.join(&words),
            "ping" => self.ping(&words),
            "update" => {
                let (member, clock) = self.heard(words.plain(0));
                clock.act(self.now);
                self.apply(Command::Update { member, state: words.plain(1).into() });
            }
            "hide" => {
                let (member, _) = self.heard(words.plain(0));
                self.apply(Command::Hide { member });
            }
            "snapshot" => {
                let (member, _) = self.heard(words.plain(0));
                self.apply(Command::Snapshot { member });
            }
            "leave" => self.closed(&words, LeaveReason::Left, CloseProof::Observed),
            // The peer closes, or answers the close of the server.
            "close" => self.closed(&words, LeaveReason::Closed, CloseProof::Observed),
            // The peer stays silent until the server gives up.
            "lost" => self.closed(&words, LeaveReason::LivenessTimeout, CloseProof::Silent),
            "slow" => self.closed(&words, LeaveReason::SlowConsumer, CloseProof::Silent),
            "drain" => self.apply(Command::Drain),
            "kick" => self.kick(&words),
            "revoke" => self.apply(Command::RevokeInvite { invite: invite(words.plain(0)) }),
            "freeze" => self.apply(Command::Freeze),
            "thaw" => self.apply(Command::Thaw),
            "end" => self.end(&words),
            "extend" => {
                let (hold_until, expires_at) = self.session.extended_by(parse_duration(words.plain(0)));
                self.apply(Command::Hold { hold_until, expires_at });
            }
            "configure" => self.apply(Command::Configure(Box::new(spec(&words, Timestamp::ZERO)))),
            "recover" => {
                let expires_at = words.duration("max").map(|max| Timestamp::ZERO + max);
                self.apply(Command::Recover { expires_at });
            }
            "restart" => self.restart(&words),
            "view" => {
                let view = describe_snapshot(&self.session.snapshot(self.now));
                self.print(&format!("view {view}"));
            }
            "status" => self.print_status(),
            _ if verb.starts_with('+') => self.pass(parse_duration(&verb[1..])),
            _ => panic!("unknown verb {verb}"),
        }
    }

    /// Time passes and the timer task is punctual.
    fn pass(&mut self, duration: Duration) {
        let until = self.now + duration;
        while let Some(at) = self.session.next_deadline().filter(|at| *at <= until) {
            assert!(at >= self.now, "a deadline was left standing in the past");
            self.now = at;
            self.apply(Command::Tick);
        }
        self.now = until;
    }

    fn set_window(&mut self, window: Duration) {
        self.policy = Arc::new(PresencePolicy {
            diff_windows: vec![(usize::MAX, window)],
            ..PresencePolicy::clone(&self.policy)
        });
        self.session = Session::new(self.session.spec().clone(), self.policy.clone(), self.now);
    }

    fn join(&mut self, words: &Words) {
        let name = words.plain(0);
        let member = member(name);
        let clock = Arc::new(ConnectionClock::new(self.now));
        self.members.insert(name.to_owned(), (member, clock.clone()));
        let role = words.option("role").map_or_else(Role::guest, |role| Role::parse(role).expect("a role"));
        self.apply(Command::Join(Box::new(Join {
            connection: member.connection,
            participant: member.participant,
            identity: name[..1].into(),
            verified: true,
            name: None,
            role,
            state: words.option("state").map(Into::into),
            invite: words.option("invite").map(invite),
            token_expires_at: words.duration("token").map(|valid| self.now + valid),
            resumed: words.option("resume").map(|old| self::member(old).connection),
            testimony: words.duration("closed_ago").map(|ago| Testimony {
                closed_after: self.now - ago - words.duration("transit").unwrap_or_default(),
                closed_before: self.now - ago,
            }),
            clock,
        })));
    }

    /// As the socket task does it: a frame is evidence, `active` goes to the clock and to the session only if asked for.
    fn ping(&mut self, words: &Words) {
        let (member, clock) = self.heard(words.plain(0));
        if words.has("active") && clock.act(self.now) {
            self.apply(Command::Activity { member });
        }
    }

    fn heard(&self, name: &str) -> (Member, Arc<ConnectionClock>) {
        let (member, clock) = self.members.get(name).expect("a connection that joined");
        clock.hear(self.now);
        (*member, clock.clone())
    }

    fn closed(&mut self, words: &Words, reason: LeaveReason, proof: CloseProof) {
        let member = member(words.plain(0));
        self.apply(Command::Closed { member, reason, proof });
    }

    fn kick(&mut self, words: &Words) {
        let participant = member(words.plain(0)).participant;
        let by = words.option("by").map_or(Actor::Operator, |host| Actor::Participant(member(host).participant));
        self.apply(Command::Kick { participant, by });
    }

    fn end(&mut self, words: &Words) {
        let at = words.duration("at").map_or(self.now, |at| Timestamp::ZERO + at);
        let by = Actor::ApiKey("key".into());
        self.apply(Command::End { reason: SessionEndReason::Completed, by, at, recorded: words.has("recorded") });
    }

    /// The node comes up again. The people are those present now; `crash=a mark=10s seen=8s` leaves connection `a` open.
    fn restart(&mut self, words: &Words) {
        let last_activity_at = self.session.last_activity_at();
        let restored = self.session.snapshot(self.now).participants.into_iter().map(|view| {
            let crashed = words.option("crash").map(member).filter(|member| member.participant == view.participant);
            RestoredParticipant {
                participant: view.participant,
                identity: view.identity,
                verified: view.verified,
                name: view.name,
                role: view.role,
                state: view.state,
                joined_at: view.joined_at,
                last_seen_at: view.last_seen_at,
                reason: if crashed.is_some() { LeaveReason::NodeCrash } else { LeaveReason::ServerDrain },
                crashed: crashed.map(|member| CrashedConnection {
                    connection: member.connection,
                    disconnected_at: Timestamp::ZERO + words.duration("seen").expect("seen="),
                    mark_at: Timestamp::ZERO + words.duration("mark").expect("mark="),
                    possible_until: Timestamp::ZERO + words.duration("mark").expect("mark=") + MARK_INTERVAL,
                }),
            }
        });
        let restored: Vec<_> = restored.collect();
        let spec = SessionSpec { started: true, last_activity_at, ..self.session.spec().clone() };
        self.session = Session::new(spec, self.policy.clone(), self.now);
        self.session.restore(restored, self.now);
    }

    fn apply(&mut self, command: Command) {
        let mut effects = Vec::new();
        let outcome = self.session.apply(command, self.now, &mut effects);
        for effect in &effects {
            let line = self.describe(effect);
            self.print(&line);
        }
        if let Err(refusal) = outcome {
            self.print(&format!("refused: {refusal}"));
        }
    }

    fn print(&mut self, line: &str) {
        if !self.quiet {
            writeln!(self.out, "{:<7} {line}", seconds(self.now)).expect("text");
        }
    }

    fn print_status(&mut self) {
        let (ends_at, cause) = self.session.ends_at();
        let next = self.session.next_deadline().map_or("none".to_owned(), seconds);
        let line = match self.session.ended() {
            Some((reason, at)) => {
                format!("ended {reason} at {} finished={} next={next}", seconds(at), self.session.is_finished())
            }
            None => format!("ends {} {cause} next={next}", seconds(ends_at)),
        };
        self.print(&line);
    }

    fn describe(&self, effect: &Effect) -> String {
        match effect {
            Effect::Record(record) => {
                let at = if record.at == self.now { String::new() } else { format!("@{} ", seconds(record.at)) };
                let Fact::Session { fact, .. } = &record.fact else { unreachable!("the core writes no marks") };
                format!("record {at}{}", describe_fact(fact, record.at))
            }
            Effect::Deliver { to, event } => {
                let to = match to {
                    Recipients::All => "all".to_owned(),
                    Recipients::One(connection) => connection_name(*connection),
                };
                format!("{to} <- {}", describe_event(event))
            }
            Effect::Close { connection, reason } => format!("close {} {reason:?}", connection_name(*connection)),
        }
    }
}

fn spec(words: &Words, now: Timestamp) -> SessionSpec {
    let leads = words.option("warn").map(|leads| leads.split(',').map(parse_duration).collect());
    SessionSpec {
        tenant: TenantId(Uuid::from_u128(1)),
        session: SessionId(Uuid::from_u128(2)),
        title: None,
        created_at: now,
        idle_timeout: words.duration("idle").unwrap_or(Duration::from_secs(3600)),
        expires_at: words.duration("max").map(|max| now + max),
        hold_until: now,
        participants_max: words.option("capacity").map(|max| max.parse().expect("a number")),
        warn_before: leads.unwrap_or_default(),
        started: words.option("started").is_some(),
        last_activity_at: now,
        kicked: words.option("kicked").into_iter().map(|name| member(name).participant).collect(),
    }
}

/// A session of an hour's idle timeout, created at 0 s, without other limits.
pub fn plain_spec() -> SessionSpec {
    spec(&Words(Vec::new()), Timestamp::ZERO)
}

/// `a2` is the second connection of participant `a`.
pub fn member(name: &str) -> Member {
    let letter = name.as_bytes()[0];
    let number: i64 = if name.len() == 1 { 1 } else { name[1..].parse().expect("a number") };
    let connection = ConnectionId { epoch: Epoch(1), counter: i64::from(letter) * 100 + number };
    Member { participant: ParticipantId(Uuid::from_u128(u128::from(letter))), connection }
}

fn invite(name: &str) -> InviteId {
    InviteId(Uuid::from_u128(name.bytes().map(u128::from).sum()))
}

fn parse_duration(text: &str) -> Duration {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let number: f64 = digits.parse().unwrap_or_else(|_| panic!("no duration: {text}"));
    let unit_s = match &text[digits.len()..] {
        "us" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        unit => panic!("unknown unit {unit}"),
    };
    Duration::from_micros((number * unit_s * 1e6).round() as u64)
}
