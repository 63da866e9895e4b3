//! `/docs`: the OpenAPI document as one page. Written on the server from the document itself, without a script, so that
//! it works everywhere, under the strictest policy, and cannot disagree with `/openapi.json`.

use std::fmt::Write as _;

use axum::http::HeaderValue;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rollcall_protocol::ErrorCode;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::error::status_of;

const STYLE: &str = include_str!("docs.css");

/// Methods in the order in which they are shown.
const METHODS: [&str; 4] = ["get", "post", "patch", "delete"];

/// The style stands in the page and is allowed by its hash; nothing else is.
pub fn content_security_policy() -> HeaderValue {
    let hash = STANDARD.encode(Sha256::digest(STYLE.as_bytes()));
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{hash}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    // Base64 is always fit for a header.
    HeaderValue::from_str(&policy).unwrap_or(HeaderValue::from_static("default-src 'none'"))
}

/// The page for this document.
pub fn page(openapi_json: &str) -> String {
    let document: Value = serde_json::from_str(openapi_json).unwrap_or_default();
    let mut html = Html::default();
    let info = &document["info"];
    let title = text(&info["title"]);
    html.raw("<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">");
    html.raw("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">");
    html.raw("<meta name=\"color-scheme\" content=\"light dark\"><title>");
    html.text(&format!("{title} API"));
    html.raw("</title><style>");
    html.raw(STYLE);
    html.raw("</style></head><body>");
    navigation(&mut html, &document);
    html.raw("<main>");
    html.element("h1", &format!("{title} API {}", text(&info["version"])));
    html.paragraphs(text(&info["description"]));
    html.raw("<p>Machine-readable: <a href=\"/openapi.json\">/openapi.json</a>.</p>");
    html.raw("<p>Authenticate with <code>Authorization: Bearer rck_…</code>. Scopes: <code>admin</code> includes <code>write</code>, which includes <code>read</code>; <code>billing</code> reads the books.</p>");
    for tag in array(&document["tags"]) {
        group(&mut html, &document, tag);
    }
    schemas(&mut html, &document);
    error_codes(&mut html);
    html.raw("</main></body></html>");
    html.0
}

fn navigation(html: &mut Html, document: &Value) {
    html.raw("<nav><ul>");
    for tag in array(&document["tags"]) {
        let name = text(&tag["name"]);
        html.raw("<li>");
        html.link(&format!("#tag-{name}"), name);
        html.raw("<ul>");
        for (path, method, operation) in operations(document, name) {
            html.raw("<li>");
            html.link(&anchor(method, path), text(&operation["summary"]));
            html.raw("</li>");
        }
        html.raw("</ul></li>");
    }
    html.raw("<li><a href=\"#schemas\">schemas</a></li><li><a href=\"#errors\">errors</a></li></ul></nav>");
}

fn group(html: &mut Html, document: &Value, tag: &Value) {
    let name = text(&tag["name"]);
    html.raw("<section>");
    html.heading("h2", &format!("tag-{name}"), name);
    html.paragraphs(text(&tag["description"]));
    for (path, method, operation) in operations(document, name) {
        one_operation(html, path, method, operation);
    }
    html.raw("</section>");
}

fn one_operation(html: &mut Html, path: &str, method: &str, operation: &Value) {
    html.raw("<article>");
    html.heading("h3", &anchor(method, path)[1..], text(&operation["summary"]));
    let _ = write!(html.0, "<p class=\"call\"><b class=\"{method}\">{}</b> <code>", method.to_uppercase());
    html.text(path);
    html.raw("</code></p>");
    html.paragraphs(text(&operation["description"]));
    let parameters = array(&operation["parameters"]);
    if !parameters.is_empty() {
        html.raw("<table><thead><tr><th>parameter</th><th>in</th><th>type</th><th>meaning</th></tr></thead><tbody>");
        for parameter in parameters {
            html.raw("<tr><td><code>");
            html.text(text(&parameter["name"]));
            html.raw("</code>");
            html.raw(if parameter["required"] == true { " <em>required</em></td>" } else { "</td>" });
            html.element("td", text(&parameter["in"]));
            html.raw("<td>");
            type_of(html, &parameter["schema"]);
            html.raw("</td>");
            html.element("td", text(&parameter["description"]));
            html.raw("</tr>");
        }
        html.raw("</tbody></table>");
    }
    let body = &operation["requestBody"]["content"]["application/json"]["schema"];
    if !body.is_null() {
        html.raw("<p>Body: ");
        type_of(html, body);
        html.raw("</p>");
    }
    responses(html, &operation["responses"]);
    html.raw("</article>");
}

fn responses(html: &mut Html, responses: &Value) {
    html.raw("<table><thead><tr><th>status</th><th>body</th><th>meaning</th></tr></thead><tbody>");
    for (status, response) in entries(responses) {
        html.raw("<tr>");
        html.element("td", status);
        html.raw("<td>");
        for (_, content) in entries(&response["content"]) {
            type_of(html, &content["schema"]);
        }
        html.raw("</td>");
        html.element("td", text(&response["description"]));
        html.raw("</tr>");
    }
    html.raw("</tbody></table>");
}

fn schemas(html: &mut Html, document: &Value) {
    html.raw("<section>");
    html.heading("h2", "schemas", "Schemas");
    for (name, schema) in entries(&document["components"]["schemas"]) {
        html.raw("<article>");
        html.heading("h3", &format!("schema-{name}"), name);
        html.paragraphs(text(&schema["description"]));
        // A schema made of others lists its own fields last.
        let parts = array(&schema["allOf"]);
        for part in parts.iter().filter(|part| !part["$ref"].is_null()) {
            html.raw("<p>All of ");
            type_of(html, part);
            html.raw(", and:</p>");
        }
        for part in std::iter::once(schema).chain(parts) {
            fields(html, part);
        }
        html.raw("</article>");
    }
    html.raw("</section>");
}

fn fields(html: &mut Html, schema: &Value) {
    let properties = entries(&schema["properties"]);
    if properties.is_empty() {
        return;
    }
    let required = array(&schema["required"]);
    html.raw("<table><thead><tr><th>field</th><th>type</th><th>meaning</th></tr></thead><tbody>");
    for (name, property) in properties {
        html.raw("<tr><td><code>");
        html.text(name);
        html.raw("</code>");
        let is_required = required.iter().any(|required| required == name);
        html.raw(if is_required { " <em>required</em></td><td>" } else { "</td><td>" });
        type_of(html, property);
        html.raw("</td><td>");
        html.prose(text(&property["description"]));
        for (key, words) in
            [("default", "Default"), ("minimum", "At least"), ("maximum", "At most"), ("example", "Example")]
        {
            if !property[key].is_null() {
                let _ = write!(html.0, " {words} <code>");
                html.text(&property[key].to_string());
                html.raw("</code>.");
            }
        }
        html.raw("</td></tr>");
    }
    html.raw("</tbody></table>");
}

fn error_codes(html: &mut Html) {
    html.raw("<section>");
    html.heading("h2", "errors", "Errors");
    html.raw("<p>Every error is <code>application/problem+json</code> with a <code>code</code>.</p>");
    html.raw("<table><thead><tr><th>code</th><th>HTTP</th><th>message</th><th>what to do</th></tr></thead><tbody>");
    for code in ErrorCode::ALL {
        let _ = write!(html.0, "<tr id=\"{0}\"><td><code>{0}</code></td>", code.as_str());
        html.element("td", status_of(*code).as_str());
        html.element("td", code.message());
        html.element("td", code.hint());
        html.raw("</tr>");
    }
    html.raw("</tbody></table></section>");
}

/// The type of a value in a few words, with a link where it is a schema of its own.
fn type_of(html: &mut Html, schema: &Value) {
    if let Some(reference) = schema["$ref"].as_str() {
        let name = reference.rsplit('/').next().unwrap_or(reference);
        return html.link(&format!("#schema-{name}"), name);
    }
    let alternatives = [array(&schema["oneOf"]), array(&schema["anyOf"]), array(&schema["allOf"])].concat();
    if !alternatives.is_empty() {
        for (index, alternative) in alternatives.iter().enumerate() {
            if index > 0 {
                html.raw(" or ");
            }
            type_of(html, alternative);
        }
        return;
    }
    let names: Vec<&str> = match &schema["type"] {
        Value::Array(names) => names.iter().map(text).collect(),
        name => vec![text(name)],
    };
    html.text(&names.join(" or "));
    if let Some(format) = schema["format"].as_str() {
        html.text(&format!(" ({format})"));
    }
    if !schema["items"].is_null() {
        html.raw(" of ");
        type_of(html, &schema["items"]);
    }
}

fn operations<'a>(document: &'a Value, tag: &'a str) -> Vec<(&'a str, &'static str, &'a Value)> {
    let mut found = Vec::new();
    for (path, item) in entries(&document["paths"]) {
        for method in METHODS {
            let operation = &item[method];
            if array(&operation["tags"]).iter().any(|name| name == tag) {
                found.push((path, method, operation));
            }
        }
    }
    found
}

fn anchor(method: &str, path: &str) -> String {
    let plain = path.chars().map(|character| if character.is_ascii_alphanumeric() { character } else { '-' });
    format!("#{method}{}", plain.collect::<String>())
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn array(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn entries(value: &Value) -> Vec<(&str, &Value)> {
    value.as_object().into_iter().flatten().map(|(name, value)| (name.as_str(), value)).collect()
}

/// A page under construction. All text is escaped unless it is `raw`.
#[derive(Default)]
struct Html(String);

impl Html {
    fn raw(&mut self, markup: &str) {
        self.0.push_str(markup);
    }

    fn text(&mut self, text: &str) {
        for character in text.chars() {
            match character {
                '&' => self.0.push_str("&amp;"),
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '"' => self.0.push_str("&quot;"),
                other => self.0.push(other),
            }
        }
    }

    fn element(&mut self, name: &str, text: &str) {
        let _ = write!(self.0, "<{name}>");
        self.prose(text);
        let _ = write!(self.0, "</{name}>");
    }

    /// Text in which backticks mark code, as in the descriptions.
    fn prose(&mut self, text: &str) {
        for (index, part) in text.split('`').enumerate() {
            let is_code = index % 2 == 1;
            self.raw(if is_code { "<code>" } else { "" });
            self.text(part);
            self.raw(if is_code { "</code>" } else { "" });
        }
    }

    fn heading(&mut self, name: &str, id: &str, text: &str) {
        let _ = write!(self.0, "<{name} id=\"{id}\">");
        self.text(text);
        let _ = write!(self.0, "</{name}>");
    }

    fn link(&mut self, target: &str, text: &str) {
        self.raw("<a href=\"");
        self.text(target);
        self.raw("\">");
        self.text(text);
        self.raw("</a>");
    }

    fn paragraphs(&mut self, text: &str) {
        for paragraph in text.split("\n\n").filter(|paragraph| !paragraph.is_empty()) {
            self.element("p", paragraph);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_every_operation_schema_and_error() {
        let document = crate::http::document();
        let json = document.to_json().expect("a document");
        let html = page(&json);
        for path in document.paths.paths.keys() {
            assert!(html.contains(&format!("<code>{path}</code>")), "{path}");
        }
        for code in ErrorCode::ALL {
            assert!(html.contains(&format!("id=\"{}\"", code.as_str())), "{}", code.as_str());
        }
        assert!(!html.contains("<script"));
        assert!(html.contains("id=\"schema-NewSession\""));
    }

    #[test]
    fn every_link_inside_the_page_has_its_target() {
        let html = page(&crate::http::document().to_json().expect("a document"));
        for part in html.split("href=\"#").skip(1) {
            let target = part.split('"').next().unwrap_or_default();
            assert!(html.contains(&format!("id=\"{target}\"")), "{target}");
        }
    }

    #[test]
    fn text_is_escaped() {
        let mut html = Html::default();
        html.element("p", "<b a=\"x\">&");
        assert_eq!(html.0, "<p>&lt;b a=&quot;x&quot;&gt;&amp;</p>");
    }
}
