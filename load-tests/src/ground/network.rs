//! The loopback network of this process, with packets that are lost. TCP does what it does everywhere: it sends again, and
//! whom nobody tells takes a connection for open.
//!
//! Packets are dropped as they come in, by nftables, and not by a queueing discipline: that is in every kernel that can
//! filter at all, and nothing is ever on the way when a connection is given up.

use std::net::Ipv4Addr;

use super::run;

const TABLE: &[&str] = &["inet", "rollcall_load"];
const CHAIN: &str = "inbound";

/// The rules of the network. They are lifted when this is dropped.
#[derive(Debug)]
pub struct Network(());

impl Network {
    /// # Errors
    /// This process has no network of its own, or nftables is not installed.
    pub fn take() -> anyhow::Result<Self> {
        super::isolation().map_err(anyhow::Error::msg)?;
        nft(&["add", "table"], &[])?;
        nft(&["add", "chain"], &[CHAIN, "{ type filter hook input priority 0 ; }"])?;
        Ok(Self(()))
    }

    /// Loses so many of a hundred packets of TCP, in both directions.
    ///
    /// # Errors
    /// nftables refuses.
    pub fn lose(&self, percent: u64) -> anyhow::Result<()> {
        let (numbers, share) = (["meta", "l4proto", "tcp", "numgen", "random", "mod", "100", "<"], percent.to_string());
        let rule = [&[CHAIN][..], &numbers, &[&share, "drop"]].concat();
        nft(&["add", "rule"], &rule)
    }

    /// Loses everything from and to these addresses: neither side hears of the other any more.
    ///
    /// # Errors
    /// nftables refuses.
    pub fn cut_off(&self, addresses: &[Ipv4Addr]) -> anyhow::Result<()> {
        let list: Vec<_> = addresses.iter().map(Ipv4Addr::to_string).collect();
        let set = format!("{{ {} }}", list.join(", "));
        for direction in ["saddr", "daddr"] {
            nft(&["add", "rule"], &[CHAIN, "ip", direction, &set, "drop"])?;
        }
        Ok(())
    }

    /// Everything passes again. Idempotent.
    ///
    /// # Errors
    /// nftables refuses.
    pub fn heal(&self) -> anyhow::Result<()> {
        nft(&["flush", "chain"], &[CHAIN])
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        // The network goes with its processes anyway.
        nft(&["delete", "table"], &[]).ok();
    }
}

fn nft(verb: &[&str], rest: &[&str]) -> anyhow::Result<()> {
    run("nft", &[verb, TABLE, rest].concat())
}
