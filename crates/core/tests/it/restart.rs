//! Drain, restore and crash.

use expect_test::expect;

use crate::script::check;

#[test]
fn drain_keeps_the_people_for_the_restart() {
    check(
        "quiet; join a; join a2; hide a2; join b; +5s; close b; +1s; loud; drain; close a; lost a2; join c; thaw; join c; freeze; status; view",
        expect![[r#"
            6s      close a Restarting
            6s      close a2 Restarting
            6s      record presence_changed a reconnecting
            6s      record connection_closed a [0s, 6s) server_drain
            6s      record @0s connection_closed a2 [0s, 0s) server_drain unsure 6s
            6s      refused: the session is just being ended
            6s      refused: the session is just being ended
            6s      refused: the session is just being ended
            6s      ends 3600s idle next=none
            6s      view 4:[a(reconnecting x0) b(reconnecting x0)]
        "#]],
    );
}

#[test]
fn restored_people_return_without_a_leave() {
    check(
        "quiet; join a; join b; drain; +2s; restart; loud; view; +74s; join a2 resume=a; +1s; view",
        expect![[r#"
            2s      view 0:[a(reconnecting x0) b(reconnecting x0)]
            76s     record connection_opened a2 resumed a
            76s     record presence_changed a active
            76s     all <- presence 1: ~a(active x1)
            76s     a2 <- joined as guest 1:[a(active x1) b(reconnecting x0)]
            77s     record participant_left b server_drain by server
            77s     all <- presence 2: -b(server_drain)
            77s     view 2:[a(active x1)]
        "#]],
    );
}

#[test]
fn grace_counts_from_the_restart() {
    check(
        "quiet; join a; drain; late 10m; restart; loud; +74.999s; +1ms",
        expect![[r#"
            675s    record participant_left a server_drain by server
            675s    all <- presence 1: -a(server_drain)
        "#]],
    );
}

#[test]
fn session_that_was_over_while_the_node_was_down_ends_at_its_deadline() {
    check(
        "quiet; create idle=60s; join a; drain; late 10m; restart; loud; tick; status",
        expect![[r#"
            600s    record @60s session_ended idle by server
            600s    all <- ended idle
            600s    record @60s participant_left a session_ended by server
            600s    ended idle at 60s finished=true next=none
        "#]],
    );
}

#[test]
fn testimony_is_believed_up_to_the_mark() {
    let before = "quiet; join a; +20s; late 10s; restart crash=a seen=8s mark=20s; loud";
    check(
        &format!("{before}; join a2 resume=a closed_ago=15s"),
        expect![[r#"
            30s     record @15s connection_close_amended a
            30s     record connection_opened a2 resumed a
            30s     record presence_changed a active
            30s     all <- presence 1: ~a(active x1)
            30s     a2 <- joined as guest 1:[a(active x1)]
        "#]],
    );
    check(
        &format!("{before}; join a2 resume=a closed_ago=3s"),
        expect![[r#"
            30s     record @20s connection_close_amended a unsure 1s
            30s     record connection_opened a2 resumed a
            30s     record presence_changed a active
            30s     all <- presence 1: ~a(active x1)
            30s     a2 <- joined as guest 1:[a(active x1)]
        "#]],
    );
    // The words took up to four seconds: none of them is billed, and what they may hide is said.
    check(
        &format!("{before}; join a2 resume=a closed_ago=12s transit=4s"),
        expect![[r#"
        30s     record @14s connection_close_amended a unsure 4s
        30s     record connection_opened a2 resumed a
        30s     record presence_changed a active
        30s     all <- presence 1: ~a(active x1)
        30s     a2 <- joined as guest 1:[a(active x1)]
    "#]],
    );
    check(
        &format!("{before}; join a2 resume=a closed_ago=9s transit=4s"),
        expect![[r#"
        30s     record @17s connection_close_amended a unsure 4s
        30s     record connection_opened a2 resumed a
        30s     record presence_changed a active
        30s     all <- presence 1: ~a(active x1)
        30s     a2 <- joined as guest 1:[a(active x1)]
    "#]],
    );
    check(
        &format!("{before}; join a2 resume=a closed_ago=25s"),
        expect![[r#"
            30s     record connection_opened a2 resumed a
            30s     record presence_changed a active
            30s     all <- presence 1: ~a(active x1)
            30s     a2 <- joined as guest 1:[a(active x1)]
        "#]],
    );
    check(
        &format!("{before}; join a2 resume=a"),
        expect![[r#"
            30s     record connection_opened a2 resumed a
            30s     record presence_changed a active
            30s     all <- presence 1: ~a(active x1)
            30s     a2 <- joined as guest 1:[a(active x1)]
        "#]],
    );
}

#[test]
fn doubtful_evidence_is_not_stretched() {
    check(
        "quiet; join a; +60s; restart crash=a seen=8s mark=44s; loud; join a2 resume=a closed_ago=0s",
        expect![[r#"
            60s     record connection_opened a2 resumed a
            60s     record presence_changed a active
            60s     all <- presence 1: ~a(active x1)
            60s     a2 <- joined as guest 1:[a(active x1)]
        "#]],
    );
}

#[test]
fn another_tab_neither_testifies_nor_silences_the_witness() {
    check(
        "quiet; join a; +20s; restart crash=a seen=8s mark=20s; join a3; loud; join a4 resume=a3 closed_ago=1s; join a2 resume=a closed_ago=4s; join a5 resume=a closed_ago=0s",
        expect![[r#"
            20s     close a3 Replaced
            20s     record connection_opened a4 resumed a3
            20s     all <- presence 2: ~a(active x1)
            20s     a4 <- joined as guest 2:[a(active x1)]
            20s     record @16s connection_close_amended a
            20s     record connection_opened a2 resumed a
            20s     all <- presence 3: ~a(active x2)
            20s     a2 <- joined as guest 3:[a(active x2)]
            20s     record connection_opened a5 resumed a
            20s     all <- presence 4: ~a(active x3)
            20s     a5 <- joined as guest 4:[a(active x3)]
        "#]],
    );
}
