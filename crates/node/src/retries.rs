//! How often the node asks the authority the same again (R34, R52): the sooner in vain, the later again, and never more than its tokens (I11).
//!
//! A wish that was answered and not granted, in the same epoch and for the same cause, is a retry: it waits by a back-off of its own and leaves in a batch that costs a token. So is a
//! registration, when the one on the link before was not answered. What is new, be it the epoch or the cause, is no retry: it leaves at once and is free. Every new
//! link to the authority begins the waits anew, since whoever comes back may grant what nobody could.
//!
//! Tokens come with successes, and slowly by themselves: an authority that grants nothing for long is asked again all the same.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use base::backoff::Backoff;
use base::time::Duration;
use base::{Epoch, Rng, ShardId, Time};
use wire::{Cause, Proposal};

/// The first wait, at least.
const WAIT_BASE: Duration = Duration::from_millis(100);
/// The longest.
const WAIT_CAP: Duration = Duration::from_secs(60);
/// In tenths of a token, since a success gives one.
const TENTHS_MAX: u32 = 100;
const TENTHS_PER_RETRY: u32 = 10;
/// Without any success there is a token more after so long.
const TOKEN_EVERY: Duration = Duration::from_secs(5);

/// Something that was asked for in vain, and when it may be asked for again.
#[derive(Debug)]
struct Tried {
    cause: Cause,
    admit: Option<u64>,
    backoff: Backoff,
    not_before: Time,
}

/// What was asked for in vain, and the tokens.
#[derive(Debug)]
pub(crate) struct Retries {
    /// In the epoch in which it was.
    tried: BTreeMap<ShardId, (Epoch, Vec<Tried>)>,
    /// A registration has left and nothing was heard since.
    unanswered: bool,
    tenths: u32,
    /// Until when what comes by itself is counted.
    filled_at: Time,
    rng: Rng,
}

impl Retries {
    pub(crate) fn new(rng: Rng) -> Self {
        Self { tried: BTreeMap::new(), unanswered: false, tenths: TENTHS_MAX, filled_at: Time::ZERO, rng }
    }

    /// The link to the authority is new.
    pub(crate) fn begin_anew(&mut self) {
        self.tried.clear();
    }

    /// The authority said something.
    pub(crate) fn heard(&mut self) {
        if core::mem::take(&mut self.unanswered) {
            self.succeeded();
        }
    }

    fn succeeded(&mut self) {
        self.tenths = (self.tenths + 1).min(TENTHS_MAX);
    }

    fn fill(&mut self, now: Time) {
        let tokens = now.since(self.filled_at).as_nanos() / TOKEN_EVERY.as_nanos();
        let tokens = u32::try_from(tokens).unwrap_or(u32::MAX);
        self.filled_at = if self.tenths == TENTHS_MAX { now } else { self.filled_at + TOKEN_EVERY * tokens };
        self.tenths = self.tenths.saturating_add(tokens.saturating_mul(TENTHS_PER_RETRY)).min(TENTHS_MAX);
    }

    /// Takes the token of a retry; or says when there may be one.
    fn take(&mut self, now: Time) -> Result<(), Time> {
        self.fill(now);
        if self.tenths < TENTHS_PER_RETRY {
            return Err(self.filled_at + TOKEN_EVERY);
        }
        self.tenths -= TENTHS_PER_RETRY;
        Ok(())
    }

    /// Whether this node may register now; if not, when to ask again.
    pub(crate) fn register(&mut self, now: Time) -> Result<(), Time> {
        if self.unanswered {
            self.take(now)?;
        }
        self.unanswered = true;
        Ok(())
    }

    fn tried(&self, p: &Proposal) -> Option<&Tried> {
        let (epoch, tried) = self.tried.get(&p.shard)?;
        tried.iter().find(|t| *epoch == p.epoch && (t.cause, t.admit) == (p.cause, p.admit))
    }

    /// Which of these wishes leave now, at most so many; and when to look again, if some do not.
    pub(crate) fn choose<'a>(
        &mut self,
        now: Time,
        wishes: impl Iterator<Item = &'a Proposal>,
        most: usize,
    ) -> (Vec<Proposal>, Option<Time>) {
        let (mut leave, mut again, mut later) = (Vec::new(), Vec::new(), None);
        for p in wishes {
            match self.tried(p) {
                None => leave.push(p),
                Some(t) if t.not_before <= now => again.push(p),
                Some(t) => later = Time::sooner(later, Some(t.not_before)),
            }
        }
        leave.truncate(most);
        if leave.len() < most && !again.is_empty() {
            match self.take(now) {
                Ok(()) => leave.extend(again),
                Err(at) => later = Time::sooner(later, Some(at)),
            }
        }
        leave.truncate(most);
        (leave.into_iter().cloned().collect(), later)
    }

    /// What was wished for, or something else in a later epoch, is in force.
    pub(crate) fn granted(&mut self, shard: ShardId) {
        self.tried.remove(&shard);
        self.succeeded();
    }

    /// Nothing came of it.
    pub(crate) fn in_vain(&mut self, now: Time, p: &Proposal) {
        let (epoch, tried) = self.tried.entry(p.shard).or_insert_with(|| (p.epoch, Vec::new()));
        if *epoch != p.epoch {
            (*epoch, *tried) = (p.epoch, Vec::new());
        }
        let place = tried.iter().position(|t| (t.cause, t.admit) == (p.cause, p.admit)).unwrap_or_else(|| {
            let backoff = Backoff::new(WAIT_BASE, WAIT_CAP);
            tried.push(Tried { cause: p.cause, admit: p.admit, backoff, not_before: now });
            tried.len() - 1
        });
        let t = &mut tried[place];
        t.not_before = now + t.backoff.next(&mut self.rng);
    }

    /// There is no such replica any more.
    pub(crate) fn forget(&mut self, shard: ShardId) {
        self.tried.remove(&shard);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::{NodeId, VolumeId};

    fn wish(volume: u64, epoch: u64, cause: Cause) -> Proposal {
        let shard = ShardId { volume: VolumeId(volume), index: 0 };
        Proposal { shard, epoch: Epoch(epoch), primary: NodeId(1), members: Vec::new(), admit: None, cause }
    }

    const AT: fn(u64) -> Time = |ms| Time::ZERO + Duration::from_millis(ms);

    /// How many of these leave, and when to look again.
    fn leave(r: &mut Retries, now: Time, wishes: &[Proposal]) -> (usize, Option<Time>) {
        let (leave, later) = r.choose(now, wishes.iter(), 1000);
        (leave.len(), later)
    }

    #[test]
    fn the_same_wish_waits_longer_each_time_it_was_in_vain_and_a_new_one_never() {
        let mut r = Retries::new(Rng::new(1));
        let (lost, restarted) = (wish(1, 1, Cause::PrimaryLost), wish(1, 1, Cause::Restarted));
        let mut now = AT(0);
        let mut longest = Duration::ZERO;
        for _ in 0..9 {
            assert_eq!(leave(&mut r, now, core::slice::from_ref(&lost)), (1, None));
            r.in_vain(now, &lost);
            let (none, later) = leave(&mut r, now, core::slice::from_ref(&lost));
            let wait = later.expect("it is tried again").since(now);
            assert!(none == 0 && wait >= WAIT_BASE && wait <= (longest * 3).max(WAIT_BASE * 3));
            longest = longest.max(wait);
            // Another cause, another epoch, another learner: each is something new.
            let learned = Proposal { admit: Some(7), cause: Cause::Learned, ..lost.clone() };
            let next = Proposal { epoch: Epoch(2), ..lost.clone() };
            for new in [&restarted, &learned, &next] {
                assert_eq!(leave(&mut r, now, core::slice::from_ref(new)), (1, None));
            }
            now += wait;
        }
        assert!(longest > WAIT_BASE * 3);
        r.granted(lost.shard);
        assert_eq!(leave(&mut r, now, core::slice::from_ref(&lost)).0, 1, "it begins anew");
    }

    #[test]
    fn what_was_in_vain_in_one_epoch_is_new_in_the_next() {
        let mut r = Retries::new(Rng::new(1));
        r.in_vain(AT(0), &wish(1, 1, Cause::PrimaryLost));
        r.in_vain(AT(0), &wish(1, 2, Cause::Restarted));
        assert_eq!(leave(&mut r, AT(0), &[wish(1, 2, Cause::PrimaryLost)]).0, 1);
        assert_eq!(leave(&mut r, AT(0), &[wish(1, 2, Cause::Restarted)]).0, 0);
    }

    #[test]
    fn retries_never_exceed_their_tokens_and_new_wishes_need_none() {
        // I11
        let mut r = Retries::new(Rng::new(1));
        let lost = wish(1, 1, Cause::PrimaryLost);
        r.fill(AT(1));
        let mut left = 0;
        for _ in 0..100 {
            r.tried.clear();
            r.tried.insert(
                lost.shard,
                (
                    lost.epoch,
                    alloc::vec![Tried {
                        cause: lost.cause,
                        admit: None,
                        backoff: Backoff::new(WAIT_BASE, WAIT_CAP),
                        not_before: AT(1),
                    }],
                ),
            );
            left += leave(&mut r, AT(1), core::slice::from_ref(&lost)).0;
        }
        assert_eq!(left, 10);
        let both = [lost.clone(), wish(2, 1, Cause::PrimaryLost)];
        assert_eq!(leave(&mut r, AT(1), &both), (1, Some(AT(5001))), "the new one leaves alone");
        // Ten successes are a token, and so are five seconds.
        (0..9).for_each(|_| r.granted(ShardId::default()));
        assert_eq!(leave(&mut r, AT(1), core::slice::from_ref(&lost)).0, 0);
        r.granted(ShardId::default());
        assert_eq!(leave(&mut r, AT(1), core::slice::from_ref(&lost)).0, 1);
        assert_eq!(leave(&mut r, AT(5000), core::slice::from_ref(&lost)).0, 0);
        assert_eq!(leave(&mut r, AT(5001), core::slice::from_ref(&lost)).0, 1);
        let later = AT(1_000_000);
        assert_eq!((0..99).filter(|_| r.take(later).is_ok()).count(), 10, "however long nothing was tried");
    }

    #[test]
    fn a_registration_costs_a_token_only_when_the_one_before_was_not_answered() {
        let mut r = Retries::new(Rng::new(1));
        for _ in 0..50 {
            assert_eq!(r.register(AT(1)), Ok(()));
            r.heard();
        }
        assert_eq!((0..50).filter(|_| r.register(AT(1)).is_ok()).count(), 1 + 10);
        assert!(r.register(AT(1)).unwrap_err() <= AT(5001));
    }

    #[test]
    fn a_new_link_begins_the_waits_anew_and_gives_no_tokens() {
        let mut r = Retries::new(Rng::new(1));
        let lost = wish(1, 1, Cause::PrimaryLost);
        (0..5).for_each(|_| r.in_vain(AT(0), &lost));
        assert_eq!(leave(&mut r, AT(0), core::slice::from_ref(&lost)).0, 0);
        let before = r.tenths;
        r.begin_anew();
        assert_eq!((leave(&mut r, AT(0), core::slice::from_ref(&lost)).0, r.tenths), (1, before));
    }

    #[test]
    fn a_batch_is_no_larger_than_it_may_be_and_no_token_is_spent_on_what_finds_no_place() {
        let mut r = Retries::new(Rng::new(1));
        let wishes: Vec<Proposal> = (1..=5).map(|v| wish(v, 1, Cause::PrimaryLost)).collect();
        r.in_vain(AT(0), &wishes[0]);
        let later = AT(1000);
        assert_eq!((r.choose(later, wishes.iter(), 4).0.len(), r.tenths), (4, TENTHS_MAX));
        assert_eq!((r.choose(later, wishes.iter(), 5).0.len(), r.tenths), (5, TENTHS_MAX - 10));
    }
}
