//! The boundary of each of these libraries: the frozen one of 1.0.0 beside this file, with what its revision has changed.
//!
//! A library built by somebody else, from a release of another time, has its own copy of the crate `mezzo-module-abi`. Cargo
//! takes no two members of one name, so these have names of their own and say that they are that crate where it counts: the layout
//! check compares the crate name and the version that the compiler is told.

use std::{env, error, fs, path::PathBuf};

/// Crate, what its boundary has instead of what 1.0.0 has.
const CHANGES: &[(&str, &str, &str)] = &[
    (
        "mezzo-revision-field-more",
        "pub api: u32,",
        "pub api: u32,\n    pub licence: RStr<'static>,",
    ),
    (
        "mezzo-revision-reordered",
        "pub kind: u32,\n    pub name: RStr<'static>,",
        "pub name: RStr<'static>,\n    pub kind: u32,",
    ),
];

fn main() -> Result<(), Box<dyn error::Error>> {
    let frozen = "../boundary-1.0.0.rs";
    println!("cargo::rerun-if-changed={frozen}");
    println!("cargo::rerun-if-changed=../build.rs");
    println!("cargo::rustc-env=CARGO_PKG_NAME=mezzo-module-abi");
    let text = fs::read_to_string(frozen)?;
    // What stands before it is about the file as a whole, and this one becomes a part of another.
    let start =
        text.find("use abi_stable::StableAbi;").ok_or("the frozen boundary has no beginning")?;
    let mut boundary = text.get(start..).unwrap_or_default().to_owned();
    let name = env::var("CARGO_PKG_NAME")?;
    for (_, from, to) in CHANGES.iter().filter(|(of, _, _)| *of == name) {
        if !boundary.contains(from) {
            return Err(format!("the frozen boundary has no `{from}`").into());
        }
        boundary = boundary.replace(from, to);
    }
    fs::write(PathBuf::from(env::var("OUT_DIR")?).join("boundary.rs"), boundary)?;
    Ok(())
}
