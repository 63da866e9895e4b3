//! `sqlx::migrate!` reads the folder when it is compiled; cargo must know that a new file is a reason to compile.

fn main() {
    println!("cargo:rerun-if-changed=migrations");
}
