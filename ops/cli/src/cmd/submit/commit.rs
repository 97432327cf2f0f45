//! The git commit of a work directory, for a model's lineage. No git, no repository: no commit.

use std::{path::Path, process::Command};

/// The commit that is checked out, with `-dirty` if tracked files were changed since.
pub(super) fn of(dir: &Path) -> Option<String> {
    let commit = git(dir, &["rev-parse", "--verify", "HEAD"])?;
    let changes = git(dir, &["status", "--porcelain", "--untracked-files=no", "--", "."])?;
    Some(if changes.is_empty() { commit } else { format!("{commit}-dirty") })
}

fn git(dir: &Path, args: &[&str]) -> Option<String> {
    let output = Command::new("git").arg("-C").arg(dir).args(args).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_change_makes_it_dirty() {
        let dir = tempfile::tempdir().unwrap();
        let run = |args: &[&str]| {
            let identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"];
            let args: Vec<&str> = identity.iter().chain(args).copied().collect();
            git(dir.path(), &args)
        };
        assert_eq!(of(dir.path()), None);
        if run(&["init", "-q"]).is_none() {
            return;
        }
        assert_eq!(of(dir.path()), None);
        fs::write(dir.path().join("a"), "1").unwrap();
        run(&["add", "a"]).unwrap();
        run(&["commit", "-q", "-m", "one"]).unwrap();
        let clean = of(dir.path()).unwrap();
        assert_eq!(clean.len(), 40);
        fs::write(dir.path().join("new"), "untracked").unwrap();
        assert_eq!(of(dir.path()), Some(clean.clone()));
        fs::write(dir.path().join("a"), "2").unwrap();
        assert_eq!(of(dir.path()), Some(format!("{clean}-dirty")));
    }
}
