//! Ends of sessions: idle, hard, abandoned, by the app; warnings; freeze; recovery.

use expect_test::expect;

use crate::script::check;

#[test]
fn idle_end_is_exactly_at_the_deadline_however_late_the_tick() {
    check(
        "quiet; create idle=60s; join a; +30s; ping a; loud; late 45s; tick; +1s; close a; status",
        expect![[r#"
            75s     record @60s session_ended idle by server
            75s     all <- ended idle
            75s     close a SessionEnded
            75s     record @60s participant_left a session_ended by server
            76s     record @60s connection_closed a [0s, 60s) session_ended
            76s     ended idle at 60s finished=true next=none
        "#]],
    );
}

#[test]
fn answered_close_of_a_silent_peer_ends_at_evidence() {
    check(
        "quiet; create idle=60s; join a; +50s; ping a; loud; +10s; +10s; lost a; status",
        expect![[r#"
            60s     record session_ended idle by server
            60s     all <- ended idle
            60s     close a SessionEnded
            60s     record participant_left a session_ended by server
            70s     record @50s connection_closed a [0s, 50s) session_ended unsure 10s
            70s     ended idle at 60s finished=true next=none
        "#]],
    );
}

#[test]
fn activity_seen_only_by_the_clock_moves_the_idle_end() {
    check(
        "quiet; create idle=60s; join a; loud; +40s; ping a active; +59s; status; +1s",
        expect![[r#"
            99s     ends 100s idle next=100s
            100s    record session_ended idle by server
            100s    all <- ended idle
            100s    close a SessionEnded
            100s    record participant_left a session_ended by server
        "#]],
    );
}

#[test]
fn activity_is_not_forgotten_with_the_socket() {
    check(
        "quiet; create idle=60s; join a; +40s; ping a active; +1s; leave a; loud; status; +58s; +1s",
        expect![[r#"
            41s     ends 100s idle next=60s
            100s    record session_ended idle by server
            100s    all <- ended idle
        "#]],
    );
}

#[test]
fn pings_without_activity_do_not_keep_a_session() {
    check(
        "quiet; create idle=60s; join a; +30s; ping a; +29s; ping a; loud; +1s",
        expect![[r#"
            60s     record session_ended idle by server
            60s     all <- ended idle
            60s     close a SessionEnded
            60s     record participant_left a session_ended by server
        "#]],
    );
}

#[test]
fn warnings_at_their_leads_and_withdrawn_by_activity() {
    check(
        "quiet; create idle=60s warn=30s,10s,60s; join a; loud; +50s; ping a; +5s; ping a active; ping a active; +50s; +10s",
        expect![[r#"
            30s     record session_warned idle ends 60s
            30s     all <- warning idle ends 60s in 30s
            50s     record session_warned idle ends 60s
            50s     all <- warning idle ends 60s in 10s
            55s     all <- extended ends 115s
            85s     record session_warned idle ends 115s
            85s     all <- warning idle ends 115s in 30s
            105s    record session_warned idle ends 115s
            105s    all <- warning idle ends 115s in 10s
            115s    record session_ended idle by server
            115s    all <- ended idle
            115s    close a SessionEnded
            115s    record participant_left a session_ended by server
        "#]],
    );
}

#[test]
fn join_withdraws_a_warning_after_it_was_greeted() {
    check(
        "quiet; create idle=60s warn=30s; join a; loud; +30s; +1s; join b",
        expect![[r#"
            30s     record session_warned idle ends 60s
            30s     all <- warning idle ends 60s in 30s
            31s     record participant_joined b guest
            31s     record connection_opened b
            31s     all <- presence 2: +b(active x1)
            31s     b <- joined as guest 2:[a(active x1) b(active x1)]
            31s     all <- extended ends 91s
        "#]],
    );
}

#[test]
fn who_joins_after_the_warning_is_told_too() {
    check(
        "quiet; create idle=60s max=100s warn=30s; join a; +40s; ping a active; +35s; loud; join b",
        expect![[r#"
            75s     record participant_joined b guest
            75s     record connection_opened b
            75s     all <- presence 2: +b(active x1)
            75s     b <- joined as guest 2:[a(active x1) b(active x1)]
            75s     b <- warning max_duration ends 100s in 25s
        "#]],
    );
}

#[test]
fn late_tick_sends_only_the_nearest_warning() {
    check(
        "quiet; create idle=60s warn=30s,10s; join a; loud; late 55s; tick; +5s",
        expect![[r#"
            55s     record session_warned idle ends 60s
            55s     all <- warning idle ends 60s in 5s
            60s     record session_ended idle by server
            60s     all <- ended idle
            60s     close a SessionEnded
            60s     record participant_left a session_ended by server
        "#]],
    );
}

#[test]
fn max_duration_ends_an_active_session() {
    check(
        "quiet; create idle=60s max=100s warn=10s; join a; +40s; ping a active; +40s; ping a active; loud; +19s; ping a active; +1s; close a",
        expect![[r#"
            90s     record session_warned max_duration ends 100s
            90s     all <- warning max_duration ends 100s in 10s
            100s    record session_ended max_duration by server
            100s    all <- ended max_duration
            100s    close a SessionEnded
            100s    record participant_left a session_ended by server
            100s    record connection_closed a [0s, 100s) session_ended
        "#]],
    );
}

#[test]
fn nobody_ever_came() {
    check(
        "create idle=60s; +60s; status",
        expect![[r#"
            60s     record session_ended abandoned by server
            60s     all <- ended abandoned
            60s     ended abandoned at 60s finished=true next=none
        "#]],
    );
    check(
        "create idle=60s max=50s; +60s; status",
        expect![[r#"
            50s     record session_ended abandoned by server
            50s     all <- ended abandoned
            60s     ended abandoned at 50s finished=true next=none
        "#]],
    );
}

#[test]
fn extend_holds_the_session_open() {
    check(
        "quiet; create idle=60s warn=10s; join a; loud; +55s; extend 30s; +24s; +11s",
        expect![[r#"
            50s     record session_warned idle ends 60s
            50s     all <- warning idle ends 60s in 10s
            55s     all <- extended ends 90s
            80s     record session_warned idle ends 90s
            80s     all <- warning idle ends 90s in 10s
            90s     record session_ended idle by server
            90s     all <- ended idle
            90s     close a SessionEnded
            90s     record participant_left a session_ended by server
        "#]],
    );
}

#[test]
fn extend_moves_the_hard_end() {
    check(
        "quiet; create idle=60s max=70s; join a; +30s; ping a active; loud; status; extend 100s; +140s",
        expect![[r#"
            30s     ends 70s max_duration next=60s
            30s     all <- extended ends 170s
            170s    record session_ended max_duration by server
            170s    all <- ended max_duration
            170s    close a SessionEnded
            170s    record participant_left a session_ended by server
        "#]],
    );
}

#[test]
fn shorter_timeout_ends_now_and_not_in_the_past() {
    check(
        "quiet; join a; +10m; ping a; loud; configure idle=60s; close a; status",
        expect![[r#"
            600s    record session_ended idle by server
            600s    all <- ended idle
            600s    close a SessionEnded
            600s    record participant_left a session_ended by server
            600s    record connection_closed a [0s, 600s) session_ended
            600s    ended idle at 600s finished=true next=none
        "#]],
    );
}

#[test]
fn shorter_timeout_is_noticed_in_time() {
    check(
        "quiet; join a; +10s; loud; configure idle=60s; status; +50s",
        expect![[r#"
            10s     ends 60s idle next=60s
            60s     record session_ended idle by server
            60s     all <- ended idle
            60s     close a SessionEnded
            60s     record participant_left a session_ended by server
        "#]],
    );
}

#[test]
fn ended_by_the_app() {
    check(
        "quiet; join a; join b; close b; +5s; ping a; loud; end; end; close a; status; +60s",
        expect![[r#"
            5s      record session_ended completed by key:key
            5s      all <- ended completed
            5s      close a SessionEnded
            5s      record participant_left a session_ended by server
            5s      record participant_left b session_ended by server
            5s      refused: the session has ended
            5s      record connection_closed a [0s, 5s) session_ended
            5s      ended completed at 5s finished=true next=none
        "#]],
    );
}

#[test]
fn recorded_end_is_not_recorded_twice_and_may_lie_in_the_past() {
    check(
        "quiet; join a; +5s; freeze; +1s; ping a; loud; end recorded at=5s; close a; status",
        expect![[r#"
            6s      all <- ended completed
            6s      close a SessionEnded
            6s      record @5s participant_left a session_ended by server
            6s      record @5s connection_closed a [0s, 5s) session_ended
            6s      ended completed at 5s finished=true next=none
        "#]],
    );
}

#[test]
fn frozen_session_lets_nobody_in_and_fires_nothing() {
    check(
        "quiet; create idle=60s warn=20s; join a; join b; +10s; close b; loud; freeze; freeze; join c; join a2; late 60s; tick; status; thaw; status",
        expect![[r#"
            10s     refused: the session is just being ended
            10s     refused: the session is just being ended
            10s     refused: the session is just being ended
            70s     ends 60s idle next=none
            70s     record @25s participant_left b closed by server
            70s     record @60s session_ended idle by server
            70s     all <- ended idle
            70s     close a SessionEnded
            70s     record @60s participant_left a session_ended by server
            70s     ended idle at 60s finished=false next=none
        "#]],
    );
}

#[test]
fn nothing_said_while_frozen_ends_the_session() {
    check(
        "quiet; create idle=60s max=80s warn=30s; join a; +55s; ping a active; loud; freeze; late 30s; ping a active; update a {x}; configure idle=10s; end recorded; close a",
        expect![[r#"
            85s     record state_updated a {x}
            85s     all <- presence 2: ~a(active x1 {x})
            85s     all <- ended completed
            85s     close a SessionEnded
            85s     record participant_left a session_ended by server
            85s     record connection_closed a [0s, 85s) session_ended
        "#]],
    );
}

#[test]
fn thaw_takes_back_a_warning_that_activity_made_wrong() {
    check(
        "quiet; create idle=60s warn=30s; join a; loud; +40s; freeze; ping a active; late 1s; thaw; status; +59s",
        expect![[r#"
            30s     record session_warned idle ends 60s
            30s     all <- warning idle ends 60s in 30s
            41s     all <- extended ends 100s
            41s     ends 100s idle next=60s
            70s     record session_warned idle ends 100s
            70s     all <- warning idle ends 100s in 30s
            100s    record session_ended idle by server
            100s    all <- ended idle
            100s    close a SessionEnded
            100s    record participant_left a session_ended by server
        "#]],
    );
}

#[test]
fn recovered_session_is_the_same_and_active_again() {
    check(
        "quiet; create idle=60s; join a; join b; +5s; kick b; end; close a; loud; +100s; recover; recover; status; join a2; join b2; +60s",
        expect![[r#"
            105s    refused: the session has not ended
            105s    ends 165s idle next=165s
            105s    record participant_joined a guest
            105s    record connection_opened a2
            105s    all <- presence 4: +a(active x1)
            105s    a2 <- joined as guest 4:[a(active x1)]
            105s    refused: the participant was removed from the session
            165s    record session_ended idle by server
            165s    all <- ended idle
            165s    close a2 SessionEnded
            165s    record participant_left a session_ended by server
        "#]],
    );
}

#[test]
fn recovered_beyond_its_hard_end_ends_at_the_recovery() {
    check(
        "quiet; create max=50s started=yes; +50s; +50s; loud; recover max=50s; +0s; status",
        expect![[r#"
            100s    record session_ended max_duration by server
            100s    all <- ended max_duration
            100s    ended max_duration at 100s finished=true next=none
        "#]],
    );
}

#[test]
fn recovery_inside_a_diff_window_still_tells_the_others() {
    check(
        "window 100ms; quiet; join a; loud; end; close a; recover; join b; +10ms; join c; +90ms",
        expect![[r#"
            0s      record session_ended completed by key:key
            0s      all <- ended completed
            0s      close a SessionEnded
            0s      record participant_left a session_ended by server
            0s      record connection_closed a [0s, 0s) session_ended
            0s      record participant_joined b guest
            0s      record connection_opened b
            0s      b <- joined as guest 0:[b(active x1)]
            0.01s   record participant_joined c guest
            0.01s   record connection_opened c
            0.01s   c <- joined as guest 0:[b(active x1) c(active x1)]
            0.1s    all <- presence 1: +b(active x1) +c(active x1)
        "#]],
    );
}

#[test]
fn a_removal_written_while_its_participant_came_in_takes_effect() {
    check(
        "quiet; create; join a; join b; loud; configure kicked=b; join b2; status",
        expect![[r#"
            0s      close b Kicked
            0s      record participant_left b kicked by operator
            0s      all <- presence 3: -b(kicked)
            0s      refused: the participant was removed from the session
            0s      ends 3600s idle next=300s
        "#]],
    );
}

#[test]
fn a_change_does_not_take_a_hold_back() {
    check(
        "quiet; create idle=60s; join a; extend 2m; loud; status; configure idle=60s; status",
        expect![[r#"
            0s      ends 180s idle next=60s
            0s      ends 180s idle next=60s
        "#]],
    );
}
