//! `cargo xtask fuzz`: anything at all said to everything that reads bytes from outside, for as long as wanted (libFuzzer). What it finds is a failure. Every run of the tests
//! tries the same functions with seeded bytes.
//!
//! It needs a compiler that can put an address sanitiser in, which a nightly one can; where there is none, the stable one is told that it may.

use std::path::Path;
use std::process::{Command, Stdio};

/// The targets, as the files in `fuzz/fuzz_targets` are called.
pub const TARGETS: [&str; 10] =
    ["config", "frames", "hello", "image", "keepalive", "messages", "metadata", "request", "session", "words"];
/// Coverage of edges and of comparisons, and an address sanitiser: what cargo-fuzz passes, too.
const FLAGS: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares --cfg fuzzing -Zsanitizer=address";
/// Where programs for this machine go when they are built for a named target, which the sanitiser demands.
const MACHINE: &str = "x86_64-unknown-linux-gnu";

/// What was asked for.
#[derive(Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Which targets; all, if none is named.
    pub targets: Vec<String>,
    /// How long each is tried.
    pub seconds: u32,
}

impl Wanted {
    /// Reads the words behind `fuzz`.
    ///
    /// # Errors
    /// A word that is no target and no option.
    pub fn parse(words: &[&str]) -> Result<Self, String> {
        let mut wanted = Self { targets: Vec::new(), seconds: 60 };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            match *word {
                "--seconds" => {
                    let text = words.next().copied().unwrap_or_default();
                    let seconds = text.parse().ok().filter(|seconds| *seconds > 0);
                    wanted.seconds =
                        seconds.ok_or_else(|| format!("--seconds wants a number above 0, not {text:?}"))?;
                }
                name if TARGETS.contains(&name) => wanted.targets.push(name.to_owned()),
                other => return Err(format!("{other:?} is neither --seconds N nor one of {}", TARGETS.join(", "))),
            }
        }
        if wanted.targets.is_empty() {
            wanted.targets = TARGETS.map(str::to_owned).into();
        }
        Ok(wanted)
    }
}

/// Whether there is a nightly compiler.
fn has_nightly() -> bool {
    let mut cargo = Command::new("cargo");
    cargo.args(["+nightly", "--version"]).env_remove("RUSTUP_TOOLCHAIN").env_remove("CARGO");
    cargo.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

/// Tries each target; true when nothing was found.
///
/// # Errors
/// When a target cannot be built or started.
pub fn run(root: &Path, wanted: &Wanted) -> Result<bool, String> {
    let folder = root.join("fuzz");
    let (mut held, nightly) = (true, has_nightly());
    for target in &wanted.targets {
        println!("== fuzz {target}: {} s", wanted.seconds);
        let corpus = folder.join("corpus").join(target);
        std::fs::create_dir_all(&corpus).map_err(|why| format!("{} cannot be made: {why}", corpus.display()))?;
        let mut cargo = Command::new("cargo");
        // The compiler that runs this one is the stable one; its variables would decide for the other.
        cargo.current_dir(&folder).env("RUSTFLAGS", FLAGS).env_remove("RUSTUP_TOOLCHAIN").env_remove("CARGO");
        if nightly {
            cargo.arg("+nightly");
        } else {
            cargo.env("RUSTC_BOOTSTRAP", "1");
        }
        cargo.args(["run", "--release", "--locked", "--target", MACHINE, "--bin", target, "--"]).arg(&corpus);
        cargo.args(["-max_len=4096".to_owned(), format!("-max_total_time={}", wanted.seconds)]);
        let words = folder.join(format!("{target}.dict"));
        if words.exists() {
            cargo.arg(format!("-dict={}", words.display()));
        }
        let status = cargo.status().map_err(|why| format!("cargo cannot be started: {why}"))?;
        held &= status.success();
    }
    Ok(held)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_and_seconds_are_read_or_refused() {
        assert_eq!(Wanted::parse(&[]).unwrap().targets, TARGETS);
        let wanted = Wanted { targets: vec!["session".into()], seconds: 5 };
        assert_eq!(Wanted::parse(&["session", "--seconds", "5"]), Ok(wanted));
        assert!(Wanted::parse(&["--seconds", "soon"]).is_err() && Wanted::parse(&["sesion"]).is_err());
    }

    #[test]
    fn every_target_is_a_file_and_every_file_a_target() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/fuzz_targets");
        let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = files.map(|name| name.trim_end_matches(".rs").to_owned()).collect();
        names.sort();
        assert_eq!(names, TARGETS);
    }
}
