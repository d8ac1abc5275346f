//! The links of one node to another: in order within one life of a link, lost with it, and never across lives, as `base::io::net` promises.

/// A queue of a link that one node opened to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Way {
    /// From the opener.
    Asks,
    /// Back to it.
    Answers,
    /// From the opener, while the link is down: it goes with the next life.
    Waiting,
    /// From the opener on the bulk lane.
    Copies,
    /// Back to it on the bulk lane.
    Copied,
    /// Of a life before this one: only in worlds that are worse than the network promises to be.
    Late,
}

impl Way {
    /// Those out of which something can arrive.
    pub const ARRIVING: [Self; 5] = [Self::Asks, Self::Answers, Self::Copies, Self::Copied, Self::Late];

    /// Whether it leads to who opened the link.
    pub fn is_back(self) -> bool {
        matches!(self, Self::Answers | Self::Copied)
    }
}

/// Everything under way between the opener and the other, both lanes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Wire {
    pub up: bool,
    /// The last attempt to open it was refused.
    pub refused: bool,
    /// Messages by number, those of one way in order and together.
    queue: Vec<(Way, u32)>,
}

impl Wire {
    /// A link that is open.
    pub fn open() -> Self {
        Self { up: true, ..Self::default() }
    }

    pub fn push(&mut self, way: Way, message: u32) {
        let at = self.queue.partition_point(|(w, _)| *w <= way);
        self.queue.insert(at, (way, message));
    }

    pub fn first(&self, way: Way) -> Option<u32> {
        self.queue.iter().find(|(w, _)| *w == way).map(|(_, message)| *message)
    }

    pub fn pop(&mut self, way: Way) -> Option<u32> {
        let at = self.queue.iter().position(|(w, _)| *w == way)?;
        Some(self.queue.remove(at).1)
    }

    pub fn lose(&mut self, ways: &[Way]) {
        self.queue.retain(|(way, _)| !ways.contains(way));
    }

    pub fn has(&self, ways: &[Way]) -> bool {
        self.queue.iter().any(|(way, _)| ways.contains(way))
    }

    /// Everything of one way goes another.
    pub fn turn(&mut self, from: Way, to: Way) {
        let (moved, kept) = std::mem::take(&mut self.queue).into_iter().partition(|(way, _)| *way == from);
        self.queue = kept;
        let moved: Vec<(Way, u32)> = moved;
        moved.into_iter().for_each(|(_, message)| self.push(to, message));
    }
}
