//! The seeds of every target and mutations of them, drawn from fixed numbers.

use std::path::{Path, PathBuf};

use super::{Draw, TARGETS};

/// Mutations of the seeds of a target: fewer for those that write files. All together they take seconds.
fn mutations(target: &str) -> u64 {
    match target {
        "configuration" | "journal" => 400,
        _ => 3_000,
    }
}

/// Pieces that parsers stumble over.
const PIECES: [&str; 16] = [
    "\0",
    "\r\n",
    "\n\n",
    "\"",
    "\\u0000",
    "[[",
    "}",
    "%00",
    "=",
    ";",
    "--",
    "9223372036854775808",
    "-1",
    "1e400",
    "\u{202e}",
    "é",
];

fn seeds(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(target);
    let files = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<PathBuf> = files.map(|file| file.expect("a file").path()).collect();
    paths.sort_unstable();
    paths.into_iter().map(|path| (path.clone(), std::fs::read(path).expect("readable"))).collect()
}

fn mutated(seeds: &[(PathBuf, Vec<u8>)], draw: &mut Draw) -> Vec<u8> {
    let mut input = seeds[draw.below(seeds.len())].1.clone();
    for _ in 0..1 + draw.below(4) {
        let at = draw.below(input.len() + 1);
        let length = draw.below(16).min(input.len() - at);
        match draw.below(7) {
            0 if at < input.len() => input[at] ^= 1 << draw.below(8),
            1 if at < input.len() => input[at] = draw.next() as u8,
            2 => drop(input.drain(at..at + length)),
            3 => {
                let again = input[at..at + length].to_vec();
                input.splice(at..at, again);
            }
            4 => drop(input.splice(at..at, PIECES[draw.below(PIECES.len())].bytes())),
            5 => {
                let other = &seeds[draw.below(seeds.len())].1;
                input.truncate(at);
                input.extend_from_slice(&other[draw.below(other.len() + 1)..]);
            }
            _ if draw.one_in(3) => input.truncate(at),
            _ => {}
        }
    }
    input
}

/// Names the input when a target panics: the message of the panic alone would not say which it was.
fn run(target: &str, entry: fn(&[u8]), name: &str, input: &[u8]) {
    let outcome = std::panic::catch_unwind(|| entry(input));
    assert!(outcome.is_ok(), "{target} fails on {name}: {:?}", String::from_utf8_lossy(input));
}

#[test]
fn every_seed_and_its_mutations_keep_what_always_holds() {
    for (target, entry) in TARGETS {
        let seeds = seeds(target);
        assert!(seeds.len() >= 5, "{target} has {} seeds", seeds.len());
        for (path, seed) in &seeds {
            run(target, entry, &path.display().to_string(), seed);
        }
        for number in 0..mutations(target) {
            let input = mutated(&seeds, &mut Draw::new(number));
            run(target, entry, &format!("mutation {number}"), &input);
        }
    }
}

#[test]
fn every_target_has_a_fuzzer() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/fuzz_targets");
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .expect("the folder of fuzzers")
        .map(|file| file.expect("a file").path().file_stem().expect("a name").to_string_lossy().into_owned())
        .collect();
    names.sort_unstable();
    assert_eq!(names, TARGETS.map(|(name, _)| name));
}
