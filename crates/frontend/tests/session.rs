//! One NBD session, byte for byte: every option, every command, every error, in one piece and in single bytes.

mod stage;

use base::{Payload, Rng, VolumeId};
use frontend::nbd::{Output, Session, Status};
use host::{Op, Refusal};
use stage::*;

const FLAGS: u16 = 0b1101_0110_1101;
const DF: u16 = 1 << 7;

fn closes(line: &Line) -> bool {
    line.status == Status::Close
}

#[test]
fn an_export_is_described_and_opened() {
    let mut line = Line::new(FIXED | NO_ZEROES);
    let export = [&0u16.to_be_bytes()[..], &SIZE.to_be_bytes(), &FLAGS.to_be_bytes()].concat();
    // INFO leaves the session where it was; GO opens. What was asked for comes, and nothing else.
    let replies = option_replies(&line.say(&option(6, &info_data(NAME, &[]))));
    assert_eq!(replies, [(6, 3, export.clone()), (6, ACK, vec![])]);
    assert!(line.session.export().is_none());
    let replies = option_replies(&line.say(&option(7, &info_data(NAME, &[3, 1, 2, 99]))));
    let name = [&[0, 1][..], NAME.as_bytes()].concat();
    let sizes = [&[0, 3][..], &512u32.to_be_bytes(), &4096u32.to_be_bytes(), &(32u32 << 20).to_be_bytes()].concat();
    let description = [&[0, 2][..], b"generation 1"].concat();
    assert_eq!(replies, [(7, 3, export), (7, 3, name), (7, 3, description), (7, 3, sizes), (7, ACK, vec![])]);
    assert_eq!(line.session.export().map(|e| e.volume), Some(VOLUME));
}

#[test]
fn a_size_that_is_no_multiple_of_512_is_announced_for_single_bytes() {
    let mut line = Line::new(FIXED);
    line.host.attach(VolumeId(1), 1000, 1);
    let replies = option_replies(&line.say(&option(6, &info_data("vol-00000000000000001", &[3]))));
    assert_eq!(u32_at(&replies[1].2, 2), 1);
}

#[test]
fn fragments_are_promised_not_to_be_made_only_to_clients_of_structured_replies() {
    let mut line = Line::new(FIXED);
    assert_eq!(option_replies(&line.say(&option(8, &[]))), [(8, ACK, vec![])]);
    let replies = option_replies(&line.say(&go(NAME)));
    assert_eq!(replies[0].2[10..], (FLAGS | DF).to_be_bytes());
}

#[test]
fn the_rest_of_a_large_write_is_asked_for_in_one_piece_and_comes_in_any() {
    let data: Vec<u8> = (0..40_000u32).map(|n| (n / 7) as u8).collect();
    let bytes = write(5, 512, &data);
    let (begun, rest) = bytes.split_at(1028);
    // As asked, given back as it was, and with nobody who asked; and with too little left to be worth asking.
    for (how, cut) in [("whole", 1028), ("back", 1028), ("unasked", 1028), ("little", 30_000)] {
        let mut line = Line::open(false);
        let session = std::mem::replace(&mut line.session, Session::new(0));
        line.session = session.gathered();
        let (begun, rest) = if how == "little" { bytes.split_at(cut) } else { (begun, rest) };
        assert!(line.hear(begun).is_empty());
        let asked = if how == "unasked" { None } else { line.session.gathering() };
        assert_eq!(asked.is_some(), how == "whole" || how == "back", "{how}");
        match asked {
            Some((begun, len)) if how == "whole" => {
                assert_eq!((begun.len(), len), (1000, 40_000));
                assert_eq!(line.hear(&data), []);
            }
            Some((begun, _)) => {
                line.hear(&begun);
                assert_eq!(line.session.gathering(), None, "once is enough");
                line.hear(rest);
            }
            None => _ = line.hear(rest),
        }
        assert_eq!(line.run(), simple(0, 5), "{how}");
        let read = line.say(&request(0, 0, 6, 512, 40_000));
        assert!(read[16..] == data, "{how}");
        // The next one is asked for again.
        assert!(line.hear(begun).is_empty());
        assert_eq!(line.session.gathering().is_some(), how != "little", "{how}");
        assert_eq!(line.hear(&[]), [], "{how}");
    }
}

#[test]
fn all_open_volumes_are_listed() {
    let mut line = Line::new(FIXED);
    line.host.attach(VolumeId(0xdef), 4096, 1);
    let named = |name: &str| [&(name.len() as u32).to_be_bytes()[..], name.as_bytes()].concat();
    let wanted = [(3, 2, named(NAME)), (3, 2, named("vol-00000000000000def")), (3, ACK, vec![])];
    assert_eq!(option_replies(&line.say(&option(3, &[]))), wanted);
}

#[test]
fn the_old_way_to_open_an_export_works_with_and_without_zeroes() {
    for (flags, zeroes) in [(0, 124), (FIXED, 124), (NO_ZEROES, 0), (FIXED | NO_ZEROES, 0)] {
        let mut line = Line::new(flags);
        let said = line.say(&option(1, NAME.as_bytes()));
        assert_eq!(said, [&SIZE.to_be_bytes()[..], &FLAGS.to_be_bytes(), &vec![0; zeroes]].concat());
        assert_eq!(line.say(&request(0, 3, 5, 0, 0)), simple(OK, 5));
    }
}

#[test]
fn options_that_cannot_be_are_refused_by_name_and_the_next_one_is_heard() {
    let mut short = info_data(NAME, &[]);
    short.pop();
    let odd = [info_data(NAME, &[3]), vec![0]].concat();
    let liar = [&u32::MAX.to_be_bytes()[..], b"vol"].concat();
    let many = info_data("vol-00000000000000fff", &[]);
    let long = vec![0; 65_537];
    let table: [(u32, &[u8], u32); 17] = [
        (6, &[], ERR_INVALID),
        (7, &short, ERR_INVALID),
        (7, &odd, ERR_INVALID),
        (7, &liar, ERR_INVALID),
        (7, &many, ERR_UNKNOWN),
        (6, &info_data("", &[]), ERR_UNKNOWN),
        (6, &info_data("\u{0}\u{fffd}", &[]), ERR_UNKNOWN),
        (3, &[1], ERR_INVALID),
        (8, &[1], ERR_INVALID),
        (5, &[], ERR_UNSUP),
        (4, &[], ERR_UNSUP),
        (5, &[1], ERR_INVALID),
        (9, &[], ERR_INVALID),
        (10, &[1, 2, 3], ERR_INVALID),
        (11, &[1], ERR_INVALID),
        (12, &[], ERR_UNSUP),
        (77, &long, ERR_TOO_BIG),
    ];
    let mut line = Line::new(FIXED);
    for (number, data, code) in table {
        let replies = option_replies(&line.say(&option(number, data)));
        assert_eq!(replies.iter().map(|r| (r.0, r.1)).collect::<Vec<_>>(), [(number, code)]);
        assert!(std::str::from_utf8(&replies[0].2).is_ok_and(|text| text.len() > 10), "it says why");
    }
    let replies = option_replies(&line.say(&go(NAME)));
    assert_eq!(replies.last().map(|r| r.1), Some(ACK));
}

#[test]
fn what_breaks_the_handshake_closes_the_connection() {
    let close = |flags: u32, bytes: &[u8]| {
        let mut line = Line::new(flags);
        let said = line.say(bytes);
        assert!(closes(&line), "{bytes:?}");
        said
    };
    assert!(close(FIXED, &[b"IHAVENOT".as_slice(), &[0; 8]].concat()).is_empty());
    assert!(close(FIXED, &option(1, b"vol-unknown")).is_empty());
    assert!(close(FIXED, &option(1, &[0; 70_000])).is_empty());
    assert!(close(0, &option(3, &[])).is_empty(), "without fixed newstyle only EXPORT_NAME is understood");
    assert_eq!(option_replies(&close(FIXED, &option(2, &[]))), [(2, ACK, vec![])]);
    close(FIXED, &option(3, &[]).repeat(1025));
    let mut session = Session::new(1);
    let bytes = Payload::from(8u32.to_be_bytes().to_vec());
    let status = session.bytes(bytes, &FakeHost::new(), &mut vec![], &mut Output::default());
    assert_eq!(status, Status::Close, "flags that nobody knows");
}

#[test]
fn commands_do_what_they_say() {
    for structured in [false, true] {
        let mut line = Line::open(structured);
        let read = |line: &mut Line, cookie: u64, offset: u64, len: u32| -> Vec<u8> {
            let said = line.say(&request(0, 0, cookie, offset, len));
            if structured {
                assert_eq!(said[..20], chunk(1, cookie, &vec![0; len as usize + 8])[..20]);
                assert_eq!(said[20..28], offset.to_be_bytes());
                said[28..].to_vec()
            } else {
                assert_eq!(said[..16], simple(OK, cookie));
                said[16..].to_vec()
            }
        };
        assert_eq!(line.say(&write(1, 4096, &[7; 8192])), simple(OK, 1));
        assert_eq!(read(&mut line, 2, 4095, 4), [0, 7, 7, 7]);
        assert_eq!(line.say(&request(0, 4, 3, 4096, 2)), simple(OK, 3));
        assert_eq!(read(&mut line, 4, 4096, 3), [0, 0, 7]);
        assert_eq!(line.say(&request(0, 6, 5, 4096, 4)), simple(OK, 5));
        assert_eq!(read(&mut line, 6, 4096, 5), [0, 0, 0, 0, 7]);
        assert_eq!(line.say(&request(0, 3, u64::MAX, 0, 0)), simple(OK, u64::MAX));
        // FUA with anything, NO_HOLE and FAST_ZERO with zeroes, DF with reads in chunks.
        assert_eq!(line.say(&[request(1, 1, 7, 0, 1), vec![9]].concat()), simple(OK, 7));
        assert_eq!(line.say(&request(1 | 2 | 16, 6, 8, 0, 1)), simple(OK, 8));
        assert_eq!(read(&mut line, 9, 0, 1), [0]);
        let df = line.say(&request(4, 0, 10, 0, 1));
        let wanted = if structured { chunk(1, 10, &[0; 9]) } else { simple(EINVAL, 10) };
        assert_eq!(df, wanted);
        let nothing = line.say(&request(0, 0, 11, 0, 0));
        assert_eq!(nothing, if structured { chunk(0, 11, &[]) } else { simple(OK, 11) });
        assert_eq!(line.say(&write(12, 0, &[])), simple(OK, 12));
        // Nothing is cached here: the hint is taken, for any length, and the host is not asked.
        assert_eq!(line.hear(&request(0, 5, 13, 0, SIZE as u32)), simple(OK, 13));
        assert_eq!(line.say(&[request(0, 4, 14, 0, 0), request(0, 6, 15, SIZE, 0)].concat()).len(), 2 * 16);
    }
}

#[test]
fn commands_that_cannot_be_are_answered_with_the_right_error_and_the_next_one_is_heard() {
    let most = 32 << 20;
    let table: [(u16, u16, u64, u32, u32); 18] = [
        (0, 0, SIZE - 1, 2, EINVAL),
        (0, 0, u64::MAX, 2, EINVAL),
        (0, 0, 0, most + 1, EINVAL),
        (0, 1, SIZE, 1, ENOSPC),
        (0, 1, u64::MAX, 100, ENOSPC),
        (0, 1, 0, most + 1, EINVAL),
        (0x8000, 1, 0, 100, EINVAL),
        (2, 1, 0, 100, EINVAL),
        (0, 4, SIZE, 1, EINVAL),
        (0, 6, SIZE, 1, ENOSPC),
        (2, 4, 0, 1, EINVAL),
        (0, 3, 1, 0, EINVAL),
        (0, 3, 0, 1, EINVAL),
        (0, 5, SIZE, 1, EINVAL),
        (16, 5, 0, 1, EINVAL),
        (0, 7, 0, 1, EINVAL),
        (0, 8, 0, 1, EINVAL),
        (0, 999, 0, 1, EINVAL),
    ];
    for structured in [false, true] {
        let mut line = Line::open(structured);
        for (flags, command, offset, len, error) in table {
            let mut bytes = request(flags, command, 5, offset, len);
            if command == 1 {
                bytes.resize(bytes.len() + len as usize, 0xee);
            }
            let said = line.say(&bytes);
            if structured {
                assert_eq!(
                    (u32_at(&said, 20), said[6..8].to_vec()),
                    (error, vec![0x80, 1]),
                    "{command} {offset} {len}"
                );
                assert_eq!(said, chunk(0x8001, 5, &said[20..]));
            } else {
                assert_eq!(said, simple(error, 5), "{command} {offset} {len}");
            }
        }
        assert!(line.requests.is_empty());
        assert_eq!(line.say(&request(0, 3, 6, 0, 0)), simple(OK, 6));
        assert_eq!(line.status, Status::Open);
    }
}

#[test]
fn a_read_only_export_says_so_and_refuses_what_would_change_it() {
    let mut line = Line::new(FIXED | NO_ZEROES);
    line.host.forbid_writes();
    let replies = option_replies(&line.say(&go(NAME)));
    // Neither trims nor zeroes are offered.
    assert_eq!(replies[0].2[10..], (FLAGS & !0b1000_0110_0000 | 2).to_be_bytes());
    for (command, payload) in [(1, 512), (4, 0), (6, 0)] {
        assert_eq!(line.hear(&[request(0, command, 5, 0, 512), vec![1; payload]].concat()), simple(EPERM, 5));
    }
    // Beyond the end it is refused for the same reason, and what changes nothing is done.
    assert_eq!(line.hear(&request(0, 4, 5, SIZE, 1)), simple(EPERM, 5));
    assert_eq!(line.say(&request(0, 0, 6, 0, 512)), [simple(OK, 6), vec![0; 512]].concat());
    assert_eq!(line.say(&request(0, 3, 7, 0, 0)), simple(OK, 7));
}

#[test]
fn tls_is_refused_with_what_to_do_instead() {
    let mut line = Line::new(FIXED);
    let replies = option_replies(&line.say(&option(5, &[])));
    assert_eq!((replies[0].0, replies[0].1), (5, ERR_UNSUP));
    let text = String::from_utf8(replies[0].2.clone()).unwrap();
    assert!(text.contains("does not speak TLS") && text.contains("connect without it"), "{text}");
    // Who can do without goes on.
    assert_eq!(option_replies(&line.say(&go(NAME))).last().map(|r| r.1), Some(ACK));
}

#[test]
fn refusals_of_the_host_have_their_numbers() {
    for (refusal, error) in [
        (Refusal::Full { room: 1 }, ENOSPC),
        (Refusal::Unreadable { offset: 1 }, EIO),
        (Refusal::Invalid, EIO),
        (Refusal::ReadOnly, EPERM),
        (Refusal::OutOfRange { size: 1 }, EINVAL),
        (Refusal::Detached, ESHUTDOWN),
        (Refusal::NotOpen, ESHUTDOWN),
    ] {
        for structured in [false, true] {
            let mut line = Line::open(structured);
            line.host.refuse = Some(refusal);
            let said = line.say(&request(0, 0, 5, 0, 4096));
            let code = if structured { u32_at(&said, 20) } else { u32_at(&said, 4) };
            assert_eq!(code, error);
            if structured {
                let text = String::from_utf8(said[26..].to_vec()).unwrap();
                assert_eq!(text, refusal.to_string());
            }
            // A volume that is gone takes its sessions with it.
            assert_eq!(closes(&line), error == ESHUTDOWN);
        }
    }
}

#[test]
fn garbage_in_place_of_a_request_closes() {
    let mut line = Line::open(true);
    assert!(line.say(&[0; 28]).is_empty() && closes(&line));
}

#[test]
fn a_disconnect_waits_for_what_is_in_flight_and_hears_nothing_more() {
    let mut line = Line::open(false);
    line.hear(&[write(1, 0, &[1; 512]), request(0, 2, 2, 0, 0), write(3, 0, &[2; 512])].concat());
    assert_eq!((line.requests.len(), line.status), (1, Status::Open));
    assert!(line.hear(&write(4, 0, &[3; 512])).is_empty());
    assert_eq!(line.run(), simple(OK, 1));
    assert!(closes(&line));
    let mut idle = Line::open(false);
    idle.hear(&request(0, 2, 2, 0, 0));
    assert!(closes(&idle));
}

#[test]
fn a_write_that_comes_in_one_piece_is_not_copied() {
    let mut line = Line::open(false);
    let bytes = Payload::from(write(1, 0, &[1; 4096]));
    let (start, mut requests) = (bytes.as_ptr(), vec![]);
    let status = line.session.bytes(bytes, &line.host, &mut requests, &mut Output::default());
    let Op::Write { data, .. } = &requests[0].op else { panic!() };
    assert_eq!((status, data.as_ptr() as usize - start as usize), (Status::Open, 28));
}

/// A conversation with everything in it.
fn conversation(structured: bool) -> Vec<u8> {
    let mut bytes = vec![0, 0, 0, 3];
    bytes.extend(option(9, &contexts_data(NAME, &["base:"])));
    bytes.extend(option(77, &vec![1; 70_000]));
    if structured {
        bytes.extend(option(8, &[]));
    }
    bytes.extend(option(10, &contexts_data(NAME, &["base:allocation"])));
    bytes.extend(option(3, &[]));
    bytes.extend(go("vol-00000000000000000"));
    bytes.extend(go(NAME));
    // First, for what needs no host is answered before what does.
    bytes.extend(write(3, SIZE, &[5; 3000]));
    bytes.extend(write(1, 100, &[5; 3000]));
    bytes.extend(request(0, 0, 2, 50, 3100));
    bytes.extend(request(0, 4, 4, 0, 200));
    bytes.extend(request(0, 3, 5, 0, 0));
    if structured {
        bytes.extend(request(0, 7, 8, 0, 40_000));
    }
    bytes.extend(request(0, 0, 6, 0, 400));
    bytes.extend(request(0, 2, 7, 0, 0));
    bytes
}

#[test]
fn bytes_mean_the_same_however_they_are_cut() {
    for structured in [false, true] {
        let bytes = conversation(structured);
        let talk = |cuts: &mut dyn FnMut(usize) -> usize| {
            let mut line =
                Line { session: Session::new(1), host: FakeHost::new(), status: Status::Open, requests: vec![] };
            let (mut said, mut at) = (vec![], 0);
            while at < bytes.len() {
                let end = (at + cuts(at)).min(bytes.len());
                said.extend(line.say(&bytes[at..end]));
                at = end;
            }
            assert!(closes(&line));
            said
        };
        let whole = talk(&mut |_| usize::MAX / 2);
        assert!(whole.len() > 3000);
        assert!(talk(&mut |_| 1) == whole, "byte by byte");
        for seed in 0..50 {
            let mut rng = Rng::new(seed);
            assert!(talk(&mut |_| 1 + rng.below(200) as usize) == whole, "seed {seed}");
        }
    }
}

#[test]
fn no_more_is_taken_than_can_be_in_flight() {
    let mut line = Line::open(false);
    // Small requests, by number.
    let many: Vec<u8> = (0..600).flat_map(|i| request(0, 3, i, 0, 0)).collect();
    line.hear(&many);
    assert_eq!((line.session.in_flight(), line.session.wants_more()), (256, false));
    assert_eq!(line.run().len(), 600 * 16);
    assert!(line.session.wants_more());
    // Large ones, by bytes.
    line.host.attach(VOLUME, 64 << 20, 1);
    let mut line = Line::open(false);
    line.host.attach(VolumeId(5), 64 << 20, 1);
    let mut big = Line::new(FIXED);
    big.host = line.host;
    big.say(&go("vol-00000000000000005"));
    let reads: Vec<u8> = (0..9).flat_map(|i| request(0, 0, i, 0, 16 << 20)).collect();
    big.hear(&reads);
    assert_eq!((big.session.in_flight(), big.session.wants_more()), (4, false));
    assert_eq!(big.run().len(), 9 * (16 + (16 << 20)));
}

#[test]
fn who_goes_on_talking_though_nothing_is_taken_is_cut_off() {
    let mut line = Line::open(false);
    line.hear(&request(0, 3, 1, 0, 0).repeat(256));
    let megabyte = vec![0; 1 << 20];
    let heard = (0..100).take_while(|_| {
        line.hear(&megabyte);
        line.status == Status::Open
    });
    assert_eq!(heard.count(), 64);
}

#[test]
fn garbage_neither_panics_nor_is_hoarded() {
    // A seeded smoke run of the parser: sound conversations with bytes changed, and plain noise.
    for seed in 0..400 {
        let mut rng = Rng::new(seed);
        let mut bytes = conversation(rng.chance(1, 2));
        for _ in 0..rng.below(20) {
            let at = rng.below(bytes.len() as u64) as usize;
            bytes[at] = rng.u64() as u8;
        }
        if rng.chance(1, 3) {
            bytes.truncate(rng.below(bytes.len() as u64) as usize);
            bytes.extend((0..rng.below(5_000)).map(|_| rng.u64() as u8));
        }
        let mut line = Line { session: Session::new(1), host: FakeHost::new(), status: Status::Open, requests: vec![] };
        let (mut said, mut at) = (0, 0);
        while at < bytes.len() && line.status == Status::Open {
            let end = (at + 1 + rng.below(4_000) as usize).min(bytes.len());
            said += line.say(&bytes[at..end]).len();
            at = end;
        }
        // Each 28 bytes can ask for at most one read of at most the volume.
        assert!(said <= (bytes.len() / 28 + 1) * (SIZE as usize + 200), "seed {seed}");
    }
}
