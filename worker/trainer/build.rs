//! Builds the C++ bridge to libtorch's c10d against the headers of an installed PyTorch wheel, and
//! gives what links it an rpath to the wheel's libraries. It never downloads anything: `make setup`
//! does that. NCCL goes into a shared library of its own, embedded in the program, so that a machine
//! without a GPU never loads libtorch's CUDA half.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// What tch 0.24 is made for; its calls into another version would not link, or worse, would.
const LIBTORCH: &str = "2.11.0";

/// A PyTorch installation: `torch/` and the folder that holds it (site-packages).
struct Torch {
    root: PathBuf,
    site: PathBuf,
}

fn main() -> ExitCode {
    for path in ["bridge", "build.rs"] {
        println!("cargo:rerun-if-changed={path}");
    }
    for name in ["LIBTORCH", "LIBTORCH_USE_PYTORCH", "VIRTUAL_ENV", "PATH"] {
        if name != "PATH" || env::var_os("LIBTORCH").is_none() {
            println!("cargo:rerun-if-env-changed={name}");
        }
    }
    match build() {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            println!("cargo::error={why}");
            ExitCode::FAILURE
        }
    }
}

fn build() -> Result<(), String> {
    let torch = Torch::find()?;
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?);
    bridge(&torch)
        .define("USE_C10D_GLOO", None)
        .files(["runtime", "c10d", "ddp", "optim"].map(|unit| format!("bridge/{unit}.cpp")))
        .try_compile("yard_c10d")
        .map_err(|e| format!("could not compile the c10d bridge: {e}"))?;
    println!("cargo:rustc-link-search=native={}", torch.lib().display());
    for library in ["torch_cpu", "c10"] {
        println!("cargo:rustc-link-lib={library}");
    }
    for folder in torch.link_folders() {
        println!("cargo:rustc-link-arg=-Wl,-rpath,{}", folder.display());
    }
    let library = out.join("libyard_nccl.so");
    match torch.cuda_headers() {
        Some(headers) => nccl(&torch, &headers, &library)?,
        None => {
            println!(
                "cargo:warning=no NCCL and CUDA headers beside torch: yard-train is built without NCCL"
            );
            fs::write(&library, [])
                .map_err(|e| format!("could not write {}: {e}", library.display()))?;
        }
    }
    println!("cargo:rustc-env=YARD_NCCL_LIBRARY={}", library.display());
    println!("cargo:rustc-env=YARD_TORCH_ROOT={}", torch.root.display());
    println!("cargo:rustc-env=YARD_TORCH_VERSION={LIBTORCH}");
    Ok(())
}

/// A C++ build with the wheel's headers, and our own for the five of gloo that the wheel lacks.
fn bridge(torch: &Torch) -> cc::Build {
    let mut build = cc::Build::new();
    build
        .cpp(true)
        .std("c++20")
        .pic(true)
        .opt_level(2)
        .debug(false)
        .warnings(false)
        .include("bridge")
        .include("bridge/include")
        .include(torch.root.join("include"))
        .include(torch.root.join("include/torch/csrc/api/include"));
    build
}

/// Links `bridge/nccl.cpp` into a shared library at `library`.
fn nccl(torch: &Torch, headers: &[PathBuf], library: &Path) -> Result<(), String> {
    let compiler = bridge(torch)
        .define("USE_C10D_NCCL", None)
        .includes(headers)
        .try_get_compiler()
        .map_err(|e| format!("no C++ compiler: {e}; install g++"))?;
    let mut command: Command = compiler.to_command();
    command.arg("-shared").arg("bridge/nccl.cpp").arg("-o").arg(library).arg("-L").arg(torch.lib());
    command.args(["-ltorch_cuda", "-lc10_cuda", "-ltorch_cpu", "-lc10"]);
    for folder in torch.link_folders() {
        command.arg(format!("-Wl,-rpath,{}", folder.display()));
    }
    command.arg("-L").arg(torch.site.join("nvidia/cu13/lib")).arg("-l:libcudart.so.13");
    let result = command.output().map_err(|e| format!("could not run the C++ compiler: {e}"))?;
    if result.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&result.stderr).into_owned();
    let first = text.lines().find(|line| line.contains("error")).unwrap_or("no error text");
    Err(format!("could not build the NCCL library: {first}"))
}

impl Torch {
    /// `LIBTORCH` names the folder; else `LIBTORCH_USE_PYTORCH` asks the Python that torch-sys asks.
    fn find() -> Result<Self, String> {
        let hint = "run `make setup`, or set LIBTORCH to the `torch` folder of a PyTorch 2.11.0 installation";
        let root = match env::var_os("LIBTORCH") {
            Some(root) => PathBuf::from(root),
            None if env::var_os("LIBTORCH_USE_PYTORCH").is_some() => Self::from_python()
                .ok_or_else(|| {
                    format!("libtorch {LIBTORCH} not found: python has no torch; {hint}")
                })?,
            None => {
                return Err(format!("libtorch {LIBTORCH} not found: LIBTORCH is not set; {hint}"));
            }
        };
        if !root.join("lib/libtorch_cpu.so").exists() {
            return Err(format!("libtorch {LIBTORCH} not found in {}; {hint}", root.display()));
        }
        let version = Self::version(&root).unwrap_or_else(|| "of unknown version".to_owned());
        if version.split('+').next() != Some(LIBTORCH) {
            return Err(format!(
                "libtorch {LIBTORCH} not found: {} is {version}; {hint}",
                root.display()
            ));
        }
        let site = root.parent().map(Path::to_path_buf).unwrap_or_default();
        Ok(Self { root, site })
    }

    fn from_python() -> Option<PathBuf> {
        let python = if env::var_os("VIRTUAL_ENV").is_some() { "python" } else { "python3" };
        let script =
            "import importlib.util as u; print(u.find_spec('torch').submodule_search_locations[0])";
        let output = Command::new(python).args(["-c", script]).output().ok()?;
        let path = String::from_utf8(output.stdout).ok()?;
        (output.status.success() && !path.trim().is_empty()).then(|| PathBuf::from(path.trim()))
    }

    /// From the wheel's `version.py`, or `build-version` of a C++ distribution.
    fn version(root: &Path) -> Option<String> {
        if let Ok(text) = fs::read_to_string(root.join("version.py")) {
            let line = text.lines().find(|line| line.starts_with("__version__"))?;
            return line.split('\'').nth(1).map(str::to_owned);
        }
        fs::read_to_string(root.join("build-version")).ok().map(|text| text.trim().to_owned())
    }

    fn lib(&self) -> PathBuf {
        self.root.join("lib")
    }

    /// Where the loader is to look: libtorch, and NVIDIA's wheels beside it.
    fn link_folders(&self) -> Vec<PathBuf> {
        let mut folders = vec![self.lib()];
        if let Ok(entries) = fs::read_dir(self.site.join("nvidia")) {
            let mut found: Vec<_> =
                entries.flatten().map(|e| e.path().join("lib")).filter(|p| p.is_dir()).collect();
            found.sort();
            folders.append(&mut found);
        }
        folders
    }

    /// The header folders of CUDA, its C++ core libraries and NCCL, when all are there.
    fn cuda_headers(&self) -> Option<Vec<PathBuf>> {
        let nvidia = self.site.join("nvidia");
        let needed = [
            "cu13/include/cuda_runtime.h",
            "cu13/include/crt/host_defines.h",
            "cu13/include/cccl/nv/target",
            "nccl/include/nccl.h",
        ];
        let complete = needed.iter().all(|file| nvidia.join(file).exists())
            && self.lib().join("libtorch_cuda.so").exists();
        complete.then(|| {
            ["cu13/include", "cu13/include/cccl", "nccl/include"].map(|p| nvidia.join(p)).to_vec()
        })
    }
}
