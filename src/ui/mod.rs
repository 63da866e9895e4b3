//! The pages that the server itself delivers, and the built-in copy of the browser client.
//!
//! Everything is compiled in as it stands in the repository: no Node, no bundler, no file to find at run time.

use std::sync::Arc;

use axum::Router;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use sha2::{Digest, Sha256};

/// Scripts and styles come from this server only, nothing is inline, and no other site may frame the pages.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
     img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'";

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const IMAGE: &str = "image/svg+xml";

/// Path, content type, text.
type File = (&'static str, &'static str, &'static str);

const PAGES: &[File] = &[
    ("/", HTML, include_str!("index.html")),
    ("/join", HTML, include_str!("join.html")),
    ("/ui/icon.svg", IMAGE, include_str!("icon.svg")),
    ("/ui/style.css", STYLE, include_str!("style.css")),
    ("/ui/join.css", STYLE, include_str!("join.css")),
    ("/ui/join.js", SCRIPT, include_str!("join.js")),
    ("/ui/room.js", SCRIPT, include_str!("room.js")),
    ("/ui/people.js", SCRIPT, include_str!("people.js")),
    ("/ui/page.js", SCRIPT, include_str!("page.js")),
    ("/ui/words.js", SCRIPT, include_str!("words.js")),
];

/// The browser client, in the modules it is written in. `/sdk/rollcall.js` is the one to import.
const CLIENT: &[File] = &[
    ("/sdk/rollcall.js", SCRIPT, include_str!("../../sdk/src/rollcall.js")),
    ("/sdk/backoff.js", SCRIPT, include_str!("../../sdk/src/backoff.js")),
    ("/sdk/codes.js", SCRIPT, include_str!("../../sdk/src/codes.js")),
    ("/sdk/connection.js", SCRIPT, include_str!("../../sdk/src/connection.js")),
    ("/sdk/invite.js", SCRIPT, include_str!("../../sdk/src/invite.js")),
    ("/sdk/line.js", SCRIPT, include_str!("../../sdk/src/line.js")),
    ("/sdk/members.js", SCRIPT, include_str!("../../sdk/src/members.js")),
    ("/sdk/memory.js", SCRIPT, include_str!("../../sdk/src/memory.js")),
    ("/sdk/page.js", SCRIPT, include_str!("../../sdk/src/page.js")),
    ("/sdk/renewal.js", SCRIPT, include_str!("../../sdk/src/renewal.js")),
    ("/sdk/room.js", SCRIPT, include_str!("../../sdk/src/room.js")),
    ("/sdk/state.js", SCRIPT, include_str!("../../sdk/src/state.js")),
    ("/sdk/store.js", SCRIPT, include_str!("../../sdk/src/store.js")),
    ("/sdk/svelte.js", SCRIPT, include_str!("../../sdk/src/svelte.js")),
    ("/sdk/zustand.js", SCRIPT, include_str!("../../sdk/src/zustand.js")),
];

/// Routes of the pages and of the browser client.
pub fn router() -> Router {
    let pages = PAGES.iter().fold(Router::new(), |router, file| router.merge(serve(*file, false)));
    CLIENT.iter().fold(pages, |router, file| router.merge(serve(*file, true)))
}

/// One file at its path. Pages of any origin may import what is `shared`: it holds no secret and depends on no cookie.
fn serve((path, content_type, text): File, shared: bool) -> Router {
    let digest = Sha256::digest(text);
    let tag: Arc<str> =
        format!("\"{}\"", digest.iter().take(12).map(|byte| format!("{byte:02x}")).collect::<String>()).into();
    let answer = move |request: HeaderMap| {
        let tag = tag.clone();
        async move { respond(&request, &tag, content_type, text, shared) }
    };
    Router::new().route(path, get(answer))
}

fn respond(request: &HeaderMap, tag: &str, content_type: &'static str, text: &'static str, shared: bool) -> Response {
    let known = request.get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok());
    let is_known = known.is_some_and(|known| known.split(',').any(|one| one.trim().trim_start_matches("W/") == tag));
    let mut response = if is_known { StatusCode::NOT_MODIFIED.into_response() } else { text.into_response() };
    let headers = response.headers_mut();
    let fixed = [
        (header::CONTENT_TYPE, content_type),
        (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        // Asked for anew each time, sent only when it has changed: a new server comes with new pages.
        (header::CACHE_CONTROL, "no-cache"),
    ];
    for (name, value) in fixed {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if let Ok(tag) = HeaderValue::from_str(tag) {
        headers.insert(header::ETAG, tag);
    }
    if shared {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
        headers.insert("cross-origin-resource-policy", HeaderValue::from_static("cross-origin"));
    }
    response
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn whatever_a_file_refers_to_is_served() {
        let served: BTreeSet<&str> = PAGES.iter().chain(CLIENT).map(|(path, ..)| *path).collect();
        for (path, _, text) in PAGES.iter().chain(CLIENT) {
            for mark in ["from \"", "href=\"", "src=\""] {
                for part in text.split(mark).skip(1) {
                    let target = part.split('"').next().unwrap_or_default();
                    let absolute = target.strip_prefix("./").map(|name| format!("/sdk/{name}"));
                    let target = absolute.as_deref().unwrap_or(target);
                    // Types are for editors only.
                    if target.ends_with(".d.ts") {
                        continue;
                    }
                    let is_ours = target.starts_with("/ui/") || target.starts_with("/sdk/") || target == "/join";
                    assert!(!is_ours || served.contains(target), "{path} refers to {target}");
                }
            }
        }
    }

    #[test]
    fn every_module_of_the_client_without_a_framework_is_served() {
        let served: BTreeSet<&str> = CLIENT.iter().map(|(path, ..)| path.trim_start_matches("/sdk/")).collect();
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/sdk/src");
        for entry in std::fs::read_dir(folder).expect("the folder of the client") {
            let name = entry.expect("a file").file_name().into_string().expect("a plain name");
            // These import a package that only a bundler finds.
            let needs_bundler = ["react.js", "vue.js"].contains(&name.as_str());
            assert!(!name.ends_with(".js") || needs_bundler || served.contains(name.as_str()), "{name}");
        }
    }

    #[test]
    fn what_a_browser_has_is_not_sent_again() {
        let mut request = HeaderMap::new();
        let fresh = respond(&request, "\"tag\"", SCRIPT, "text", true);
        assert_eq!(fresh.status(), StatusCode::OK);
        assert_eq!(fresh.headers()[header::ACCESS_CONTROL_ALLOW_ORIGIN], "*");
        request.insert(header::IF_NONE_MATCH, HeaderValue::from_static("\"other\", W/\"tag\""));
        assert_eq!(respond(&request, "\"tag\"", SCRIPT, "text", true).status(), StatusCode::NOT_MODIFIED);
        let page = respond(&request, "\"new\"", HTML, "text", false);
        assert_eq!(page.status(), StatusCode::OK);
        assert!(!page.headers().contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN));
    }
}
