//! What handlers take from a request: bodies, ids out of the path, queries.

use std::collections::BTreeMap;
use std::str::FromStr;

use axum::body::{Bytes, HttpBody};
use axum::extract::{FromRequest, FromRequestParts, Path, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Uri, header};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use rollcall_protocol::ErrorCode;
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use utoipa::ToSchema;
use uuid::Uuid;

use super::ApiState;
use super::cursor::CursorError;
use super::error::Problem;
use super::json::{self, FromFields, INSTANT_FORM, parse_instant, unknown_field};
use crate::control::{Repeatable, Violations};

/// Longest Idempotency-Key, in bytes.
pub(super) const IDEMPOTENCY_KEY_BYTES_MAX: usize = 255;
/// Longest query string, in bytes.
const QUERY_BYTES_MAX: usize = 4 * 1024;
pub const LIMIT_DEFAULT: i64 = 50;
pub const LIMIT_MAX: i64 = 200;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const IDEMPOTENT_REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

/// A body that was read without a fault, and the Idempotency-Key of the request.
pub struct Input<T> {
    pub value: T,
    pub repeatable: Option<Repeatable>,
}

impl<T: FromFields> FromRequest<ApiState> for Input<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &ApiState) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        let key = idempotency_key(&parts.headers)?;
        let bytes_max = state.settings.body_bytes_max;
        // A length that is announced need not be waited for.
        if body.size_hint().lower() > bytes_max as u64 {
            return Err(too_large(bytes_max));
        }
        let body = axum::body::to_bytes(body, bytes_max).await.map_err(|error| unreadable(&error, bytes_max))?;
        if !body.is_empty() {
            require_json(&parts.headers)?;
        }
        let value = json::read(&body)?;
        let repeatable = key.map(|key| Repeatable { request_hash: request_hash(&parts, &body), key });
        Ok(Self { value, repeatable })
    }
}

fn too_large(bytes_max: usize) -> Problem {
    Problem::new(ErrorCode::PayloadTooLarge, format!("the body has more than {bytes_max} bytes"))
}

fn unreadable(error: &axum::Error, bytes_max: usize) -> Problem {
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        if error.to_string().contains("length limit exceeded") {
            return too_large(bytes_max);
        }
        source = error.source();
    }
    Problem::new(ErrorCode::InvalidRequest, "the body could not be read")
}

fn require_json(headers: &HeaderMap) -> Result<(), Problem> {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let (essence, parameters) = content_type.split_once(';').unwrap_or((content_type, ""));
    let charset = parameters.trim().to_ascii_lowercase().replace('"', "");
    if essence.trim().eq_ignore_ascii_case("application/json") && matches!(charset.as_str(), "" | "charset=utf-8") {
        return Ok(());
    }
    Err(Problem::new(ErrorCode::UnsupportedMediaType, "the body must be application/json in UTF-8"))
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let Some(value) = headers.get(IDEMPOTENCY_KEY) else { return Ok(None) };
    let text = value.as_bytes();
    if text.is_empty() || text.len() > IDEMPOTENCY_KEY_BYTES_MAX || !text.iter().all(u8::is_ascii_graphic) {
        let detail = format!(
            "must have 1 to {IDEMPOTENCY_KEY_BYTES_MAX} visible ASCII characters without spaces, a UUID for example"
        );
        return Err(Violations::one("Idempotency-Key", detail).into());
    }
    Ok(value.to_str().ok().map(str::to_owned))
}

/// The same key with another method, path or body is another request.
fn request_hash(parts: &Parts, body: &Bytes) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in [parts.method.as_str().as_bytes(), parts.uri.path().as_bytes(), body] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

/// Marks an answer that was given before.
pub fn replayed(mut response: Response, replayed: bool) -> Response {
    if replayed {
        response.headers_mut().insert(IDEMPOTENT_REPLAYED, HeaderValue::from_static("true"));
    }
    response
}

/// The id in the path. Text that is no id is an object that does not exist.
pub struct Id(pub Uuid);

/// The ids in a path with two of them.
pub struct TwoIds(pub Uuid, pub Uuid);

impl FromRequestParts<ApiState> for Id {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, Problem> {
        let [id] = ids(parts, state).await?;
        Ok(Self(id))
    }
}

impl FromRequestParts<ApiState> for TwoIds {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, Problem> {
        let [first, second] = ids(parts, state).await?;
        Ok(Self(first, second))
    }
}

async fn ids<const N: usize>(parts: &mut Parts, state: &ApiState) -> Result<[Uuid; N], Problem> {
    let missing = || Problem::new(ErrorCode::NotFound, "the path does not hold the id of an object");
    let Path(found) = Path::<Vec<(String, String)>>::from_request_parts(parts, state).await.map_err(|_| missing())?;
    let ids: Vec<Uuid> = found.iter().filter_map(|(_, text)| Uuid::try_parse(text).ok()).collect();
    ids.try_into().map_err(|_| missing())
}

/// The query of a request: each name once, all faults at once.
pub struct QueryFields {
    values: BTreeMap<String, String>,
    known: Vec<&'static str>,
    violations: Violations,
}

impl FromRequestParts<ApiState> for QueryFields {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &ApiState) -> Result<Self, Problem> {
        Ok(Self::of(&parts.uri)?)
    }
}

impl QueryFields {
    /// # Errors
    /// The query is too long or no text. What is wrong with single fields is said by [`QueryFields::finish`].
    pub(super) fn of(uri: &Uri) -> Result<Self, Violations> {
        let text = uri.query().unwrap_or_default();
        if text.len() > QUERY_BYTES_MAX {
            let detail = format!("the query has more than {QUERY_BYTES_MAX} bytes");
            return Err(Violations::one("?", detail));
        }
        let pairs = axum::extract::Query::<Vec<(String, String)>>::try_from_uri(uri);
        let Ok(axum::extract::Query(pairs)) = pairs else {
            return Err(Violations::one("?", "the query is not valid UTF-8"));
        };
        let mut query = Self { values: BTreeMap::new(), known: Vec::new(), violations: Violations::default() };
        for (name, value) in pairs {
            if query.values.insert(name.clone(), value).is_some() {
                query.violations.add(format!("?{name}"), "must occur once");
            }
        }
        Ok(query)
    }

    /// An empty value is a value: a script whose variable is empty must not get a bill of all times.
    pub fn text(&mut self, name: &'static str) -> Option<String> {
        self.known.push(name);
        self.values.remove(name)
    }

    /// An empty value counts as absent, as forms send it.
    pub fn optional_text(&mut self, name: &'static str) -> Option<String> {
        self.text(name).filter(|text| !text.is_empty())
    }

    /// A text to search for.
    pub fn search(&mut self, name: &'static str, characters_max: usize) -> Option<String> {
        let text = self.optional_text(name)?;
        self.violations.characters(&format!("?{name}"), &text, characters_max);
        Some(text)
    }

    /// A short text without control characters.
    pub fn short_text(&mut self, name: &'static str, characters_max: usize) -> Option<String> {
        let text = self.text(name)?;
        self.violations.characters(&format!("?{name}"), &text, characters_max);
        Some(text)
    }

    pub fn instant(&mut self, name: &'static str) -> Option<DateTime<Utc>> {
        let text = self.text(name)?;
        // A plus sign in a query means a space to most libraries.
        let instant = parse_instant(&text.replace(' ', "+"));
        if instant.is_none() {
            self.violations.add(format!("?{name}"), INSTANT_FORM);
        }
        instant
    }

    pub fn required_instant(&mut self, name: &'static str) -> DateTime<Utc> {
        if !self.values.contains_key(name) {
            self.violations.add(format!("?{name}"), "is required");
        }
        self.instant(name).unwrap_or_default()
    }

    pub fn id(&mut self, name: &'static str) -> Option<Uuid> {
        let text = self.text(name)?;
        let id = Uuid::from_str(&text).ok();
        if id.is_none() {
            self.violations.add(format!("?{name}"), "must be a UUID");
        }
        id
    }

    pub fn one_of(&mut self, name: &'static str, words: &[&str]) -> Option<String> {
        let text = self.text(name)?;
        if !words.contains(&text.as_str()) {
            self.violations.add(format!("?{name}"), format!("must be one of {}", words.join(", ")));
        }
        Some(text)
    }

    pub fn limit(&mut self) -> i64 {
        let Some(text) = self.text("limit") else { return LIMIT_DEFAULT };
        match text.parse::<i64>() {
            Ok(limit) if (1..=LIMIT_MAX).contains(&limit) => limit,
            _ => {
                self.violations.add("?limit", format!("must be between 1 and {LIMIT_MAX}"));
                LIMIT_DEFAULT
            }
        }
    }

    pub fn cursor<T>(&mut self, decode: impl FnOnce(&str) -> Result<T, CursorError>) -> Option<T> {
        // Empty on the first page, so that a loop need not tell it from the others.
        let text = self.optional_text("cursor")?;
        match decode(&text) {
            Ok(place) => Some(place),
            Err(error) => {
                self.violations.add("?cursor", error.to_string());
                None
            }
        }
    }

    /// # Errors
    /// Everything that was wrong, names that no reader asked for included.
    pub fn finish(mut self) -> Result<(), Problem> {
        for name in self.values.into_keys() {
            let shown: String = name.chars().take(64).collect();
            self.violations.add(format!("?{shown}"), unknown_field(&name, &self.known));
        }
        Ok(self.violations.into_result()?)
    }
}

/// A page of a list.
#[derive(Debug, Clone, PartialEq, Serialize, serde::Deserialize, ToSchema)]
pub struct Page<T> {
    pub data: Vec<T>,
    /// Pass it as `cursor` to get the next page; null on the last one.
    pub next_cursor: Option<String>,
}

impl<T> Page<T> {
    /// Of one row more than asked for, to see whether there is a next page.
    pub fn of(mut rows: Vec<T>, limit: i64, place_after: impl FnOnce(&T) -> String) -> Self {
        let limit = usize::try_from(limit).unwrap_or(0);
        let more = rows.len() > limit;
        rows.truncate(limit);
        let next_cursor = rows.last().filter(|_| more).map(place_after);
        Self { data: rows, next_cursor }
    }
}

impl<T: Serialize> IntoResponse for Page<T> {
    fn into_response(self) -> Response {
        axum::Json(self).into_response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_knows_whether_there_is_another() {
        let page = |rows: i64| Page::of((0..rows).collect(), 2, i64::to_string);
        assert_eq!(page(0), Page { data: vec![], next_cursor: None });
        assert_eq!(page(2), Page { data: vec![0, 1], next_cursor: None });
        assert_eq!(page(3), Page { data: vec![0, 1], next_cursor: Some("1".to_owned()) });
    }

    #[test]
    fn only_json_in_utf_8_is_taken() {
        let accepts = |content_type: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
            require_json(&headers).is_ok()
        };
        assert!(accepts("application/json"));
        assert!(accepts("Application/JSON; charset=\"UTF-8\""));
        for bad in ["", "text/json", "application/jsonp", "application/json; charset=latin1", "text/plain"] {
            assert!(!accepts(bad), "{bad}");
        }
        assert!(require_json(&HeaderMap::new()).is_err());
    }
}
