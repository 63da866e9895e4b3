//! Bugs that are put in on purpose, to show that the tests find them: each is one mistake that somebody could make, behind
//! [`planted!`](crate::planted!). They exist only with the feature `planted-bugs`, which nothing turns on but
//! `make planted`; without it the macro is `false` and leaves nothing behind.

#[cfg(feature = "planted-bugs")]
pub use chosen::{choose, is_chosen};

/// Whether the bug of this name was chosen on this thread.
#[cfg(feature = "planted-bugs")]
#[macro_export]
macro_rules! planted {
    ($name:literal) => {
        $crate::planted::is_chosen(concat!("planted bug: ", $name))
    };
}

/// Without the feature there are no bugs of this kind.
#[cfg(not(feature = "planted-bugs"))]
#[macro_export]
macro_rules! planted {
    ($name:literal) => {
        false
    };
}

#[cfg(feature = "planted-bugs")]
mod chosen {
    use std::cell::RefCell;

    thread_local! {
        static CHOSEN: RefCell<Option<String>> = const { RefCell::new(None) };
    }

    /// From now on this thread has the bug of this name, and no other; `None`: it has none.
    pub fn choose(name: Option<&str>) {
        CHOSEN.set(name.map(|name| format!("planted bug: {name}")));
    }

    /// What [`planted!`](crate::planted!) asks.
    pub fn is_chosen(name: &str) -> bool {
        CHOSEN.with_borrow(|chosen| chosen.as_deref() == Some(name))
    }
}
