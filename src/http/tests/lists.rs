//! Pages, cursors, filters, the books.

use serde_json::{Value, json};

use super::World;

async fn ids_of_all_pages(world: &World, path: &str, id: &str) -> Vec<String> {
    let separator = if path.contains('?') { '&' } else { '?' };
    let mut found = Vec::new();
    let mut cursor = None::<String>;
    loop {
        let cursor_part = cursor.map(|cursor| format!("&cursor={cursor}")).unwrap_or_default();
        let page = world.get(&format!("{path}{separator}limit=2{cursor_part}")).await.ok(200);
        let data = page["data"].as_array().expect("data");
        assert!(data.len() <= 2);
        found.extend(data.iter().map(|object| object[id].to_string()));
        match &page["next_cursor"] {
            Value::String(next) => cursor = Some(next.clone()),
            _ => return found,
        }
    }
}

#[tokio::test]
async fn pages_together_are_the_whole_list() {
    let world = World::new().await;
    let mut made = Vec::new();
    for number in 0..5 {
        made.push(json!(world.session(json!({ "title": format!("Lesson {number}") })).await).to_string());
    }
    made.reverse();
    assert_eq!(ids_of_all_pages(&world, "/v1/sessions", "id").await, made, "newest first, none twice, none missing");
    let session: String = serde_json::from_str(&made[0]).expect("text");
    let mut invites = Vec::new();
    for _ in 0..3 {
        invites.push(world.post(&format!("/v1/sessions/{session}/invites"), json!({})).await.ok(201)["id"].to_string());
    }
    let path = format!("/v1/sessions/{session}/invites");
    assert_eq!(ids_of_all_pages(&world, &path, "id").await, invites, "oldest first");

    let trail = ids_of_all_pages(&world, "/v1/audit", "seq").await;
    let mut backwards = ids_of_all_pages(&world, "/v1/audit?order=desc", "seq").await;
    backwards.reverse();
    assert_eq!(trail, backwards);
    let numbers: Vec<i64> = trail.iter().map(|seq| seq.parse().expect("a number")).collect();
    assert!(numbers.is_sorted() && numbers.len() >= 9, "tenant, key, five sessions, three invites: {numbers:?}");
}

#[tokio::test]
async fn a_cursor_of_another_list_is_refused() {
    let world = World::new().await;
    for _ in 0..2 {
        world.session(json!({})).await;
    }
    let page = world.get("/v1/sessions?limit=1").await.ok(200);
    let cursor = page["next_cursor"].as_str().expect("a cursor");
    assert_eq!(world.get(&format!("/v1/audit?cursor={cursor}")).await.pointers(), ["?cursor"]);
    let tampered = format!("{}A", &cursor[..cursor.len() - 1]);
    if tampered != cursor {
        assert_eq!(world.get(&format!("/v1/sessions?cursor={tampered}")).await.pointers(), ["?cursor"]);
    }
}

#[tokio::test]
async fn sessions_are_found_by_status_and_text() {
    let world = World::new().await;
    let ended = world.session(json!({ "title": "50% off", "external_id": "x_1" })).await;
    world.session(json!({ "title": "500 off" })).await;
    world.post(&format!("/v1/sessions/{ended}/end"), json!({})).await.ok(200);
    let found = |query: String| {
        let world = &world;
        async move {
            let page = world.get(&format!("/v1/sessions?{query}")).await.ok(200);
            page["data"].as_array().expect("data").iter().map(|session| session["id"].clone()).collect::<Vec<_>>()
        }
    };
    assert_eq!(found("status=ended".to_owned()).await, [json!(ended)]);
    assert_eq!(found("q=50%25".to_owned()).await, [json!(ended)], "a wildcard is a character");
    assert_eq!(found("q=X_1".to_owned()).await, [json!(ended)]);
    assert_eq!(found(format!("q={ended}")).await, [json!(ended)]);
    assert_eq!(found("q=OFF".to_owned()).await.len(), 2);
}

#[tokio::test]
async fn the_books_say_what_the_spans_say() {
    let world = World::new().await;
    let session = world.session(json!({})).await;
    let sql =
        "insert into rollcall.participation_spans (epoch, connection, session_id, tenant_id, participant_id, role,
                   connected_at, disconnected_at, last_evidence_at, end_reason, uncertainty_us)
               select 1, n, $1, $2, $3, 'guest', timestamptz '2026-01-10 10:00:00Z' + n * interval '10 s',
                   timestamptz '2026-01-10 10:01:00.000001Z' + n * interval '10 s', timestamptz '2026-01-10 10:01:00Z',
                   'left', 1500
               from generate_series(0, 1) n";
    let mut change = world.store.begin().await.expect("a transaction");
    let insert =
        sqlx::query(sql).bind(super::session_id(&session).0).bind(world.tenant.0).bind(uuid::Uuid::from_u128(5));
    insert.execute(&mut *change).await.expect("inserted");
    crate::store::audit::commit(change).await.expect("committed");

    let usage = world.get(&format!("/v1/sessions/{session}/usage")).await;
    let row = &usage.ok(200)["data"][0];
    assert_eq!((&row["connections"], &row["is_open"]), (&json!(2), &json!(false)));
    assert!(usage.text.contains(r#""billable_seconds":70.000001,"#), "exact: {}", usage.text);
    assert!(usage.text.contains(r#""connected_seconds":120.000002,"#), "{}", usage.text);
    assert_eq!(row["uncertainty_ms"], 3);
    let rounded = world.get(&format!("/v1/sessions/{session}/usage?rounding=minute_per_participant")).await.ok(200);
    assert_eq!(rounded["data"][0]["billed_units"], 2);

    let period = "from=2026-01-01T00:00:00Z&to=2026-02-01T00:00:00%2B00:00";
    for (group, field) in [("day", "day"), ("session", "session_id"), ("participant", "participant_id")] {
        let usage = world.get(&format!("/v1/usage?{period}&group={group}&tz=Europe/Berlin")).await;
        let row = &usage.ok(200)["data"][0];
        assert!(row[field].is_string(), "{row}");
        assert!(usage.text.contains(r#""billable_seconds":70.000001,"#), "{}", usage.text);
        assert!(usage.json()["complete_through"].is_string());
    }
    let analytics = world.get(&format!("/v1/analytics?{period}&bucket=month")).await.ok(200);
    assert_eq!(analytics["data"][0]["participants"], 1);
    assert_eq!(analytics["data"][0]["peak_concurrent"], 1);
    assert_eq!(analytics["data"][0]["completion_rate"], json!(null));
}
