//! A server that returns every text frame.

use super::{Adapter, Entrant, Entry, Event, Joined, number_after};

#[derive(Debug)]
pub(super) struct Echo;

impl Adapter for Echo {
    fn path(&self) -> String {
        "/".to_owned()
    }

    fn join(&self, _: Entrant<'_>, _: &str) -> anyhow::Result<Option<String>> {
        Ok(None)
    }

    fn entry(&self, _: &str) -> Entry {
        Entry::Joined(Joined::default())
    }

    /// As long as Rollcall's, so that both carry the same bytes.
    fn ping(&self, id: u64) -> String {
        format!(r#"{{"type":"ping","id":{id}}}"#)
    }

    fn update(&self, _: Entrant<'_>, id: u64) -> String {
        self.ping(id)
    }

    fn read(&self, text: &str) -> Event {
        number_after(text, r#""id":"#).map_or(Event::Other, |id| Event::Pong(Some(id)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ping_that_comes_back_is_its_answer() {
        assert_eq!(Echo.read(&Echo.ping(41)), Event::Pong(Some(41)));
        assert_eq!(Echo.read("hello"), Event::Other);
    }
}
