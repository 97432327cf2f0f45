//! Starts ranks of this program on this machine, as an agent would.

use std::net::{Ipv4Addr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::Error;

/// Runs `ranks` copies of this program with `args` and gives what each printed. When one fails, the
/// others are ended.
pub(super) fn run_ranks(ranks: u32, args: &[String]) -> Result<Vec<String>, Error> {
    let program =
        std::env::current_exe().map_err(Error::io("find this program", "/proc/self/exe"))?;
    let port = free_port()?;
    let mut children: Vec<Child> = Vec::new();
    for rank in 0..ranks {
        let mut command = Command::new(&program);
        command.args(args).stdin(Stdio::null()).stdout(Stdio::piped());
        command.env("RANK", rank.to_string()).env("LOCAL_RANK", rank.to_string());
        command.env("WORLD_SIZE", ranks.to_string()).env("LOCAL_WORLD_SIZE", ranks.to_string());
        command.env("MASTER_ADDR", "127.0.0.1").env("MASTER_PORT", port.to_string());
        for outside in [
            "YARD_CHECKPOINT_DIR",
            "YARD_RESUME_DIR",
            "YARD_ARTIFACT_DIR",
            "YARD_METRICS",
            "YARD_CONTROL",
        ] {
            command.env_remove(outside);
        }
        match command.spawn() {
            Ok(child) => children.push(child),
            Err(source) => {
                end(&mut children);
                return Err(Error::Io { doing: "start", path: program, source });
            }
        }
    }
    wait_for_all(&mut children)?;
    let read = |child: Child| {
        child.wait_with_output().map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
    };
    children
        .into_iter()
        .map(|child| read(child).map_err(Error::io("read the output of", &program)))
        .collect()
}

/// Output of a rank is one line, so an unread pipe never blocks it.
fn wait_for_all(children: &mut [Child]) -> Result<(), Error> {
    loop {
        let mut running = false;
        for rank in 0..children.len() {
            let status = children.get_mut(rank).and_then(|child| child.try_wait().transpose());
            match status {
                None => running = true,
                Some(Ok(status)) if status.success() => {}
                Some(failed) => {
                    end(children);
                    let how = failed.map_or_else(|e| e.to_string(), |status| status.to_string());
                    return Err(Error::Env {
                        name: "RANK",
                        why: format!("rank {rank} ended with {how}; its own words are above"),
                    });
                }
            }
        }
        if !running {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn end(children: &mut [Child]) {
    for child in children {
        drop(child.kill());
        drop(child.wait());
    }
}

/// A port that was free a moment ago.
fn free_port() -> Result<u16, Error> {
    let socket =
        TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr());
    socket.map(|address| address.port()).map_err(Error::io("find a free port on", "127.0.0.1"))
}
