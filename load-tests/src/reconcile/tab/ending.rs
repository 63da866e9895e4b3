//! The ways in which a tab ends, and what is known of each when it is over.

use futures_util::StreamExt;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use super::super::dice::Dice;
use super::super::truth::End;
use super::{Ending, Tab};
use crate::clock::steady_us;

impl Tab<'_> {
    pub(super) async fn end(&mut self, ending: Ending, dice: &mut Dice) {
        match ending {
            Ending::Close | Ending::Stay => {
                let at = self.begin_to_end(End::Closed);
                let frame = CloseFrame { code: CloseCode::Away, reason: "".into() };
                self.send(Message::Close(Some(frame))).await;
                self.until_gone().await;
                self.conclude(at);
            }
            Ending::Finish => {
                let at = self.begin_to_end(End::Finished);
                self.socket.get_mut().shutdown().await.ok();
                let ended = self.drain().await;
                self.gone(if ended { End::Finished } else { End::Lost });
                self.truth.there_until = self.truth.there_until.max(at);
            }
            Ending::Reset => {
                if self.quiet(dice).await {
                    self.truth.there_until = steady_us();
                    self.reset_now();
                    self.gone(End::Reset);
                }
            }
            Ending::Leave => {
                let at = self.begin_to_end(End::Left);
                self.send(Message::text(json!({ "type": "leave" }).to_string())).await;
                self.until_gone().await;
                self.conclude(at);
            }
            Ending::Hole if self.pipe.is_some() => {
                if self.quiet(dice).await {
                    self.vanish(dice).await;
                }
            }
            // Without a pipe there is no hole.
            Ending::Hole => self.gone(End::Lost),
        }
    }

    fn begin_to_end(&mut self, asked: End) -> i64 {
        self.truth.asked = Some(asked);
        steady_us()
    }

    /// Reads until the server has closed.
    async fn until_gone(&mut self) {
        loop {
            let message = self.socket.next().await;
            if !self.take(message) {
                return;
            }
        }
    }

    /// After we asked to end: what we know now.
    fn conclude(&mut self, asked_at: i64) {
        self.truth.there_until = self.truth.there_until.max(asked_at);
        // The answer to our own close has the code that we sent; the goodbye to a leave is 1000. Any other code means
        // that the server was faster.
        if let (End::ByServer(1000 | 1001 | 1005), Some(asked)) = (self.truth.end, self.truth.asked) {
            self.truth.end = asked;
            self.truth.heard_until = self.truth.heard_until.max(asked_at);
        }
    }

    /// Reads the rest of the raw stream. True when the server ended it in good order.
    async fn drain(&mut self) -> bool {
        let mut rest = [0; 4096];
        loop {
            match self.socket.get_mut().read(&mut rest).await {
                Ok(0) => return true,
                Ok(_) => {}
                Err(_) => return false,
            }
        }
    }

    /// Waits until every ping is answered, so that nothing of ours is on the way. False when the connection is over.
    async fn quiet(&mut self, dice: &mut Dice) -> bool {
        while !self.waiting.is_empty() || self.is_probed {
            if self.waiting.is_empty() {
                self.speak(false, dice).await;
            }
            let message = self.socket.next().await;
            if !self.take(message) {
                return false;
            }
        }
        true
    }

    /// The network is gone; the client speaks into the void for a while, then gives up.
    async fn vanish(&mut self, dice: &mut Dice) {
        let Some(pipe) = &self.pipe else { return };
        self.truth.there_until = steady_us();
        pipe.break_silently();
        self.truth.gone_at = steady_us();
        self.truth.end = End::Hole;
        for _ in 0..dice.number(0..6) {
            self.pings += 1;
            let ping = json!({ "type": "ping", "id": self.pings, "active": true });
            self.send(Message::text(ping.to_string())).await;
            tokio::time::sleep(dice.millis(100..900)).await;
        }
    }

    pub(super) fn reset_now(&mut self) {
        // Takes effect when the socket is dropped; here it is shut at once, which sends the reset.
        self.socket.get_ref().set_zero_linger().ok();
    }

    pub(super) fn gone(&mut self, end: End) {
        self.truth.end = end;
        self.truth.gone_at = steady_us();
    }
}
