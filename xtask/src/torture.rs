//! Building what the torture of a region needs, and handing over to the script that does it (`tests/torture`).
//!
//! The build is optimised and has disks that fail on demand. It lies beside the release under a name of its own.

use crate::tidy::packages::{cargo, metadata};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The script, from the root of the tree.
const SCRIPT: &str = "tests/torture/main.py";

/// Tortures a region as the words behind `torture` say; true when it held.
///
/// # Errors
/// When there is nothing to run, or nothing to run it with.
pub fn run(root: &Path, words: &[&str]) -> Result<bool, String> {
    let asks_for_help = words.iter().any(|word| matches!(*word, "--help" | "-h"));
    // Help needs no build, and the script wants some name.
    let binary = if asks_for_help { PathBuf::from("seawall") } else { build(root)? };
    let mut python = script(root, &binary, words);
    let status = python.status().map_err(|why| format!("needs python3: {why}"))?;
    Ok(status.success())
}

fn script(root: &Path, binary: &Path, words: &[&str]) -> Command {
    let mut python = Command::new("python3");
    // -B: no compiled files in the tree. -u: lines appear when they are printed.
    python.args(["-B", "-u"]).arg(root.join(SCRIPT)).arg(binary).args(words).current_dir(root);
    python
}

fn build(root: &Path) -> Result<PathBuf, String> {
    let metadata = metadata(root)?;
    let target = metadata["target_directory"].as_str().ok_or("cargo metadata names no target directory")?;
    let words = ["build", "--release", "--locked", "--package", "seawall", "--features", "faults"];
    let built = cargo().args(words).current_dir(root).status();
    if !built.map_err(|why| format!("cargo cannot be started: {why}"))?.success() {
        return Err("there is no build to torture".into());
    }
    let (made, kept) = (Path::new(target).join("release/seawall"), Path::new(target).join("release/seawall-faults"));
    std::fs::copy(&made, &kept).map_err(|why| format!("{} cannot be kept: {why}", kept.display()))?;
    Ok(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_script_is_there_and_is_given_every_word() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        assert!(root.join(SCRIPT).is_file());
        let command = script(root, Path::new("seawall"), &["kills", "--rounds", "3"]);
        let words: Vec<_> = command.get_args().map(|word| word.to_string_lossy().into_owned()).collect();
        assert_eq!(words[3..], ["seawall", "kills", "--rounds", "3"]);
    }
}
