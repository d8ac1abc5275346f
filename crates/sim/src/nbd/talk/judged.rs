//! What a server may do to a client, and what it may not: each offence is seen.

use super::*;

const SIZE: u64 = 8192;

fn option_reply(kind: u32, code: u32, data: &[u8]) -> Vec<u8> {
    let head = [&OPTION_REPLY_MAGIC.to_be_bytes()[..], &kind.to_be_bytes(), &code.to_be_bytes()].concat();
    [&head[..], &(data.len() as u32).to_be_bytes(), data].concat()
}

fn export(style: Style) -> Vec<u8> {
    let flags = if style == Style::Simple { FLAGS } else { FLAGS | FLAG_DF };
    [SIZE.to_be_bytes().to_vec(), flags.to_be_bytes().to_vec()].concat()
}

/// What a good server says to the option that is wanted.
fn good(talk: &Talk) -> Vec<u8> {
    let info = |kind: u16, data: &[u8]| option_reply(OPT_GO, REP_INFO, &[&kind.to_be_bytes()[..], data].concat());
    match talk.wanted.front().expect("something is wanted") {
        Wanted::List => option_reply(OPT_LIST, REP_ACK, &[]),
        Wanted::Unknown => option_reply(OPT_UNKNOWN, REP_ERR_UNSUP, b"no"),
        Wanted::Style => option_reply(OPT_STRUCTURED_REPLY, REP_ACK, &[]),
        Wanted::Maps => {
            let named = [&7u32.to_be_bytes()[..], ALLOCATION.as_bytes()].concat();
            let chosen = option_reply(OPT_SET_META_CONTEXT, REP_META_CONTEXT, &named);
            [chosen, option_reply(OPT_SET_META_CONTEXT, REP_ACK, &[])].concat()
        }
        Wanted::Go => {
            let ack = option_reply(OPT_GO, REP_ACK, &[]);
            [info(INFO_EXPORT, &export(talk.style)), info(INFO_DESCRIPTION, b"generation 4"), ack].concat()
        }
        Wanted::ExportName => [export(talk.style), vec![0; if talk.no_zeroes { 0 } else { 124 }]].concat(),
        Wanted::Abort => option_reply(OPT_ABORT, REP_ACK, &[]),
    }
}

fn begun(which: impl Fn(&Talk) -> bool) -> Talk {
    let mut rng = Rng::new(1);
    let talks = std::iter::repeat_with(|| Talk::new("vol-00000000000000abc".to_owned(), &mut rng));
    let mut talk = { talks }.find(|talk| which(talk)).expect("there are all kinds");
    talk.hear(&GREETING, &mut Vec::new()).expect("it is greeted");
    talk
}

/// In use, with a metadata context where there can be one.
fn open(style: Style) -> Talk {
    let maps = style != Style::Simple;
    let mut talk = begun(|talk| talk.style == style && talk.wanted.contains(&Wanted::Maps) == maps);
    let mut said = Vec::new();
    while !talk.is_in_use() {
        // Byte by byte.
        for byte in good(&talk) {
            talk.hear(&[byte], &mut said).expect("all is well");
        }
    }
    assert_eq!((said, talk.size, talk.maps), (vec![Said::Opened], SIZE, maps.then_some(7)));
    talk
}

fn request(kind: u16, cookie: u64, offset: u64, len: u64) -> Request {
    Request { flags: 0, kind, cookie, offset, len }
}

fn simple(error: u32, cookie: u64, data: &[u8]) -> Vec<u8> {
    [&SIMPLE_REPLY_MAGIC.to_be_bytes()[..], &error.to_be_bytes(), &cookie.to_be_bytes(), data].concat()
}

fn chunk(flags: u16, kind: u16, cookie: u64, body: &[u8]) -> Vec<u8> {
    let head = [&STRUCTURED_REPLY_MAGIC.to_be_bytes()[..], &flags.to_be_bytes(), &kind.to_be_bytes()].concat();
    [&head[..], &cookie.to_be_bytes(), &(body.len() as u32).to_be_bytes(), body].concat()
}

fn data(offset: u64, bytes: &[u8]) -> Vec<u8> {
    [&offset.to_be_bytes()[..], bytes].concat()
}

/// What is said, or what is wrong, after requests 1, 2, ... of these kinds of 4 bytes at 8.
fn after(style: Style, kinds: &[u16], reply: &[u8]) -> Result<Vec<Said>, String> {
    let (mut talk, mut said) = (open(style), Vec::new());
    for (cookie, kind) in (1..).zip(kinds) {
        let (offset, len) = if *kind == FLUSH { (0, 0) } else { (8, 4) };
        talk.ask(request(*kind, cookie, offset, len), &[], None);
    }
    talk.hear(reply, &mut said).map(|()| said)
}

#[test]
fn answers_are_heard_in_any_order_and_each_once() {
    let read = || Said::Answer(1, Ok(Got::Bytes(b"abcd".to_vec())));
    let both = [simple(0, 2, &[]), simple(0, 1, b"abcd")].concat();
    assert_eq!(after(Style::Simple, &[READ, WRITE], &both), Ok(vec![Said::Answer(2, Ok(Got::Nothing)), read()]));
    let twice = [simple(0, 1, b"abcd"), simple(0, 1, b"abcd")].concat();
    assert!(after(Style::Simple, &[READ], &twice).unwrap_err().contains("is answered"));
    assert!(after(Style::Simple, &[READ], &simple(0, 3, &[])).unwrap_err().contains("was not asked here"));
    assert_eq!(after(Style::Simple, &[READ], &simple(5, 1, &[])), Ok(vec![Said::Answer(1, Err(5))]));
}

#[test]
fn a_read_comes_whole_and_none_of_it_twice() {
    let first = chunk(0, OFFSET_DATA, 1, &data(10, b"cd"));
    let hole = [&8u64.to_be_bytes()[..], &2u32.to_be_bytes()].concat();
    let whole = [first.clone(), chunk(DONE, OFFSET_HOLE, 1, &hole)].concat();
    let got = Got::Bytes(b"\0\0cd".to_vec());
    assert_eq!(after(Style::Structured, &[READ], &whole), Ok(vec![Said::Answer(1, Ok(got))]));
    let part = chunk(DONE, OFFSET_DATA, 1, &data(10, b"cd"));
    assert!(after(Style::Structured, &[READ], &part).unwrap_err().contains("in part"));
    assert!(after(Style::Structured, &[READ], &[first.clone(), first].concat()).unwrap_err().contains("have come"));
    let beside = chunk(0, OFFSET_DATA, 1, &data(10, b"cde"));
    assert!(after(Style::Structured, &[READ], &beside).unwrap_err().contains("not asked for"));
    assert!(after(Style::Structured, &[READ], &simple(0, 1, b"abcd")).is_err(), "chunks were agreed on");
    assert!(after(Style::Simple, &[READ], &part).is_err(), "they were not");
    assert!(after(Style::Structured, &[READ], &chunk(DONE, NONE, 1, &[])).is_err(), "nothing for a read");
}

#[test]
fn a_flush_comes_after_what_was_changed_before_it() {
    let flush = simple(0, 2, &[]);
    assert!(after(Style::Simple, &[WRITE, FLUSH], &flush).unwrap_err().contains("a flush was answered before"));
    assert!(after(Style::Simple, &[READ, FLUSH, WRITE], &flush).is_ok(), "of reads, and of what came later, nothing");
}

#[test]
fn what_is_wrong_gets_the_error_that_it_deserves() {
    for (error, holds) in [(EINVAL, true), (5, false), (0, false)] {
        let mut talk = open(Style::Simple);
        talk.ask(request(UNKNOWN, APART, 0, 0), &[], Some(EINVAL));
        let mut said = Vec::new();
        assert_eq!(talk.hear(&simple(error, APART, &[]), &mut said).is_ok(), holds, "{error}");
        assert!(said.is_empty());
    }
}

#[test]
fn stretches_are_of_the_context_and_of_what_was_asked_about() {
    let status = |context: u32, row: &[(u32, u32)]| {
        let row = row.iter().flat_map(|(len, state)| [len.to_be_bytes(), state.to_be_bytes()].concat());
        let body: Vec<u8> = context.to_be_bytes().into_iter().chain(row).collect();
        after(Style::Structured, &[BLOCK_STATUS], &chunk(DONE, STATUS, 1, &body))
    };
    assert_eq!(status(7, &[(1, 0), (3, 3)]), Ok(vec![Said::Answer(1, Ok(Got::Map(vec![(1, false), (3, true)])))]));
    assert!(status(8, &[(4, 0)]).is_err() && status(7, &[(5, 0)]).is_err() && status(7, &[]).is_err());
    assert!(status(7, &[(0, 0), (4, 0)]).is_err() && status(7, &[(4, 1)]).is_err());
}

#[test]
fn extended_replies_say_where_they_belong() {
    let reply = |offset: u64| {
        let head = [&EXTENDED_REPLY_MAGIC.to_be_bytes()[..], &DONE.to_be_bytes(), &NONE.to_be_bytes()].concat();
        [&head[..], &1u64.to_be_bytes(), &offset.to_be_bytes(), &0u64.to_be_bytes()].concat()
    };
    assert_eq!(after(Style::Extended, &[TRIM], &reply(8)), Ok(vec![Said::Answer(1, Ok(Got::Nothing))]));
    assert!(after(Style::Extended, &[TRIM], &reply(9)).is_err());
}

#[test]
fn an_export_that_is_not_there_is_heard_of_and_leave_is_taken() {
    let mut talk = begun(|talk| talk.wanted == [Wanted::Go]);
    let mut said = Vec::new();
    talk.hear(&option_reply(OPT_GO, REP_ERR_UNKNOWN, b"no"), &mut said).unwrap();
    assert_eq!(said, [Said::NotThere]);
    assert!(talk.out.ends_with(&option(OPT_ABORT, &[])));
    talk.hear(&good(&talk), &mut said).unwrap();
    assert!(talk.is_leaving());
    assert!(begun(|talk| talk.wanted == [Wanted::ExportName]).may_be_turned_away());
    let mut talk = begun(|talk| talk.wanted == [Wanted::Go]);
    assert!(talk.hear(&option_reply(OPT_GO, REP_ACK, &[]), &mut said).is_err(), "without a size");
}
