//! Compiles the subset of etcd's interface that the load generator speaks.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let file = "proto/etcd.proto";
    println!("cargo::rerun-if-changed={file}");
    let set = protox::compile([file], ["proto"])?;
    tonic_prost_build::configure().build_server(false).compile_fds(set)?;
    Ok(())
}
