//! Are the stories any good? A node that is wrong in one small way is put through the story that was written when that was found, which must show it:
//! `cargo test -p node --features mutants --test mutants -- --nocapture`. What concerns many nodes is shown by seeds of the simulator.

#[path = "node.rs"]
mod node_stories;

use base::mutant::{Mutant, Mutation};
use node_stories::bench::MUTATION;
use std::panic::catch_unwind;
use std::time::Instant;

const BY: [(Mutant, fn()); 2] = [
    (Mutant::DoubtUntold, node_stories::a_node_that_lost_a_part_of_its_log_goes_on_appending),
    (Mutant::TakenBackObeyed, node_stories::what_the_authority_has_taken_back_no_peer_brings_again),
];

#[test]
fn stories_show_what_is_wrong_with_a_node() {
    let mut alive = vec![];
    for (mutant, story) in BY {
        let began = Instant::now();
        MUTATION.set(Mutation::of(mutant));
        let shown = catch_unwind(story).is_err();
        MUTATION.set(Mutation::NONE);
        let by = if shown { "its story" } else { "alive" };
        println!("{}", base::mutant::line(&format!("{mutant:?}"), by, began.elapsed(), ""));
        alive.extend((!shown).then_some(mutant));
    }
    assert!(alive.is_empty(), "nothing shows {alive:?}");
}
