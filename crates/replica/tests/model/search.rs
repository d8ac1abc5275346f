//! Goes through all states of a world, the nearest first, until there are no more, or something does not hold.

use super::choices::Choice;
use super::fold::Fold;
use super::setup::Setup;
use super::world::{State, Worlds};
use std::collections::{HashSet, VecDeque};
use std::hash::{BuildHasherDefault, Hash, Hasher};
use std::panic;

/// How far to go.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Choices one after the other.
    pub depth: usize,
    /// States.
    pub states: usize,
}

impl Bounds {
    pub const NONE: Self = Self { depth: usize::MAX, states: usize::MAX };
}

/// Something that does not hold, and how it came to it.
#[derive(Debug, Clone)]
pub struct Found {
    pub why: String,
    /// The choices, the last of them the one after which it does not hold.
    pub way: Vec<String>,
}

/// What a search came to.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    pub states: usize,
    pub transitions: u64,
    /// The longest way that was gone.
    pub depth: usize,
    /// Whether there was nothing more to be seen.
    pub complete: bool,
    pub found: Option<Found>,
    /// Different nodes, and turns of the real code.
    pub nodes: usize,
    pub turns: usize,
    /// How replicas moved.
    pub moves: std::collections::BTreeSet<(&'static str, String, &'static str)>,
}

/// What is hashed already.
#[derive(Default)]
struct Same(u64);

impl Hasher for Same {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, _: &[u8]) {
        unreachable!("only numbers are kept");
    }
    fn write_u64(&mut self, n: u64) {
        self.0 = n;
    }
}

/// Where a state was come to from, and by which of its choices.
type Step = (u32, u16);

/// Goes through `setup`; `told` hears of each depth that is done.
pub fn explore(setup: &Setup, bounds: Bounds, mut told: impl FnMut(&Outcome, usize)) -> Outcome {
    let search = Search::new(setup);
    let hook = panic::take_hook();
    // What a replica says when it stops by itself is part of what is found.
    panic::set_hook(Box::new(|_| {}));
    let outcome = search.run(bounds, &mut told);
    panic::set_hook(hook);
    outcome
}

struct Search {
    worlds: Worlds,
    /// By 64 bits each. Of n states, one is then taken for another with a chance of n²/2⁶⁵: one in 40,000 for thirty million.
    seen: HashSet<u64, BuildHasherDefault<Same>>,
    steps: Vec<Step>,
    ahead: VecDeque<(u32, State)>,
    outcome: Outcome,
}

impl Search {
    fn new(setup: &Setup) -> Self {
        let mut worlds = Worlds::new(setup.clone());
        let first = worlds.begin();
        let (seen, steps, ahead, outcome) = Default::default();
        let mut search = Self { worlds, seen, steps, ahead, outcome };
        search.come_to(first, (0, 0));
        search
    }

    fn run(mut self, bounds: Bounds, told: &mut impl FnMut(&Outcome, usize)) -> Outcome {
        let (mut choices, mut left) = (Vec::new(), self.ahead.len());
        while let Some((from, state)) = self.ahead.pop_front() {
            if self.outcome.depth >= bounds.depth || self.outcome.states >= bounds.states {
                return self.end(false, None);
            }
            self.worlds.choices(&state, &mut choices);
            for (at, choice) in choices.iter().enumerate() {
                let mut next = state;
                self.outcome.transitions += 1;
                if let Err(why) = self.worlds.choose(&mut next, *choice) {
                    let way = self.way_to((from, at as u16));
                    return self.end(false, Some(Found { why, way }));
                }
                self.come_to(next, (from, at as u16));
            }
            left -= 1;
            if left == 0 {
                left = self.ahead.len();
                self.outcome.depth += usize::from(left > 0);
                told(&self.outcome, left);
            }
        }
        self.end(true, None)
    }

    fn come_to(&mut self, state: State, step: Step) {
        let mut fold = Fold::default();
        state.hash(&mut fold);
        if self.seen.insert(fold.finish()) {
            self.ahead.push_back((self.steps.len() as u32, state));
            self.steps.push(step);
            self.outcome.states += 1;
        }
    }

    fn end(self, complete: bool, found: Option<Found>) -> Outcome {
        let (nodes, turns) = self.worlds.size();
        Outcome { complete, found, nodes, turns, moves: self.worlds.moves, ..self.outcome }
    }

    /// Goes the way to a step once more, and says it.
    fn way_to(&mut self, last: Step) -> Vec<String> {
        let mut steps = vec![last];
        while let Some(&(from, _)) = steps.last()
            && from != 0
        {
            steps.push(self.steps[from as usize]);
        }
        let mut state = self.worlds.begin();
        let mut choices: Vec<Choice> = Vec::new();
        let mut way = vec![];
        for (_, at) in steps.iter().rev() {
            self.worlds.choices(&state, &mut choices);
            let choice = choices[usize::from(*at)];
            way.push(self.worlds.say(&state, choice));
            // The last one fails, which is why we are here.
            _ = self.worlds.choose(&mut state, choice);
        }
        way
    }
}
