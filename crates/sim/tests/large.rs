//! A world of sixty nodes: a rack is lost and everything is whole again, and what it costs at rest follows from who shares shards with whom,
//! not from how many shards there are. In counts, never in time.

use base::time::Duration;
use sim::Options;
use sim::scenario::{Outcome, Plan, run_plan};

const NODES: u64 = 60;

fn run(plan: &Plan) -> Outcome {
    run_plan(plan, 1, &Options::default(), &mut |_| ()).unwrap_or_else(|why| panic!("{}", why.text))
}

/// A minute at rest, with so many shards in each of six volumes.
fn at_rest(shards_each: u32) -> Outcome {
    run(&Plan::of(NODES, 6, 6, shards_each, Duration::from_secs(60)))
}

#[test]
fn a_rack_of_many_is_lost_and_all_is_whole_without_it_and_again_when_it_is_back() {
    let outcome = run(&Plan::of(NODES, 6, 4, 100, Duration::from_secs(5)).losing_a_rack());
    let [lost, again] = ["lost", "again"].map(|name| outcome.phase(name).expect("it happened"));
    // Ten nodes of sixty had some two hundred of twelve hundred replicas, and a third of these led.
    assert!(
        outcome.elections > 300,
        "{} epochs: each of these shards lost a member and got another",
        outcome.elections
    );
    // Copies are waited for 4 s, and nodes that are gone take 3 s to be given up.
    assert!(
        lost.simulated > Duration::from_secs(4) && lost.simulated < Duration::from_secs(60),
        "{:?}",
        lost.simulated
    );
    assert!(again.simulated < Duration::from_secs(60), "{:?}", again.simulated);
    assert!(outcome.answered > 20 && outcome.shards == 440);
}

#[test]
fn at_rest_a_world_costs_what_its_pairs_of_nodes_cost_whatever_the_shards() {
    let [few, many] = [50, 500].map(at_rest);
    let of = |outcome: &Outcome| outcome.phase("quiet").expect("it happened").census;
    let (few, many) = (of(&few), of(&many));
    // Drawn at random, 150 replicas a node would tie each to all 50 in other racks.
    assert!(many.watched / NODES <= 20, "{} are watched by each", many.watched / NODES);
    assert!(
        many.watched * 2 <= few.watched * 3,
        "ten times the shards, and {} pairs after {}",
        many.watched,
        few.watched
    );
    // A pair watches itself on two networks, twice a second each.
    let pings_a_pair = |census: sim::scenario::Census| census.pings / census.watched;
    assert!((200..=280).contains(&pings_a_pair(few)) && (200..=280).contains(&pings_a_pair(many)));
    // They are idle, so they are pinged together and answer at once: what happens is not of pings.
    let per_node_and_second = many.events / NODES / 60;
    assert!(per_node_and_second < 30, "{per_node_and_second} events a node and second");
    let (before, after) = (few.events / few.watched, many.events / many.watched);
    assert!(after * 10 <= before * 12, "{after} events a pair with ten times the shards, {before} without");
    assert!(many.bytes * 10 <= few.bytes * 12, "{} bytes with ten times the shards, {} without", many.bytes, few.bytes);
}
