//! Compiles the `.proto` files with protox, so that no protoc is needed.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let files =
        ["types", "client", "worker", "raft", "access", "join", "cluster", "queue", "reservation"]
            .map(|name| format!("proto/trainyard/v1/{name}.proto"));
    for file in &files {
        println!("cargo::rerun-if-changed={file}");
    }
    let set = protox::compile(&files, ["proto"])?;
    // The names of all RPCs, so that a test can hold the table of permissions against them.
    let rpcs: Vec<String> = set
        .file
        .iter()
        .flat_map(|file| file.service.iter().map(move |service| (file.package(), service)))
        .flat_map(|(package, service)| {
            let name = format!("/{package}.{}", service.name());
            service.method.iter().map(move |method| format!("{name}/{}", method.name()))
        })
        .collect();
    let out = std::path::PathBuf::from(std::env::var("OUT_DIR")?).join("rpcs.rs");
    std::fs::write(out, format!("&{rpcs:?}"))?;
    tonic_prost_build::configure().compile_fds(set)?;
    Ok(())
}
