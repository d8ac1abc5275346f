//! After everything is healed and restarted, every acknowledged write is there (I7, R13): a second opinion beside [`super::linear`], by the
//! plainest rule there is. What stands in a register at the end must be something that no later acknowledged write has replaced.

use super::linear::{Access, What};
use std::fmt;

/// An acknowledged write is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lost {
    /// The acknowledged write, asked after the one that is there had ended.
    pub write: u64,
    /// What is there instead.
    pub found: u64,
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "acknowledged operation {} is gone; {:?} is there", self.write, crate::history::Stamp(self.found))
    }
}

/// Judges what one register holds at the end, when all that was asked has long been answered or given up.
pub fn check(accesses: &[Access], found: u64) -> Result<(), Lost> {
    let writes = || accesses.iter().filter(|access| matches!(access.what, What::Write(_)));
    let replaced_by = |ended: Option<crate::clock::Moment>| {
        writes().find(|w| w.returned.is_some() && ended.is_some_and(|ended| ended < w.invoked)).map(|w| w.op)
    };
    let begun = (found == 0).then(|| replaced_by(Some(crate::clock::Moment(0))));
    let left_by = writes().filter(|w| w.what == What::Write(found)).map(|w| replaced_by(w.returned.or(w.fenced)));
    let mut verdicts = begun.into_iter().chain(left_by).peekable();
    if verdicts.peek().is_none() {
        // Nobody wrote it: any acknowledged write will do to name the loss.
        return Err(Lost {
            write: writes().find(|w| w.returned.is_some()).map_or(super::linear::BEGINNING, |w| w.op),
            found,
        });
    }
    let mut lost = None;
    for verdict in verdicts {
        match verdict {
            None => return Ok(()),
            Some(write) => lost = Some(Lost { write, found }),
        }
    }
    Err(lost.expect("some verdict was looked at"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Moment;

    fn write(op: u64, value: u64, from: u64, to: Option<u64>) -> Access {
        Access { op, what: What::Write(value), invoked: Moment(from), returned: to.map(Moment), fenced: None }
    }

    #[test]
    fn the_last_acknowledged_write_must_be_there_unless_another_could_have_replaced_it() {
        let accesses = [write(0, 5, 1, Some(2)), write(1, 6, 3, Some(4)), write(2, 7, 3, None)];
        assert_eq!(check(&accesses, 6), Ok(()));
        assert_eq!(check(&accesses, 7), Ok(()), "an unanswered write stays possible");
        assert_eq!(check(&accesses, 5), Err(Lost { write: 1, found: 5 }));
        assert_eq!(check(&accesses, 0), Err(Lost { write: 0, found: 0 }));
        assert_eq!(check(&accesses, 9), Err(Lost { write: 0, found: 9 }));
        assert_eq!(check(&[], 0), Ok(()));
    }

    #[test]
    fn a_fenced_write_does_not_excuse_the_loss_of_one_asked_after_the_fence() {
        let fenced = Access { fenced: Some(Moment(10)), ..write(0, 5, 1, None) };
        assert_eq!(check(&[fenced, write(1, 6, 8, Some(9))], 5), Ok(()));
        assert_eq!(check(&[fenced, write(1, 6, 11, Some(12))], 5), Err(Lost { write: 1, found: 5 }));
    }

    #[test]
    fn zeroes_are_right_where_a_trim_was_the_last() {
        assert_eq!(check(&[write(0, 5, 1, Some(2)), write(1, 0, 3, Some(4))], 0), Ok(()));
        assert_eq!(check(&[write(0, 0, 1, Some(2)), write(1, 5, 3, Some(4))], 0), Err(Lost { write: 1, found: 0 }));
    }
}
