//! What happens at a host that somebody may want to read of later, in words for logs. Nothing depends on whether anybody does.

use crate::stuck::Stuck;
use base::bounded::Bounded;
use base::io::net::Down;
use base::size::Size;
use base::time::Duration;
use base::{Generation, ShardId, VolumeId};
use core::fmt;
use wire::Throttle;

/// Kept until somebody asks; what comes beyond is dropped.
const NEWS_MAX: usize = 1024;

/// One thing that happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum News {
    /// The authority cannot be reached, or not any more.
    ZoneLost {
        /// How.
        why: Down,
        /// Whether it has said since the start what is attached.
        is_informed: bool,
    },
    /// It is in touch.
    ZoneFound,
    /// A volume can be used here.
    Opened {
        /// Which.
        volume: VolumeId,
        /// Under which attachment.
        generation: Generation,
    },
    /// It cannot any more.
    Closed {
        /// Which.
        volume: VolumeId,
        /// Under which attachment it was.
        generation: Generation,
        /// Why.
        why: Closed,
    },
    /// It is larger from now on.
    Grown {
        /// Which.
        volume: VolumeId,
        /// Its bytes.
        size: u64,
    },
    /// It may do so much from now on.
    Throttled {
        /// Which.
        volume: VolumeId,
        /// What.
        throttle: Throttle,
    },
    /// I/O has waited for so long that the authority is told.
    Waits(Stuck),
    /// It does not wait any more.
    Goes {
        /// Of which shard.
        shard: ShardId,
        /// How long it had waited.
        after: Duration,
    },
}

/// Why a volume was closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closed {
    /// The authority said so.
    Detached,
    /// A node said that a later attachment may write. The authority has not said so here.
    Fenced,
    /// It was given a new generation here.
    Replaced,
}

impl fmt::Display for News {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ZoneLost { why, is_informed: true } => {
                write!(f, "the zone's authority is out of touch ({why:?}); what is attached goes on")
            }
            Self::ZoneLost { why, is_informed: false } => write!(
                f,
                "waits for the zone's authority ({why:?}), which knows what is attached; until then nothing is offered"
            ),
            Self::ZoneFound => f.write_str("the zone's authority is in touch"),
            Self::Opened { volume, generation } => write!(f, "{volume} is open, generation {generation}"),
            Self::Closed { volume, generation, why } => {
                let why = match why {
                    Closed::Detached => "it was detached",
                    Closed::Fenced => "a node refused it: a later generation may write",
                    Closed::Replaced => "it was attached here anew",
                };
                write!(f, "{volume} is closed, generation {generation}: {why}")
            }
            Self::Grown { volume, size } => {
                write!(
                    f,
                    "{volume} has {} now; an NBD client that is connected sees that when it connects anew",
                    Size(*size)
                )
            }
            Self::Throttled { volume, throttle } => write!(
                f,
                "{volume} may do {} I/Os and {} bytes a second (0: no limit)",
                throttle.iops, throttle.bytes_per_s
            ),
            Self::Waits(Stuck { shard, epoch, primary, .. }) => {
                write!(f, "I/O of {shard} waits for {primary}, its primary in epoch {epoch}; the authority is told")
            }
            Self::Goes { shard, after } => write!(f, "I/O of {shard} goes on after {} ms", after.as_millis()),
        }
    }
}

/// What nobody has read yet.
#[derive(Debug)]
pub(crate) struct Pages {
    unread: Bounded<News>,
}

impl Default for Pages {
    fn default() -> Self {
        Self { unread: Bounded::new(NEWS_MAX) }
    }
}

impl Pages {
    /// One more, unless nobody reads them.
    pub(crate) fn add(&mut self, news: News) {
        // A host that nobody reads of, as in most tests, keeps the oldest.
        let _ = self.unread.push(news);
    }

    /// All, oldest first.
    pub(crate) fn read(&mut self) -> impl Iterator<Item = News> + '_ {
        self.unread.drain()
    }
}
