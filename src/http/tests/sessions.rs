//! The life of a session by the API, in memory and without.

use serde_json::json;

use super::{World, session_id};

#[tokio::test]
async fn a_session_from_creation_to_recovery() {
    let world = World::new().await;
    let created =
        world.post("/v1/sessions", json!({ "external_id": "a-1", "title": "Maths", "metadata": { "b": [1] } })).await;
    let session = created.ok(201);
    assert_eq!((&session["status"], &session["idle_timeout_s"]), (&json!("active"), &json!(3600)));
    assert_eq!((&session["warn_before_s"], &session["metadata"]), (&json!([300, 60]), &json!({ "b": [1] })));
    let id = session["id"].as_str().expect("id");
    assert!(world.hub.is_live(session_id(id)), "timers run from the first moment");
    let path = format!("/v1/sessions/{id}");
    assert_eq!(world.get(&path).await.ok(200)["external_id"], "a-1");

    world.post("/v1/sessions", json!({ "external_id": "a-1" })).await.refused(409, "conflict");

    let changed =
        world.patch(&path, json!({ "title": null, "idle_timeout_s": 60, "max_participants": 2 })).await.ok(200);
    assert_eq!((&changed["title"], &changed["idle_timeout_s"]), (&json!(null), &json!(60)));
    assert_eq!(changed["version"], 2);
    let limit = world.hub.read(session_id(id), |session| session.spec().participants_max);
    assert_eq!(limit, Some(Some(2)), "the hub knows");

    let before = world.get(&path).await.ok(200)["ends_at"].as_str().expect("instant").to_owned();
    let extended = world.post(&format!("{path}/extend"), json!({ "by_s": 600 })).await.ok(200);
    let shift = instant(extended["ends_at"].as_str().expect("instant")) - instant(&before);
    assert_eq!(shift.num_seconds(), 600);
    let read = world.get(&path).await.ok(200);
    assert_eq!(read["ends_at"], extended["ends_at"], "the hub says the same");

    let ended = world.post(&format!("{path}/end"), json!({ "reason": "over" })).await.ok(200);
    assert_eq!((&ended["status"], &ended["end_reason"]), (&json!("ended"), &json!("completed")));
    assert_eq!(ended["ends_at"], json!(null));
    assert!(!world.hub.is_live(session_id(id)));
    world.post(&format!("{path}/end"), json!({})).await.refused(409, "session_ended");
    world.post(&format!("{path}/extend"), json!({ "by_s": 1 })).await.refused(409, "session_ended");
    world.patch(&path, json!({ "title": "late" })).await.refused(409, "session_ended");
    world.post(&format!("{path}/invites"), json!({})).await.refused(409, "session_ended");

    let recovered = world.post(&format!("{path}/recover"), json!({})).await.ok(200);
    assert_eq!((&recovered["id"], &recovered["status"]), (&json!(id), &json!("active")));
    assert!(world.hub.is_live(session_id(id)));
    world.post(&format!("{path}/recover"), json!({})).await.refused(409, "session_not_ended");
    assert_eq!(
        world.trail(id).await,
        ["session_created", "session_updated", "session_extended", "session_ended", "session_recovered"]
    );
}

#[tokio::test]
async fn extensions_at_the_same_time_add_up() {
    let world = World::new().await;
    let id = world.session(json!({ "max_duration_s": 600 })).await;
    let path = format!("/v1/sessions/{id}");
    let before = world.get(&path).await.ok(200);
    let extend = || world.post_owned(format!("{path}/extend"), json!({ "by_s": 100 }));
    let (a, b, c) = tokio::join!(extend(), extend(), extend());
    for answer in [a, b, c] {
        answer.ok(200);
    }
    let after = world.get(&path).await.ok(200);
    let moved = |field: &str| {
        instant(after[field].as_str().expect("instant")) - instant(before[field].as_str().expect("instant"))
    };
    assert_eq!(moved("ends_at").num_seconds(), 300);
    assert_eq!(moved("expires_at").num_seconds(), 300);
}

#[tokio::test]
async fn an_end_closes_everybody_and_recovery_keeps_the_ids() {
    let world = World::new().await;
    let _flusher = world.start_flusher().await;
    let id = world.session(json!({})).await;
    let ada = world.join(&id, "ada").await;
    let presence = world.get(&format!("/v1/sessions/{id}/presence")).await.ok(200);
    assert_eq!(presence["participants"][0]["participant_id"], json!(ada));
    assert_eq!(presence["participants"][0]["status"], "active");
    assert_eq!(world.get(&format!("/v1/sessions/{id}")).await.ok(200)["participants_present"], 1);
    world.post(&format!("/v1/sessions/{id}/end"), json!({})).await.ok(200);
    assert_eq!(world.hub.read(session_id(&id), |session| session.participants_present()).unwrap_or(0), 0);
    let presence = world.get(&format!("/v1/sessions/{id}/presence")).await.ok(200);
    assert_eq!(presence["participants"], json!([]));
    world.post(&format!("/v1/sessions/{id}/recover"), json!({})).await.ok(200);
    assert_eq!(world.join(&id, "ada").await, ada);
}

#[tokio::test]
async fn recovery_has_a_window_and_respects_the_external_id() {
    let world = World::new().await;
    let id = world.session(json!({ "external_id": "room" })).await;
    world.post(&format!("/v1/sessions/{id}/end"), json!({})).await.ok(200);
    let newer = world.session(json!({ "external_id": "room" })).await;
    world.post(&format!("/v1/sessions/{id}/recover"), json!({})).await.refused(409, "conflict");
    world.post(&format!("/v1/sessions/{newer}/end"), json!({})).await.ok(200);
    let age = "update rollcall.sessions set ended_at = ended_at - interval '25 hours' where session_id = $1";
    let mut change = world.store.begin().await.expect("a transaction");
    sqlx::query(age).bind(session_id(&id).0).execute(&mut *change).await.expect("aged");
    crate::store::audit::commit(change).await.expect("committed");
    world.post(&format!("/v1/sessions/{id}/recover"), json!({})).await.refused(410, "recovery_window_over");
}

#[tokio::test]
async fn a_hard_end_that_has_passed_starts_anew_after_recovery() {
    let world = World::new().await;
    let id = world.session(json!({ "max_duration_s": 100 })).await;
    world.post(&format!("/v1/sessions/{id}/end"), json!({})).await.ok(200);
    let sql = "update rollcall.sessions set expires_at = created_at - interval '1 second' where session_id = $1";
    let mut change = world.store.begin().await.expect("a transaction");
    sqlx::query(sql).bind(session_id(&id).0).execute(&mut *change).await.expect("moved");
    crate::store::audit::commit(change).await.expect("committed");
    let recovered = world.post(&format!("/v1/sessions/{id}/recover"), json!({})).await.ok(200);
    assert!(recovered["expires_at"].as_str() > recovered["created_at"].as_str());
    assert!(world.hub.is_live(session_id(&id)), "it does not end again at once");
}

#[tokio::test]
async fn a_session_whose_time_is_over_takes_no_changes_although_postgres_does_not_know() {
    let world = World::new().await;
    let id = world.session(json!({ "max_duration_s": 1, "idle_timeout_s": 1 })).await;
    world
        .hub
        .apply(
            session_id(&id),
            rollcall_core::Command::End {
                reason: rollcall_core::SessionEndReason::Idle,
                by: rollcall_core::Actor::Server,
                at: rollcall_core::Timestamp::NEVER,
                recorded: false,
            },
        )
        .map(drop)
        .expect("ended");
    // The deadline by the row, which is what counts once the hub has forgotten the session.
    let over = crate::control::date_time(world.control.clock().now());
    let sql =
        "update rollcall.sessions set expires_at = $2, last_activity_at = $2, hold_until = $2 where session_id = $1";
    let mut change = world.store.begin().await.expect("a transaction");
    sqlx::query(sql).bind(session_id(&id).0).bind(over).execute(&mut *change).await.expect("moved");
    crate::store::audit::commit(change).await.expect("committed");
    let path = format!("/v1/sessions/{id}");
    world.post(&format!("{path}/extend"), json!({ "by_s": 60 })).await.refused(409, "session_ended");
    world.patch(&path, json!({ "title": "late" })).await.refused(409, "session_ended");
    world.post(&format!("{path}/invites"), json!({})).await.refused(409, "session_ended");
}

#[tokio::test]
async fn kicks_reach_who_is_present_and_bar_who_was() {
    let world = World::new().await;
    let id = world.session(json!({})).await;
    let ada = world.join(&id, "ada").await;
    let path = format!("/v1/sessions/{id}/participants/{ada}");
    world.delete(&path).await.ok(204);
    assert_eq!(world.get(&format!("/v1/sessions/{id}/presence")).await.ok(200)["participants"], json!([]));
    let stranger = format!("/v1/sessions/{id}/participants/{id}");
    world.delete(&stranger).await.refused(404, "participant_not_found");

    // Somebody who was there before, as the ledger would have written it.
    let bob = uuid::Uuid::from_u128(77);
    let sql =
        "insert into rollcall.participants (session_id, participant_id, tenant_id, identity, identity_verified, role,
                   status, first_joined_at, joined_at, last_seen_at, left_at)
               values ($1, $2, $3, 'bob', true, 'guest', 'left', now(), now(), now(), now())";
    let mut change = world.store.begin().await.expect("a transaction");
    let insert = sqlx::query(sql).bind(session_id(&id).0).bind(bob).bind(world.tenant.0);
    insert.execute(&mut *change).await.expect("inserted");
    crate::store::audit::commit(change).await.expect("committed");
    let path = format!("/v1/sessions/{id}/participants/{bob}");
    world.delete(&path).await.ok(204);
    world.delete(&path).await.ok(204);
    let people = world.get(&format!("/v1/sessions/{id}/participants")).await.ok(200);
    assert!(people["data"][0]["kicked_at"].is_string(), "{people}");
    assert_eq!(world.trail(&id).await, ["session_created", "participant_barred"], "barred once");
}

#[tokio::test]
async fn invites_are_shown_once_checked_and_revoked() {
    let world = World::new().await;
    let id = world.session(json!({ "title": "Maths" })).await;
    let path = format!("/v1/sessions/{id}/invites");
    let invite = world.post(&path, json!({ "role": "host", "max_uses": 1, "name": "Ada" })).await.ok(201);
    let token = invite["token"].as_str().expect("token");
    assert_eq!(invite["url"], format!("https://app.example.com/join#{token}"));
    let listed = world.get(&path).await;
    assert_eq!(listed.ok(200)["data"][0]["id"], invite["id"]);
    assert!(!listed.text.contains(token));

    let check = |token: String| {
        let world = &world;
        async move {
            world.send(reqwest::Method::POST, "/v1/invites/check", None, Some(json!({ "token": token }))).await.ok(200)
        }
    };
    let good = check(token.to_owned()).await;
    assert_eq!(
        (&good["valid"], &good["code"], &good["session"]["title"]),
        (&json!(true), &json!(null), &json!("Maths"))
    );
    assert!(good["expires_in_ms"].as_i64().is_some_and(|left| left > 86_000_000));
    let mut mistyped = token.to_owned();
    mistyped.pop();
    let unknown = crate::control::InviteToken::from_random([3; 32]).expose().to_owned();
    assert_eq!(check(mistyped).await, check(unknown).await, "no difference between none and nobody's");

    let invite_path = format!("/v1/invites/{}", invite["id"].as_str().expect("id"));
    world.delete(&invite_path).await.ok(204);
    world.delete(&invite_path).await.ok(204);
    let revoked = check(token.to_owned()).await;
    assert_eq!((&revoked["valid"], &revoked["code"]), (&json!(false), &json!("invite_revoked")));
    assert_eq!(revoked["session"], json!(null));
    assert_eq!(world.trail(&id).await, ["session_created", "invite_created", "invite_revoked"]);

    let second =
        world.post(&path, json!({ "not_before": "2100-01-01T00:00:00Z", "expires_at": "2100-01-02T00:00:00Z" })).await;
    assert_eq!(second.pointers(), ["/expires_at"], "too far away");
    let open = world.post(&path, json!({})).await.ok(201);
    world.post(&format!("/v1/sessions/{id}/end"), json!({})).await.ok(200);
    let over = check(open["token"].as_str().expect("token").to_owned()).await;
    assert_eq!((&over["code"], &over["session"]["status"]), (&json!("session_ended"), &json!("ended")));
}

fn instant(text: &str) -> chrono::DateTime<chrono::Utc> {
    text.parse().expect("an instant")
}

impl World {
    async fn post_owned(&self, path: String, body: serde_json::Value) -> super::Answer {
        self.post(&path, body).await
    }
}
