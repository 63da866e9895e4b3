//! The security review as tests: what strangers, tenants and people inside might try, and what they get. docs/SECURITY.md
//! says which threat each of them is about.

mod floods;
mod http;
mod injection;
mod isolation;
mod latency;
mod secrets;
mod timing;
mod tokens;
