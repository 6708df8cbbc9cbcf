//! Compiles the protobuf definitions without protoc: a fresh machine needs cargo
//! and a C compiler only.

use std::{env, error::Error, fs, path::PathBuf};

fn main() -> Result<(), Box<dyn Error>> {
    let descriptors = protox::compile(["workload.proto", "admin.proto"], ["proto"])?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    // Served by gRPC reflection (SPIFFE_Workload_Endpoint.md, section 7).
    for (file, bytes) in [("workload.bin", "workload.proto"), ("admin.bin", "admin.proto")] {
        let set = protox::compile([bytes], ["proto"])?;
        fs::write(out.join(file), prost::Message::encode_to_vec(&set))?;
    }
    tonic_prost_build::configure().codec_path("crate::codec::Fitting").compile_fds(descriptors)?;
    println!("cargo::rerun-if-changed=proto");
    Ok(())
}
