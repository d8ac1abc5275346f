//! Are the stories any good? A region that is wrong in one small way must be told from one that is right by some of them:
//! `cargo test --release -p region --features mutants --test mutants -- --nocapture`.

mod stories;
mod world;

use base::mutant::{Mutant, Mutation, Room};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;
use stories::STORIES;

/// The first story that shows it, and what it said.
fn shown(mutation: Mutation) -> Option<(&'static str, String)> {
    STORIES.into_iter().find_map(|(what, story)| {
        let why = catch_unwind(AssertUnwindSafe(|| story(mutation))).err()?;
        let text = why.downcast_ref::<String>().cloned().or(why.downcast_ref::<&str>().map(ToString::to_string));
        Some((what, text.unwrap_or_default()))
    })
}

#[test]
fn stories_show_what_is_wrong_with_a_region() {
    std::panic::set_hook(Box::new(|_| {}));
    let mut alive = vec![];
    for mutant in Mutant::ALL.into_iter().filter(|mutant| mutant.room() == Room::Region) {
        let began = Instant::now();
        let by = shown(Mutation::of(mutant));
        let (whom, why) =
            by.clone().map_or(("alive".to_owned(), String::new()), |(what, _)| ("a story".to_owned(), what.to_owned()));
        println!("{}", base::mutant::line(&format!("{mutant:?}"), &whom, began.elapsed(), &why));
        alive.extend(by.is_none().then_some(mutant));
    }
    _ = std::panic::take_hook();
    assert!(alive.is_empty(), "nothing shows {alive:?}");
}
