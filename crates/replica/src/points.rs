//! A volume is frozen as of one moment: the primary's part. While it holds, no client is told anything from which a later write could follow (rule 13).

use crate::serving::{ReadOp, Serving};
use crate::{Context, Effects, Replica, Role, WINDOW_WRITES};
use alloc::vec::Vec;
use base::PointId;
use base::io::net::Link;
use base::log::PointChange;
use base::{Sequence, Time};
use wire::points::{PointRefusal, PointStep};
use wire::{PointOrder, PointState};

/// An answer that is kept back.
#[derive(Debug, Clone)]
pub(crate) enum Kept {
    /// Of a write or a trim.
    Done(Link, u64),
    /// Of a read, which is done anew: its data would have to be kept, and its lease may be out by then (rule 3).
    Read(ReadOp),
}

#[derive(Debug, Clone)]
struct Hold {
    point: PointId,
    until: Time,
    /// Where the freeze is in the order, once it is.
    frozen: Option<Sequence>,
    /// In the order in which they would have gone out.
    kept: Vec<Kept>,
}

/// What a serving primary knows of points under way.
#[derive(Debug, Clone, Default)]
pub(crate) struct Holding {
    hold: Option<Hold>,
    /// The last that was let go: held once more it would have had a break.
    ended: Option<PointId>,
    /// Steps that are done when this sequence is committed.
    sequenced: Vec<(Sequence, Link, PointOrder)>,
}

impl Holding {
    /// Keeps an answer back, or gives it again where nothing is held.
    pub(crate) fn keep(&mut self, answer: Kept) -> Option<Kept> {
        match &mut self.hold {
            Some(hold) => {
                hold.kept.push(answer);
                None
            }
            None => Some(answer),
        }
    }

    /// Answers that are kept back.
    pub(crate) fn kept(&self) -> usize {
        self.hold.as_ref().map_or(0, |hold| hold.kept.len())
    }

    pub(crate) fn is_full(&self, pending: usize) -> bool {
        self.hold.as_ref().is_some_and(|hold| hold.kept.len() + pending >= WINDOW_WRITES)
    }

    pub(crate) fn until(&self) -> Option<Time> {
        self.hold.as_ref().map(|hold| hold.until)
    }

    /// The end of the epoch: who waits for what was kept.
    pub(crate) fn give_up(&mut self) -> impl Iterator<Item = (Link, u64)> + use<> {
        let kept = self.hold.take().map(|hold| hold.kept).unwrap_or_default();
        kept.into_iter().map(|answer| match answer {
            Kept::Done(link, io) => (link, io),
            Kept::Read(read) => (read.link, read.io),
        })
    }

    fn holds(&self, point: PointId) -> bool {
        self.hold.as_ref().is_some_and(|hold| hold.point == point)
    }
}

impl Replica {
    /// A step of a frozen point. `no_room` says why the store of this node would not freeze once more, if so.
    pub fn on_point_order(
        &mut self,
        cx: &Context<'_>,
        from: Link,
        order: PointOrder,
        no_room: Option<PointRefusal>,
        fx: &mut Effects,
    ) {
        self.let_go_in_time(cx, fx);
        let done = match &mut self.role {
            Role::Serving(s) if !s.suspended && order.epoch == self.register.promised => match order.step {
                PointStep::Hold => hold(s, cx, order.point),
                PointStep::Freeze => self.freeze(from, &order, no_room, fx),
                PointStep::Release if s.holding.holds(order.point) => {
                    self.let_go(fx);
                    Ok(true)
                }
                PointStep::Release => Err(PointRefusal::NotHolding),
                PointStep::Thaw => self.change_as_ordered(from, &order, PointChange::Thaw { id: order.point }, fx),
            },
            _ => Err(PointRefusal::NotServing),
        };
        match done {
            Ok(true) => answer(from, &order, None, fx),
            Ok(false) => {}
            Err(why) => answer(from, &order, Some(why), fx),
        }
    }

    fn freeze(
        &mut self,
        from: Link,
        order: &PointOrder,
        no_room: Option<PointRefusal>,
        fx: &mut Effects,
    ) -> Result<bool, PointRefusal> {
        let committed = self.committed;
        let Role::Serving(s) = &mut self.role else { return Err(PointRefusal::NotServing) };
        let Some(hold) = s.holding.hold.as_ref().filter(|hold| hold.point == order.point) else {
            return Err(PointRefusal::NotHolding);
        };
        if let Some(at) = hold.frozen {
            return Ok(at <= committed);
        }
        if s.teaching.is_some() {
            return Err(PointRefusal::Copying);
        }
        no_room.map_or(Ok(()), Err)?;
        self.change_as_ordered(from, order, PointChange::Freeze { id: order.point }, fx)
    }

    /// Whether it is done already: it is not, and will be answered when it is.
    fn change_as_ordered(
        &mut self,
        from: Link,
        order: &PointOrder,
        change: PointChange,
        fx: &mut Effects,
    ) -> Result<bool, PointRefusal> {
        let under_way = |(_, _, o): &(Sequence, Link, PointOrder)| o.point == order.point && o.step == order.step;
        if matches!(&self.role, Role::Serving(s) if s.holding.sequenced.iter().any(under_way)) {
            return Ok(false);
        }
        let at = self.change_point(change, fx).ok_or(PointRefusal::Busy)?;
        if let Role::Serving(s) = &mut self.role {
            s.holding.sequenced.push((at, from, order.clone()));
            if let (Some(hold), PointStep::Freeze) = (&mut s.holding.hold, order.step) {
                hold.frozen = Some(at);
            }
        }
        Ok(false)
    }

    /// Something was committed.
    pub(crate) fn answer_orders(&mut self, fx: &mut Effects) {
        let committed = self.committed;
        let Role::Serving(s) = &mut self.role else { return };
        s.holding.sequenced.retain(|(at, link, order)| {
            let done = *at <= committed;
            if done {
                answer(*link, order, None, fx);
            }
            !done
        });
    }

    /// Nobody waits longer than that, whatever became of the authority.
    pub(crate) fn let_go_in_time(&mut self, cx: &Context<'_>, fx: &mut Effects) {
        if matches!(&self.role, Role::Serving(s) if s.holding.until().is_some_and(|until| until <= cx.now)) {
            self.let_go(fx);
        }
    }

    fn let_go(&mut self, fx: &mut Effects) {
        let (shard, epoch) = (self.shard, self.register.promised);
        let Role::Serving(s) = &mut self.role else { return };
        let Some(hold) = s.holding.hold.take() else { return };
        s.holding.ended = Some(hold.point);
        for kept in hold.kept {
            match kept {
                Kept::Done(link, io) => fx.answer(link, wire::Done { shard, epoch, io }),
                Kept::Read(read) => self.read(read, fx),
            }
        }
    }
}

fn hold(s: &mut Serving, cx: &Context<'_>, point: PointId) -> Result<bool, PointRefusal> {
    match &s.holding.hold {
        Some(hold) if hold.point == point => Ok(true),
        Some(_) => Err(PointRefusal::OtherPoint),
        None if s.holding.ended == Some(point) => Err(PointRefusal::NotHolding),
        None => {
            let until = cx.now + cx.policy.hold_max;
            s.holding.hold = Some(Hold { point, until, frozen: None, kept: Vec::new() });
            Ok(true)
        }
    }
}

fn answer(to: Link, order: &PointOrder, refused: Option<PointRefusal>, fx: &mut Effects) {
    let &PointOrder { shard, epoch, point, step } = order;
    fx.answer(to, PointState { shard, epoch, point, step, refused });
}
