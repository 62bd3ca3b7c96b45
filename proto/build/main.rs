//! Compiles every `.proto` of this crate without `protoc`: messages, services, the descriptors for
//! reflection and JSON, and the tables of required fields.

mod required;

use std::path::{Path, PathBuf};
use std::{env, fs};

use prost::Message;

/// Checks required fields before a message reaches a handler.
const CODEC: &str = "crate::codec::CheckedCodec";

#[expect(clippy::print_stdout, reason = "how a build script speaks to cargo")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?);
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let mut files = Vec::new();
    collect(&root.join("mezzo"), &mut files)?;
    files.sort();
    println!("cargo:rerun-if-changed=mezzo");
    println!("cargo:rerun-if-changed=build");

    let descriptors = protox::compile(&files, [&root])?;
    fs::write(out.join("mezzo.fds"), descriptors.encode_to_vec())?;
    fs::write(out.join("required.rs"), required::tables(&descriptors))?;

    let mut prost = tonic_prost_build::Config::new();
    prost.enable_type_names();
    prost.bytes(["."]);
    prost.btree_map(["."]);
    tonic_prost_build::configure()
        // Our streams are called Connect, as is the constructor that this would generate.
        .build_transport(false)
        .codec_path(CODEC)
        .compile_fds_with_config(descriptors, prost)?;
    Ok(())
}

fn collect(dir: &Path, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|e| e == "proto") {
            files.push(path);
        }
    }
    Ok(())
}
