//! Nothing is granted to a node that cannot hear it: a wish says back what the authority told its node just now.

mod world;

use base::*;
use wire::*;
use world::World;

/// Five nodes and a volume of three copies that serves, attached to a host.
fn attached() -> (World, Configuration) {
    let mut w = World::new(5);
    let host = w.add_host(1);
    let volume = w.volume(1, 3);
    w.attach(volume, host);
    let c = w.first(volume);
    (w, c)
}

/// The primary's wish to go on without one of its backups.
fn without(c: &Configuration, lost: u64) -> Proposal {
    let members = c.members.iter().copied().filter(|m| m.node != NodeId(lost)).collect();
    let (shard, epoch, primary) = (c.shard, c.epoch, c.primary);
    Proposal { shard, epoch, primary, members, admit: None, cause: Cause::MemberLost { node: NodeId(lost) } }
}

fn unheard(w: &World) -> u64 {
    w.zone.counters().unheard
}

fn deafen(w: &mut World, n: u64) {
    w.nodes.get_mut(&NodeId(n)).unwrap().deaf = true;
}

fn is_granted(outcome: Option<ProposalOutcome>) -> bool {
    matches!(outcome, Some(ProposalOutcome::Granted { .. }))
}

#[test]
fn a_wish_with_nothing_said_back_changes_nothing_and_is_granted_when_its_node_has_heard_that() {
    let (mut w, c) = attached();
    let (primary, lost) = (c.primary.0, w.backup(&c, 0));
    deafen(&mut w, primary);
    let written = w.meta.written.len();
    assert_eq!(w.propose(primary, without(&c, lost)), None, "it does not hear the answer");
    assert_eq!((w.config(c.shard), w.meta.written.len(), unheard(&w)), (c.clone(), written, 1));
    // It does not become old enough to be granted by itself.
    w.pass_ms(10_000);
    assert_eq!((w.config(c.shard), unheard(&w)), (c.clone(), 1));
    let node = w.nodes.get_mut(&c.primary).unwrap();
    (node.deaf, node.asked) = (false, None);
    assert!(is_granted(w.propose(primary, without(&c, lost))), "in the same turn");
    assert_eq!((w.config(c.shard).epoch, unheard(&w)), (c.epoch.next(), 2));
}

#[test]
fn what_is_said_back_counts_for_as_long_as_nobody_is_taken_for_gone() {
    let (mut w, c) = attached();
    let (one, two) = (w.backup(&c, 0), w.backup(&c, 1));
    assert!(is_granted(w.propose(c.primary.0, without(&c, one))));
    assert_eq!(unheard(&w), 1);
    w.pass_ms(250);
    // Refused for what it is, and so it was looked at.
    let c = w.config(c.shard);
    let nobody = Proposal { members: vec![], ..without(&c, two) };
    assert!(matches!(w.propose(c.primary.0, nobody.clone()), Some(ProposalOutcome::Unsafe { .. })));
    assert_eq!(unheard(&w), 1);
    w.pass(time::Duration::from_nanos(1));
    assert!(matches!(w.propose(c.primary.0, nobody), Some(ProposalOutcome::Unsafe { .. })));
    assert_eq!(unheard(&w), 2, "it had to hear once more");
}

#[test]
fn what_another_start_told_counts_for_nothing() {
    let (mut w, c) = attached();
    let (primary, lost) = (c.primary, w.backup(&c, 0));
    let nobody = Proposal { members: vec![], ..without(&c, lost) };
    w.propose(primary.0, nobody);
    let told = w.nodes[&primary].echo.expect("it was told something");
    w.restart_zone();
    assert_eq!(unheard(&w), 0);
    let node = w.nodes.get_mut(&primary).unwrap();
    (node.echo, node.deaf) = (Some(told), true);
    let c = w.config(c.shard);
    assert_eq!(w.propose(primary.0, without(&c, lost)), None);
    assert_eq!((w.config(c.shard).epoch, unheard(&w)), (c.epoch, 1));
    // Nor does what nobody has told yet.
    let node = w.nodes.get_mut(&primary).unwrap();
    (node.asked, node.deaf) = (None, false);
    w.propose(primary.0, Proposal { members: vec![], ..without(&c, lost) });
    let Echo { start, at } = w.nodes[&primary].echo.expect("it was told something");
    assert_ne!(start, told.start);
    let node = w.nodes.get_mut(&primary).unwrap();
    (node.echo, node.deaf) = (Some(Echo { start, at: at + 1 }), true);
    assert_eq!(w.propose(primary.0, without(&c, lost)), None);
    assert_eq!((w.config(c.shard).epoch, unheard(&w)), (c.epoch, 3));
}

#[test]
fn a_deaf_primary_is_replaced_although_it_found_one_of_its_backups_silent_first() {
    let (mut w, c) = attached();
    let (first, other) = (w.backup(&c, 0), w.backup(&c, 1));
    deafen(&mut w, c.primary.0);
    w.pass_ms(250);
    w.propose(c.primary.0, without(&c, first));
    // Both who still hear find it silent. It reports, so that one alone is not believed.
    assert_eq!(w.propose(first, w.fail_over(&c, first)), None, "it waits for a second");
    w.propose(other, w.fail_over(&c, other));
    let now = w.config(c.shard);
    assert_eq!(now.epoch, c.epoch.next());
    assert!(now.primary != c.primary && now.members.len() == 2, "{now:?}");
}

#[test]
fn the_accusation_of_a_deaf_backup_counts_for_nothing_also_when_another_accuses() {
    let (mut w, c) = attached();
    let (deaf, other) = (w.backup(&c, 0), w.backup(&c, 1));
    deafen(&mut w, deaf);
    w.propose(deaf, w.fail_over(&c, deaf));
    assert_eq!(w.propose(other, w.fail_over(&c, other)), None, "it is alone");
    assert_eq!((w.config(c.shard).epoch, unheard(&w)), (c.epoch, 2));
}
