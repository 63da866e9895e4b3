//! Who comes in: joins, second tabs, reloads, refusals.

use expect_test::expect;

use crate::script::check;

#[test]
fn first_join_starts_the_session_and_others_hear_of_the_next() {
    check(
        "join a role=host; +1s; join b",
        expect![[r#"
            0s      record session_started
            0s      record participant_joined a host
            0s      record connection_opened a
            0s      all <- presence 1: +a(active x1)
            0s      a <- joined as host 1:[a(active x1)]
            1s      record participant_joined b guest
            1s      record connection_opened b
            1s      all <- presence 2: +b(active x1)
            1s      b <- joined as guest 2:[a(active x1) b(active x1)]
        "#]],
    );
}

#[test]
fn two_tabs_are_one_person() {
    check(
        "quiet; join a; join b; loud; join a2; +1s; close a; +20s; close a2; +15s",
        expect![[r#"
            0s      record connection_opened a2
            0s      all <- presence 3: ~a(active x2)
            0s      a2 <- joined as guest 3:[a(active x2) b(active x1)]
            1s      record connection_closed a [0s, 1s) closed
            1s      all <- presence 4: ~a(active x1)
            21s     record connection_closed a2 [0s, 21s) closed
            21s     record presence_changed a reconnecting
            21s     all <- presence 5: ~a(reconnecting x0)
            36s     record participant_left a closed by server
            36s     all <- presence 6: -a(closed)
        "#]],
    );
}

#[test]
fn reload_within_grace_shows_no_leave() {
    check(
        "quiet; join a; join b; loud; +5s; close b; +14.999s; join b2 resume=b; +60s",
        expect![[r#"
            5s      record connection_closed b [0s, 5s) closed
            5s      record presence_changed b reconnecting
            5s      all <- presence 3: ~b(reconnecting x0)
            19.999s record connection_opened b2 resumed b
            19.999s record presence_changed b active
            19.999s all <- presence 4: ~b(active x1)
            19.999s b2 <- joined as guest 4:[a(active x1) b(active x1)]
        "#]],
    );
}

#[test]
fn return_after_grace_is_a_new_join() {
    check(
        "quiet; join a; join b; loud; close b; +15s; join b2 resume=b",
        expect![[r#"
            0s      record connection_closed b [0s, 0s) closed
            0s      record presence_changed b reconnecting
            0s      all <- presence 3: ~b(reconnecting x0)
            15s     record participant_left b closed by server
            15s     all <- presence 4: -b(closed)
            15s     record participant_joined b guest
            15s     record connection_opened b2 resumed b
            15s     all <- presence 5: +b(active x1)
            15s     b2 <- joined as guest 5:[a(active x1) b(active x1)]
        "#]],
    );
}

#[test]
fn late_timer_does_not_prolong_the_grace() {
    check(
        "quiet; join a; join b; loud; close b; late 16s; join b2 resume=b",
        expect![[r#"
            0s      record connection_closed b [0s, 0s) closed
            0s      record presence_changed b reconnecting
            0s      all <- presence 3: ~b(reconnecting x0)
            16s     record @15s participant_left b closed by server
            16s     record participant_joined b guest
            16s     record connection_opened b2 resumed b
            16s     all <- presence 4: ~b(active x1)
            16s     b2 <- joined as guest 4:[a(active x1) b(active x1)]
        "#]],
    );
}

#[test]
fn resume_replaces_the_socket_that_is_still_open() {
    check(
        "quiet; join a; +4s; loud; join a2 resume=a; +1s; lost a",
        expect![[r#"
            4s      close a Replaced
            4s      record connection_opened a2 resumed a
            4s      all <- presence 2: ~a(active x1)
            4s      a2 <- joined as guest 2:[a(active x1)]
            5s      record @0s connection_closed a [0s, 0s) replaced unsure 4s
        "#]],
    );
}

#[test]
fn sixth_connection_replaces_the_oldest() {
    check(
        "quiet; join a; join a2; join a3; join a4; join a5; +1s; loud; join a6; close a",
        expect![[r#"
            1s      close a Replaced
            1s      record connection_opened a6
            1s      all <- presence 6: ~a(active x5)
            1s      a6 <- joined as guest 6:[a(active x5)]
            1s      record connection_closed a [0s, 1s) replaced
        "#]],
    );
}

#[test]
fn resume_at_the_limit_replaces_only_the_old_socket() {
    check(
        "quiet; join a; join a2; join a3; join a4; join a5; +1s; loud; join a6 resume=a3",
        expect![[r#"
            1s      close a3 Replaced
            1s      record connection_opened a6 resumed a3
            1s      all <- presence 6: ~a(active x5)
            1s      a6 <- joined as guest 6:[a(active x5)]
        "#]],
    );
}

#[test]
fn somebody_elses_connection_cannot_be_resumed() {
    check(
        "quiet; join a; loud; join b resume=a; view",
        expect![[r#"
            0s      record participant_joined b guest
            0s      record connection_opened b resumed a
            0s      all <- presence 2: +b(active x1)
            0s      b <- joined as guest 2:[a(active x1) b(active x1)]
            0s      view 2:[a(active x1) b(active x1)]
        "#]],
    );
}

#[test]
fn full_session_counts_the_reconnecting() {
    check(
        "quiet; create capacity=2; join a; join b; close b; loud; join c; join a2; join b2; quiet; leave b2; loud; join c",
        expect![[r#"
            0s      refused: the session is full
            0s      record connection_opened a2
            0s      all <- presence 4: ~a(active x2)
            0s      a2 <- joined as guest 4:[a(active x2) b(reconnecting x0)]
            0s      record connection_opened b2
            0s      record presence_changed b active
            0s      all <- presence 5: ~b(active x1)
            0s      b2 <- joined as guest 5:[a(active x2) b(active x1)]
            0s      record participant_joined c guest
            0s      record connection_opened c
            0s      all <- presence 7: +c(active x1)
            0s      c <- joined as guest 7:[a(active x2) c(active x1)]
        "#]],
    );
}

#[test]
fn rejoin_updates_state_and_role() {
    check(
        "quiet; join a state={1}; close a; +1s; loud; join a2 state={2} role=host; join a3 state={2}; join a4; view",
        expect![[r#"
            1s      record state_updated a {2}
            1s      record connection_opened a2
            1s      record presence_changed a active
            1s      all <- presence 3: ~a(active x1 {2})
            1s      a2 <- joined as host 3:[a(active x1 {2})]
            1s      record connection_opened a3
            1s      all <- presence 4: ~a(active x2 {2})
            1s      a3 <- joined as guest 4:[a(active x2 {2})]
            1s      record connection_opened a4
            1s      all <- presence 5: ~a(active x3 {2})
            1s      a4 <- joined as guest 5:[a(active x3 {2})]
            1s      view 5:[a(active x3 {2})]
        "#]],
    );
}

#[test]
fn expired_token_is_refused_and_ended_session_too() {
    check(
        "join a token=0s; end; join a",
        expect![[r#"
            0s      refused: the join token has expired
            0s      record session_ended completed by key:key
            0s      all <- ended completed
            0s      refused: the session has ended
        "#]],
    );
}

#[test]
fn joining_an_overdue_session_is_refused() {
    check(
        "create idle=60s; late 61s; join a; status",
        expect![[r#"
            61s     record @60s session_ended abandoned by server
            61s     all <- ended abandoned
            61s     refused: the session has ended
            61s     ended abandoned at 60s finished=true next=none
        "#]],
    );
}
