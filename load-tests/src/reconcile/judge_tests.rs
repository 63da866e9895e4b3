//! Plants every kind of error into a ledger that is right, and looks whether the oracle sees it, and only it.

use std::collections::BTreeSet;

use super::books::{Bill, SessionEnd, SessionRow, Span, Statement, Trail};
use super::faults::FaultKind;
use super::judge::{Fault, judge};
use super::reasons::Rules;
use super::truth::{Boot, BootEnd, BootEndKind, ConnectionTruth, End, Incident, Joined, Order, Scope, Truth};

const RULES: Rules = Rules {
    clock_tolerance_us: 5,
    mark_late_us: 1_000,
    marked_after_us: 1_000,
    noticed_within_us: 500,
    dead_after_us: 3_000,
    close_durable_us: 2_000,
};

fn connection(id: &str, sent: i64, gone: i64, end: End) -> ConnectionTruth {
    ConnectionTruth {
        identity: "ann".to_owned(),
        session: "room".to_owned(),
        invite: "invite".to_owned(),
        join_sent: sent,
        joined: Some(Joined { at: sent + 20, connection: id.to_owned(), participant: "p-ann".to_owned() }),
        heard_until: gone - 100,
        there_until: gone - 20,
        gone_at: gone,
        testified_until: None,
        asked: None,
        end,
    }
}

fn span(id: &str, from: i64, until: i64, reason: &str, uncertainty_us: i64) -> Span {
    Span {
        connection: id.to_owned(),
        session: "room".to_owned(),
        participant: "p-ann".to_owned(),
        connected_at: from,
        disconnected_at: Some(until),
        end_reason: Some(reason.to_owned()),
        uncertainty_us,
    }
}

/// Ann has two tabs that overlap, then a connection that ends with a crash at 50,000, then one behind a hole. A join
/// whose answer was lost is in the ledger as well.
fn right() -> (Truth, Statement) {
    let mut crashed = connection("1-3", 40_000, 50_030, End::Lost);
    crashed.heard_until = 49_000;
    crashed.there_until = 49_010;
    let mut hole = connection("2-1", 60_000, 70_000, End::Hole);
    hole.heard_until = 69_000;
    let mut unanswered = connection("", 80_000, 81_000, End::Lost);
    unanswered.joined = None;
    let truth = Truth {
        connections: vec![
            connection("1-1", 10_000, 20_000, End::Closed),
            connection("1-2", 15_000, 30_000, End::Left),
            crashed,
            hole,
            unanswered,
        ],
        orders: vec![Order {
            at: 90_000,
            until: 91_000,
            scope: Scope::Session("room".to_owned()),
            reason: "session_ended",
        }],
        boots: vec![
            Boot { started: 0, end: Some(BootEnd { at: 50_000, gone_at: 50_010, kind: BootEndKind::Killed }) },
            Boot { started: 50_020, end: None },
        ],
        incidents: Vec::new(),
        sessions: vec!["room".to_owned()],
        clock_off_us: 0,
        pongs: 10,
    };
    let spans = vec![
        span("1-1", 10_010, 19_990, "closed", 0),
        span("1-2", 15_010, 29_990, "left", 0),
        span("1-3", 40_010, 48_500, "node_crash", 1_600),
        span("2-1", 60_010, 69_005, "liveness_timeout", 3_000),
        span("2-2", 80_010, 80_990, "closed", 0),
    ];
    let statement = Statement {
        bills: vec![bill(&spans)],
        trails: spans.iter().map(|span| Trail { connection: span.connection.clone(), opened: 1, closed: 1 }).collect(),
        spans,
        sessions: vec![SessionRow { session: "room".to_owned(), status: "ended".to_owned() }],
        ends: vec![SessionEnd { session: "room".to_owned(), at: 90_500 }],
        superseded_ends: Vec::new(),
        not_dense: Vec::new(),
        refused: 0,
    };
    (truth, statement)
}

fn bill(spans: &[Span]) -> Bill {
    Bill {
        session: "room".to_owned(),
        participant: "p-ann".to_owned(),
        connections: 5,
        connected_us: 9_980 + 14_980 + 8_490 + 8_995 + 980,
        billable_us: 19_980 + 8_490 + 8_995 + 980,
        overlap_us: 4_980,
        uncertainty_us: spans.iter().map(|span| span.uncertainty_us).sum(),
        is_open: false,
    }
}

/// Ends a span then, in its bill as well; what others cover of it is for the test to say.
fn end_at(books: &mut Statement, span: usize, until: i64) {
    let before = books.spans[span].disconnected_at.replace(until).expect("an end");
    books.bills[0].connected_us += until - before;
}

/// States an uncertainty, in the bill as well.
fn uncertain(books: &mut Statement, span: usize, uncertainty_us: i64) {
    let before = std::mem::replace(&mut books.spans[span].uncertainty_us, uncertainty_us);
    books.bills[0].uncertainty_us += uncertainty_us - before;
}

fn faults(truth: &Truth, statement: &Statement) -> Vec<Fault> {
    let faults: BTreeSet<_> = judge(truth, statement, &RULES).violations.iter().map(|one| one.fault).collect();
    faults.into_iter().collect()
}

/// Plants something and expects exactly these kinds of faults, in the order of their declaration.
fn planted(plant: impl FnOnce(&mut Truth, &mut Statement), expected: &[Fault]) {
    let (mut truth, mut statement) = right();
    plant(&mut truth, &mut statement);
    assert_eq!(faults(&truth, &statement), expected);
}

#[test]
fn a_right_ledger_is_found_right() {
    let (truth, statement) = right();
    let judgement = judge(&truth, &statement, &RULES);
    assert!(judgement.violations.is_empty(), "{:?}", judgement.violations);
    let tally = judgement.tally;
    assert_eq!((tally.participants, tally.connections, tally.acknowledged, tally.crash_spans), (1, 5, 4, 1));
    assert_eq!((tally.over_us, tally.billed_us, tally.overlap_us), (0, 38_445, 4_980));
    // 500 us of the crashed connection were proven to its client and not to the disk.
    assert_eq!(tally.under_us, 500);
}

#[test]
fn a_microsecond_too_much_is_seen() {
    // The first tab's end lies inside the second: the union is not longer, and it is wrong all the same.
    planted(|_, books| books.spans[0].disconnected_at = Some(20_001), &[Fault::OverBilled, Fault::BillDiffers]);
    planted(
        |_, books| {
            end_at(books, 1, 30_001);
            books.bills[0].billable_us += 11;
        },
        &[Fault::OverBilled],
    );
    planted(
        |_, books| {
            books.spans[3].connected_at = 59_999;
            books.bills[0].billable_us += 11;
            books.bills[0].connected_us += 11;
        },
        &[Fault::OverBilled],
    );
    // Two tabs counted twice: more than anybody can have been there, whatever the spans say.
    planted(
        |_, books| books.bills[0].billable_us += books.bills[0].overlap_us,
        &[Fault::OverBilled, Fault::BillDiffers],
    );
    planted(|_, books| books.bills[0].billable_us += 1, &[Fault::BillDiffers]);
}

#[test]
fn testimony_widens_what_is_possible_after_a_crash_only() {
    let later = |truth: &mut Truth, books: &mut Statement| {
        truth.connections[2].testified_until = Some(50_200);
        end_at(books, 2, 50_150);
        books.bills[0].billable_us += 1_650;
    };
    planted(later, &[]);
    planted(
        |truth, books| {
            later(truth, books);
            truth.connections[2].testified_until = Some(50_149);
        },
        &[Fault::OverBilled],
    );
    planted(
        |truth, books| {
            truth.connections[3].testified_until = Some(71_000);
            end_at(books, 3, 70_500);
            books.bills[0].billable_us += 1_495;
        },
        &[Fault::OverBilled],
    );
}

#[test]
fn what_is_missing_is_seen() {
    planted(
        |_, books| {
            books.spans.remove(0);
            books.trails.remove(0);
        },
        &[Fault::Lost, Fault::BillDiffers],
    );
    planted(|_, books| books.bills.clear(), &[Fault::Lost]);
    // Proven up to 29,980, and the leave was acknowledged.
    planted(
        |_, books| {
            end_at(books, 1, 29_000);
            books.bills[0].billable_us -= 990;
        },
        &[Fault::UnderBilled, Fault::UncertaintyTooSmall],
    );
    planted(|_, books| uncertain(books, 2, 400), &[Fault::UncertaintyTooSmall]);
    planted(|_, books| uncertain(books, 3, 900), &[Fault::UncertaintyTooSmall]);
}

#[test]
fn an_order_excuses_what_comes_after_it_only() {
    let kicked = |at: i64| {
        move |truth: &mut Truth, books: &mut Statement| {
            let scope = Scope::Participant { session: "room".to_owned(), participant: "p-ann".to_owned() };
            truth.orders.push(Order { at, until: at + 200, scope, reason: "kicked" });
            truth.connections[3].end = End::ByServer(4001);
            end_at(books, 3, 65_100);
            books.spans[3].end_reason = Some("kicked".to_owned());
            books.bills[0].billable_us -= 3_905;
        }
    };
    planted(kicked(65_000), &[]);
    planted(kicked(66_000), &[Fault::UnderBilled]);
}

#[test]
fn a_pause_excuses_what_the_uncertainty_names_and_nothing_more() {
    // The first tab closed at 20,000 while the server stood still from 19,000 on.
    let paused = |uncertainty_us: i64, kind: FaultKind| {
        move |truth: &mut Truth, books: &mut Statement| {
            truth.incidents.push(Incident { kind, at: 19_000, until: 21_000 });
            end_at(books, 0, 19_000);
            uncertain(books, 0, uncertainty_us);
            books.bills[0].overlap_us -= 990;
        }
    };
    planted(paused(2_000, FaultKind::Pause), &[]);
    planted(paused(500, FaultKind::Pause), &[Fault::UnderBilled, Fault::UncertaintyTooSmall]);
    planted(paused(2_000, FaultKind::PostgresStop), &[Fault::UnderBilled]);
    // It joined right after, while not every thread had noticed: the join is all that is proven. Later than that it counts.
    let joined_after = |until: i64| {
        move |truth: &mut Truth, books: &mut Statement| {
            truth.incidents.push(Incident { kind: FaultKind::Pause, at: 5_000, until });
            end_at(books, 0, 10_010);
            uncertain(books, 0, 9_980);
            books.bills[0].billable_us -= 5_000;
            books.bills[0].overlap_us = 0;
        }
    };
    planted(joined_after(9_600), &[]);
    planted(joined_after(9_400), &[Fault::UnderBilled]);
    // However long the server stood still: a microsecond too much is too much.
    planted(
        |truth, books| {
            truth.incidents.push(Incident { kind: FaultKind::Pause, at: 19_000, until: 25_000 });
            end_at(books, 0, 20_001);
            books.bills[0].overlap_us += 11;
        },
        &[Fault::OverBilled],
    );
}

#[test]
fn a_kill_right_after_a_pause_excuses_the_marks_that_are_missing() {
    let unmarked = |until: i64| {
        move |truth: &mut Truth, books: &mut Statement| {
            truth.incidents.push(Incident { kind: FaultKind::Pause, at: 46_000, until });
            end_at(books, 2, 46_000);
            uncertain(books, 2, 500);
            books.bills[0].billable_us -= 2_500;
        }
    };
    planted(unmarked(49_500), &[]);
    // There was time for a mark.
    planted(unmarked(48_000), &[Fault::UnderBilled, Fault::UncertaintyTooSmall]);
    // Nor has the server noticed who went while it stood still.
    let gone_meanwhile = |until: i64| {
        move |truth: &mut Truth, books: &mut Statement| {
            let one = &mut truth.connections[2];
            (one.end, one.there_until, one.gone_at) = (End::Reset, 49_890, 49_900);
            unmarked(until)(truth, books);
        }
    };
    planted(gone_meanwhile(49_950), &[]);
    planted(gone_meanwhile(48_000), &[Fault::UnderBilled, Fault::UncertaintyTooSmall]);
    // One that closed right before the pause was not on record yet. A moment earlier it was.
    let closed_before = |gone_at: i64| {
        move |truth: &mut Truth, books: &mut Statement| {
            truth.incidents.push(Incident { kind: FaultKind::Pause, at: 46_000, until: 49_950 });
            let one = &mut truth.connections[2];
            (one.end, one.heard_until, one.there_until, one.gone_at) =
                (End::Closed, gone_at - 20, gone_at - 10, gone_at);
            end_at(books, 2, gone_at - 500);
            books.bills[0].billable_us -= 48_500 - (gone_at - 500);
        }
    };
    planted(closed_before(45_500), &[]);
    planted(closed_before(43_500), &[Fault::WrongReason]);
    // A pause that comes after the kill is none of its business.
    planted(|truth, _| truth.incidents.push(Incident { kind: FaultKind::Pause, at: 50_020, until: 52_000 }), &[]);
}

#[test]
fn a_second_pause_keeps_an_end_unnoticed_that_fell_into_the_first() {
    let replaced = |second_from: i64| {
        move |truth: &mut Truth, books: &mut Statement| {
            let pause = |at, until| Incident { kind: FaultKind::Pause, at, until };
            truth.incidents.extend([pause(69_500, 72_000), pause(second_from, 80_000)]);
            let scope = Scope::Connection("2-1".to_owned());
            truth.orders.push(Order { at: 80_500, until: 80_600, scope, reason: "replaced" });
            books.spans[3].end_reason = Some("replaced".to_owned());
        }
    };
    planted(replaced(72_100), &[]);
    // There was time to notice that it was gone.
    planted(replaced(75_500), &[Fault::WrongReason]);
}

#[test]
fn who_has_said_goodbye_is_not_there_until_the_kill() {
    let heard = |reason: &'static str| {
        move |truth: &mut Truth, books: &mut Statement| {
            truth.incidents.push(Incident { kind: FaultKind::Pause, at: 46_000, until: 49_950 });
            let one = &mut truth.connections[2];
            (one.heard_until, one.there_until, one.asked) = (47_000, 48_000, Some(End::Left));
            end_at(books, 2, 46_000);
            books.spans[2].end_reason = Some(reason.to_owned());
            uncertain(books, 2, 2_100);
            books.bills[0].billable_us -= 2_500;
        }
    };
    planted(heard("left"), &[]);
    planted(heard("kicked"), &[Fault::WrongReason]);
}

#[test]
fn an_end_that_was_superseded_sends_people_away_and_is_no_second_end() {
    let sent_away = |truth: &mut Truth, books: &mut Statement| {
        truth.connections[3].end = End::ByServer(4000);
        end_at(books, 3, 65_000);
        books.spans[3].end_reason = Some("session_ended".to_owned());
        uncertain(books, 3, 0);
        books.bills[0].billable_us -= 4_005;
    };
    planted(sent_away, &[Fault::UnderBilled, Fault::UncertaintyTooSmall]);
    planted(
        |truth, books| {
            sent_away(truth, books);
            books.superseded_ends.push(SessionEnd { session: "room".to_owned(), at: 65_000 });
        },
        &[],
    );
}

#[test]
fn doubles_and_strangers_are_seen() {
    planted(|_, books| books.trails[0].closed = 2, &[Fault::Doubled]);
    planted(|_, books| books.trails[0].opened = 0, &[Fault::Doubled]);
    planted(|_, books| books.spans.push(books.spans[0].clone()), &[Fault::Doubled]);
    // One lost answer explains one span, and no other time than its own.
    planted(
        |_, books| {
            books.spans.push(span("2-3", 80_020, 80_980, "closed", 0));
            books.bills[0].connections += 1;
            books.bills[0].connected_us += 960;
            books.bills[0].overlap_us += 960;
        },
        &[Fault::Unexplained],
    );
    planted(|truth, _| truth.connections[4].end = End::Refused(4002), &[Fault::OverBilled, Fault::Unexplained]);
    planted(|_, books| books.spans[0].participant = "p-bob".to_owned(), &[Fault::Unexplained, Fault::BillDiffers]);
}

#[test]
fn wrong_words_are_seen() {
    planted(|_, books| books.spans[0].end_reason = Some("kicked".to_owned()), &[Fault::WrongReason]);
    // Whoever said goodbye has left, even when the server crashed right after.
    planted(
        |truth, books| {
            truth.boots[0].end = Some(BootEnd { at: 30_001, gone_at: 30_002, kind: BootEndKind::Killed });
            truth.boots[1].end = Some(BootEnd { at: 50_000, gone_at: 50_010, kind: BootEndKind::Killed });
            books.spans[1].end_reason = Some("node_crash".to_owned());
        },
        &[Fault::WrongReason],
    );
    planted(|truth, _| truth.boots[0].end = None, &[Fault::WrongReason, Fault::Dropped]);
}

#[test]
fn loose_ends_are_seen() {
    planted(
        |_, books| {
            books.spans[0].disconnected_at = None;
            books.bills[0].is_open = true;
        },
        &[Fault::StillOpen],
    );
    planted(|_, books| books.sessions[0].status = "active".to_owned(), &[Fault::SessionEnd]);
    planted(|_, books| books.ends.clear(), &[Fault::SessionEnd]);
    planted(|_, books| books.ends.push(SessionEnd { session: "room".to_owned(), at: 90_600 }), &[Fault::SessionEnd]);
    planted(|_, books| books.not_dense.push("epoch 1: a gap".to_owned()), &[Fault::NotDense]);
    planted(|_, books| books.refused = 1, &[Fault::NotDense]);
    planted(|truth, _| truth.clock_off_us = 6, &[Fault::ClockOff]);
}
