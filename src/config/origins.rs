//! Which browser pages may open a socket.

use super::{Origin, PublicUrl, Ws};

/// The allow-list of `ws.origins`, ready to be asked at every handshake.
#[derive(Debug, Clone)]
pub struct OriginPolicy {
    allowed: Vec<Origin>,
    loopback: bool,
}

impl OriginPolicy {
    /// Pages that this server delivers itself are always allowed.
    pub fn new(ws: &Ws, public_url: &PublicUrl) -> Self {
        let allowed = ws.origins.iter().cloned().chain(public_url.origin()).collect();
        Self { allowed, loopback: ws.loopback_origins_allowed }
    }

    /// Whether the value of an `Origin` header is allowed. A request without the header is not asked about: it is no browser.
    /// `null`, the origin of sandboxed frames and local files, is never allowed.
    pub fn allows(&self, header: &str) -> bool {
        let Ok(origin) = header.parse::<Origin>() else {
            return false;
        };
        self.allowed.contains(&origin) || (self.loopback && origin.is_loopback())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(loopback: bool) -> OriginPolicy {
        let ws = Ws {
            origins: vec!["https://app.example.com".parse().expect("an origin")],
            loopback_origins_allowed: loopback,
            ..Ws::default()
        };
        OriginPolicy::new(&ws, &"https://presence.example.com:8443/base".parse().expect("a url"))
    }

    #[test]
    fn only_exact_origins_are_allowed() {
        let policy = policy(false);
        for good in ["https://app.example.com", "https://APP.example.com:443", "https://presence.example.com:8443"] {
            assert!(policy.allows(good), "{good}");
        }
        for bad in [
            "http://app.example.com",
            "https://app.example.com.evil.test",
            "https://evil.test/https://app.example.com",
            "https://app.example.com@evil.test",
            "https://app.example.com:8443",
            "http://localhost:3000",
            "null",
            "",
        ] {
            assert!(!policy.allows(bad), "{bad}");
        }
    }

    #[test]
    fn dev_allows_every_loopback_page() {
        let policy = policy(true);
        for good in ["http://localhost:3000", "http://127.0.0.1", "http://[::1]:5173", "https://localhost"] {
            assert!(policy.allows(good), "{good}");
        }
        for bad in ["http://localhost.evil.test", "http://127.0.0.1.evil.test", "http://10.0.0.1", "http://evil.test"] {
            assert!(!policy.allows(bad), "{bad}");
        }
    }
}
