//! What is written, as a client is told: the metadata context `base:allocation`, from its choice to its stretches.

mod stage;

use stage::*;

const HOLE: u32 = 3;

fn chosen() -> Vec<u8> {
    option(10, &contexts_data(NAME, &["base:allocation"]))
}

/// Structured replies and the context agreed on.
fn open() -> Line {
    Line::open_after(&[option(8, &[]), chosen()])
}

fn status(flags: u16, cookie: u64, offset: u64, len: u32) -> Vec<u8> {
    request(flags, 7, cookie, offset, len)
}

/// The chunk that answers with these stretches.
fn stretches(cookie: u64, row: &[(u32, u32)]) -> Vec<u8> {
    let mut body = 1u32.to_be_bytes().to_vec();
    row.iter().for_each(|(len, state)| body.extend([len.to_be_bytes(), state.to_be_bytes()].concat()));
    chunk(5, cookie, &body)
}

#[test]
fn the_context_is_listed_by_its_name_by_its_namespace_and_by_nothing() {
    let mut line = Line::new(FIXED);
    line.say(&option(8, &[]));
    let named = |id: u32| [&id.to_be_bytes()[..], b"base:allocation"].concat();
    for (queries, is_listed) in [
        (&[][..], true),
        (&["base:"], true),
        (&["base:allocation"], true),
        (&["qemu:dirty-bitmap:x", "base:allocation"], true),
        (&["qemu:"], false),
        (&["base:alloc"], false),
    ] {
        let replies = option_replies(&line.say(&option(9, &contexts_data(NAME, queries))));
        let wanted = if is_listed { vec![(9, 4, named(0)), (9, ACK, vec![])] } else { vec![(9, ACK, vec![])] };
        assert_eq!(replies, wanted, "{queries:?}");
    }
    // It is chosen by its whole name only, and then has a number.
    for (queries, is_chosen) in [(&["base:", "x:y"][..], false), (&[], false), (&["x:", "base:allocation"], true)] {
        let replies = option_replies(&line.say(&option(10, &contexts_data(NAME, queries))));
        let wanted = if is_chosen { vec![(10, 4, named(1)), (10, ACK, vec![])] } else { vec![(10, ACK, vec![])] };
        assert_eq!(replies, wanted, "{queries:?}");
    }
}

#[test]
fn questions_about_contexts_that_cannot_be_are_refused_by_name() {
    let mut line = Line::new(FIXED);
    let refused = |line: &mut Line, number: u32, data: &[u8]| {
        let replies = option_replies(&line.say(&option(number, data)));
        assert_eq!(replies.len(), 1);
        assert!(String::from_utf8(replies[0].2.clone()).is_ok_and(|text| text.len() > 10), "it says why");
        replies[0].1
    };
    let sound = contexts_data(NAME, &["base:allocation"]);
    for number in [9, 10] {
        assert_eq!(refused(&mut line, number, &sound), ERR_INVALID, "structured replies come first");
    }
    line.say(&option(8, &[]));
    let mut many = contexts_data(NAME, &["base:allocation"]);
    let at = 4 + NAME.len();
    many[at..at + 4].copy_from_slice(&u32::MAX.to_be_bytes());
    for number in [9, 10] {
        for (data, code) in [
            (&[][..], ERR_INVALID),
            (&sound[..sound.len() - 1], ERR_INVALID),
            (&[&sound[..], &[0]].concat(), ERR_INVALID),
            (&many, ERR_INVALID),
            (&contexts_data(NAME, &["allocation"]), ERR_INVALID),
            (&contexts_data(NAME, &[""]), ERR_INVALID),
            (&contexts_data("vol-00000000000000fff", &[]), ERR_UNKNOWN),
            (&contexts_data("", &[]), ERR_UNKNOWN),
        ] {
            assert_eq!(refused(&mut line, number, data), code, "{data:?}");
        }
    }
}

#[test]
fn stretches_are_told_from_the_offset_on_and_neighbours_differ() {
    let mut line = open();
    assert_eq!(line.say(&status(0, 1, 0, SIZE as u32)), stretches(1, &[(SIZE as u32, HOLE)]));
    line.say(&write(2, 4096, &[7; 2 * 4096]));
    line.say(&write(3, 5 * 4096, &[7; 4096]));
    for (flags, offset, len, row) in [
        (0, 0, 6 * 4096, vec![(4096, HOLE), (8192, 0), (8192, HOLE), (4096, 0)]),
        (0, 512, 4096, vec![(3584, HOLE), (512, 0)]),
        (0, 4097, 2, vec![(2, 0)]),
        (8, 0, SIZE as u32, vec![(4096, HOLE)]),
        (8, 4096, 4096, vec![(4096, 0)]),
        (1 | 8, 3 * 4096, 4096, vec![(4096, HOLE)]),
    ] {
        assert_eq!(line.say(&status(flags, 9, offset, len)), stretches(9, &row), "{offset} {len}");
    }
    // Trimmed, or zeroed, it is a hole again.
    line.say(&[request(0, 4, 4, 4096, 4096), request(2, 6, 5, 8192, 4096)].concat());
    assert_eq!(line.say(&status(0, 9, 0, 6 * 4096)), stretches(9, &[(5 * 4096, HOLE), (4096, 0)]));
}

#[test]
fn of_more_than_one_answer_holds_the_beginning_is_told() {
    let mut line = open();
    line.host.attach(VOLUME, 2 << 30, 1);
    let mut line = Line { session: frontend::nbd::Session::new(1), ..line };
    let hello = [vec![0, 0, 0, 3], option(8, &[]), chosen(), go(NAME)].concat();
    line.say(&hello);
    assert_eq!(line.say(&status(0, 1, 4096, (2 << 30) - 4096)), stretches(1, &[(1 << 30, HOLE)]));
    // No answer names more than 32,768 stretches.
    for block in (0..40_000u64).step_by(2) {
        line.host.volumes.get_mut(&VOLUME).unwrap().1[block as usize * 4096] = 1;
    }
    let said = line.say(&status(0, 2, 0, 1 << 30));
    assert_eq!(said.len(), 20 + 4 + 8 * 32_768);
}

#[test]
fn who_chose_no_context_of_this_export_is_told_that() {
    let no_context = |line: &mut Line| {
        let said = line.say(&status(0, 5, 0, 4096));
        assert_eq!((u32_at(&said, 20), said[6..8].to_vec()), (EINVAL, vec![0x80, 1]));
        assert!(String::from_utf8_lossy(&said[26..]).contains("no metadata context"));
    };
    no_context(&mut Line::open(true));
    let nothing = option(10, &contexts_data(NAME, &["x:y"]));
    no_context(&mut Line::open_after(&[option(8, &[]), chosen(), nothing]));
    // A choice that is refused leaves none.
    let mut line = Line::new(FIXED);
    line.say(&[option(8, &[]), chosen(), option(10, &[]), go(NAME)].concat());
    no_context(&mut line);
    // Nor does one for another export count.
    let mut line = Line::new(FIXED);
    line.host.attach(base::VolumeId(5), 4096, 1);
    let other = option(10, &contexts_data("vol-00000000000000005", &["base:allocation"]));
    line.say(&[option(8, &[]), other, go(NAME)].concat());
    no_context(&mut line);
}

#[test]
fn a_status_that_cannot_be_asked_for_is_refused() {
    let mut line = open();
    for (flags, offset, len) in [(0, SIZE, 1), (0, SIZE - 1, 2), (0, u64::MAX, 2), (0, 0, 0), (4, 0, 1), (16, 0, 1)] {
        let said = line.say(&status(flags, 5, offset, len));
        assert_eq!((u32_at(&said, 20), said[6..8].to_vec()), (EINVAL, vec![0x80, 1]), "{flags} {offset} {len}");
    }
    assert!(line.requests.is_empty());
}
