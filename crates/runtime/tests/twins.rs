//! Two processes of one identity: the second is refused by name and the first is not disturbed; a process that was started again is not taken for one.

mod rig;

use base::Incarnation;
use base::io::Input;
use base::io::net::{Down, Event, Link};
use rig::{Hand, Rig, Seen, frame, node, setup, terms};
use runtime::Setup;
use runtime::session::{Code, PING, PONG, REJECT, Terms, read_reject};

fn run(n: u64) -> Terms {
    Terms { incarnation: Incarnation(n), ..terms(node(1)) }
}

/// What is asked of the first run when a second comes.
fn answer_ping(hand: &mut Hand) {
    let ping = hand.frame().expect("the first is asked");
    assert_eq!(ping.kind, PING);
    hand.send(&[base::io::net::Frame { kind: PONG, ..ping }]);
}

#[test]
fn while_the_first_run_answers_the_second_is_refused_by_name_and_nothing_of_it_is_heard() {
    let b = Rig::new(setup(2));
    let mut first = Hand::open_as(b.primary(), node(2), &run(5));
    b.until_up(Link::from(node(1)));
    for later in [6, 4] {
        let mut second = Hand::open_as(b.primary(), node(2), &run(later));
        second.send(&[frame(0x20, b"second", vec![])]);
        answer_ping(&mut first);
        let refusal = second.frame().expect("it is told why");
        assert_eq!(refusal.kind, REJECT);
        let why = read_reject(&refusal.head).unwrap();
        assert_eq!(why.code, Code::Twin);
        let at = first.stream.local_addr().unwrap().to_string();
        for part in ["node-1 is at work", &at, "as run 5", &format!("this one is run {later}")] {
            assert!(why.text.contains(part), "{part}: {}", why.text);
        }
    }
    first.send(&[frame(0x21, b"first", vec![])]);
    b.until("the first's frame, and nothing before it", |seen| match seen {
        Seen::Input(Input::Net(Event::Frame { frame, .. })) => {
            assert_eq!(frame.kind, 0x21);
            Some(())
        }
        Seen::Input(Input::Net(event)) => panic!("the first was disturbed: {event:?}"),
        _ => None,
    });
    let (_, counters, _) = b.stop();
    assert_eq!((counters.rivals, counters.twins_refused), (2, 2));
}

#[test]
fn when_the_first_run_is_silent_the_next_one_has_the_line_with_all_it_said() {
    let b = Rig::new(setup(2));
    let mut first = Hand::open_as(b.primary(), node(2), &run(5));
    b.until_up(Link::from(node(1)));
    let mut second = Hand::open_as(b.primary(), node(2), &run(6));
    second.send(&[frame(0x20, b"second", vec![])]);
    b.until_up(Link::from(node(1)));
    assert_eq!(&b.until_frame().1.head[..], b"second");
    assert_eq!(first.frame().map(|f| f.kind), Some(PING));
    assert!(first.frame().is_none(), "the first is closed");
    b.send(Link::from(node(1)), frame(0x22, b"", vec![]));
    assert_eq!(second.frame().map(|f| f.kind), Some(0x22));
    let (_, counters, _) = b.stop();
    assert_eq!((counters.rivals, counters.twins_refused), (1, 0));
}

#[test]
fn when_the_first_runs_connection_turns_out_to_be_gone_the_next_one_does_not_wait() {
    let b = Rig::new(setup(2));
    let mut first = Hand::open_as(b.primary(), node(2), &run(5));
    b.until_up(Link::from(node(1)));
    let mut second = Hand::open_as(b.primary(), node(2), &run(6));
    second.send(&[frame(0x20, b"second", vec![])]);
    assert_eq!(first.frame().map(|f| f.kind), Some(PING));
    drop(first);
    // Had it been waited for in vain, nobody would have said that it is down.
    assert_eq!(b.until_down(Link::from(node(1))), Down::Reset);
    b.until_up(Link::from(node(1)));
    assert_eq!(&b.until_frame().1.head[..], b"second");
}

#[test]
fn a_third_takes_the_place_of_the_second_and_an_answer_to_an_older_question_does_not_count() {
    let b = Rig::new(setup(2));
    let mut first = Hand::open_as(b.primary(), node(2), &run(5));
    b.until_up(Link::from(node(1)));
    let mut second = Hand::open_as(b.primary(), node(2), &run(6));
    let stale = first.frame().expect("the first is asked");
    let mut third = Hand::open_as(b.primary(), node(2), &run(7));
    assert!(second.frame().is_none(), "the second gave way");
    first.send(&[base::io::net::Frame { kind: PONG, ..stale }, frame(0x21, b"still here", vec![])]);
    assert_eq!(b.until_frame().1.kind, 0x21);
    answer_ping(&mut first);
    assert_eq!(third.frame().map(|f| f.kind), Some(REJECT));
}

#[test]
fn a_process_that_is_the_second_of_its_identity_is_told_so_by_the_reason_of_its_link() {
    let b = Rig::new(setup(2));
    let mut first = Hand::open_as(b.primary(), node(2), &run(5));
    b.until_up(Link::from(node(1)));
    let a = Rig::new(Setup { incarnation: Incarnation(9), ..setup(1) });
    a.know(node(2), b.at());
    a.send(Link::to(node(2)), frame(0x20, b"", vec![]));
    answer_ping(&mut first);
    assert_eq!(a.until_down(Link::to(node(2))), Down::Twin);
}
