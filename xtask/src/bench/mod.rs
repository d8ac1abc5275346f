//! Two revisions, measured in turn by the same client: is this tree faster or slower than that commit?
//!
//! It builds both, and runs `seawall bench` of this tree against a region of the one and of the other, round by round. The client is always
//! this tree's, so that it is no part of the difference, and so that the other revision need not have a client at all. What the
//! rounds say is told by [`statistics`].

mod builds;
mod statistics;

use crate::tidy::packages::metadata;
use builds::Worktree;
use serde_json::{Value, json};
use statistics::{Compared, Side, Verdict, by_chance, compare, order};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What was asked for.
#[derive(Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The revision that is compared with.
    against: String,
    /// How often both are measured.
    rounds: usize,
    /// The first round's seed; each has the next.
    seed: u64,
    /// Answers in JSON.
    json: bool,
    /// What `seawall bench` is told besides.
    words: Vec<String>,
}

impl Wanted {
    /// Reads the words behind `bench`.
    ///
    /// # Errors
    /// What is missing, unknown or no number.
    pub fn parse(words: &[&str]) -> Result<Self, String> {
        let mut wanted = Self { against: String::new(), rounds: 7, seed: 1, json: false, words: Vec::new() };
        let mut rest = words.iter();
        while let Some(word) = rest.next() {
            let mut value = || rest.next().copied().ok_or_else(|| format!("bench {word} needs a value"));
            let number = |text: &str| {
                text.parse().ok().filter(|n| *n > 0).ok_or_else(|| format!("{text:?} is no number above 0"))
            };
            match *word {
                "--json" => wanted.json = true,
                "--against" => wanted.against = value()?.into(),
                "--rounds" => wanted.rounds = number(value()?)? as usize,
                "--seed" => wanted.seed = number(value()?)?,
                "--seconds" => wanted.words.extend([word.to_string(), number(value()?)?.to_string()]),
                "--rows" | "--size" => wanted.words.extend([word.to_string(), value()?.into()]),
                other => return Err(format!("bench has no option {other}")),
            }
        }
        if wanted.against.is_empty() { Err("bench needs --against REV".into()) } else { Ok(wanted) }
    }
}

/// What is compared of each row: the name in the client's JSON, the name for people, and whether more is better.
const METRICS: [(&str, &str, bool); 3] =
    [("iops", "IOPS", true), ("latency_p99_us", "p99 us", false), ("machine_cpu_us_per_io", "CPU us/IO", false)];

/// The builds that are measured, and who measures.
struct Builds<'a> {
    client: &'a dyn Fn() -> Command,
    old: PathBuf,
    new: PathBuf,
}

/// One figure of one row, of all rounds.
struct Line {
    row: String,
    metric: (&'static str, &'static str, bool),
    /// Old and new of each round.
    rounds: Vec<(f64, f64)>,
    compared: Option<Compared>,
}

/// Builds both, measures them and says what came of it.
///
/// # Errors
/// Why there is nothing to say.
pub fn run(root: &Path, wanted: &Wanted) -> Result<(), String> {
    let metadata = metadata(root)?;
    let target = metadata["target_directory"].as_str().ok_or("cargo metadata names no target directory")?;
    let place = Path::new(target).join("bench");
    let (old, new) = (builds::commit(root, &wanted.against)?, builds::commit(root, "HEAD")?);
    let is_changed = builds::is_changed(root)?;
    let (built_old, built_new) = {
        let tree = Worktree::add(root, place.join("tree"), &old)?;
        (builds::build(&tree.path, &place.join("old"))?, builds::build(root, &place.join("new"))?)
    };
    let client = || Command::new(&built_new);
    let lines = lines(&measure(&Builds { client: &client, old: built_old, new: built_new.clone() }, wanted)?)?;
    if wanted.json {
        let revisions = json!({ "old": old, "new": new, "new_is_changed": is_changed });
        crate::say(report(revisions, &lines, wanted));
    } else {
        let changed = if is_changed { " with changes" } else { "" };
        crate::say(format_args!("old: {old} ({})\nnew: {new}{changed}\n\n{}", wanted.against, table(&lines, wanted)));
    }
    Ok(())
}

/// The client's rows in one round: old, new.
type Round = [Vec<Value>; 2];

/// Measures both in every round.
fn measure(builds: &Builds<'_>, wanted: &Wanted) -> Result<Vec<Round>, String> {
    let mut all: Vec<Round> = vec![Default::default(); wanted.rounds];
    for (round, side) in order(wanted.rounds) {
        let (name, server) = match side {
            Side::Old => ("old", &builds.old),
            Side::New => ("new", &builds.new),
        };
        eprintln!("round {} of {}: {name}", round + 1, wanted.rounds);
        // The same requests for both sides of a round, and others in each round.
        let seed = (wanted.seed + round as u64).to_string();
        let mut client = (builds.client)();
        client.args(["bench", "--json", "--seed", &seed, "--server"]).arg(server).args(&wanted.words);
        all[round][side as usize] = rows(&mut client).map_err(|why| format!("round {}, {name}: {why}", round + 1))?;
    }
    Ok(all)
}

/// What one run of the client measured.
fn rows(client: &mut Command) -> Result<Vec<Value>, String> {
    let output = client.stdin(Stdio::null()).output();
    let output = output.map_err(|why| format!("{} cannot be started: {why}", client.get_program().display()))?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).trim().into());
    }
    let said: Value =
        serde_json::from_slice(&output.stdout).map_err(|why| format!("the client printed no JSON: {why}"))?;
    said["rows"].as_array().cloned().ok_or_else(|| "the client's JSON has no rows".into())
}

/// Puts side by side what belongs together.
fn lines(all: &[Round]) -> Result<Vec<Line>, String> {
    let first = &all.first().ok_or("there was no round")?[0];
    let mut lines = Vec::new();
    for (at, row) in first.iter().enumerate() {
        let name = row["row"].as_str().ok_or("a row has no name")?;
        for metric in METRICS {
            let figure = |rows: &[Value]| {
                let same = rows.get(at).filter(|row| row["row"] == name);
                // A figure that a machine does not have is no ratio later.
                same.map(|row| row[metric.0].as_f64().unwrap_or(0.0))
                    .ok_or_else(|| format!("a round has no row {name}"))
            };
            let pair = |[old, new]: &Round| Ok::<_, String>((figure(old)?, figure(new)?));
            let rounds = all.iter().map(pair).collect::<Result<Vec<_>, _>>()?;
            let compared = compare(&rounds);
            lines.push(Line { row: name.into(), metric, rounds, compared });
        }
    }
    Ok(lines)
}

fn words(verdict: Verdict, more_is_better: bool) -> &'static str {
    match (verdict, more_is_better) {
        (Verdict::TooFew, _) => "too few rounds",
        (Verdict::Within, _) => "within the spread",
        (Verdict::More, true) | (Verdict::Less, false) => "better, beyond the spread",
        (Verdict::More, false) | (Verdict::Less, true) => "worse, beyond the spread",
    }
}

/// For people.
fn table(lines: &[Line], wanted: &Wanted) -> String {
    let mut text =
        format!("{:<18} {:<10} {:>9} {:>9} {:>6}  {:<13} verdict\n", "row", "of", "old", "new", "ratio", "spread");
    for line in lines {
        let what = format!("{:<18} {:<10}", line.row, line.metric.1);
        match &line.compared {
            None => text.push_str(&format!("{what} is not told by every round\n")),
            Some(c) => text.push_str(&format!(
                "{what} {:>9.1} {:>9.1} {:>6.3}  {:<13} {}\n",
                c.old,
                c.new,
                c.ratio,
                format!("{:.3}..{:.3}", c.least, c.greatest),
                words(c.verdict, line.metric.2)
            )),
        }
    }
    text.push_str(&format!(
        "\nold and new are medians of {} rounds, ratio the median of the rounds' ratios (new to old), spread their least and greatest.\n\
         A difference is beyond the spread when every round shows it; equal revisions would seem different once in {} lines.",
        wanted.rounds,
        by_chance(wanted.rounds)
    ));
    text
}

/// For scripts.
fn report(mut revisions: Value, lines: &[Line], wanted: &Wanted) -> Value {
    let line = |line: &Line| {
        let mut value = json!({
            "row": line.row,
            "figure": line.metric.0,
            "more_is_better": line.metric.2,
            "old_rounds": line.rounds.iter().map(|(old, _)| old).collect::<Vec<_>>(),
            "new_rounds": line.rounds.iter().map(|(_, new)| new).collect::<Vec<_>>(),
        });
        if let Some(c) = &line.compared {
            value["old_median"] = c.old.into();
            value["new_median"] = c.new.into();
            value["ratio_median"] = c.ratio.into();
            value["ratio_least"] = c.least.into();
            value["ratio_greatest"] = c.greatest.into();
            value["verdict"] = words(c.verdict, line.metric.2).into();
        }
        value
    };
    revisions["rounds"] = wanted.rounds.into();
    revisions["lines"] = lines.iter().map(line).collect();
    revisions
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(rounds: usize) -> Wanted {
        let words = ["--against", "HEAD~1", "--rounds", &rounds.to_string(), "--seconds", "2", "--rows", "a,b"]
            .map(String::from);
        Wanted::parse(&words.iter().map(String::as_str).collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn words_are_read_passed_on_or_refused() {
        assert_eq!(wanted(3).words, ["--seconds", "2", "--rows", "a,b"]);
        assert_eq!((wanted(3).rounds, &wanted(3).against[..], wanted(3).json), (3, "HEAD~1", false));
        for bad in [
            &[][..],
            &["--rounds", "3"],
            &["--against"],
            &["--against", "x", "--rounds", "0"],
            &["--against", "x", "--seconds", "-1"],
            &["--against", "x", "--server", "y"],
        ] {
            assert!(Wanted::parse(bad).is_err(), "{bad:?}");
        }
    }

    /// Measures "fast" and "slow" with a client that is this script.
    fn measured(name: &str, script: &str, rounds: usize) -> (Result<Vec<Round>, String>, Vec<String>) {
        let folder = std::env::temp_dir().join(format!("seawall-xtask-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let (file, calls) = (folder.join("client"), folder.join("calls"));
        std::fs::write(&file, format!("echo \"$@\" >> {}\n{script}", calls.display())).unwrap();
        let client = || {
            let mut sh = Command::new("sh");
            sh.arg(&file);
            sh
        };
        let measured = measure(&Builds { client: &client, old: "fast".into(), new: "slow".into() }, &wanted(rounds));
        let calls = std::fs::read_to_string(calls).unwrap().lines().map(String::from).collect();
        std::fs::remove_dir_all(folder).unwrap();
        (measured, calls)
    }

    #[test]
    fn both_are_measured_in_turn_with_the_same_seed_in_each_round() {
        // As fast as the server's name says, and faster with each seed.
        let script = "if [ $6 = slow ]; then f=900; else f=1000; fi\n\
                      echo '{\"rows\": [{\"row\": \"a\", \"iops\": '$f$4', \"latency_p99_us\": 7.5, \"machine_cpu_us_per_io\": null}]}'";
        let (all, calls) = measured("rounds", script, 5);
        let call = |seed, server| format!("bench --json --seed {seed} --server {server} --seconds 2 --rows a,b");
        assert_eq!(calls[..4], [call(1, "fast"), call(1, "slow"), call(2, "slow"), call(2, "fast")]);
        assert_eq!(calls.len(), 10);
        let lines = lines(&all.unwrap()).unwrap();
        assert_eq!(lines[0].rounds[..2], [(10001.0, 9001.0), (10002.0, 9002.0)]);
        let verdicts: Vec<_> = lines.iter().map(|line| line.compared.as_ref().map(|c| c.verdict)).collect();
        assert_eq!(verdicts, [Some(Verdict::Less), Some(Verdict::Within), None]);
        let text = table(&lines, &wanted(5));
        assert!(text.contains("worse, beyond the spread") && text.contains("once in 16 lines"), "{text}");
        assert!(text.contains("CPU us/IO  is not told by every round"), "{text}");
        let json = report(json!({ "old": "x" }), &lines, &wanted(5));
        assert_eq!(json["lines"][0]["verdict"], "worse, beyond the spread");
        assert_eq!(json["lines"][1]["verdict"], "within the spread");
        assert!(json["lines"][2].get("verdict").is_none() && json["old"] == "x");
    }

    #[test]
    fn a_round_that_fails_is_named_with_what_the_client_said() {
        let why = |name, script| measured(name, script, 1).0.unwrap_err();
        assert_eq!(why("refused", "echo 'seawall: E0030: no' >&2; exit 1"), "round 1, old: seawall: E0030: no");
        assert_eq!(why("empty", "echo '{}'"), "round 1, old: the client's JSON has no rows");
        assert!(why("silent", "echo no").contains("printed no JSON"));
    }

    #[test]
    fn rounds_with_other_rows_are_not_compared() {
        let row = |name: &str| json!({ "row": name, "iops": 1.0 });
        let all = [[vec![row("a")], vec![row("b")]]];
        assert_eq!(lines(&all).err(), Some("a round has no row a".into()));
    }
}
