//! Every check there is, one stage after the other, and one table at the end of what held.
//!
//! A stage that fails does not keep the next from running. A stage whose tool is missing is skipped and says so; under
//! `--require-all`, which is what CI passes, a skip is a failure. The last line stands alone: `N passed, N failed, N skipped`.

mod process;
mod stage;

use stage::{Step, steps};
use std::path::Path;
use std::time::{Duration, Instant};

/// What was asked for.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// A skip is a failure.
    pub require_all: bool,
    /// Only say which stages there are.
    pub list: bool,
    /// Names of stages, or of one script of a stage; none means all.
    pub stages: Vec<String>,
}

impl Wanted {
    /// Reads the words behind `ci`.
    ///
    /// # Errors
    /// An option that does not exist.
    pub fn parse(words: &[&str]) -> Result<Self, String> {
        let mut wanted = Self::default();
        for word in words {
            match *word {
                "--require-all" => wanted.require_all = true,
                "--list" => wanted.list = true,
                option if option.starts_with('-') => return Err(format!("ci has no option {option}")),
                stage => wanted.stages.push(stage.into()),
            }
        }
        Ok(wanted)
    }

    fn includes(&self, step: &Step) -> bool {
        self.stages.is_empty() || self.stages.iter().any(|wanted| step.is_named(wanted))
    }
}

/// How a stage ended.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Outcome {
    /// It held; perhaps with a figure.
    Passed(String),
    /// Why not.
    Failed(String),
    /// What it would have needed.
    Skipped(String),
}

impl Outcome {
    fn under(self, require_all: bool) -> Self {
        match self {
            Self::Skipped(needs) if require_all => {
                Self::Failed(format!("skipped, which --require-all forbids: {needs}"))
            }
            other => other,
        }
    }

    fn words(&self) -> (&'static str, &str) {
        match self {
            Self::Passed(note) => ("passed", note),
            Self::Failed(why) => ("FAILED", why),
            Self::Skipped(needs) => ("skipped", needs),
        }
    }
}

/// One row of the table.
struct Done {
    name: String,
    took: Duration,
    outcome: Outcome,
}

/// Runs what is wanted in the tree at `root`; true when nothing failed.
pub fn run(root: &Path, wanted: &Wanted) -> bool {
    let all = match steps(root) {
        Ok(all) => all,
        Err(why) => {
            eprintln!("xtask: {why}");
            return false;
        }
    };
    if wanted.list {
        for step in &all {
            crate::say(format_args!("{:<24} {}", step.name, step.about));
        }
        return true;
    }
    if let Some(unknown) = wanted.stages.iter().find(|name| !all.iter().any(|step| step.is_named(name))) {
        eprintln!("xtask: there is no stage {unknown}; cargo xtask ci --list names them");
        return false;
    }
    let tried: Vec<_> = all.iter().filter(|step| wanted.includes(step)).filter_map(Step::tries).collect();
    let is_needed = |step: &Step| step.builds().is_some_and(|binary| tried.contains(&binary));
    let chosen = all.iter().filter(|step| wanted.includes(step) || is_needed(step));
    let mut done = Vec::new();
    let mut built = Vec::new();
    for step in chosen {
        crate::say(format_args!("\n== {}: {}", step.name, step.about));
        let began = Instant::now();
        let outcome = if step.tries().is_some_and(|binary| !built.contains(&binary)) {
            Outcome::Failed("there is no build to try".into())
        } else {
            step.run(root).under(wanted.require_all)
        };
        built.extend(step.builds().filter(|_| matches!(outcome, Outcome::Passed(_))));
        let (word, note) = outcome.words();
        crate::say(format_args!("== {}: {word}{}{note}", step.name, if note.is_empty() { "" } else { ": " }));
        done.push(Done { name: step.name.clone(), took: began.elapsed(), outcome });
    }
    let (text, held) = summary(&done);
    crate::say(format_args!("\n{text}"));
    held
}

/// The table, its closing line, and whether nothing failed.
fn summary(done: &[Done]) -> (String, bool) {
    let mut text = format!("{:<24} {:<8} {:>8}  note\n", "stage", "result", "seconds");
    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    for row in done {
        let (word, note) = row.outcome.words();
        let (seconds, tenths) = (row.took.as_secs(), row.took.subsec_millis() / 100);
        let line = format!("{:<24} {word:<8} {:>8}  {note}", row.name, format!("{seconds}.{tenths}"));
        text.push_str(line.trim_end());
        text.push('\n');
        match row.outcome {
            Outcome::Passed(_) => passed += 1,
            Outcome::Failed(_) => failed += 1,
            Outcome::Skipped(_) => skipped += 1,
        }
    }
    text.push_str(&format!("\n{passed} passed, {failed} failed, {skipped} skipped"));
    (text, failed == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &str, outcome: Outcome) -> Done {
        Done { name: name.into(), took: Duration::from_millis(1234), outcome }
    }

    #[test]
    fn the_last_line_counts_the_stages_and_stands_alone() {
        let rows = [
            row("fmt", Outcome::Passed(String::new())),
            row("deny", Outcome::Skipped("needs cargo-deny".into())),
            row("demo", Outcome::Failed("exit status 1".into())),
        ];
        let (text, held) = summary(&rows);
        assert!(!held);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[1], "fmt                      passed        1.2");
        assert_eq!(lines[2], "deny                     skipped       1.2  needs cargo-deny");
        assert_eq!(&lines[4..], ["", "1 passed, 1 failed, 1 skipped"]);
        assert!(summary(&rows[..2]).1, "a skip alone is no failure");
    }

    #[test]
    fn a_skip_fails_when_all_is_required() {
        let skip = Outcome::Skipped("needs fio".into());
        assert_eq!(skip.clone().under(false), skip);
        assert!(matches!(skip.under(true), Outcome::Failed(why) if why.ends_with("needs fio")));
        assert_eq!(Outcome::Passed("x".into()).under(true), Outcome::Passed("x".into()));
    }

    #[test]
    fn options_are_read_and_unknown_ones_refused() {
        let wanted = Wanted::parse(&["fmt", "--require-all", "e2e"]).unwrap();
        assert_eq!(wanted, Wanted { require_all: true, list: false, stages: vec!["fmt".into(), "e2e".into()] });
        assert_eq!(Wanted::parse(&["--all"]), Err("ci has no option --all".into()));
    }
}
