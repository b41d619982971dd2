//! Writes the Rust code of nnetman.proto into a directory. A test compares it with what is committed.

use std::error::Error;
use std::path::{Path, PathBuf};

fn main() -> Result<(), Box<dyn Error>> {
    let out = std::env::args()
        .nth(1)
        .ok_or("usage: weft-proto-generate DIRECTORY")?;
    let protos = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut compiler = protox::Compiler::new([&protos])?;
    // Without comments: they are in the .proto files.
    compiler.include_source_info(false).include_imports(true);
    compiler.open_file("nnetman/v1/nnetman.proto")?;
    let descriptors = compiler.file_descriptor_set();
    tonic_prost_build::configure()
        .build_transport(false)
        .out_dir(PathBuf::from(out))
        .compile_fds(descriptors)?;
    Ok(())
}
