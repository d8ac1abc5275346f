//! Release builds of the tree as it is and of another revision, each in a folder of its own, so that neither makes the other build anew.

use crate::tidy::packages::cargo;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What git says.
fn git(root: &Path, words: &[&str]) -> Result<String, String> {
    let mut command = Command::new("git");
    // Whoever calls this from a hook has these set, and git would believe them rather than the folder.
    for name in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"] {
        command.env_remove(name);
    }
    let output = command.args(words).current_dir(root).stdin(Stdio::null()).output();
    let output = output.map_err(|why| format!("git cannot be started: {why}"))?;
    if !output.status.success() {
        return Err(format!("git {}: {}", words.join(" "), String::from_utf8_lossy(&output.stderr).trim()));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().into())
}

/// The commit that a name means.
pub(super) fn commit(root: &Path, revision: &str) -> Result<String, String> {
    git(root, &["rev-parse", "--verify", "--end-of-options", &format!("{revision}^{{commit}}")])
        .map_err(|why| format!("there is no revision {revision}: {why}"))
}

/// Whether the tree is not as its commit has it.
pub(super) fn is_changed(root: &Path) -> Result<bool, String> {
    git(root, &["status", "--porcelain"]).map(|lines| !lines.is_empty())
}

/// Another revision's tree, beside this one. It is removed when this is dropped.
pub(super) struct Worktree {
    root: PathBuf,
    /// Where it is.
    pub(super) path: PathBuf,
}

impl Worktree {
    /// Lays a commit's tree into a folder.
    pub(super) fn add(root: &Path, path: PathBuf, commit: &str) -> Result<Self, String> {
        // One that was interrupted has left its own.
        let tree = Self { root: root.into(), path };
        tree.remove();
        let path = tree.path.to_str().ok_or_else(|| format!("{} is no text", tree.path.display()))?;
        git(root, &["worktree", "add", "--detach", path, commit])?;
        Ok(tree)
    }

    fn remove(&self) {
        if self.path.exists()
            && let Err(why) = self
                .path
                .to_str()
                .map_or(Ok(String::new()), |path| git(&self.root, &["worktree", "remove", "--force", path]))
        {
            eprintln!("xtask: {} is left behind: {why}", self.path.display());
        }
        // A folder that somebody removed by hand is still registered.
        let _ = git(&self.root, &["worktree", "prune"]);
    }
}

impl Drop for Worktree {
    fn drop(&mut self) {
        self.remove();
    }
}

/// Builds the tree in a folder; its binary.
pub(super) fn build(tree: &Path, target: &Path) -> Result<PathBuf, String> {
    let words = ["build", "--release", "--locked", "--package", "seawall"];
    let built = cargo().args(words).current_dir(tree).env("CARGO_TARGET_DIR", target).stdin(Stdio::null()).status();
    if !built.map_err(|why| format!("cargo cannot be started: {why}"))?.success() {
        return Err(format!("there is no build of {}", tree.display()));
    }
    Ok(target.join("release/seawall"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A repository with two commits, of which the second is checked out.
    fn repository(name: &str) -> PathBuf {
        let root = std::env::temp_dir().join(format!("seawall-xtask-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&root).unwrap();
        git(&root, &["init", "--quiet", "."]).unwrap();
        let author = ["-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"];
        for text in ["first", "second"] {
            std::fs::write(root.join("file"), text).unwrap();
            git(&root, &["add", "file"]).unwrap();
            git(&root, &[&author[..], &["commit", "--quiet", "--message", text]].concat()).unwrap();
        }
        root
    }

    #[test]
    fn another_revision_lies_beside_the_tree_until_it_is_dropped() {
        let root = repository("worktree");
        let (old, path) = (commit(&root, "HEAD~1").unwrap(), root.join("target/bench/tree"));
        let read = |path: &Path| std::fs::read_to_string(path.join("file")).unwrap();
        let tree = Worktree::add(&root, path.clone(), &old).unwrap();
        assert_eq!((read(&tree.path), read(&root)), ("first".into(), "second".into()));
        // An interrupted run left it there.
        std::mem::forget(tree);
        let tree = Worktree::add(&root, path.clone(), &old).unwrap();
        assert_eq!(read(&tree.path), "first");
        drop(tree);
        assert!(!path.exists());
        assert_eq!(git(&root, &["worktree", "list"]).unwrap().lines().count(), 1);
        std::fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn revisions_are_found_or_named_and_changes_are_seen() {
        let root = repository("revisions");
        assert_eq!(commit(&root, "HEAD").unwrap().len(), 40);
        assert_ne!(commit(&root, "HEAD"), commit(&root, "HEAD~1"));
        for none in ["HEAD~2", "no-such-branch", "--all"] {
            assert!(commit(&root, none).unwrap_err().starts_with(&format!("there is no revision {none}: ")));
        }
        assert!(!is_changed(&root).unwrap());
        std::fs::write(root.join("file"), "third").unwrap();
        assert!(is_changed(&root).unwrap());
        std::fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn a_tree_that_does_not_build_is_named() {
        let root = repository("build");
        assert!(build(&root, &root.join("target")).unwrap_err().contains("there is no build of "));
        std::fs::remove_dir_all(root).unwrap();
    }
}
