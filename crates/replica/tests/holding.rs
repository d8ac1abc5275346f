//! A primary's part in freezing a volume: it holds its answers back, freezes, and says whether it held all the while (rule 13).

mod world;

use replica::WINDOW_WRITES;
use std::time::Duration;
use wire::{PointRefusal, PointStep, Refusal};
use world::{World, config, with_learner};

/// A step that node 1 is asked for in epoch 1, about point 1.
fn order(w: &mut World, step: PointStep) {
    w.order(1, 1, 1, step, None);
}

/// What the authority was told of point 1 since it was last asked for.
fn said(w: &mut World) -> Vec<(PointStep, Option<PointRefusal>)> {
    w.told.drain(..).map(|(_, state)| (state.step, state.refused)).collect()
}

/// What was not told while a node held, and is now.
fn are_done(w: &World, ios: &[u64]) -> Vec<bool> {
    ios.iter().map(|io| w.done(*io).is_some()).collect()
}

#[test]
fn while_it_holds_a_client_is_told_of_no_write_and_no_read_and_then_of_all() {
    let mut w = World::serving();
    w.write(1, 1, 5, 0x11);
    order(&mut w, PointStep::Hold);
    let ios = [w.write(1, 1, 5, 0x22), w.read(1, 1, 5), w.trim(1, 1, 6, 2), w.read(1, 1, 9), w.map(1, 1, 4, 3)];
    assert_eq!(are_done(&w, &ios), [false; 5]);
    assert_eq!(w.stored(1, 5), 0x22, "it sequences and commits as before");
    order(&mut w, PointStep::Hold);
    assert_eq!(said(&mut w), [(PointStep::Hold, None), (PointStep::Hold, None)], "asked twice it goes on holding");
    order(&mut w, PointStep::Release);
    assert_eq!(said(&mut w), [(PointStep::Release, None)]);
    assert_eq!((are_done(&w, &ios), w.answer(ios[1]), w.answer(ios[3])), (vec![true; 5], Some(0x22), Some(0)));
    assert_eq!(w.mapped(ios[4]), Some(0b010), "nor which blocks are written");
}

#[test]
fn a_read_that_was_under_way_when_it_began_to_hold_is_kept_back_too() {
    let mut w = World::serving();
    w.machines.get_mut(&3).unwrap().held = true;
    let ios = [w.write(1, 1, 5, 0x22), w.read(1, 1, 5), w.map(1, 1, 5, 1)];
    order(&mut w, PointStep::Hold);
    w.release(3);
    w.run();
    assert_eq!((w.stored(1, 5), are_done(&w, &ios)), (0x22, vec![false; 3]));
    order(&mut w, PointStep::Release);
    assert_eq!((are_done(&w, &ios), w.answer(ios[1]), w.mapped(ios[2])), (vec![true; 3], Some(0x22), Some(1)));
}

#[test]
fn a_freeze_is_done_when_every_member_has_it_and_is_sequenced_once() {
    let mut w = World::serving();
    w.write(1, 1, 5, 0x11);
    order(&mut w, PointStep::Hold);
    w.machines.get_mut(&3).unwrap().held = true;
    order(&mut w, PointStep::Freeze);
    w.write(1, 1, 5, 0x22);
    order(&mut w, PointStep::Freeze);
    assert_eq!(said(&mut w), [(PointStep::Hold, None)], "a member has not got it durable");
    w.release(3);
    w.run();
    assert_eq!(said(&mut w), [(PointStep::Freeze, None)]);
    order(&mut w, PointStep::Freeze);
    order(&mut w, PointStep::Release);
    assert_eq!(said(&mut w), [(PointStep::Freeze, None), (PointStep::Release, None)]);
    w.wait(Duration::from_millis(100));
    assert_eq!([1, 2, 3].map(|n| (w.frozen(n, 1, 5), w.stored(n, 5))), [(Some(0x11), 0x22); 3]);
    assert_eq!([1, 2, 3].map(|n| w.machines[&n].disk.committed.0), [3; 3], "two writes and one freeze");
}

#[test]
fn it_holds_for_a_bounded_time_and_says_that_it_let_go() {
    let mut w = World::serving();
    order(&mut w, PointStep::Hold);
    let write = w.write(1, 1, 5, 0x11);
    w.wait(Duration::from_millis(99));
    assert_eq!(are_done(&w, &[write]), [false]);
    w.wait(Duration::from_millis(1));
    assert_eq!(are_done(&w, &[write]), [true], "nobody asked it to let go");
    assert_eq!(said(&mut w), [(PointStep::Hold, None)]);
    for step in [PointStep::Freeze, PointStep::Release, PointStep::Hold] {
        order(&mut w, step);
        assert_eq!(said(&mut w), [(step, Some(PointRefusal::NotHolding))], "there was a break");
    }
    // Another point may be made.
    w.order(1, 1, 2, PointStep::Hold, None);
    w.order(1, 1, 2, PointStep::Release, None);
    assert_eq!(said(&mut w), [(PointStep::Hold, None), (PointStep::Release, None)]);
}

#[test]
fn a_step_that_comes_when_its_time_is_over_finds_it_let_go_though_no_tick_was_before() {
    let mut w = World::serving();
    order(&mut w, PointStep::Hold);
    w.now += Duration::from_millis(100);
    order(&mut w, PointStep::Release);
    assert_eq!(said(&mut w)[1], (PointStep::Release, Some(PointRefusal::NotHolding)));
}

#[test]
fn it_holds_for_one_point_only() {
    let mut w = World::serving();
    order(&mut w, PointStep::Hold);
    w.order(1, 1, 2, PointStep::Hold, None);
    w.order(1, 1, 2, PointStep::Freeze, None);
    w.order(1, 1, 2, PointStep::Release, None);
    let refused = [PointRefusal::OtherPoint, PointRefusal::NotHolding, PointRefusal::NotHolding].map(Some);
    assert_eq!(said(&mut w).into_iter().skip(1).map(|(_, why)| why).collect::<Vec<_>>(), refused);
    order(&mut w, PointStep::Release);
    assert_eq!(said(&mut w), [(PointStep::Release, None)]);
}

#[test]
fn only_the_primary_of_the_epoch_takes_a_step() {
    let mut w = World::serving();
    for step in [PointStep::Hold, PointStep::Freeze, PointStep::Release, PointStep::Thaw] {
        w.order(2, 1, 1, step, None);
        w.order(1, 2, 1, step, None);
        assert_eq!(said(&mut w), [(step, Some(PointRefusal::NotServing)); 2]);
    }
    assert_eq!(w.machines[&1].disk.committed.0, 0);
}

#[test]
fn who_is_deposed_while_it_holds_sends_its_clients_to_the_next_and_the_next_does_not_hold() {
    let mut w = World::serving();
    order(&mut w, PointStep::Hold);
    let (write, read) = (w.write(1, 1, 5, 0x11), w.read(1, 1, 5));
    w.configure(&config(2, 2, &[1, 2, 3]));
    w.run();
    for io in [write, read] {
        assert!(matches!(w.refusal(io), Some(Refusal::WrongEpoch { config }) if config.epoch.0 == 2), "{io}");
    }
    w.told.clear();
    order(&mut w, PointStep::Release);
    w.order(2, 2, 1, PointStep::Release, None);
    let refused = [PointRefusal::NotServing, PointRefusal::NotHolding].map(Some);
    assert_eq!(said(&mut w).into_iter().map(|(_, why)| why).collect::<Vec<_>>(), refused);
    let after = w.write(2, 2, 5, 0x22);
    assert!(w.done(after).is_some());
}

#[test]
fn what_cannot_be_frozen_is_refused_by_name_and_nothing_is_sequenced() {
    let mut w = World::serving();
    order(&mut w, PointStep::Hold);
    for why in [PointRefusal::TooMany { most: 64 }, PointRefusal::NoRoom { lacking: 7 }] {
        w.told.clear();
        w.order(1, 1, 1, PointStep::Freeze, Some(why));
        assert_eq!(said(&mut w), [(PointStep::Freeze, Some(why))]);
    }
    w.configure(&with_learner(config(1, 1, &[1, 2, 3]), 4, 1));
    order(&mut w, PointStep::Freeze);
    assert_eq!(said(&mut w), [(PointStep::Freeze, Some(PointRefusal::Copying))]);
    order(&mut w, PointStep::Release);
    w.wait(Duration::from_millis(200));
    assert!([1, 2, 3].iter().all(|n| w.frozen(*n, 1, 5).is_none()));
}

#[test]
fn what_waits_for_it_to_let_go_is_bounded() {
    let mut w = World::serving();
    order(&mut w, PointStep::Hold);
    let kept: Vec<u64> = (0..WINDOW_WRITES as u64).map(|i| w.write(1, 1, (i % 64) as u32, 1)).collect();
    let more = [w.read(1, 1, 5), w.write(1, 1, 5, 9)];
    assert!(more.iter().all(|io| matches!(w.refusal(*io), Some(Refusal::Busy))), "{:?}", w.refusal(more[0]));
    order(&mut w, PointStep::Release);
    assert!(kept.iter().all(|io| w.done(*io).is_some()));
    let again = w.write(1, 1, 5, 9);
    assert!(w.done(again).is_some());
}

#[test]
fn a_full_window_refuses_a_step_for_now() {
    let mut w = World::serving();
    order(&mut w, PointStep::Hold);
    w.machines.get_mut(&3).unwrap().held = true;
    (0..WINDOW_WRITES).for_each(|_| _ = w.write(1, 1, 5, 1));
    w.told.clear();
    for step in [PointStep::Freeze, PointStep::Thaw] {
        order(&mut w, step);
        assert_eq!(said(&mut w), [(step, Some(PointRefusal::Busy))]);
    }
    w.release(3);
    w.run();
    order(&mut w, PointStep::Freeze);
    assert_eq!(said(&mut w), [(PointStep::Freeze, None)]);
}

#[test]
fn a_point_is_dropped_everywhere_before_that_is_said_and_one_that_is_not_there_too() {
    let mut w = World::serving();
    [PointStep::Hold, PointStep::Freeze, PointStep::Release].iter().for_each(|step| order(&mut w, *step));
    w.wait(Duration::from_millis(100));
    assert!([1, 2, 3].iter().all(|n| w.frozen(*n, 1, 5).is_some()));
    w.told.clear();
    w.machines.get_mut(&2).unwrap().held = true;
    order(&mut w, PointStep::Thaw);
    order(&mut w, PointStep::Thaw);
    assert_eq!(said(&mut w), []);
    w.release(2);
    w.run();
    assert_eq!(said(&mut w), [(PointStep::Thaw, None)], "sequenced once");
    w.wait(Duration::from_millis(100));
    assert!([1, 2, 3].iter().all(|n| w.frozen(*n, 1, 5).is_none()));
    order(&mut w, PointStep::Thaw);
    assert_eq!(said(&mut w), [(PointStep::Thaw, None)]);
}
