//! Somebody with a command line: says one thing at a time to the authority and hands on what comes back.

use base::Time;
use base::io::net::{Event, Link, Op, Peer};
use base::io::{Inbox, Input, Machine, Outbox};
use std::collections::VecDeque;
use wire::Message;

/// What an operator hears.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// The authority answered.
    Answer(Box<Message>),
    /// Its link is gone: what was asked may or may not have been heard.
    LinkLost,
}

/// One operator.
#[derive(Default)]
pub struct Operator {
    say: VecDeque<Message>,
    hang_up: bool,
    /// What was heard, oldest first; for the harness to take.
    pub heard: Vec<Heard>,
}

impl Operator {
    /// Says something at its next turn; what was asked before is not waited for any more.
    pub fn say(&mut self, message: Message) {
        self.say.push_back(message);
    }

    /// Gives up on what was asked: an answer that comes late must not pass for one to the next question.
    pub fn hang_up(&mut self) {
        self.hang_up = true;
    }
}

impl Machine for Operator {
    fn step(&mut self, _: Time, inbox: &mut Inbox, out: &mut Outbox) {
        for input in inbox.drain(..) {
            match input {
                Input::Net(Event::Frame { from, frame }) if from.peer == Peer::Zone => match Message::decode(&frame) {
                    Ok(message) => self.heard.push(Heard::Answer(Box::new(message))),
                    Err(malformed) => panic!("the authority answered with something {malformed}"),
                },
                Input::Net(Event::Down { .. }) => self.heard.push(Heard::LinkLost),
                _ => {}
            }
        }
        if std::mem::take(&mut self.hang_up) {
            out.net(Op::Close { link: Link::to(Peer::Zone) });
        }
        for message in self.say.drain(..) {
            out.send(Link::to(Peer::Zone), message.frame());
        }
    }

    fn deadline(&self) -> Option<Time> {
        None
    }
}
