//! The stages, in the order in which they run: what is quick to fail comes first.

use super::Outcome;
use super::process::{self, Ended};
use crate::tidy;
use crate::tidy::packages::{cargo, metadata};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// A script ends with this when a tool it needs is missing, after a line `skipped: needs ...`.
const SKIPPED: i32 = 77;

const fn minutes(n: u64) -> Duration {
    Duration::from_secs(60 * n)
}

/// What a stage does.
enum Action {
    /// Runs cargo with these words.
    Cargo(&'static [&'static str]),
    /// Builds a binary that later stages try, with these words; it is kept as `binary`.
    Build { words: &'static [&'static str], made: PathBuf, binary: PathBuf },
    /// Runs cargo's tests and counts them.
    Tests,
    /// Tries the rules of the house.
    Tidy,
    /// Runs the binary; it must end with this status.
    Seawall { binary: PathBuf, words: &'static [&'static str], status: i32 },
    /// Checks where dependencies come from.
    Deny,
    /// Runs a script against the binary.
    Script { binary: PathBuf, script: PathBuf },
    /// Says that there is no script to run, so that their absence cannot pass for success.
    NoScripts,
}

/// One stage, or one script of a stage of scripts (`e2e/qemu_img`).
pub(super) struct Step {
    pub(super) name: String,
    pub(super) about: String,
    action: Action,
    limit: Duration,
}

impl Step {
    fn new(name: &str, about: &str, limit: Duration, action: Action) -> Self {
        Self { name: name.into(), about: about.into(), action, limit }
    }

    /// Whether a name on the command line means this one.
    pub(super) fn is_named(&self, wanted: &str) -> bool {
        self.name == wanted || self.name.strip_prefix(wanted).is_some_and(|rest| rest.starts_with('/'))
    }

    /// The binary that it builds.
    pub(super) fn builds(&self) -> Option<&Path> {
        match &self.action {
            Action::Build { binary, .. } => Some(binary),
            _ => None,
        }
    }

    /// The binary that it tries.
    pub(super) fn tries(&self) -> Option<&Path> {
        match &self.action {
            Action::Seawall { binary, .. } | Action::Script { binary, .. } => Some(binary),
            _ => None,
        }
    }

    /// Runs it in the tree at `root`.
    pub(super) fn run(&self, root: &Path) -> Outcome {
        match &self.action {
            Action::Cargo(words) => self.process(cargo().args(*words).current_dir(root), |_| String::new()),
            Action::Build { words, made, binary } => self.build(root, words, made, binary),
            Action::Tests => self.tests(root),
            Action::Tidy => tidy_outcome(root),
            Action::Seawall { binary, words, status } => self.seawall(binary, words, *status),
            Action::Deny => self.deny(root),
            Action::NoScripts => Outcome::Skipped("needs scripts in tests/e2e".into()),
            Action::Script { binary, script } => self.script(root, binary, script),
        }
    }

    fn build(&self, root: &Path, words: &[&str], made: &Path, binary: &Path) -> Outcome {
        let built = self.process(cargo().args(words).current_dir(root), |_| String::new());
        if !matches!(built, Outcome::Passed(_)) || made == binary {
            return built;
        }
        match std::fs::copy(made, binary) {
            Ok(_) => built,
            Err(why) => Outcome::Failed(format!("{} cannot be kept: {why}", binary.display())),
        }
    }

    fn process(&self, command: &mut Command, note: impl Fn(&Ended) -> String) -> Outcome {
        match process::run(command, self.limit) {
            Ok(ended) if ended.is(0) => Outcome::Passed(note(&ended)),
            Ok(ended) => Outcome::Failed(ended.why(self.limit)),
            Err(why) => Outcome::Failed(why),
        }
    }

    fn tests(&self, root: &Path) -> Outcome {
        let mut command = cargo();
        command.args(["test", "--workspace", "--locked", "--no-fail-fast"]).current_dir(root);
        match process::run(&mut command, self.limit) {
            Ok(ended) => tests_outcome(&ended, self.limit),
            Err(why) => Outcome::Failed(why),
        }
    }

    fn seawall(&self, binary: &Path, words: &[&str], status: i32) -> Outcome {
        match process::run(Command::new(binary).args(words), self.limit) {
            Ok(ended) if ended.is(status) => Outcome::Passed(match status {
                0 => ended.lines.last().map(|line| line.trim().into()).unwrap_or_default(),
                _ => format!("failed with exit status {status}, as it must"),
            }),
            Ok(ended) => Outcome::Failed(format!("{}; it must be exit status {status}", ended.why(self.limit))),
            Err(why) => Outcome::Failed(why),
        }
    }

    fn deny(&self, root: &Path) -> Outcome {
        let version = cargo().args(["deny", "--version"]).stdout(Stdio::null()).stderr(Stdio::null()).status();
        if !version.is_ok_and(|status| status.success()) {
            return Outcome::Skipped("needs cargo-deny: cargo install --locked cargo-deny".into());
        }
        // Not `advisories`: that check fetches a database by git, and nothing here may need a network.
        let words = ["deny", "--all-features", "check", "bans", "licenses", "sources"];
        self.process(cargo().args(words).current_dir(root), |_| String::new())
    }

    fn script(&self, root: &Path, binary: &Path, script: &Path) -> Outcome {
        let mut python = Command::new("python3");
        // -B: no compiled files in the tree. -u: lines appear when they are printed.
        python.args(["-B", "-u"]).arg(script).arg(binary).current_dir(root);
        match process::run(&mut python, self.limit) {
            Ok(ended) => script_outcome(&ended, self.limit),
            Err(why) => Outcome::Skipped(format!("needs python3: {why}")),
        }
    }
}

/// A script whose name ends so is given the build for tests, whose disks fail on demand.
const FAULTS: &str = "_faults";

fn tidy_outcome(root: &Path) -> Outcome {
    match tidy::Tree::open(root) {
        Ok(tree) => {
            let verdict = tidy::check(&tree);
            if tidy::print(&verdict) {
                Outcome::Passed(format!("{} notes", verdict.notes.len()))
            } else {
                Outcome::Failed(format!("{} findings", verdict.findings.len()))
            }
        }
        Err(e) => Outcome::Failed(format!("the tree cannot be read: {e}")),
    }
}

/// Sums the lines `test result: ok. 5 passed; 0 failed; 1 ignored; ...`. An ignored test is a failure: it tests nothing.
fn tests_outcome(ended: &Ended, limit: Duration) -> Outcome {
    let count = |line: &str, word: &str| -> u64 {
        let figures = line.split([';', '.']).filter_map(|part| part.trim().strip_suffix(word));
        figures.filter_map(|figure| figure.trim().parse::<u64>().ok()).sum()
    };
    let results = || ended.lines.iter().filter(|line| line.starts_with("test result:"));
    let sum = |word: &str| results().map(|line| count(line, word)).sum::<u64>();
    let (passed, failed, ignored) = (sum("passed"), sum("failed"), sum("ignored"));
    match ended.code {
        Some(0) if failed > 0 || ignored > 0 => Outcome::Failed(format!("{failed} tests failed, {ignored} ignored")),
        Some(0) if passed == 0 => Outcome::Failed("not one test ran".into()),
        Some(0) => Outcome::Passed(format!("{passed} tests")),
        _ => Outcome::Failed(format!("{}; {passed} tests passed, {failed} failed", ended.why(limit))),
    }
}

fn script_outcome(ended: &Ended, limit: Duration) -> Outcome {
    let last = || ended.lines.last().map(|line| line.trim().to_string()).unwrap_or_default();
    match ended.code {
        _ if ended.is(0) => Outcome::Passed(last()),
        Some(SKIPPED) => {
            let needs = ended.lines.iter().rev().find_map(|line| line.strip_prefix("skipped: "));
            match needs {
                Some(needs) => Outcome::Skipped(needs.into()),
                None => Outcome::Failed(format!("exit status {SKIPPED} without a line `skipped: needs ...`")),
            }
        }
        _ => Outcome::Failed(ended.why(limit)),
    }
}

/// Scripts in `tests/e2e` that can be run; those without a main part are what the others share.
fn scripts(root: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(root.join("tests/e2e")).into_iter().flatten().flatten();
    let runs = |path: &PathBuf| std::fs::read_to_string(path).is_ok_and(|text| text.contains("\nif __name__ == "));
    let mut all: Vec<_> =
        entries.map(|e| e.path()).filter(|path| path.extension().is_some_and(|e| e == "py")).filter(runs).collect();
    all.sort();
    all
}

/// What a script says of itself: the first line of its docstring.
fn about(script: &Path) -> String {
    let text = std::fs::read_to_string(script).unwrap_or_default();
    text.lines().find_map(|line| line.strip_prefix("\"\"\"")).unwrap_or("").trim_matches('"').trim().into()
}

/// All stages of the tree at `root`.
///
/// # Errors
/// When cargo cannot say where it builds.
pub(super) fn steps(root: &Path) -> Result<Vec<Step>, String> {
    let metadata = metadata(root)?;
    let target = metadata["target_directory"].as_str().ok_or("cargo metadata names no target directory")?;
    let binary = Path::new(target).join("release/seawall");
    // Not optimised: the stage of tests has compiled all that it is made of but two crates. Kept under a name of its own, since
    // whatever is built next in that folder takes the other.
    let (made, faulty) = (Path::new(target).join("debug/seawall"), Path::new(target).join("debug/seawall-faults"));
    let seawall = |words, status| Action::Seawall { binary: binary.clone(), words, status };
    let clippy = &["clippy", "--workspace", "--all-targets", "--locked", "--keep-going", "--", "-D", "warnings"];
    let mut all = vec![
        Step::new("fmt", "every file is as rustfmt writes it", minutes(2), Action::Cargo(&["fmt", "--all", "--check"])),
        Step::new("tidy", "the rules of the house that no compiler knows", minutes(2), Action::Tidy),
        Step::new("deny", "licences, duplicates and sources of dependencies", minutes(5), Action::Deny),
        Step::new("clippy", "no warning from rustc or clippy", minutes(20), Action::Cargo(clippy)),
        Step::new(
            "clippy-faults",
            "nor where disks fail on demand",
            minutes(10),
            Action::Cargo(&[
                "clippy",
                "--package",
                "seawall",
                "--package",
                "runtime",
                "--all-targets",
                "--locked",
                "--features",
                "seawall/faults",
                "--",
                "-D",
                "warnings",
            ]),
        ),
        Step::new("test", "unit and integration tests of every crate", minutes(20), Action::Tests),
        Step::new(
            "mutants",
            "a store that is wrong on purpose is noticed, whichever way it is wrong",
            minutes(20),
            Action::Cargo(&["test", "--locked", "--package", "store", "--features", "mutants", "--test", "mutants"]),
        ),
        Step::new(
            "mutants-replica",
            "a protocol that is wrong on purpose is shown to be, whichever way it is wrong",
            minutes(20),
            Action::Cargo(&["test", "--locked", "--package", "replica", "--features", "mutants", "--test", "mutants"]),
        ),
        Step::new(
            "mutants-node",
            "stories show what is wrong with a node",
            minutes(20),
            Action::Cargo(&["test", "--locked", "--package", "node", "--features", "mutants", "--test", "mutants"]),
        ),
        Step::new(
            "mutants-zone",
            "walks show what is wrong with an authority",
            minutes(20),
            Action::Cargo(&["test", "--locked", "--package", "zone", "--features", "mutants", "--test", "mutants"]),
        ),
        Step::new(
            "mutants-region",
            "stories show what is wrong with a region",
            minutes(20),
            Action::Cargo(&["test", "--locked", "--package", "region", "--features", "mutants", "--test", "mutants"]),
        ),
        Step::new(
            "mutants-sim",
            "seeds of the simulator show a sample of what may be wrong in every room (all: cargo xtask mutants)",
            minutes(20),
            Action::Cargo(&[
                "run",
                "--release",
                "--locked",
                "--package",
                "sim",
                "--features",
                "mutants",
                "--example",
                "mutants",
                "--",
                "--seeds",
                "12",
                "--jobs",
                "2",
                "AcknowledgedAlone",
                "UncommittedRead",
                "ServedAfterRestart",
                "BaseForgotten",
                "TrimNotDone",
                "HolderForgets",
                "DropLeaks",
                "UnknownTakenForDone",
                "DroppedStillHeld",
                "SplitForgotten",
                "AnsweredInOrderOfAsking",
                "FlushNotPassedOn",
            ]),
        ),
        Step::new(
            "build",
            "the release binary that the stages below try",
            minutes(20),
            Action::Build {
                words: &["build", "--release", "--locked", "--package", "seawall"],
                made: binary.clone(),
                binary: binary.clone(),
            },
        ),
        Step::new(
            "build-faults",
            "the binary of which no release is made, whose disks fail on demand",
            minutes(20),
            Action::Build {
                words: &["build", "--locked", "--package", "seawall", "--features", "faults"],
                made,
                binary: faulty.clone(),
            },
        ),
        Step::new(
            "sim",
            "a hundred seeds, each twice with one trace",
            minutes(10),
            seawall(&["sim", "--seeds", "0..100", "--jobs", "2", "--cover"], 0),
        ),
        Step::new(
            "linear",
            "the simulator's checker of histories and another's come to the same verdicts",
            minutes(10),
            Action::Cargo(&["test", "--locked", "--manifest-path", "tests/linear/Cargo.toml"]),
        ),
        // To build them with what a fuzzer needs takes longer than CI has: the stage of tests tries the same functions with seeded bytes.
        Step::new(
            "fuzz",
            "every fuzz target compiles",
            minutes(10),
            Action::Cargo(&["check", "--locked", "--manifest-path", "fuzz/Cargo.toml"]),
        ),
        Step::new("demo", "the README's first command", minutes(5), seawall(&["demo"], 0)),
        Step::new(
            "demo-fault",
            "the same with a byte flipped on its way: it must be noticed",
            minutes(5),
            seawall(&["demo", "--fault", "flip-byte"], 1),
        ),
        Step::new(
            "bench",
            "every workload for a second each, and everything that was written compared",
            minutes(5),
            seawall(&["bench", "--seconds", "1", "--size", "64MiB", "--verify"], 0),
        ),
    ];
    let scripts = scripts(root);
    if scripts.is_empty() {
        all.push(Step::new("e2e", "real clients against real processes", minutes(1), Action::NoScripts));
    }
    for script in scripts {
        let name = format!("e2e/{}", script.file_stem().unwrap_or_default().to_string_lossy());
        let binary = if name.ends_with(FAULTS) { &faulty } else { &binary };
        let action = Action::Script { binary: binary.clone(), script: script.clone() };
        all.push(Step::new(&name, &about(&script), minutes(10), action));
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(code: i32, text: &str) -> Ended {
        Ended {
            code: Some(code),
            timed_out: false,
            left_behind: false,
            lines: text.lines().map(String::from).collect(),
        }
    }

    #[test]
    fn tests_are_counted_over_all_crates() {
        let text = "test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 2 filtered out; finished in 0.1s\nnoise\n\
                    test result: ok. 39 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.2s";
        assert_eq!(tests_outcome(&ended(0, text), minutes(1)), Outcome::Passed("42 tests".into()));
    }

    #[test]
    fn ignored_tests_and_no_tests_at_all_are_failures() {
        let ignored = "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured";
        assert_eq!(tests_outcome(&ended(0, ignored), minutes(1)), Outcome::Failed("0 tests failed, 1 ignored".into()));
        assert_eq!(tests_outcome(&ended(0, ""), minutes(1)), Outcome::Failed("not one test ran".into()));
        let failed = "test result: FAILED. 3 passed; 2 failed; 0 ignored";
        assert_eq!(
            tests_outcome(&ended(101, failed), minutes(1)),
            Outcome::Failed("exit status 101; 3 tests passed, 2 failed".into())
        );
    }

    #[test]
    fn a_script_skips_by_its_status_and_says_why() {
        let skip = ended(77, "looking for tools\nskipped: needs fio");
        assert_eq!(script_outcome(&skip, minutes(1)), Outcome::Skipped("needs fio".into()));
        assert!(matches!(script_outcome(&ended(77, ""), minutes(1)), Outcome::Failed(_)));
        assert_eq!(script_outcome(&ended(0, "a\n stall 31 ms "), minutes(1)), Outcome::Passed("stall 31 ms".into()));
        assert_eq!(script_outcome(&ended(1, ""), minutes(1)), Outcome::Failed("exit status 1".into()));
    }

    #[test]
    fn a_stage_of_scripts_is_named_by_its_folder() {
        let step = Step::new("e2e/qemu_img", "", minutes(1), Action::Tidy);
        assert!(step.is_named("e2e") && step.is_named("e2e/qemu_img"));
        assert!(!step.is_named("e2e/qemu") && !step.is_named("e"));
    }

    #[test]
    fn every_stage_that_tries_a_binary_stands_behind_the_one_that_builds_it() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let all = steps(root).unwrap();
        let mut built = Vec::new();
        for step in &all {
            assert!(step.tries().is_none_or(|binary| built.contains(&binary)), "{}", step.name);
            built.extend(step.builds());
        }
        assert_eq!(built.len(), 2);
        let faults: Vec<_> =
            all.iter().filter(|step| step.tries() == Some(built[1])).map(|step| &step.name[..]).collect();
        assert_eq!(
            faults,
            ["e2e/api_faults", "e2e/disk_faults", "e2e/restart_faults", "e2e/slow_faults", "e2e/torture_faults"]
        );
    }

    #[test]
    fn a_build_is_kept_under_its_own_name_or_fails() {
        let folder = std::env::temp_dir().join(format!("seawall-kept-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let (made, kept) = (folder.join("made"), folder.join("kept"));
        let step = Step::new("build", "", minutes(1), Action::Tidy);
        let build = |words| step.build(&folder, words, &made, &kept);
        assert!(matches!(build(&["--version"]), Outcome::Failed(why) if why.contains("cannot be kept")));
        std::fs::write(&made, "binary").unwrap();
        assert_eq!(build(&["--version"]), Outcome::Passed(String::new()));
        assert_eq!(std::fs::read(&kept).unwrap(), b"binary");
        assert!(matches!(build(&["no-such-command-of-cargo"]), Outcome::Failed(_)));
        std::fs::remove_dir_all(folder).unwrap();
    }
}
