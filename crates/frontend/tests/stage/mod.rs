//! Volumes in memory that stand for a host, and the words of an NBD client, written out byte by byte.
#![allow(dead_code)] // Each test file uses its own part of the stage.

use base::{BLOCK_BYTES, Generation, Payload, VolumeId};
use frontend::nbd::{Exports, Output, Session, Status, Volumes};
use host::{Busy, Export, Op, Refusal, Reply, Request};
use std::collections::BTreeMap;

pub const VOLUME: VolumeId = VolumeId(0xabc);
pub const NAME: &str = "vol-00000000000000abc";
pub const SIZE: u64 = 1 << 20;

/// A host that carries out what it took when it is told to run.
pub struct FakeHost {
    pub volumes: BTreeMap<VolumeId, (Export, Vec<u8>)>,
    pub queue: Vec<Request>,
    pub room: usize,
    pub refuse: Option<Refusal>,
    replies: Vec<Reply>,
    attachments: u64,
    pub is_informed: bool,
}

impl FakeHost {
    pub fn new() -> Self {
        let mut host = Self {
            volumes: BTreeMap::new(),
            queue: vec![],
            room: usize::MAX,
            refuse: None,
            replies: vec![],
            attachments: 0,
            is_informed: true,
        };
        host.attach(VOLUME, SIZE, 1);
        host
    }

    pub fn attach(&mut self, volume: VolumeId, size: u64, generation: u64) {
        let export = Export { volume, size, generation: Generation(generation), read_only: false };
        self.volumes.insert(volume, (export, vec![0; size as usize]));
        self.attachments += 1;
    }

    /// The volume of the tests may be read only from now on.
    pub fn forbid_writes(&mut self) {
        self.volumes.get_mut(&VOLUME).unwrap().0.read_only = true;
    }

    pub fn detach(&mut self, volume: VolumeId) {
        self.volumes.remove(&volume);
        self.attachments += 1;
    }

    /// Carries out all that was taken.
    pub fn run(&mut self) {
        for request in std::mem::take(&mut self.queue) {
            let result = match self.refuse {
                Some(why) => Err(why),
                None => self.perform(&request),
            };
            self.replies.push(Reply { tag: request.tag, result });
        }
    }

    pub fn perform(&mut self, request: &Request) -> Result<Vec<Payload>, Refusal> {
        let (export, bytes) = self.volumes.get_mut(&request.volume).ok_or(Refusal::NotOpen)?;
        let range = |offset: u64, len: u64| {
            let end = offset.checked_add(len).filter(|end| *end <= export.size);
            end.map(|end| offset as usize..end as usize).ok_or(Refusal::OutOfRange { size: export.size })
        };
        match &request.op {
            Op::Read { offset, len } => {
                // In two parts, as a read over two shards comes.
                let bytes = &bytes[range(*offset, *len)?];
                let (head, tail) = bytes.split_at(bytes.len() / 3);
                return Ok(vec![Payload::from(head.to_vec()), Payload::from(tail.to_vec())]);
            }
            Op::Write { offset, data } => bytes[range(*offset, data.len() as u64)?].copy_from_slice(data),
            Op::Trim { offset, len } | Op::Zero { offset, len } => bytes[range(*offset, *len)?].fill(0),
            Op::Flush => {}
            // What holds something is written.
            Op::Map { offset, len } => {
                let range = range(*offset, *len)?;
                let blocks = bytes[range.start / BLOCK_BYTES * BLOCK_BYTES..].chunks(BLOCK_BYTES);
                let written = blocks.take(range.end.div_ceil(BLOCK_BYTES) - range.start / BLOCK_BYTES);
                let written: Vec<bool> = written.map(|block| block.iter().any(|byte| *byte != 0)).collect();
                let bits = |eight: &[bool]| (0..).zip(eight).fold(0, |byte, (at, bit)| byte | u8::from(*bit) << at);
                return Ok(vec![Payload::from(written.chunks(8).map(bits).collect::<Vec<u8>>())]);
            }
        }
        Ok(vec![])
    }
}

impl Exports for FakeHost {
    fn find(&self, volume: VolumeId) -> Option<Export> {
        self.volumes.get(&volume).map(|(export, _)| *export)
    }
    fn list(&self) -> Vec<Export> {
        self.volumes.values().map(|(export, _)| *export).collect()
    }
    fn is_informed(&self) -> bool {
        self.is_informed
    }
}

impl Volumes for FakeHost {
    fn submit(&mut self, request: Request) -> Result<(), Busy> {
        if self.queue.len() >= self.room {
            return Err(Busy(request));
        }
        self.queue.push(request);
        Ok(())
    }
    fn take_replies(&mut self, replies: &mut Vec<Reply>) {
        replies.append(&mut self.replies);
    }
    fn attachments(&self) -> u64 {
        self.attachments
    }
}

pub const OK: u32 = 0;
pub const EPERM: u32 = 1;
pub const EIO: u32 = 5;
pub const EINVAL: u32 = 22;
pub const ENOSPC: u32 = 28;
pub const ESHUTDOWN: u32 = 108;

pub const ACK: u32 = 1;
pub const ERR_UNSUP: u32 = (1 << 31) + 1;
pub const ERR_INVALID: u32 = (1 << 31) + 3;
pub const ERR_UNKNOWN: u32 = (1 << 31) + 6;
pub const ERR_TOO_BIG: u32 = (1 << 31) + 9;
pub const ERR_EXT_HEADER_REQD: u32 = (1 << 31) + 10;

pub const FIXED: u32 = 1;
pub const NO_ZEROES: u32 = 2;

pub fn option(option: u32, data: &[u8]) -> Vec<u8> {
    [&b"IHAVEOPT"[..], &option.to_be_bytes(), &(data.len() as u32).to_be_bytes(), data].concat()
}

pub fn info_data(name: &str, wanted: &[u16]) -> Vec<u8> {
    let mut data = (name.len() as u32).to_be_bytes().to_vec();
    data.extend_from_slice(name.as_bytes());
    data.extend_from_slice(&(wanted.len() as u16).to_be_bytes());
    wanted.iter().for_each(|w| data.extend_from_slice(&w.to_be_bytes()));
    data
}

pub fn go(name: &str) -> Vec<u8> {
    option(7, &info_data(name, &[]))
}

/// The data of an option about metadata contexts.
pub fn contexts_data(name: &str, queries: &[&str]) -> Vec<u8> {
    let counted = |text: &str| [&(text.len() as u32).to_be_bytes()[..], text.as_bytes()].concat();
    let queries_: Vec<u8> = queries.iter().flat_map(|query| counted(query)).collect();
    [counted(name), (queries.len() as u32).to_be_bytes().to_vec(), queries_].concat()
}

/// With an extended header.
pub fn extended(flags: u16, command: u16, cookie: u64, offset: u64, len: u64) -> Vec<u8> {
    let mut bytes = 0x21e4_1c71u32.to_be_bytes().to_vec();
    bytes.extend_from_slice(&flags.to_be_bytes());
    bytes.extend_from_slice(&command.to_be_bytes());
    bytes.extend_from_slice(&cookie.to_be_bytes());
    bytes.extend_from_slice(&offset.to_be_bytes());
    bytes.extend_from_slice(&len.to_be_bytes());
    bytes
}

/// What the only chunk of an extended reply looks like.
pub fn extended_chunk(kind: u16, cookie: u64, offset: u64, body: &[u8]) -> Vec<u8> {
    let head = [&0x6e8a_278cu32.to_be_bytes()[..], &1u16.to_be_bytes(), &kind.to_be_bytes(), &cookie.to_be_bytes()];
    [&head.concat()[..], &offset.to_be_bytes(), &(body.len() as u64).to_be_bytes(), body].concat()
}

pub fn request(flags: u16, command: u16, cookie: u64, offset: u64, len: u32) -> Vec<u8> {
    let mut bytes = 0x2560_9513u32.to_be_bytes().to_vec();
    bytes.extend_from_slice(&flags.to_be_bytes());
    bytes.extend_from_slice(&command.to_be_bytes());
    bytes.extend_from_slice(&cookie.to_be_bytes());
    bytes.extend_from_slice(&offset.to_be_bytes());
    bytes.extend_from_slice(&len.to_be_bytes());
    bytes
}

pub fn write(cookie: u64, offset: u64, data: &[u8]) -> Vec<u8> {
    [request(0, 1, cookie, offset, data.len() as u32), data.to_vec()].concat()
}

/// What a simple reply without data looks like.
pub fn simple(error: u32, cookie: u64) -> Vec<u8> {
    [&0x6744_6698u32.to_be_bytes()[..], &error.to_be_bytes(), &cookie.to_be_bytes()].concat()
}

/// What the only chunk of a structured reply looks like.
pub fn chunk(kind: u16, cookie: u64, body: &[u8]) -> Vec<u8> {
    let head = [&0x668e_33efu32.to_be_bytes()[..], &1u16.to_be_bytes(), &kind.to_be_bytes(), &cookie.to_be_bytes()];
    [&head.concat()[..], &(body.len() as u32).to_be_bytes(), body].concat()
}

pub fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap())
}

/// The replies to options in some bytes: option, code and data of each.
pub fn option_replies(mut bytes: &[u8]) -> Vec<(u32, u32, Vec<u8>)> {
    let mut replies = vec![];
    while !bytes.is_empty() {
        assert_eq!(bytes[..8], 0x0003_e889_0455_65a9_u64.to_be_bytes());
        let len = u32_at(bytes, 16) as usize;
        replies.push((u32_at(bytes, 8), u32_at(bytes, 12), bytes[20..20 + len].to_vec()));
        bytes = &bytes[20 + len..];
    }
    replies
}

/// One session with a host of its own, without a server between.
pub struct Line {
    pub session: Session,
    pub host: FakeHost,
    pub status: Status,
    pub requests: Vec<Request>,
}

impl Line {
    /// Greeted, with these client flags sent.
    pub fn new(flags: u32) -> Self {
        let mut session = Session::new(9);
        let mut out = Output::default();
        session.greeting(&mut out);
        let mut line = Self { session, host: FakeHost::new(), status: Status::Open, requests: vec![] };
        assert_eq!(line.read(&mut out), [&b"NBDMAGICIHAVEOPT"[..], &[0, 3]].concat());
        assert!(line.say(&flags.to_be_bytes()).is_empty());
        line
    }

    /// In the transmission phase.
    pub fn open(structured: bool) -> Self {
        let mut line = Self::new(FIXED | NO_ZEROES);
        if structured {
            line.say(&option(8, &[]));
        }
        line.say(&go(NAME));
        assert!(line.session.export().is_some());
        line
    }

    /// In the transmission phase, after these options.
    pub fn open_after(options: &[Vec<u8>]) -> Self {
        let mut line = Self::new(FIXED | NO_ZEROES);
        for option in options {
            let replies = option_replies(&line.say(option));
            assert_eq!(replies.last().map(|r| r.1), Some(ACK), "{replies:?}");
        }
        line.say(&go(NAME));
        assert!(line.session.export().is_some());
        line
    }

    /// Bytes of the client; what the session answers without the host.
    pub fn hear(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut out = Output::default();
        let data = Payload::from(bytes.to_vec());
        self.status = self.session.bytes(data, &self.host, &mut self.requests, &mut out);
        self.read(&mut out)
    }

    /// The host carries out what was asked; what the session then says.
    pub fn run(&mut self) -> Vec<u8> {
        let (mut out, mut said) = (Output::default(), vec![]);
        while !self.requests.is_empty() {
            for request in std::mem::take(&mut self.requests) {
                let result = self.host.refuse.map_or_else(|| self.host.perform(&request), Err);
                self.status = self.session.reply(request.tag, result, &mut out);
            }
            said.extend(self.read(&mut out));
            self.status = self.session.proceed(&self.host, &mut self.requests, &mut out);
        }
        said.extend(self.read(&mut out));
        said
    }

    /// The client reads all that it is answered.
    fn read(&mut self, out: &mut Output) -> Vec<u8> {
        let said = flat(out.take());
        self.session.sent(said.len() as u64);
        said
    }

    /// Bytes of the client, and all that is answered.
    pub fn say(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut said = self.hear(bytes);
        said.extend(self.run());
        said
    }
}

pub fn flat(parts: Vec<Payload>) -> Vec<u8> {
    parts.iter().flat_map(|p| p.to_vec()).collect()
}

/// Says these bytes to a session, cut into pieces as the first of them says, after as much of a sound handshake as the second says, and checks what must hold
/// whatever they are. The highest bit of the second says whether large writes are gathered outside. Whether it came as far as requests.
pub fn hear_anything(bytes: &[u8]) -> bool {
    let [cut, how, bytes @ ..] = bytes else { return false };
    let chosen = option(10, &contexts_data(NAME, &["base:allocation"]));
    let before = match (how & 0x7f) % 5 {
        0 => vec![],
        1 => vec![vec![0, 0, 0, 3]],
        2 => vec![vec![0, 0, 0, 3], go(NAME)],
        3 => vec![vec![0, 0, 0, 3], option(8, &[]), chosen, go(NAME)],
        _ => vec![vec![0, 0, 0, 3], option(11, &[]), chosen, go(NAME)],
    };
    let session = if how & 0x80 == 0 { Session::new(1) } else { Session::new(1).gathered() };
    let mut line = Line { session, host: FakeHost::new(), status: Status::Open, requests: vec![] };
    // Small, so that answers are too.
    line.host.attach(VOLUME, 1 << 16, 1);
    line.say(&before.concat());
    let pieces = bytes.chunks(1 + usize::from(*cut) * usize::from(*cut));
    let mut gathered: Option<(Vec<u8>, usize)> = None;
    for piece in pieces {
        if line.status == Status::Close {
            break;
        }
        let mut piece = piece.to_vec();
        if let Some((mut begun, bytes)) = gathered.take() {
            let rest = piece.split_off(piece.len().min(bytes - begun.len()));
            begun.extend(piece);
            if begun.len() < bytes {
                gathered = Some((begun, bytes));
                continue;
            }
            line.say(&begun);
            piece = rest;
        }
        let (said, was_asked) = (line.hear(&piece), line.session.in_flight());
        assert!(was_asked <= 256 && line.requests.len() == was_asked, "each request is asked once");
        // Sixteen bytes may ask for a list, twenty-eight for a read of the whole volume, which is not asked before it is answered.
        assert!(said.len() <= (piece.len() + 64) * 200, "{} bytes to {} bytes", said.len(), piece.len());
        line.run();
        gathered = line.session.gathering().map(|(begun, bytes)| (begun.to_vec(), bytes));
        assert!(gathered.iter().all(|(begun, bytes)| begun.len() < *bytes && *bytes <= 32 << 20));
        assert_eq!((line.session.in_flight(), line.requests.len()), (0, 0), "each is answered once");
    }
    line.session.export().is_some()
}
