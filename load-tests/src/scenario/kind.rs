//! The kinds of scenarios: a closed list. A new one is a module in `kinds/` and a line here.

use std::collections::BTreeMap;

use super::kinds::{
    expired::Expired, expiry::Expiry, flush::Flush, idle::Idle, join_storm::JoinStorm, mass::Mass, ping_rate::PingRate,
    reconcile::Reconcile, restart_storm::RestartStorm, room::Room, rooms::Rooms, slow_loris::SlowLoris, soak::Soak,
};
use super::parameters::{Key, Parameters, Reader};
use super::stage::Stage;
use crate::report::{Distribution, Figure, FigureKey};

/// What a kind of scenario does.
pub trait Workload: Parameters {
    /// Every figure that it may find; these are what `[budget]` can name.
    const FIGURES: &'static [FigureKey];

    /// # Errors
    /// It could not be carried out. A bad figure is no error.
    async fn run(&self, stage: &Stage) -> anyhow::Result<Findings>;
}

#[derive(Debug, Default)]
pub struct Findings {
    pub figures: Vec<Figure>,
    pub distributions: Vec<Distribution>,
}

/// A kind, for `explain`.
#[derive(Debug)]
pub struct KindReference {
    pub name: &'static str,
    pub about: fn() -> String,
    pub keys: fn() -> Vec<Key>,
    pub figures: &'static [FigureKey],
}

macro_rules! kinds {
    ($($variant:ident = $name:literal,)+) => {
        /// A kind with its parameters.
        #[derive(Debug, Clone, PartialEq)]
        pub enum Kind {
            $($variant($variant),)+
        }

        impl Kind {
            pub const ALL: &'static [KindReference] = &[$(KindReference {
                name: $name,
                about: <$variant as Parameters>::about,
                keys: <$variant as Parameters>::keys,
                figures: <$variant as Workload>::FIGURES,
            }),+];

            /// `None` when there is no such kind.
            pub fn read(name: &str, reader: &mut Reader) -> Option<Self> {
                match name {
                    $($name => Some(Self::$variant(Parameters::read(reader))),)+
                    _ => None,
                }
            }

            pub fn name(&self) -> &'static str {
                match self {
                    $(Self::$variant(_) => $name,)+
                }
            }

            /// The values in force.
            pub fn show(&self) -> BTreeMap<String, String> {
                match self {
                    $(Self::$variant(kind) => kind.show(),)+
                }
            }

            /// # Errors
            /// It could not be carried out.
            pub async fn run(&self, stage: &Stage) -> anyhow::Result<Findings> {
                match self {
                    $(Self::$variant(kind) => Box::pin(kind.run(stage)).await,)+
                }
            }
        }
    };
}

kinds! {
    Idle = "idle",
    PingRate = "ping-rate",
    JoinStorm = "join-storm",
    RestartStorm = "restart-storm",
    Room = "room",
    Rooms = "rooms",
    Expired = "expired",
    Expiry = "expiry",
    Mass = "mass",
    Flush = "flush",
    SlowLoris = "slow-loris",
    Soak = "soak",
    Reconcile = "reconcile",
}

impl Kind {
    pub fn names() -> Vec<&'static str> {
        Self::ALL.iter().map(|kind| kind.name).collect()
    }

    pub fn about(&self) -> String {
        (self.reference().about)()
    }

    pub fn keys(&self) -> Vec<Key> {
        (self.reference().keys)()
    }

    pub fn figures(&self) -> &'static [FigureKey] {
        self.reference().figures
    }

    fn reference(&self) -> &'static KindReference {
        // Both lists come from one macro.
        Self::ALL.iter().find(|kind| kind.name == self.name()).expect("every kind is in the list")
    }
}
