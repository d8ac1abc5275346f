//! Where a region's process dies by SIGKILL on purpose, in a build for tests: at the moments at which somebody knows more than somebody else.
//!
//! ```text
//! asked --record--> after-record --zone--> after-reserve --record--> after-record --> before-reply --> told
//! ```

use base::io::meta::Outcome;
use base::io::net::Event;
use base::io::{Inbox, Input};
use std::str::FromStr;
use wire::Message;

/// One of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// A write of the metadata is durable, and nothing that stands on it is done.
    AfterRecord,
    /// A zone has done what it was told, and it is not written down.
    AfterReserve,
    /// All is done, and whoever asked is not told.
    BeforeReply,
}

/// The process dies when it comes to a place for the n-th time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailPoint {
    place: Place,
    left: u32,
}

impl FromStr for FailPoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no fail point; one is after-record:N, after-reserve:N or before-reply:N");
        let (place, left) = text.split_once(':').ok_or_else(wrong)?;
        let place = match place {
            "after-record" => Place::AfterRecord,
            "after-reserve" => Place::AfterReserve,
            "before-reply" => Place::BeforeReply,
            _ => return Err(wrong()),
        };
        let left = left.parse().ok().filter(|left| *left > 0).ok_or_else(wrong)?;
        Ok(Self { place, left })
    }
}

impl FailPoint {
    /// What the machine is about to hear.
    pub fn hears(&mut self, inbox: &Inbox) {
        for input in inbox.iter() {
            match input {
                Input::Meta(done) if matches!(done.outcome, Outcome::Written(_)) => self.comes_to(Place::AfterRecord),
                Input::Net(Event::Frame { frame, .. }) if is_outcome(frame) => self.comes_to(Place::AfterReserve),
                _ => {}
            }
        }
    }

    /// Somebody is about to be told.
    pub fn tells(&mut self) {
        self.comes_to(Place::BeforeReply);
    }

    fn comes_to(&mut self, place: Place) {
        if place != self.place {
            return;
        }
        self.left -= 1;
        if self.left == 0 {
            eprintln!("dies at the fail point {place:?}");
            crate::process::send(std::process::id(), crate::process::Signal::Kill).expect("a process may kill itself");
            // It is on its way: nothing more is done.
            loop {
                std::thread::park();
            }
        }
    }
}

/// Whether a zone says what became of a command; surveys come all the time.
fn is_outcome(frame: &base::io::net::Frame) -> bool {
    let Ok(Message::Outcome(outcome)) = Message::decode(frame) else { return false };
    !matches!(Message::from_parts(outcome.kind, outcome.fields), Ok(Message::Surveyed(_)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fail_point_is_a_place_and_how_often() {
        assert_eq!("after-reserve:3".parse(), Ok(FailPoint { place: Place::AfterReserve, left: 3 }));
        for wrong in ["after-reserve", "after-reserve:0", "after-reserve:x", "later:1", ""] {
            assert!(wrong.parse::<FailPoint>().unwrap_err().contains("before-reply:N"), "{wrong}");
        }
    }
}
