//! Where copies go: in as many racks as there are, on the emptier of two nodes drawn at random.
//!
//! Pure: it is given who may take a copy and how much each has left, and changes nothing. It knows neither health nor shards.

use alloc::string::String;
use alloc::vec::Vec;
use base::{Member, Rng};

/// A disk that may take a copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Candidate {
    pub member: Member,
    pub rack: String,
    /// Bytes that may be promised on it.
    pub limit: u64,
    /// Bytes that are promised or kept.
    pub taken: u64,
}

impl Candidate {
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

/// Chooses `copies` different disks for `bytes` each, and counts them as taken. `racks` already have a copy. Nothing is taken when it refuses.
pub(crate) fn choose(
    rng: &mut Rng,
    candidates: &mut [Candidate],
    copies: usize,
    bytes: u64,
    racks: &[String],
) -> Result<Vec<Member>, TooFew> {
    let mut left: Vec<usize> = (0..candidates.len()).filter(|i| candidates[*i].free() >= bytes).collect();
    if left.len() < copies {
        return Err(TooFew { fit: left.len() });
    }
    let mut used: Vec<String> = racks.to_vec();
    let mut chosen = Vec::with_capacity(copies);
    for _ in 0..copies {
        let elsewhere: Vec<usize> = left.iter().copied().filter(|i| !used.contains(&candidates[*i].rack)).collect();
        let pool = if elsewhere.is_empty() { &left } else { &elsewhere };
        let one = *rng.pick(pool).expect("there are at least as many left as copies to place");
        let two = *rng.pick(pool).expect("the same pool");
        // Who has promised less; of a capacity each, so that a large disk is not shunned for being large.
        let promised = |i: usize, other: usize| u128::from(candidates[i].taken) * u128::from(candidates[other].limit);
        let best = if promised(one, two) <= promised(two, one) { one } else { two };
        used.push(candidates[best].rack.clone());
        left.retain(|i| *i != best);
        chosen.push(best);
    }
    for i in &chosen {
        candidates[*i].taken += bytes;
    }
    Ok(chosen.into_iter().map(|i| candidates[i].member).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::{NodeId, StoreUuid};

    fn disk(node: u64, rack: &str, limit: u64, taken: u64) -> Candidate {
        Candidate { member: Member { node: NodeId(node), store: StoreUuid(1) }, rack: rack.into(), limit, taken }
    }

    #[test]
    fn copies_lie_in_different_racks_while_there_are_any() {
        let nodes = [disk(1, "a", 100, 0), disk(2, "a", 100, 0), disk(3, "b", 100, 90), disk(4, "c", 100, 90)];
        for seed in 0..50 {
            let chosen = choose(&mut Rng::new(seed), &mut nodes.clone(), 3, 10, &[]).unwrap();
            let racks = chosen.iter().filter(|m| m.node.0 > 2).count();
            assert_eq!((chosen.len(), racks), (3, 2), "seed {seed}: {chosen:?}");
            let beside_a = choose(&mut Rng::new(seed), &mut nodes.clone(), 1, 10, &["a".into()]).unwrap();
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
        let mut nodes: Vec<Candidate> = (0..10).map(|n| disk(n, "a", 1000, if n < 5 { 500 } else { 0 })).collect();
        let mut rng = Rng::new(5);
        for _ in 0..240 {
            choose(&mut rng, &mut nodes, 1, 10, &[]).unwrap();
        }
        // Of 2,400 bytes a blind choice would give half to each kind; of two choices the emptier wins three times in four.
        let filled: u64 = nodes.iter().filter(|n| n.member.node.0 < 5).map(|n| n.taken - 500).sum();
        assert!(filled < 840, "{filled}");
        assert!(nodes.iter().all(|n| n.taken <= n.limit));
    }
}
