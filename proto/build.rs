//! Compiles the `.proto` files with protox, so that no protoc is needed.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let files = ["types", "client", "worker", "raft", "cluster"]
        .map(|name| format!("proto/trainyard/v1/{name}.proto"));
    for file in &files {
        println!("cargo::rerun-if-changed={file}");
    }
    let set = protox::compile(&files, ["proto"])?;
    tonic_prost_build::configure().compile_fds(set)?;
    Ok(())
}
