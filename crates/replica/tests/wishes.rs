//! When a member asks for another configuration again: at once in a new epoch, however it learned of it, and not at once when nothing came of the last wish.

mod world;

use base::Epoch;
use std::time::Duration;
use wire::{Cause, Proposal, ProposalOutcome};
use world::{SHARD, World, config};

/// Four members, of which node 4 is dead; node 1 leads and wishes it gone.
fn bereft() -> World {
    let mut w = World::new();
    w.configure(&config(1, 1, &[1, 2, 3, 4]));
    w.run();
    w.kill(4);
    assert_eq!(wish(&w), Some((Epoch(1), vec![1, 2, 3])));
    w
}

/// In which epoch node 1 wishes for whom.
fn wish(w: &World) -> Option<(Epoch, Vec<u64>)> {
    let Proposal { epoch, members, cause, .. } = w.wish(1)?;
    assert!(matches!(cause, Cause::MemberLost { .. }), "{cause:?}");
    Some((*epoch, members.iter().map(|m| m.node.0).collect()))
}

/// The answer to node 1's wish.
fn answer(w: &mut World, outcome: ProposalOutcome) {
    w.machines.get_mut(&1).unwrap().wish = None;
    w.turn(1, |r, cx, fx| r.as_mut().unwrap().on_outcome(cx, &outcome, fx));
    w.run();
}

#[test]
fn a_wish_that_was_granted_holds_back_no_other_whether_the_answer_or_the_configuration_comes_first() {
    let granted = config(2, 1, &[1, 2, 3]);
    for told_first in [true, false] {
        for superseded in [true, false] {
            let mut w = bereft();
            if told_first {
                w.configure(&granted);
                w.run();
            }
            let config = granted.clone();
            answer(
                &mut w,
                if superseded { ProposalOutcome::Superseded { config } } else { ProposalOutcome::Granted { config } },
            );
            w.configure(&granted);
            w.run();
            w.kill(3);
            assert_eq!(wish(&w), Some((Epoch(2), vec![1, 2])), "told first: {told_first}, superseded: {superseded}");
        }
    }
}

#[test]
fn a_wish_of_which_nothing_came_is_not_made_again_at_once() {
    let old = config(1, 1, &[1, 2, 3, 4]);
    let shard = SHARD;
    for outcome in [
        ProposalOutcome::NotBelieved { shard },
        ProposalOutcome::Unsafe { shard },
        ProposalOutcome::UnknownShard { shard },
        ProposalOutcome::Superseded { config: old },
    ] {
        let mut w = bereft();
        answer(&mut w, outcome.clone());
        w.wait(Duration::from_millis(249));
        assert_eq!(wish(&w), None, "{outcome:?}");
        w.wait(Duration::from_millis(1));
        assert_eq!(wish(&w), Some((Epoch(1), vec![1, 2, 3])), "{outcome:?}");
    }
}
