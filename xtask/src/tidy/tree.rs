//! The files of the project, as the rules see them.
//!
//! In a git checkout: what git tracks, and what it would track once added (so that a new file is checked before it is
//! committed). Elsewhere: everything but build output. Only files that are text are kept; the rules have nothing to say
//! about others.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

/// All text files under a root.
#[derive(Debug)]
pub struct Tree {
    /// Where it stands.
    pub root: PathBuf,
    /// Text by path from the root, with `/` between its parts.
    pub texts: BTreeMap<String, String>,
    /// Files that are there and that git does not track yet.
    pub untracked: BTreeSet<String>,
}

impl Tree {
    /// Reads the tree at `root`.
    ///
    /// # Errors
    /// When git or a file cannot be read.
    pub fn open(root: &Path) -> io::Result<Self> {
        let root = root.canonicalize()?;
        let (paths, untracked) = if root.join(".git").exists() {
            let untracked = git_files(&root, &["--others", "--exclude-standard"])?;
            let mut all = git_files(&root, &["--cached"])?;
            all.extend(untracked.iter().cloned());
            (all, untracked)
        } else {
            let mut all = BTreeSet::new();
            walk(&root, "", &mut all)?;
            (all, BTreeSet::new())
        };
        let mut texts = BTreeMap::new();
        for path in paths {
            match std::fs::read(root.join(&path)) {
                // A file with bytes that are no text is an image of some format.
                Ok(bytes) => texts.extend(String::from_utf8(bytes).ok().map(|text| (path, text))),
                // Git still lists what was deleted and not committed yet.
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(e) => return Err(io::Error::new(e.kind(), format!("{path}: {e}"))),
            }
        }
        Ok(Self { root, texts, untracked })
    }

    /// The text of a file, if it is there.
    pub fn text(&self, path: &str) -> Option<&str> {
        self.texts.get(path).map(String::as_str)
    }

    /// Paths that end in `.` and `extension`, in order.
    pub fn with_extension<'a>(&'a self, extension: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.texts
            .iter()
            .filter(move |(path, _)| Path::new(path).extension().is_some_and(|e| e == extension))
            .map(|(path, text)| (path.as_str(), text.as_str()))
    }

    /// The first line of a file that contains `needle`, from 1.
    pub fn line_of(&self, path: &str, needle: &str) -> Option<usize> {
        self.text(path)?.lines().position(|line| line.contains(needle)).map(|at| at + 1)
    }
}

fn git_files(root: &Path, which: &[&str]) -> io::Result<BTreeSet<String>> {
    let output = Command::new("git").arg("-C").arg(root).args(["ls-files", "-z"]).args(which).output()?;
    if !output.status.success() {
        return Err(io::Error::other(format!("git ls-files: {}", String::from_utf8_lossy(&output.stderr).trim())));
    }
    let list = String::from_utf8(output.stdout).map_err(|_| io::Error::other("a file's name is not UTF-8"))?;
    Ok(list.split('\0').filter(|path| !path.is_empty()).map(String::from).collect())
}

fn walk(root: &Path, under: &str, into: &mut BTreeSet<String>) -> io::Result<()> {
    for entry in std::fs::read_dir(root.join(under))? {
        let entry = entry?;
        let name = entry.file_name().into_string().map_err(|_| io::Error::other("a file's name is not UTF-8"))?;
        let path = if under.is_empty() { name.clone() } else { format!("{under}/{name}") };
        if entry.file_type()?.is_dir() {
            if !(under.is_empty() && (name == ".git" || name == "target")) {
                walk(root, &path, into)?;
            }
        } else {
            into.insert(path);
        }
    }
    Ok(())
}
