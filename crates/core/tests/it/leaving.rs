//! Who goes, when the others hear of it, and where the span ends.

use expect_test::expect;

use crate::script::check;

#[test]
fn explicit_leave_is_immediate() {
    check(
        "quiet; join a; join b; loud; +7s; leave b; +60s",
        expect![[r#"
            7s      record connection_closed b [0s, 7s) left
            7s      record participant_left b left by b
            7s      all <- presence 3: -b(left)
        "#]],
    );
}

#[test]
fn leave_of_one_tab_keeps_the_person() {
    check(
        "quiet; join a; join a2; loud; +1s; leave a; +1s; leave a2",
        expect![[r#"
            1s      record connection_closed a [0s, 1s) left
            1s      all <- presence 3: ~a(active x1)
            2s      record connection_closed a2 [0s, 2s) left
            2s      record participant_left a left by a
            2s      all <- presence 4: -a(left)
        "#]],
    );
}

#[test]
fn hidden_page_has_a_longer_grace() {
    check(
        "quiet; join a; join b; loud; hide b; +1s; close b; +74.999s; +1ms",
        expect![[r#"
            0s      record presence_changed b away
            0s      all <- presence 3: ~b(away x1)
            1s      record connection_closed b [0s, 1s) closed
            1s      record presence_changed b reconnecting
            1s      all <- presence 4: ~b(reconnecting x0)
            76s     record participant_left b closed by server
            76s     all <- presence 5: -b(closed)
        "#]],
    );
}

#[test]
fn the_last_socket_decides_the_grace() {
    check(
        "quiet; join a; join a2; hide a; loud; close a; close a2; +75s",
        expect![[r#"
            0s      record connection_closed a [0s, 0s) closed
            0s      all <- presence 3: ~a(active x1)
            0s      record connection_closed a2 [0s, 0s) closed
            0s      record presence_changed a reconnecting
            0s      all <- presence 4: ~a(reconnecting x0)
            15s     record participant_left a closed by server
            15s     all <- presence 5: -a(closed)
        "#]],
    );
}

#[test]
fn away_after_inactivity_and_back() {
    check(
        "quiet; join a; loud; +299s; ping a active; +5m; ping a; +10s; ping a active; +5m",
        expect![[r#"
            599s    record presence_changed a away
            599s    all <- presence 2: ~a(away x1)
            609s    record presence_changed a active
            609s    all <- presence 3: ~a(active x1)
            909s    record presence_changed a away
            909s    all <- presence 4: ~a(away x1)
        "#]],
    );
}

#[test]
fn hidden_and_visible_again() {
    check(
        "quiet; join a; loud; +1s; hide a; +1s; ping a; ping a active; +1s; hide a; update a {x}",
        expect![[r#"
            1s      record presence_changed a away
            1s      all <- presence 2: ~a(away x1)
            2s      record presence_changed a active
            2s      all <- presence 3: ~a(active x1)
            3s      record presence_changed a away
            3s      all <- presence 4: ~a(away x1)
            3s      record state_updated a {x}
            3s      record presence_changed a active
            3s      all <- presence 5: ~a(active x1 {x})
        "#]],
    );
}

#[test]
fn one_visible_tab_keeps_a_person_active() {
    check(
        "quiet; join a; join a2; loud; hide a; view; +1s; hide a2; +1s; ping a active",
        expect![[r#"
            0s      view 2:[a(active x2)]
            1s      record presence_changed a away
            1s      all <- presence 3: ~a(away x2)
            2s      record presence_changed a active
            2s      all <- presence 4: ~a(active x2)
        "#]],
    );
}

#[test]
fn activity_of_a_page_now_hidden_does_not_delay_away() {
    check(
        "quiet; join a; join a2; +100s; ping a2 active; hide a2; loud; +200s",
        expect![[r#"
            300s    record presence_changed a away
            300s    all <- presence 3: ~a(away x2)
        "#]],
    );
}

#[test]
fn activity_of_a_socket_now_gone_does_not_delay_away() {
    check(
        "quiet; join a; join a2; +200s; ping a active; +50s; ping a2 active; +100s; loud; close a2; +150s",
        expect![[r#"
            350s    record connection_closed a2 [0s, 350s) closed
            350s    all <- presence 3: ~a(active x1)
            500s    record presence_changed a away
            500s    all <- presence 4: ~a(away x1)
        "#]],
    );
}

#[test]
fn late_tick_dates_away_to_its_deadline() {
    check(
        "quiet; join a; loud; late 400s; tick",
        expect![[r#"
            400s    record @300s presence_changed a away
            400s    all <- presence 2: ~a(away x1)
        "#]],
    );
}

#[test]
fn silent_connection_ends_at_its_last_evidence() {
    check(
        "quiet; join a; join b; +30s; ping b; loud; +45s; lost b; +15s",
        expect![[r#"
            75s     record @30s connection_closed b [0s, 30s) liveness_timeout unsure 45s
            75s     record presence_changed b reconnecting
            75s     all <- presence 3: ~b(reconnecting x0)
            90s     record participant_left b liveness_timeout by server
            90s     all <- presence 4: -b(liveness_timeout)
        "#]],
    );
}

#[test]
fn never_heard_again_is_never_billed() {
    check(
        "join a; +45s; lost a",
        expect![[r#"
            0s      record session_started
            0s      record participant_joined a guest
            0s      record connection_opened a
            0s      all <- presence 1: +a(active x1)
            0s      a <- joined as guest 1:[a(active x1)]
            45s     record @0s connection_closed a [0s, 0s) liveness_timeout unsure 45s
            45s     record presence_changed a reconnecting
            45s     all <- presence 2: ~a(reconnecting x0)
        "#]],
    );
}

#[test]
fn slow_consumer_gets_grace() {
    check(
        "quiet; join a; +3s; ping a; +2s; loud; slow a; +15s",
        expect![[r#"
            5s      record @3s connection_closed a [0s, 3s) slow_consumer unsure 2s
            5s      record presence_changed a reconnecting
            5s      all <- presence 2: ~a(reconnecting x0)
            20s     record participant_left a slow_consumer by server
            20s     all <- presence 3: -a(slow_consumer)
        "#]],
    );
}

#[test]
fn kicked_at_once_and_for_good() {
    check(
        "quiet; join a role=host; join b; join b2; loud; +2s; kick b by=a; +1s; close b; +9s; lost b2; join b3; kick b",
        expect![[r#"
            2s      close b Kicked
            2s      close b2 Kicked
            2s      record participant_left b kicked by a
            2s      all <- presence 4: -b(kicked)
            3s      record @2s connection_closed b [0s, 2s) kicked
            12s     record @0s connection_closed b2 [0s, 0s) kicked unsure 2s
            12s     refused: the participant was removed from the session
            12s     refused: no such participant is present
        "#]],
    );
}

#[test]
fn kick_reaches_the_reconnecting() {
    check(
        "quiet; join a; join b; close b; loud; +2s; kick b; join b2; +60s",
        expect![[r#"
            2s      record participant_left b kicked by operator
            2s      all <- presence 4: -b(kicked)
            2s      refused: the participant was removed from the session
        "#]],
    );
}

#[test]
fn revoked_invite_closes_only_its_own_connections() {
    check(
        "quiet; join a invite=x; join b invite=y; join c invite=x; join c2 invite=y; loud; +2s; revoke x; close a; close c",
        expect![[r#"
            2s      close a InviteRevoked
            2s      record participant_left a invite_revoked by server
            2s      close c InviteRevoked
            2s      all <- presence 5: ~c(active x1) -a(invite_revoked)
            2s      record connection_closed a [0s, 2s) invite_revoked
            2s      record connection_closed c [0s, 2s) invite_revoked
        "#]],
    );
}

#[test]
fn token_expiry_is_immediate_and_on_time() {
    check(
        "quiet; join a; join b token=30s; ping b; loud; +30s; +1s; close b",
        expect![[r#"
            30s     close b TokenExpired
            30s     record participant_left b token_expired by server
            30s     all <- presence 3: -b(token_expired)
            31s     record @30s connection_closed b [0s, 30s) token_expired
        "#]],
    );
}

#[test]
fn token_expiry_of_one_tab_keeps_the_person() {
    check(
        "quiet; join a token=30s; join a2 token=90s; loud; +30s; close a; +60s; lost a2",
        expect![[r#"
            30s     close a TokenExpired
            30s     all <- presence 3: ~a(active x1)
            30s     record connection_closed a [0s, 30s) token_expired
            90s     close a2 TokenExpired
            90s     record participant_left a token_expired by server
            90s     all <- presence 4: -a(token_expired)
            90s     record @0s connection_closed a2 [0s, 0s) token_expired unsure 90s
        "#]],
    );
}

#[test]
fn late_tick_bills_no_time_after_the_token() {
    check(
        "quiet; create idle=60s warn=20s; join a token=50s; loud; late 70s; tick; close a; status",
        expect![[r#"
            70s     close a TokenExpired
            70s     record @50s participant_left a token_expired by server
            70s     record @60s session_ended idle by server
            70s     all <- ended idle
            70s     record @50s connection_closed a [0s, 50s) token_expired
            70s     ended idle at 60s finished=true next=none
        "#]],
    );
}

#[test]
fn closes_of_unknown_connections_are_refused() {
    check(
        "close a; quiet; join a; close a; loud; close a; ping a active; snapshot a; hide a",
        expect![[r#"
            0s      refused: no such participant is present
            0s      refused: no such connection is open
            0s      refused: no such connection is open
            0s      refused: no such connection is open
        "#]],
    );
}

#[test]
fn same_instant_join_and_close_is_an_empty_span() {
    check(
        "join a; leave a; join a2; close a2",
        expect![[r#"
            0s      record session_started
            0s      record participant_joined a guest
            0s      record connection_opened a
            0s      all <- presence 1: +a(active x1)
            0s      a <- joined as guest 1:[a(active x1)]
            0s      record connection_closed a [0s, 0s) left
            0s      record participant_left a left by a
            0s      all <- presence 2: -a(left)
            0s      record participant_joined a guest
            0s      record connection_opened a2
            0s      all <- presence 3: +a(active x1)
            0s      a2 <- joined as guest 3:[a(active x1)]
            0s      record connection_closed a2 [0s, 0s) closed
            0s      record presence_changed a reconnecting
            0s      all <- presence 4: ~a(reconnecting x0)
        "#]],
    );
}

/// Found by a property test: between two closes of one instant the person was away for no time at all.
#[test]
fn tokens_that_expire_together_are_one_departure() {
    check(
        "quiet; join a token=30s; join a2 token=30s; loud; +10s; ping a active; +20s; close a; close a2",
        expect![[r#"
        30s     close a TokenExpired
        30s     close a2 TokenExpired
        30s     record participant_left a token_expired by server
        30s     all <- presence 3: -a(token_expired)
        30s     record connection_closed a [0s, 30s) token_expired
        30s     record connection_closed a2 [0s, 30s) token_expired
    "#]],
    );
}
