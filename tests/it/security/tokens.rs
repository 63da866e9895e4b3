//! Tokens that are forged, bent, stolen, out of time or shown again.

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use crate::support::{Client, TestApp};

fn part(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

fn hs256(header: &Value, claims: &Value, secret: &[u8]) -> String {
    use hmac::{Hmac, KeyInit, Mac};
    let body = format!("{}.{}", part(header), part(claims));
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(secret).expect("any length");
    mac.update(body.as_bytes());
    format!("{body}.{}", URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()))
}

fn eddsa(header: &Value, claims: &Value, key: &Ed25519KeyPair) -> String {
    let body = format!("{}.{}", part(header), part(claims));
    let signature = key.sign(body.as_bytes());
    format!("{body}.{}", URL_SAFE_NO_PAD.encode(signature))
}

fn pem(key: &Ed25519KeyPair) -> String {
    let der = key.public_key().as_der().expect("a public key");
    format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", STANDARD.encode(&*der))
}

/// The code and close code of a refusal; `None` when it lets in.
async fn refusal(app: &TestApp, token: &str) -> Option<(String, u16)> {
    let refusal = Client::try_join(&app.url, json!({ "token": token })).await.err()?;
    Some((refusal.error.unwrap_or_default(), refusal.close))
}

fn invalid() -> Option<(String, u16)> {
    Some(("token_invalid".to_owned(), 4008))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_jwt_is_believed_by_its_key_and_never_by_its_header() {
    let folder = tempfile::tempdir().expect("a folder");
    let keys_file = folder.path().join("keys.toml");
    std::fs::write(&keys_file, "keys = []").expect("written");
    let path = keys_file.to_str().expect("UTF-8").to_owned();
    let mut app = TestApp::start_with(&[("AUTH__JWT_KEYS_FILE", &path)]).await;
    let other = app.other_tenant().await;
    let generate = || Ed25519KeyPair::generate().expect("a key");
    let (own, foreign) = (generate(), generate());
    let entry = |tenant: &str, kid: &str, key: &Ed25519KeyPair| {
        let public_key = pem(key);
        format!(
            "[[keys]]\ntenant = \"{tenant}\"\nkid = \"{kid}\"\nalgorithm = \"EdDSA\"\npublic_key = \"\"\"{public_key}\"\"\"\n"
        )
    };
    // Both tenants use the same kid: a cache by kid alone would take one's key for the other's.
    let keys = [
        entry(&app.api.tenant.to_string(), "k1", &own),
        entry(&other.tenant.to_string(), "k1", &foreign),
        entry(&other.tenant.to_string(), "k2", &foreign),
    ];
    std::fs::write(&keys_file, keys.concat()).expect("written");
    app.crash().await;
    app.run().await;
    let (session, _) = app.room().await;
    let secret = app.signing_secret(app.api.tenant).await;
    let secret = secret.as_bytes();
    let now = app.database.number("select extract(epoch from now())::bigint").await;
    let claims = json!({ "sub": "user-7", "aud": "rollcall", "exp": now + 600, "rollcall": { "session": session } });
    let header = |algorithm: &str, kid: &str| json!({ "alg": algorithm, "kid": kid, "typ": "JWT" });

    assert_eq!(refusal(&app, &eddsa(&header("EdDSA", "k1"), &claims, &own)).await, None);
    assert_eq!(refusal(&app, &hs256(&json!({ "alg": "HS256" }), &claims, secret)).await, None);
    let public = pem(&own);
    for (name, token) in [
        ("another tenant's key with the same kid", eddsa(&header("EdDSA", "k1"), &claims, &foreign)),
        ("another tenant's kid", eddsa(&header("EdDSA", "k2"), &claims, &foreign)),
        ("a kid that is a path", eddsa(&header("EdDSA", "../../../dev/null"), &claims, &own)),
        ("a kid that is SQL", eddsa(&header("EdDSA", "k1' or '1'='1"), &claims, &own)),
        ("no kid", eddsa(&json!({ "alg": "EdDSA" }), &claims, &own)),
        ("the public key as a shared secret", hs256(&header("HS256", "k1"), &claims, public.as_bytes())),
        (
            "the public key as a shared secret, without a kid",
            hs256(&json!({ "alg": "HS256" }), &claims, public.as_bytes()),
        ),
        ("the shared secret under a kid of another algorithm", hs256(&header("HS256", "k1"), &claims, secret)),
        ("an empty secret", hs256(&json!({ "alg": "HS256" }), &claims, b"")),
        ("another HMAC", hs256(&json!({ "alg": "HS512" }), &claims, secret)),
        ("a key that the token brings along", {
            let header =
                json!({ "alg": "EdDSA", "jwk": { "kty": "OKP", "crv": "Ed25519" }, "jku": "http://127.0.0.1:1/" });
            eddsa(&header, &claims, &foreign)
        }),
        ("none", format!("{}.{}.", part(&json!({ "alg": "none" })), part(&claims))),
        ("None", format!("{}.{}.", part(&json!({ "alg": "None" })), part(&claims))),
        ("none with a signature", hs256(&json!({ "alg": "none" }), &claims, secret)),
        ("no header", format!(".{}.", part(&claims))),
        ("a signature of nothing", format!("{}.{}.AAAA", part(&json!({ "alg": "HS256" })), part(&claims))),
    ] {
        assert_eq!(refusal(&app, &token).await, invalid(), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_claims_of_a_jwt_are_read_strictly() {
    let app = TestApp::start().await;
    let (session, _) = app.room().await;
    let other = app.other_tenant().await;
    let foreign_session = other.session(json!({})).await;
    let secret = app.signing_secret(app.api.tenant).await;
    let now = app.database.number("select extract(epoch from now())::bigint").await;
    let good = json!({ "sub": "user-7", "aud": "rollcall", "exp": now + 600, "rollcall": { "session": session } });
    let with = |name: &str, value: Value| {
        let mut claims = good.clone();
        claims[name] = value;
        hs256(&json!({ "alg": "HS256" }), &claims, secret.as_bytes())
    };
    let without = |name: &str| {
        let mut claims = good.clone();
        claims.as_object_mut().expect("an object").remove(name);
        hs256(&json!({ "alg": "HS256" }), &claims, secret.as_bytes())
    };
    for (name, token) in [
        ("as it should be", with("iat", now.into())),
        ("several audiences", with("aud", json!(["other", "rollcall"]))),
        ("a clock that is a little ahead", with("nbf", (now + 20).into())),
    ] {
        assert_eq!(refusal(&app, &token).await, None, "{name}");
    }
    for (name, token) in [
        ("not yet", with("nbf", (now + 120).into())),
        ("not yet, for ever", with("nbf", i64::MAX.into())),
        ("no expiry", without("exp")),
        ("an expiry that is text", with("exp", "tomorrow".into())),
        ("an expiry beyond all time", with("exp", i64::MAX.into())),
        ("no audience", without("aud")),
        ("another audience", with("aud", "rollcall-admin".into())),
        ("no subject", without("sub")),
        ("a blank subject", with("sub", " ".into())),
        ("a subject with NUL", with("sub", "a\0b".into())),
        ("a subject that looks like another", with("sub", "user-7\u{200b}".into())),
        ("a subject without end", with("sub", "x".repeat(200).into())),
        ("no session", without("rollcall")),
        ("a role that is none", with("rollcall", json!({ "session": session, "role": "HOST; drop" }))),
        ("a session of another tenant", with("rollcall", json!({ "session": foreign_session }))),
    ] {
        assert_eq!(refusal(&app, &token).await, invalid(), "{name}");
    }
    let nowhere = with("rollcall", json!({ "session": uuid::Uuid::from_u128(7) }));
    assert_eq!(refusal(&app, &nowhere).await, Some(("session_not_found".to_owned(), 4006)));
    let expired = refusal(&app, &with("exp", (now - 31).into())).await;
    assert_eq!(expired, Some(("token_expired".to_owned(), 4100)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resume_token_is_bound_to_what_it_was_given_for() {
    let app = TestApp::start().await;
    let (_, token) = app.room().await;
    let (_, other_token) = app.room().await;
    let ann = app.join(&token, "Ann").await;
    let bob = app.join(&other_token, "Bob").await;
    let split =
        |token: &str| token.split_once('.').map(|(body, mac)| (body.to_owned(), mac.to_owned())).expect("two parts");
    let (body, mac) = split(ann.resume());
    let (other_body, other_mac) = split(bob.resume());
    let claims = URL_SAFE_NO_PAD.decode(body.trim_start_matches("rcr_")).expect("base64");
    let claims: Value = serde_json::from_slice(&claims).expect("JSON");
    let bent = |field: &str, value: Value| {
        let mut claims = claims.clone();
        claims[field] = value;
        format!("rcr_{}.{mac}", part(&claims))
    };
    let mut tries = vec![
        ("another session's claims".to_owned(), format!("{other_body}.{mac}")),
        ("another signature".to_owned(), format!("{body}.{other_mac}")),
        ("no signature".to_owned(), format!("{body}.")),
        ("half a signature".to_owned(), format!("{body}.{}", &mac[..20])),
        ("a signature of another alphabet".to_owned(), format!("{body}.{}=", mac)),
    ];
    for (field, value) in [
        ("r", json!("host")),
        ("v", json!(true)),
        ("i", json!("bob")),
        ("x", json!(i64::MAX)),
        ("u", json!(null)),
        ("t", json!(uuid::Uuid::from_u128(1))),
        ("p", json!(bob.participant())),
        ("s", json!(bob.joined["session"]["id"])),
    ] {
        tries.push((format!("another {field}"), bent(field, value)));
    }
    for (name, token) in tries {
        assert_eq!(refusal(&app, &token).await, invalid(), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resume_token_shown_again_is_the_same_person_until_that_person_is_out() {
    let app = TestApp::start().await;
    let session = app.session(json!({})).await;
    let guests = app.invite(&session, json!({ "max_uses": 1 })).await;
    let hosts = app.invite(&session, json!({ "role": "host" })).await;
    let mut host = app.join(&hosts.token, "Host").await;
    let mut ann = app.join(&guests.token, "Ann").await;
    let stolen = ann.resume().to_owned();
    // It is no second person, no second use of the invite, and no time that counts twice; and whoever had it notices.
    let mut again =
        Client::join_with(&app.url, json!({ "token": stolen, "identity": "mallory", "name": "Mallory" })).await;
    assert_eq!((again.participant(), &again.joined["self"]["role"]), (ann.participant(), &json!("guest")));
    assert_eq!(again.joined["self"]["identity"], ann.joined["self"]["identity"]);
    assert_eq!(ann.closed().await, 4010);
    app.eventually_counts("select count(*) from rollcall.participants", 2).await;
    assert_eq!(app.database.number("select max(uses) from rollcall.invites where max_uses is not null").await, 1);
    host.send(json!({ "type": "kick", "participant_id": ann.participant() })).await;
    assert_eq!(again.closed().await, 4001);
    assert_eq!(refusal(&app, &stolen).await, Some(("kicked".to_owned(), 4001)));
    // Of an invite that was withdrawn, and of a session that is over.
    let resume = host.resume().to_owned();
    app.api.call("DELETE", &format!("/v1/invites/{}", hosts.id), None).await;
    assert_eq!(host.closed().await, 4003);
    assert_eq!(refusal(&app, &resume).await, Some(("invite_revoked".to_owned(), 4003)));
    let late = app.invite(&session, json!({})).await;
    let mut last = app.join(&late.token, "Last").await;
    let resume = last.resume().to_owned();
    app.api.post(&format!("/v1/sessions/{session}/end"), json!({})).await;
    assert_eq!(last.closed().await, 4000);
    assert_eq!(refusal(&app, &resume).await.map(|refusal| refusal.1), Some(4006));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resume_token_of_another_installation_is_nobodys() {
    let app = TestApp::start().await;
    let (_, token) = app.room().await;
    let ann = app.join(&token, "Ann").await;
    let mut other = TestApp::start_with(&[("AUTH__ROOT_KEY", "another-root-key-another-root-key-another")]).await;
    assert_eq!(refusal(&other, ann.resume()).await, invalid());
    other.signal(nix::sys::signal::Signal::SIGTERM);
    other.wait().await;
}
