//! Extended headers, byte for byte: requests with lengths of 64 bits, every answer in a chunk.

mod stage;

use frontend::nbd::Status;
use host::Op;
use stage::*;

const PAYLOAD: u16 = 1 << 5;

fn open() -> Line {
    Line::open_after(&[option(11, &[])])
}

fn put(cookie: u64, offset: u64, data: &[u8]) -> Vec<u8> {
    [extended(PAYLOAD, 1, cookie, offset, data.len() as u64), data.to_vec()].concat()
}

/// The number of the error in the only chunk there is.
fn error(said: &[u8], cookie: u64, offset: u64) -> u32 {
    assert_eq!(said, extended_chunk(0x8001, cookie, offset, &said[32..]));
    u32_at(said, 32)
}

#[test]
fn they_are_agreed_on_alone_or_after_structured_replies_and_not_before_them() {
    let mut line = Line::new(FIXED);
    assert_eq!(option_replies(&line.say(&option(8, &[]))), [(8, ACK, vec![])]);
    for _ in 0..2 {
        assert_eq!(option_replies(&line.say(&option(11, &[]))), [(11, ACK, vec![])]);
    }
    let replies = option_replies(&line.say(&option(8, &[])));
    assert_eq!((replies.len(), replies[0].1), (1, ERR_EXT_HEADER_REQD));
    // Reads are not cut into pieces, as with structured replies.
    let replies = option_replies(&line.say(&go(NAME)));
    assert_eq!(replies[0].2[10..], 0b1101_1110_1101u16.to_be_bytes());
    // Who knows of them knows of GO: the old way to open an export is not for him.
    let mut line = Line::new(FIXED);
    line.say(&option(11, &[]));
    assert!(line.say(&option(1, NAME.as_bytes())).is_empty() && line.status == Status::Close);
}

#[test]
fn every_command_is_answered_in_an_extended_chunk() {
    let mut line = open();
    let done = |cookie: u64, offset: u64| extended_chunk(0, cookie, offset, &[]);
    assert_eq!(line.say(&put(1, 4096, &[7; 8192])), done(1, 4096));
    let data = [&4095u64.to_be_bytes()[..], &[0, 7, 7]].concat();
    assert_eq!(line.say(&extended(4, 0, 2, 4095, 3)), extended_chunk(1, 2, 4095, &data));
    assert_eq!(line.say(&extended(0, 0, 3, 9, 0)), done(3, 9));
    assert_eq!(line.say(&extended(0, 4, 4, 0, SIZE)), done(4, 0));
    assert_eq!(line.say(&extended(2 | 16, 6, 5, 8, SIZE - 8)), done(5, 8));
    assert_eq!(line.say(&extended(1, 3, 6, 0, 0)), done(6, 0));
    assert_eq!(line.say(&extended(0, 5, 7, 0, SIZE)), done(7, 0));
    assert_eq!(line.say(&put(8, 0, &[])), done(8, 0));
    // As QEMU writes: without the flag that says that bytes follow.
    assert_eq!(line.say(&[extended(1, 1, 9, 0, 2), vec![1, 2]].concat()), done(9, 0));
    let data = [&0u64.to_be_bytes()[..], &[1, 2, 0]].concat();
    assert_eq!(line.say(&extended(0, 0, 10, 0, 3)), extended_chunk(1, 10, 0, &data));
    line.host.refuse = Some(host::Refusal::Full { room: 1 });
    assert_eq!(error(&line.say(&put(9, 512, &[1; 512])), 9, 512), ENOSPC);
}

#[test]
fn lengths_beyond_four_gibibytes_reach_the_host() {
    let mut line = Line::new(FIXED);
    let size = 1 << 42;
    let export = host::Export { volume: VOLUME, size, generation: base::Generation(1), read_only: false };
    line.host.volumes.insert(VOLUME, (export, vec![]));
    let chosen = option(10, &contexts_data(NAME, &["base:allocation"]));
    line.say(&[option(11, &[]), chosen, go(NAME)].concat());
    for command in [4, 6, 7] {
        line.hear(&extended(0, command, 1, 0, size));
    }
    let ops: Vec<Op> = line.requests.drain(..).map(|request| request.op).collect();
    let asked = Op::Map { offset: 0, len: 1 << 30 };
    assert_eq!(ops, [Op::Trim { offset: 0, len: size }, Op::Zero { offset: 0, len: size }, asked]);
}

#[test]
fn what_is_written_is_told_in_64_bits() {
    let mut line = Line::open_after(&[option(11, &[]), option(10, &contexts_data(NAME, &["base:allocation"]))]);
    line.say(&put(1, 4096, &[7; 4096]));
    let row = [(4096u64, 3u64), (4096, 0), (SIZE - 8192, 3)];
    let told = |row: &[(u64, u64)]| {
        let mut body = [1u32.to_be_bytes(), (row.len() as u32).to_be_bytes()].concat();
        row.iter().for_each(|(len, state)| body.extend([len.to_be_bytes(), state.to_be_bytes()].concat()));
        extended_chunk(6, 2, 0, &body)
    };
    assert_eq!(line.say(&extended(0, 7, 2, 0, SIZE)), told(&row));
    assert_eq!(line.say(&extended(8, 7, 2, 0, SIZE)), told(&row[..1]));
}

#[test]
fn commands_that_cannot_be_are_refused_their_payload_is_skipped_and_the_next_is_heard() {
    let most = 32 << 20;
    let mut line = open();
    for (flags, command, offset, len, wanted) in [
        (0, 0, SIZE, 1, EINVAL),
        (0, 0, 0, u64::MAX, EINVAL),
        (0, 0, 0, most + 1, EINVAL),
        (PAYLOAD, 1, 0, most + 1, EINVAL),
        (PAYLOAD, 1, SIZE, 1, ENOSPC),
        (0, 4, 1, u64::MAX, EINVAL),
        (0, 6, 0, SIZE + 1, ENOSPC),
        (0, 7, 0, 1, EINVAL),
        // Only a write has a payload here.
        (PAYLOAD, 0, 0, 100, EINVAL),
        (PAYLOAD, 7, 0, 12, EINVAL),
        (PAYLOAD, 99, 0, 3000, EINVAL),
    ] {
        let mut bytes = extended(flags, command, 5, offset, len);
        if flags == PAYLOAD {
            bytes.resize(bytes.len() + len as usize, 0xee);
        }
        assert_eq!(error(&line.say(&bytes), 5, offset), wanted, "{flags} {command} {offset} {len}");
    }
    assert_eq!(line.say(&extended(0, 3, 6, 0, 0)), extended_chunk(0, 6, 0, &[]));
}

#[test]
fn what_is_not_as_was_agreed_on_closes() {
    for bytes in [
        // A short header among extended ones, and the other way round.
        [request(0, 3, 5, 0, 0), vec![0; 4]].concat(),
        vec![0; 32],
    ] {
        let mut line = open();
        assert!(line.say(&bytes).is_empty() && line.status == Status::Close);
    }
    let mut line = Line::open(true);
    assert!(line.say(&extended(0, 3, 5, 0, 0)[..28]).is_empty() && line.status == Status::Close);
    let mut line = open();
    line.say(&extended(0, 2, 5, 0, 0));
    assert_eq!(line.status, Status::Close, "who takes leave is let go");
}
