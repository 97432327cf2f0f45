//! What the command line offers. The defaults are what `make bench` measures.

use std::path::PathBuf;

/// Benchmarks beside the peers; prints Markdown.
#[derive(Debug, clap::Parser)]
pub(crate) struct Args {
    /// What to measure.
    #[arg(value_enum, default_value_t = Bench::All)]
    pub(crate) bench: Bench,
    /// Where each benchmark's last report is kept; RESULTS.md goes beside this folder.
    #[arg(long, value_name = "FOLDER", default_value = "tests/bench/results")]
    pub(crate) out: PathBuf,
    /// Rounds; the order of the systems turns around in each.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=99))]
    pub(crate) rounds: u32,
    /// Seconds of load in a round of `submit`.
    #[arg(long, default_value_t = 3.0)]
    pub(crate) seconds: f64,
    /// Clients of `submit`, a case each.
    #[arg(long, value_delimiter = ',', default_value = "1,16,64,256")]
    pub(crate) clients: Vec<usize>,
    /// The one system that `submit` measures, `trainyard` or `etcd`. Default: both, in turns.
    #[arg(long)]
    pub(crate) only: Option<String>,
    /// Jobs in a round of `jobs`.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) jobs: u32,
    /// Slots that each system declares in `jobs`.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=256))]
    pub(crate) slots: u32,
    /// Jobs in a round of `start`.
    #[arg(long, value_name = "JOBS", default_value_t = 50)]
    pub(crate) starts: u32,
    /// Timed steps in a round of `ddp`, at width 512.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(10..=100_000))]
    pub(crate) steps: u32,
    /// Leaders killed in `failover`.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) kills: u32,
    /// Leaders stopped in good order in `failover`.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) transfers: u32,
    /// Workers killed in `failover`.
    #[arg(long, default_value_t = 12, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) losses: u32,
    /// Leaders of each of the peers killed, and stopped, in `failover`.
    #[arg(long, default_value_t = 40, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) peer_kills: u32,
    /// Print the report as JSON, and write no files.
    #[arg(long)]
    pub(crate) json: bool,
    /// Finished jobs of `scale`.
    #[arg(long, default_value_t = 1_000_000)]
    pub(crate) finished: u32,
    /// Live jobs of `scale`.
    #[arg(long, default_value_t = 100_000)]
    pub(crate) live_jobs: u32,
    /// A folder in which `scale` keeps what it fills, to measure it again. Default: none is kept.
    #[arg(long, value_name = "FOLDER")]
    pub(crate) scale_dir: Option<PathBuf>,
    /// Where the systems keep their data: must be a disk, or durability is not measured.
    #[arg(long, default_value = "target/bench")]
    pub(crate) data: PathBuf,
    /// The `yard` to measure. Default: beside this program.
    #[arg(long)]
    yard: Option<PathBuf>,
    /// The `yard-train` to measure. Default: beside this program.
    #[arg(long)]
    yard_train: Option<PathBuf>,
    /// A Python with PyTorch.
    #[arg(long, env = "YARD_PYTHON")]
    python: Option<PathBuf>,
    /// A Python with the package `hyperqueue`.
    #[arg(long, env = "YARD_HQ_PYTHON")]
    hq_python: Option<PathBuf>,
}

/// The benchmarks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Bench {
    /// All of them.
    All,
    /// Durable submits a second, beside etcd.
    Submit,
    /// Short jobs a second, beside Slurm and `HyperQueue`.
    Jobs,
    /// Data-parallel steps a second, beside PyTorch.
    Ddp,
    /// The time without a leader after its death, beside etcd; what a lost worker costs.
    Failover,
    /// From a submit to the start of its program, beside Slurm.
    Start,
    /// Memory, start and answers of a scheduler with many jobs. Not part of `all`.
    Scale,
    /// Measures nothing: makes the page of results from what was kept.
    Page,
}

impl Bench {
    pub(crate) fn each(self) -> Vec<Self> {
        match self {
            Self::All => vec![Self::Submit, Self::Jobs, Self::Start, Self::Ddp, Self::Failover],
            Self::Page => Vec::new(),
            one => vec![one],
        }
    }
}

impl Args {
    pub(crate) fn yard(&self) -> PathBuf {
        self.yard.clone().unwrap_or_else(|| sibling("yard"))
    }

    pub(crate) fn yard_train(&self) -> PathBuf {
        self.yard_train.clone().unwrap_or_else(|| sibling("yard-train"))
    }

    pub(crate) fn python(&self) -> PathBuf {
        self.python.clone().unwrap_or_else(|| cached("venv"))
    }

    pub(crate) fn hq_python(&self) -> PathBuf {
        self.hq_python.clone().unwrap_or_else(|| cached("peers"))
    }
}

fn sibling(name: &str) -> PathBuf {
    let here = std::env::current_exe().ok();
    here.and_then(|exe| Some(exe.parent()?.join(name))).unwrap_or_else(|| name.into())
}

/// The Python of an environment that `ops/setup.sh` and `ops/setup-bench.sh` keep.
fn cached(environment: &str) -> PathBuf {
    let path = |name: &str| std::env::var_os(name).map(PathBuf::from);
    let cache = || path("XDG_CACHE_HOME").or_else(|| Some(path("HOME")?.join(".cache")));
    let ours = path("YARD_CACHE").or_else(|| Some(cache()?.join("trainyard")));
    ours.unwrap_or_default().join(environment).join("bin/python")
}
