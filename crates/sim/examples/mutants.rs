//! Are the checkers any good? Every machine is made wrong in one small way after the other, and seeds are run until one fails: `cargo xtask mutants`.
//!
//! A line for each says which seed showed it, after how many seconds of one processor, and in which words. Who survives all of the seeds is named.

use base::mutant::{Mutant, Mutation};
use sim::{Options, run_seed};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

struct Shown {
    mutant: Mutant,
    /// The seed, and what was said.
    by: Option<(u64, String)>,
    took: Duration,
}

struct Asked {
    seeds: u64,
    jobs: usize,
    only: Vec<String>,
    /// Left out: somebody else shows them.
    without: Vec<String>,
    /// Classes of faults; all, if none.
    faults: Vec<String>,
}

fn asked() -> Result<Asked, String> {
    let mut asked = Asked { seeds: 200, jobs: 1, only: vec![], without: vec![], faults: vec![] };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut number = || {
            let text = words.next().unwrap_or_default();
            text.parse::<usize>().ok().filter(|n| *n > 0).ok_or(format!("{word} wants a number above 0, not {text:?}"))
        };
        match word.as_str() {
            "--seeds" => asked.seeds = number()? as u64,
            "--jobs" => asked.jobs = number()?,
            "--faults" | "--without" => {
                let list = words.next().unwrap_or_default().split(',').map(str::to_owned).collect();
                *(if word == "--faults" { &mut asked.faults } else { &mut asked.without }) = list;
            }
            name if Mutant::ALL.iter().any(|mutant| format!("{mutant:?}") == name) => asked.only.push(word),
            _ => {
                return Err(format!(
                    "{word:?} is neither --seeds N, --jobs N, --faults CLASS,CLASS, --without MUTANT,MUTANT nor a mutant: {:?}",
                    Mutant::ALL
                ));
            }
        }
    }
    Ok(asked)
}

fn show(mutant: Mutant, asked: &Asked) -> Shown {
    let options = Options { mutation: Mutation::of(mutant), only: asked.faults.clone(), ..Options::default() };
    let began = Instant::now();
    // A seed that fails anyhow shows nothing.
    let original = Options { mutation: Mutation::NONE, ..options.clone() };
    let by = (0..asked.seeds).find_map(|seed| {
        let failure = run_seed(seed, &options).failure?;
        if run_seed(seed, &original).failure.is_some() {
            eprintln!("seed {seed} fails without any mutant");
            return None;
        }
        Some((seed, failure.text))
    });
    Shown { mutant, by, took: began.elapsed() }
}

fn tell(shown: &Shown) {
    let name = format!("{:?}", shown.mutant);
    let (by, why) = match &shown.by {
        None => ("alive".to_owned(), ""),
        Some((seed, why)) => (format!("seed {seed}"), why.lines().next().unwrap_or_default()),
    };
    println!("{}", base::mutant::line(&name, &by, shown.took, why));
}

fn main() -> ExitCode {
    let asked = match asked() {
        Ok(asked) => asked,
        Err(why) => {
            eprintln!("{why}");
            return ExitCode::FAILURE;
        }
    };
    let wanted = |mutant: &Mutant| {
        let name = format!("{mutant:?}");
        !asked.without.contains(&name) && (asked.only.is_empty() || asked.only.contains(&name))
    };
    let mutants: Vec<Mutant> = Mutant::ALL.into_iter().filter(wanted).collect();
    // Broken invariants are what this is about: their words are in the table.
    std::panic::set_hook(Box::new(|_| {}));
    let (next, all) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..asked.jobs {
            scope.spawn(|| {
                while let Some(mutant) = mutants.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let shown = show(*mutant, &asked);
                    let mut all = all.lock().expect("nobody panics with it");
                    tell(&shown);
                    all.push(shown);
                }
            });
        }
    });
    let all = all.into_inner().expect("nobody panicked with it");
    let mut seconds: Vec<f64> =
        all.iter().filter(|shown| shown.by.is_some()).map(|shown| shown.took.as_secs_f64()).collect();
    seconds.sort_by(f64::total_cmp);
    let alive: Vec<Mutant> = all.iter().filter(|shown| shown.by.is_none()).map(|shown| shown.mutant).collect();
    let median = seconds.get(seconds.len() / 2).copied().unwrap_or_default();
    println!(
        "{} of {} shown by one of {} seeds each, the middle one within {median:.1} s of one processor; alive: {alive:?}",
        seconds.len(),
        all.len(),
        asked.seeds
    );
    if alive.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
