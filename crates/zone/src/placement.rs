//! Where copies go: in as many racks as there are, on the emptier of two nodes drawn at random, among those that share shards already once they share
//! some with enough others (`ties.rs`).
//!
//! Pure: it is given who may take a copy and how much each has left, and changes nothing. It knows neither health nor shards.

use crate::ties::Near;
use alloc::vec::Vec;
use base::{Member, NodeId, Rng};

/// A disk that may take a copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Candidate<'a> {
    pub member: Member,
    pub rack: &'a str,
    /// Bytes that may be promised on it.
    pub limit: u64,
    /// Bytes that are promised or kept.
    pub taken: u64,
}

impl Candidate<'_> {
    pub(crate) fn free(&self) -> u64 {
        self.limit.saturating_sub(self.taken)
    }
}

/// There are too few.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooFew {
    /// How many have the room.
    pub fit: usize,
}

/// What has copies of a shard already, and who shares shards with whom.
pub(crate) struct Beside<'a, 'b> {
    pub racks: Vec<&'a str>,
    pub nodes: Vec<NodeId>,
    pub near: &'a mut Near<'b>,
}

/// Chooses `copies` different disks for `bytes` each, and counts them as taken, beside what has copies already. Nothing is taken when it refuses.
pub(crate) fn choose(
    rng: &mut Rng,
    candidates: &mut [Candidate<'_>],
    copies: usize,
    bytes: u64,
    beside: Beside<'_, '_>,
) -> Result<Vec<Member>, TooFew> {
    let mut left: Vec<usize> = (0..candidates.len()).filter(|i| candidates[*i].free() >= bytes).collect();
    if left.len() < copies {
        return Err(TooFew { fit: left.len() });
    }
    let Beside { racks, mut nodes, near } = beside;
    let mut used: Vec<&str> = racks;
    let mut chosen = Vec::with_capacity(copies);
    for place in 0..copies {
        let elsewhere: Vec<usize> = left.iter().copied().filter(|i| !used.contains(&candidates[*i].rack)).collect();
        let pool = if elsewhere.is_empty() { &left } else { &elsewhere };
        let tied = near.among(&nodes, copies - place, pool.iter().map(|i| candidates[*i].member.node));
        let tied: Option<Vec<usize>> = tied.map(|kept| kept.into_iter().map(|at| pool[at]).collect());
        let pool = tied.as_ref().unwrap_or(pool);
        let one = *rng.pick(pool).expect("there are at least as many left as copies to place");
        let two = *rng.pick(pool).expect("the same pool");
        // Who has promised less; of a capacity each, so that a large disk is not shunned for being large.
        let promised = |i: usize, other: usize| u128::from(candidates[i].taken) * u128::from(candidates[other].limit);
        let best = if promised(one, two) <= promised(two, one) { one } else { two };
        used.push(candidates[best].rack);
        nodes.push(candidates[best].member.node);
        left.retain(|i| *i != best);
        chosen.push(best);
    }
    for i in &chosen {
        candidates[*i].taken += bytes;
    }
    near.join(&nodes);
    Ok(chosen.into_iter().map(|i| candidates[i].member).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ties::Ties;
    use base::StoreUuid;

    /// Without anybody who shares anything.
    fn choose(
        rng: &mut Rng,
        candidates: &mut [Candidate<'_>],
        copies: usize,
        bytes: u64,
        racks: &[&str],
    ) -> Result<Vec<Member>, TooFew> {
        let (ties, nodes) = (Ties::default(), Vec::new());
        let near = &mut Near::new(&ties, 2);
        super::choose(rng, candidates, copies, bytes, Beside { racks: racks.to_vec(), nodes, near })
    }

    fn disk(node: u64, rack: &str, limit: u64, taken: u64) -> Candidate<'_> {
        Candidate { member: Member { node: NodeId(node), store: StoreUuid(1) }, rack, limit, taken }
    }

    #[test]
    fn copies_lie_in_different_racks_while_there_are_any() {
        let nodes = [disk(1, "a", 100, 0), disk(2, "a", 100, 0), disk(3, "b", 100, 90), disk(4, "c", 100, 90)];
        for seed in 0..50 {
            let chosen = choose(&mut Rng::new(seed), &mut nodes.clone(), 3, 10, &[]).unwrap();
            let racks = chosen.iter().filter(|m| m.node.0 > 2).count();
            assert_eq!((chosen.len(), racks), (3, 2), "seed {seed}: {chosen:?}");
            let beside_a = choose(&mut Rng::new(seed), &mut nodes.clone(), 1, 10, &["a"]).unwrap();
            assert!(beside_a[0].node.0 > 2, "seed {seed}: {beside_a:?}");
        }
        assert_eq!(choose(&mut Rng::new(1), &mut nodes.clone(), 4, 10, &[]).unwrap().len(), 4);
    }

    #[test]
    fn what_does_not_fit_is_refused_and_takes_nothing() {
        let mut nodes = [disk(1, "a", 100, 0), disk(2, "b", 100, 95), disk(3, "c", 100, 100)];
        let before = nodes.clone();
        assert_eq!(choose(&mut Rng::new(1), &mut nodes, 2, 10, &[]), Err(TooFew { fit: 1 }));
        assert_eq!(nodes, before);
        assert!(choose(&mut Rng::new(1), &mut nodes, 2, 5, &[]).is_ok());
        assert_eq!(nodes.map(|n| n.taken), [5, 100, 100]);
    }

    #[test]
    fn the_emptier_disks_fill_first() {
        let mut nodes: Vec<Candidate<'_>> = (0..10).map(|n| disk(n, "a", 1000, if n < 5 { 500 } else { 0 })).collect();
        let mut rng = Rng::new(5);
        for _ in 0..240 {
            choose(&mut rng, &mut nodes, 1, 10, &[]).unwrap();
        }
        // Of 2,400 bytes a blind choice would give half to each kind; of two choices the emptier wins three times in four.
        let filled: u64 = nodes.iter().filter(|n| n.member.node.0 < 5).map(|n| n.taken - 500).sum();
        assert!(filled < 840, "{filled}");
        assert!(nodes.iter().all(|n| n.taken <= n.limit));
    }

    #[test]
    fn nodes_come_to_share_shards_with_few_others_and_are_filled_evenly_all_the_same() {
        // 90 nodes in nine racks, 3,000 shards of three copies: a hundred replicas each, which drawn at random would tie each to all others elsewhere.
        let mut nodes: Vec<Candidate<'_>> = (0..90)
            .map(|n| disk(n, ["a", "b", "c", "d", "e", "f", "g", "h", "i"][n as usize % 9], 10_000, 0))
            .collect();
        let (mut rng, mut ties) = (Rng::new(9), Ties::default());
        for _ in 0..3000 {
            let near = &mut Near::new(&ties, 12);
            let members =
                super::choose(&mut rng, &mut nodes, 3, 10, Beside { racks: Vec::new(), nodes: Vec::new(), near })
                    .unwrap();
            let racks: alloc::collections::BTreeSet<u64> = members.iter().map(|m| m.node.0 % 9).collect();
            assert_eq!(racks.len(), 3);
            ties.count(&members.iter().map(|m| m.node).collect::<Vec<_>>(), true);
        }
        let most = nodes.iter().map(|n| ties.of(n.member.node)).max().unwrap();
        assert!((8..=14).contains(&most), "{most}");
        let taken = || nodes.iter().map(|n| n.taken);
        assert!(taken().min().unwrap() > 700 && taken().max().unwrap() < 1300, "{:?}", taken().collect::<Vec<_>>());
    }

    #[test]
    fn ties_stand_neither_in_the_way_of_room_nor_of_racks() {
        // Small zones in which each node would have one or two partners, filled until nothing fits any more.
        for seed in 0..200 {
            let mut rng = Rng::new(seed);
            let (count, copies, wanted) = (rng.within(3, 7), rng.within(2, 3) as usize, rng.within(1, 2) as usize);
            let racks = rng.within(1, count);
            let name = |n: u64| ["a", "b", "c", "d", "e", "f", "g"][(n % racks) as usize];
            let mut nodes: Vec<Candidate<'_>> = (0..count).map(|n| disk(n, name(n), rng.within(50, 500), 0)).collect();
            let mut ties = Ties::default();
            loop {
                let fit: Vec<&Candidate<'_>> = nodes.iter().filter(|n| n.free() >= 10).collect();
                let racks: alloc::collections::BTreeSet<&str> = fit.iter().map(|n| n.rack).collect();
                let (fit, racks) = (fit.len(), racks.len());
                let near = &mut Near::new(&ties, wanted);
                let beside = Beside { racks: Vec::new(), nodes: Vec::new(), near };
                let Ok(members) = super::choose(&mut rng, &mut nodes, copies, 10, beside) else {
                    assert!(fit < copies, "seed {seed}: {nodes:?}");
                    break;
                };
                let used: alloc::collections::BTreeSet<&str> = members.iter().map(|m| name(m.node.0)).collect();
                assert_eq!(used.len(), racks.min(copies), "seed {seed}: {members:?}");
                ties.count(&members.iter().map(|m| m.node).collect::<Vec<_>>(), true);
            }
        }
    }

    #[test]
    fn a_copy_that_is_lost_is_made_anew_on_who_shares_shards_with_those_that_are_left() {
        let nodes = [
            disk(1, "a", 100, 0),
            disk(2, "b", 100, 0),
            disk(3, "c", 100, 90),
            disk(4, "c", 100, 0),
            disk(5, "c", 100, 0),
        ];
        let mut ties = Ties::default();
        for members in [[1, 2, 3], [1, 2, 3]] {
            ties.count(&members.map(NodeId), true);
        }
        let again = |wanted: usize, bytes: u64, seed: u64| {
            let near = &mut Near::new(&ties, wanted);
            let beside = Beside { racks: ["a", "b"].to_vec(), nodes: [1, 2].map(NodeId).to_vec(), near };
            super::choose(&mut Rng::new(seed), &mut nodes.clone(), 1, bytes, beside).unwrap()[0].node.0
        };
        assert!((0..50).all(|seed| again(2, 10, seed) == 3), "they share with enough");
        assert!((0..50).all(|seed| again(2, 20, seed) != 3), "but where there is no room there is none");
        let seen: alloc::collections::BTreeSet<u64> = (0..50).map(|seed| again(3, 10, seed)).collect();
        assert_eq!(seen.len(), 3, "they may share with more: {seen:?}");
    }
}
