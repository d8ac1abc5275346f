//! `cargo xtask aws-model`: the shapes of `crates/api`, made anew from AWS's public models, or compared with what would be made.
//!
//! The models come in a release of botocore that is pinned by its hash and fetched by pip into a temporary folder. They are never kept; what
//! is kept is what `xtask/aws-model/generate.py` writes, as rustfmt leaves it. Needs python3 with pip, and a package index or `--wheel`.

use std::path::{Path, PathBuf};
use std::process::Command;

/// What was asked for.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Compare only, and change nothing.
    pub check: bool,
    /// A wheel that is here already.
    pub wheel: Option<PathBuf>,
}

impl Wanted {
    /// Reads the words behind `aws-model`.
    ///
    /// # Errors
    /// A word that is no option.
    pub fn parse(words: &[&str]) -> Result<Self, String> {
        let mut wanted = Self::default();
        let mut words = words.iter();
        while let Some(word) = words.next() {
            match *word {
                "--check" => wanted.check = true,
                "--wheel" => {
                    wanted.wheel = Some(words.next().ok_or("--wheel wants a file")?.into());
                }
                other => return Err(format!("aws-model has no option {other:?}")),
            }
        }
        Ok(wanted)
    }
}

/// A folder that is gone when this is.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Result<Self, String> {
        let path = std::env::temp_dir().join(format!("seawall-aws-model-{}", std::process::id()));
        std::fs::create_dir_all(&path).map_err(|why| format!("{} cannot be made: {why}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// What a program prints, if it held.
fn printed(command: &mut Command, what: &str) -> Result<String, String> {
    let output = command.output().map_err(|why| format!("{what} cannot be started: {why}"))?;
    if !output.status.success() {
        return Err(format!("{what} failed: {}", String::from_utf8_lossy(&output.stderr).trim()));
    }
    String::from_utf8(output.stdout).map_err(|_| format!("{what} prints what is no text"))
}

fn fetch(into: &Path, scripts: &Path) -> Result<PathBuf, String> {
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps", "--require-hashes"]);
    pip.arg("--dest").arg(into).arg("--requirement").arg(scripts.join("requirements.txt"));
    printed(&mut pip, "pip")?;
    let files = std::fs::read_dir(into).into_iter().flatten().flatten().map(|file| file.path());
    let mut wheels = files.filter(|path| path.extension().is_some_and(|e| e == "whl"));
    wheels.next().ok_or_else(|| "pip fetched no wheel".into())
}

/// Writes the files under a folder and says which.
fn generate(root: &Path, wheel: &Path, into: &Path) -> Result<Vec<String>, String> {
    // -B: no compiled files in the tree.
    let mut python = Command::new("python3");
    python.arg("-B").arg(root.join("xtask/aws-model/generate.py")).arg(wheel);
    python.arg(root.join("crates/api/tests/protocol")).arg(into);
    let files: Vec<String> = printed(&mut python, "generate.py")?.lines().map(str::to_owned).collect();
    let mut rustfmt = Command::new("rustfmt");
    rustfmt.args(["--edition", "2024", "--config-path"]).arg(root);
    rustfmt.args(files.iter().map(|file| into.join(file)));
    printed(&mut rustfmt, "rustfmt")?;
    Ok(files)
}

/// Makes the files, or compares them; true when they are now as they should be.
///
/// # Errors
/// When a tool that this needs is missing or fails.
pub fn run(root: &Path, wanted: &Wanted) -> Result<bool, String> {
    let folder = Folder::new()?;
    let wheel = match &wanted.wheel {
        Some(wheel) => wheel.clone(),
        None => fetch(&folder.0, &root.join("xtask/aws-model"))?,
    };
    if !wanted.check {
        let files = generate(root, &wheel, root)?;
        crate::say(format_args!("aws-model: {} files written", files.len()));
        return Ok(true);
    }
    let files = generate(root, &wheel, &folder.0)?;
    let read = |at: &Path, file: &str| std::fs::read_to_string(at.join(file)).unwrap_or_default();
    let stale: Vec<_> = files.iter().filter(|file| read(root, file) != read(&folder.0, file)).collect();
    for file in &stale {
        crate::say(format_args!("{file}: is not what AWS's model makes of it; run cargo xtask aws-model and commit"));
    }
    crate::say(format_args!("aws-model: {} files, {} stale", files.len(), stale.len()));
    Ok(stale.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_or_refused() {
        assert_eq!(Wanted::parse(&[]), Ok(Wanted::default()));
        let wanted = Wanted { check: true, wheel: Some("a.whl".into()) };
        assert_eq!(Wanted::parse(&["--check", "--wheel", "a.whl"]), Ok(wanted));
        assert!(Wanted::parse(&["--wheel"]).is_err() && Wanted::parse(&["--chek"]).is_err());
    }
}
