//! Everything is bounded: what others can fill in a machine holds no more than the machine itself says that it may (R51, and style.md: a queue has a capacity and a named
//! refusal), and a turn takes and gives no more than a computer has memory for.

use base::bounded::Fill;
use std::fmt;

/// What one turn may take in, and what it may give out. A process that stood still for as long as it may and then sees all that came at once stays far below.
pub const TURN_MAX: usize = 1 << 16;

/// Judges one of them.
pub fn check(whose: impl fmt::Display, fill: Fill) -> Result<(), String> {
    let Fill { what, now, most } = fill;
    if now <= most { Ok(()) } else { Err(format!("bounds: {whose} holds {now} {what}, and {most} are the most")) }
}

/// Judges the widest turn so far: what came in, and what went out.
pub fn turn(widest: (usize, usize)) -> Result<(), String> {
    check("some process in one turn", Fill { what: "inputs", now: widest.0, most: TURN_MAX })?;
    check("some process in one turn", Fill { what: "outputs", now: widest.1, most: TURN_MAX })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_more_than_the_most_is_caught() {
        let fill = |now| Fill { what: "questions", now, most: 3 };
        assert_eq!(check("zone", fill(3)), Ok(()));
        assert_eq!(check("zone", fill(4)).unwrap_err(), "bounds: zone holds 4 questions, and 3 are the most");
        assert!(
            turn((TURN_MAX, TURN_MAX)).is_ok() && turn((0, TURN_MAX + 1)).is_err() && turn((TURN_MAX + 1, 0)).is_err()
        );
    }
}
