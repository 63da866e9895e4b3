#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| rollcall::fuzzing::journal(input));
