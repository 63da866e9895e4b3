//! Bugs on purpose (`planted!`) are in no build that anybody runs.

/// How `planted!` spells a name where it is compiled in.
const MARK: &[u8] = b"planted bug: ";

#[test]
fn no_planted_bug_is_in_the_server() {
    let program = std::fs::read(env!("CARGO_BIN_EXE_rollcall")).expect("the program is built");
    let is_in = program.windows(MARK.len()).any(|place| place == MARK);
    // With the feature they are there, so this looks for the right thing.
    assert_eq!(is_in, cfg!(feature = "planted-bugs"));
}
