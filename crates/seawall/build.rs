//! Tells the binary which commit it is made of, so that a failed seed can be repeated on the same sources. Without git, or outside
//! a checkout, it says nothing and the binary says that it does not know.

use std::process::Command;

fn main() {
    let git = |words: &[&str]| {
        let out = Command::new("git").args(words).output().ok().filter(|out| out.status.success())?;
        Some(String::from_utf8(out.stdout).ok()?.trim().to_string())
    };
    if let Some(commit) = git(&["rev-parse", "--short=12", "HEAD"]) {
        println!("cargo::rustc-env=SEAWALL_COMMIT={commit}");
    }
    // It grows with every commit and every checkout; HEAD itself names a branch and stays the same.
    match git(&["rev-parse", "--path-format=absolute", "--git-path", "logs/HEAD"]) {
        Some(log) if std::path::Path::new(&log).exists() => println!("cargo::rerun-if-changed={log}"),
        _ => println!("cargo::rerun-if-changed=build.rs"),
    }
}
