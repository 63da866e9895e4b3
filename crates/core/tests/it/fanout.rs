//! Diffs: windows, coalescing, sequence numbers, snapshots in between.

use expect_test::expect;

use crate::script::check;

#[test]
fn small_rooms_hear_at_once() {
    check(
        "quiet; join a; loud; join b; update b {1}; update b {1}; leave b",
        expect![[r#"
            0s      record participant_joined b guest
            0s      record connection_opened b
            0s      all <- presence 2: +b(active x1)
            0s      b <- joined as guest 2:[a(active x1) b(active x1)]
            0s      record state_updated b {1}
            0s      all <- presence 3: ~b(active x1 {1})
            0s      record connection_closed b [0s, 0s) left
            0s      record participant_left b left by b
            0s      all <- presence 4: -b(left)
        "#]],
    );
}

#[test]
fn changes_inside_a_window_are_one_diff() {
    check(
        "window 20ms; quiet; join a; +1s; loud; join b; +5ms; join c; update c {1}; update c {2}; +14ms; +1ms",
        expect![[r#"
            1s      record participant_joined b guest
            1s      record connection_opened b
            1s      b <- joined as guest 1:[a(active x1) b(active x1)]
            1.005s  record participant_joined c guest
            1.005s  record connection_opened c
            1.005s  c <- joined as guest 1:[a(active x1) b(active x1) c(active x1)]
            1.005s  record state_updated c {1}
            1.005s  record state_updated c {2}
            1.02s   all <- presence 2: +b(active x1) +c(active x1 {2})
        "#]],
    );
}

#[test]
fn join_and_leave_inside_a_window_cancel() {
    check(
        "window 100ms; quiet; join a; +1s; loud; join b; +10ms; leave b; +100ms; join c; +100ms",
        expect![[r#"
            1s      record participant_joined b guest
            1s      record connection_opened b
            1s      b <- joined as guest 1:[a(active x1) b(active x1)]
            1.01s   record connection_closed b [1s, 1.01s) left
            1.01s   record participant_left b left by b
            1.11s   record participant_joined c guest
            1.11s   record connection_opened c
            1.11s   c <- joined as guest 1:[a(active x1) c(active x1)]
            1.21s   all <- presence 2: +c(active x1)
        "#]],
    );
}

#[test]
fn who_saw_a_short_visitor_in_a_snapshot_hears_of_its_leave() {
    let before = "window 100ms; quiet; join a; +1s; join b";
    check(
        &format!("{before}; loud; join c; leave b; +100ms"),
        expect![[r#"
            1s      record participant_joined c guest
            1s      record connection_opened c
            1s      c <- joined as guest 1:[a(active x1) b(active x1) c(active x1)]
            1s      record connection_closed b [1s, 1s) left
            1s      record participant_left b left by b
            1.1s    all <- presence 2: +c(active x1) -b(left)
        "#]],
    );
    check(
        &format!("{before}; snapshot a; loud; leave b; +100ms"),
        expect![[r#"
            1s      record connection_closed b [1s, 1s) left
            1s      record participant_left b left by b
            1.1s    all <- presence 2: -b(left)
        "#]],
    );
    check(
        &format!("{before}; view; loud; leave b; +100ms"),
        expect![[r#"
            1s      record connection_closed b [1s, 1s) left
            1s      record participant_left b left by b
            1.1s    all <- presence 2: -b(left)
        "#]],
    );
}

#[test]
fn leave_and_return_inside_a_window_is_an_update() {
    check(
        "window 100ms; quiet; join a; join b; +1s; loud; leave b; join b2; +100ms",
        expect![[r#"
            1s      record connection_closed b [0s, 1s) left
            1s      record participant_left b left by b
            1s      record participant_joined b guest
            1s      record connection_opened b2
            1s      b2 <- joined as guest 1:[a(active x1) b(active x1)]
            1.1s    all <- presence 2: ~b(active x1)
        "#]],
    );
}

#[test]
fn late_window_is_flushed_by_the_next_command() {
    check(
        "window 100ms; quiet; join a; +1s; join b; loud; late 150ms; join c; status",
        expect![[r#"
            1.15s   all <- presence 2: +b(active x1)
            1.15s   record participant_joined c guest
            1.15s   record connection_opened c
            1.15s   c <- joined as guest 2:[a(active x1) b(active x1) c(active x1)]
            1.15s   ends 3601.15s idle next=1.25s
        "#]],
    );
}

#[test]
fn snapshot_has_the_number_the_next_diff_continues() {
    check(
        "quiet; join a; join b; loud; snapshot a; leave b; snapshot a",
        expect![[r#"
            0s      a <- snapshot 2:[a(active x1) b(active x1)]
            0s      record connection_closed b [0s, 0s) left
            0s      record participant_left b left by b
            0s      all <- presence 3: -b(left)
            0s      a <- snapshot 3:[a(active x1)]
        "#]],
    );
}
