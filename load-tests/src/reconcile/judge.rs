//! The oracle: compares the ledger with the truth. It knows nothing of how the server works, only what it promises:
//! nothing acknowledged is lost, nothing counts twice, nobody is billed for time they were not proven to be there, and
//! what may be missing is bounded and printed on the bill.

mod connections;
mod participants;

use std::collections::{BTreeMap, HashMap};

use super::books::{Span, Statement};
use super::cover::Stretch;
use super::reasons::Rules;
use super::truth::Truth;

/// What can be wrong with a ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fault {
    /// Time is billed at which the connection cannot have been there.
    OverBilled,
    /// An acknowledged connection is not in the ledger.
    Lost,
    /// A connection is in the ledger twice, or opened and closed another number of times than once.
    Doubled,
    /// A span that nobody can have caused, or that stands under the wrong name.
    Unexplained,
    /// Proven time is missing, and the uncertainty does not say so.
    UnderBilled,
    /// Time at which the client was there is missing, and the uncertainty is too small for it.
    UncertaintyTooSmall,
    /// `get_session_billing_data()` and the spans do not agree.
    BillDiffers,
    WrongReason,
    /// A span without an end, although everybody is gone.
    StillOpen,
    /// A session did not end exactly once.
    SessionEnd,
    /// The numbers of an epoch have a gap or a double, or Postgres refused a record.
    NotDense,
    /// A bill was complete up to an instant, and changed for the time before it.
    NotFinal,
    /// The server lost a connection that nobody ended.
    Dropped,
    /// The clocks of server and harness differ, so that nothing can be said to the microsecond.
    ClockOff,
    /// `migrations/verify.sql` found something.
    Verify,
}

/// Identifies a participant: session and participant id.
pub type Who = (String, String);

#[derive(Debug, Clone)]
pub struct Violation {
    pub fault: Fault,
    pub who: Option<Who>,
    pub micros: i64,
    pub words: String,
}

/// What a run was about, for the figures.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Tally {
    pub participants: usize,
    pub connections: usize,
    pub acknowledged: usize,
    pub crash_spans: usize,
    pub over_us: i64,
    pub under_us: i64,
    pub billed_us: i64,
    /// The union of what the connections were at least and at most.
    pub at_least_us: i64,
    pub at_most_us: i64,
    pub overlap_us: i64,
    pub uncertainty_us: i64,
    pub uncertainty_max_us: i64,
    /// The most that was billed after the last byte of a client that ended its connection itself: the way of that byte.
    pub way_max_us: i64,
    /// The most by which the true end of a crashed connection was later than its uncertainty says: how late a mark was.
    pub mark_late_us: i64,
}

#[derive(Debug, Default)]
pub struct Judgement {
    pub violations: Vec<Violation>,
    pub tally: Tally,
}

/// All there is about one participant.
#[derive(Debug, Default)]
struct File<'a> {
    at_least: Vec<Stretch>,
    at_most: Vec<Stretch>,
    spans: Vec<&'a Span>,
    /// What may be missing beyond the uncertainty, because of the faults that its connections met.
    excused_us: i64,
}

struct Judge<'a> {
    truth: &'a Truth,
    statement: &'a Statement,
    rules: &'a Rules,
    files: BTreeMap<Who, File<'a>>,
    judgement: Judgement,
}

/// Compares. The order of the violations is that of the checks.
pub fn judge(truth: &Truth, statement: &Statement, rules: &Rules) -> Judgement {
    let mut judge = Judge { truth, statement, rules, files: BTreeMap::new(), judgement: Judgement::default() };
    judge.connections();
    judge.strangers();
    judge.participants();
    judge.sessions();
    judge.numbers();
    judge.judgement
}

impl<'a> Judge<'a> {
    fn sessions(&mut self) {
        let status: HashMap<_, _> =
            self.statement.sessions.iter().map(|row| (row.session.as_str(), row.status.as_str())).collect();
        let mut ends: HashMap<&str, usize> = HashMap::new();
        for end in &self.statement.ends {
            *ends.entry(end.session.as_str()).or_default() += 1;
        }
        for session in &self.truth.sessions {
            let (status, ends) = (status.get(session.as_str()), ends.get(session.as_str()).copied().unwrap_or(0));
            if status != Some(&"ended") || ends != 1 {
                let words = format!("session {session} is {status:?} and ended {ends} times");
                self.blame(Fault::SessionEnd, None, 0, words);
            }
        }
    }

    fn numbers(&mut self) {
        for words in &self.statement.not_dense {
            self.blame(Fault::NotDense, None, 0, words.clone());
        }
        if self.statement.refused > 0 {
            self.blame(Fault::NotDense, None, 0, format!("Postgres refused {} records", self.statement.refused));
        }
        if self.truth.clock_off_us > self.rules.clock_tolerance_us {
            let words = format!("the server's clock was {} us off", self.truth.clock_off_us);
            self.blame(Fault::ClockOff, None, self.truth.clock_off_us, words);
        }
    }

    fn blame(&mut self, fault: Fault, who: Option<Who>, micros: i64, words: String) {
        self.judgement.violations.push(Violation { fault, who, micros, words });
    }
}
