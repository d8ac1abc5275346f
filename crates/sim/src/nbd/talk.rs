//! One connection of a client: bytes in, bytes out, and what the server said. No socket, no clock.
//!
//! ```text
//!   greeting -> options, one by one -> in use -> leaving
//! ```
//!
//! It judges whether the server keeps to the protocol: each request is answered once, on the connection that asked, in the words that were agreed on; a read by all of
//! its bytes and none of them twice; a request that is wrong by the error that it deserves. And what our server promises beyond that: a flush is answered
//! after every change that was sent before it on the same connection.

use super::words::*;
use base::{Generation, Rng};
use std::collections::{BTreeMap, VecDeque};

/// Cookies from here on are of requests that are no operation of the history.
pub const APART: u64 = 1 << 63;

/// What the server said.
#[derive(Debug, PartialEq, Eq)]
pub enum Said {
    /// Requests may be sent now.
    Opened,
    /// It has no such export.
    NotThere,
    /// A request is over; with what it got, or the number of an error.
    Answer(u64, Result<Got, u32>),
}

/// What came of a request.
#[derive(Debug, PartialEq, Eq)]
pub enum Got {
    /// It was done.
    Nothing,
    /// The bytes of a read.
    Bytes(Vec<u8>),
    /// Lengths of stretches from where it was asked about on, and whether they read as zeroes because nothing is written there.
    Map(Vec<(u64, bool)>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Greeting,
    Options,
    InUse,
    Leaving,
}

/// What is asked in the handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    List,
    Unknown,
    Style,
    Maps,
    Go,
    ExportName,
    Abort,
}

/// A request without an answer.
#[derive(Debug)]
struct Asked {
    /// Counts requests of this connection.
    number: u64,
    request: Request,
    /// The error that it deserves.
    deserves: Option<u32>,
    /// Of a read: its bytes, and which of them have come.
    read: Vec<u8>,
    filled: Vec<bool>,
    map: Vec<(u64, bool)>,
    error: Option<u32>,
}

impl Asked {
    fn changes(&self) -> bool {
        matches!(self.request.kind, WRITE | TRIM | WRITE_ZEROES) && self.deserves.is_none()
    }
}

/// See the page above.
#[derive(Debug)]
pub struct Talk {
    name: String,
    phase: Phase,
    style: Style,
    no_zeroes: bool,
    wanted: VecDeque<Wanted>,
    /// Whether it may ask what is written: the number of the context.
    pub maps: Option<u32>,
    /// Bytes of the export.
    pub size: u64,
    /// Which attachment the server says it is.
    pub generation: Option<Generation>,
    asked: BTreeMap<u64, Asked>,
    number: u64,
    unread: Vec<u8>,
    /// What is to be sent.
    pub out: Vec<u8>,
}

type Heard<T = ()> = Result<T, String>;

impl Talk {
    /// To an export, in one of the ways that there are.
    pub fn new(name: String, rng: &mut Rng) -> Self {
        let style = *rng.pick(&[Style::Simple, Style::Structured, Style::Extended]).expect("not empty");
        let mut wanted = VecDeque::new();
        wanted.extend(rng.chance(1, 8).then_some(Wanted::List));
        wanted.extend(rng.chance(1, 8).then_some(Wanted::Unknown));
        wanted.extend((style != Style::Simple).then_some(Wanted::Style));
        wanted.extend((style != Style::Simple && rng.chance(2, 3)).then_some(Wanted::Maps));
        let is_old = style != Style::Extended && rng.chance(1, 4);
        wanted.push_back(if is_old { Wanted::ExportName } else { Wanted::Go });
        Self {
            name,
            phase: Phase::Greeting,
            style,
            no_zeroes: rng.chance(1, 2),
            wanted,
            maps: None,
            size: 0,
            generation: None,
            asked: BTreeMap::new(),
            number: 0,
            unread: Vec::new(),
            out: Vec::new(),
        }
    }

    /// The headers that it wants.
    pub fn style(&self) -> Style {
        self.style
    }

    /// Whether it may ask.
    pub fn is_in_use(&self) -> bool {
        self.phase == Phase::InUse
    }

    /// Whether the server may close it without having answered: it cannot say otherwise that an export is not there.
    pub fn may_be_turned_away(&self) -> bool {
        self.phase == Phase::Options && self.wanted.front() == Some(&Wanted::ExportName)
    }

    /// Whether it has taken its leave.
    pub fn is_leaving(&self) -> bool {
        self.phase == Phase::Leaving
    }

    /// Cookies of requests without an answer.
    pub fn unanswered(&self) -> impl Iterator<Item = u64> + '_ {
        self.asked.keys().copied()
    }

    /// Asks; `deserves` is the error that a wrong request must be answered with.
    pub fn ask(&mut self, request: Request, data: &[u8], deserves: Option<u32>) {
        assert!(self.is_in_use(), "a connection is asked when it is in use");
        let len = if request.kind == READ && deserves.is_none() { request.len as usize } else { 0 };
        self.number += 1;
        let (read, filled) = (vec![0; len], vec![false; len]);
        let asked = Asked { number: self.number, request, deserves, read, filled, map: Vec::new(), error: None };
        let before = self.asked.insert(request.cookie, asked);
        assert!(before.is_none(), "cookie {} is in use", request.cookie);
        self.out.extend(request.bytes(self.style, data));
    }

    /// Asks nothing more: what was asked is answered, and then the server closes.
    pub fn leave(&mut self) {
        match self.phase {
            Phase::InUse => {
                let goodbye = Request { flags: 0, kind: DISC, cookie: 0, offset: 0, len: 0 };
                self.out.extend(goodbye.bytes(self.style, &[]));
                self.phase = Phase::Leaving;
            }
            Phase::Options => {
                self.wanted = VecDeque::from([Wanted::Abort]);
                self.out.extend(option(OPT_ABORT, &[]));
            }
            Phase::Greeting | Phase::Leaving => panic!("leave is taken once, of who was greeted"),
        }
    }

    /// Bytes came.
    pub fn hear(&mut self, bytes: &[u8], said: &mut Vec<Said>) -> Heard {
        self.unread.extend_from_slice(bytes);
        let all = std::mem::take(&mut self.unread);
        let mut at = 0;
        while let Some(len) = self.unit(&all[at..], said)? {
            at += len;
        }
        self.unread = all;
        self.unread.drain(..at);
        Ok(())
    }

    /// Takes one thing, if all of it is there; its length.
    fn unit(&mut self, bytes: &[u8], said: &mut Vec<Said>) -> Heard<Option<usize>> {
        match self.phase {
            Phase::Greeting if bytes.len() < GREETING.len() => Ok(None),
            Phase::Greeting => {
                if bytes[..GREETING.len()] != GREETING {
                    return Err(format!("it was greeted with {:?}", &bytes[..GREETING.len()]));
                }
                let flags = FIXED_NEWSTYLE | if self.no_zeroes { NO_ZEROES } else { 0 };
                self.out.extend(flags.to_be_bytes());
                self.phase = Phase::Options;
                self.say_wanted();
                Ok(Some(GREETING.len()))
            }
            Phase::Options if self.wanted.front() == Some(&Wanted::ExportName) => self.old_export(bytes, said),
            Phase::Options => self.option_reply(bytes, said),
            Phase::InUse | Phase::Leaving => self.reply(bytes, said),
        }
    }

    // ---- The handshake. -------------------------------------------------------------------------------------------------

    fn say_wanted(&mut self) {
        let name = counted(&self.name);
        let (kind, data) = match self.wanted.front().expect("the last wanted is an export") {
            Wanted::List => (OPT_LIST, Vec::new()),
            Wanted::Unknown => (OPT_UNKNOWN, b"anything".to_vec()),
            Wanted::Style if self.style == Style::Extended => (OPT_EXTENDED_HEADERS, Vec::new()),
            Wanted::Style => (OPT_STRUCTURED_REPLY, Vec::new()),
            Wanted::Maps => (OPT_SET_META_CONTEXT, [name, 1u32.to_be_bytes().to_vec(), counted(ALLOCATION)].concat()),
            Wanted::Go => (OPT_GO, [&name[..], &1u16.to_be_bytes(), &INFO_DESCRIPTION.to_be_bytes()].concat()),
            Wanted::ExportName => (OPT_EXPORT_NAME, self.name.as_bytes().to_vec()),
            Wanted::Abort => (OPT_ABORT, Vec::new()),
        };
        self.out.extend(option(kind, &data));
    }

    /// What the old way to choose an export is answered with.
    fn old_export(&mut self, bytes: &[u8], said: &mut Vec<Said>) -> Heard<Option<usize>> {
        let len = if self.no_zeroes { 10 } else { 134 };
        let Some((head, zeroes)) = bytes.get(..len).map(|bytes| bytes.split_at(10)) else { return Ok(None) };
        if zeroes.iter().any(|byte| *byte != 0) {
            return Err("zeroes are none".to_owned());
        }
        self.on_export(head)?;
        self.opened(said);
        Ok(Some(len))
    }

    fn opened(&mut self, said: &mut Vec<Said>) {
        self.phase = Phase::InUse;
        said.push(Said::Opened);
    }

    /// Size and flags.
    fn on_export(&mut self, bytes: &[u8]) -> Heard {
        let mut numbers = Numbers(bytes);
        let (Some(size), Some(flags)) = (numbers.u64(), numbers.u16()) else {
            return Err("an export without size and flags".to_owned());
        };
        let wanted = if self.style == Style::Simple { FLAGS } else { FLAGS | FLAG_DF };
        if flags != wanted || size == 0 {
            return Err(format!("an export of {size} bytes with flags {flags:#x}, not {wanted:#x}"));
        }
        self.size = size;
        Ok(())
    }

    fn option_reply(&mut self, bytes: &[u8], said: &mut Vec<Said>) -> Heard<Option<usize>> {
        let mut numbers = Numbers(bytes);
        let (Some(magic), Some(kind), Some(code), Some(len)) =
            (numbers.u64(), numbers.u32(), numbers.u32(), numbers.u32())
        else {
            return Ok(None);
        };
        let Some(wanted) = self.wanted.front().copied().filter(|_| magic == OPTION_REPLY_MAGIC && len < 1 << 16) else {
            return Err(format!("a reply to an option with {magic:#x} of {len} bytes"));
        };
        let Some(data) = numbers.0.get(..len as usize) else { return Ok(None) };
        let is_over = match (wanted, kind, code) {
            (Wanted::List, OPT_LIST, REP_SERVER) => {
                let name = data.get(4..).and_then(|name| std::str::from_utf8(name).ok());
                name.and_then(|name| name.parse::<base::VolumeId>().ok())
                    .ok_or_else(|| format!("an export is called {name:?}"))?;
                false
            }
            (Wanted::List, OPT_LIST, REP_ACK)
            | (Wanted::Unknown, OPT_UNKNOWN, REP_ERR_UNSUP)
            | (Wanted::Style, OPT_STRUCTURED_REPLY | OPT_EXTENDED_HEADERS, REP_ACK) => true,
            (Wanted::Maps, OPT_SET_META_CONTEXT, REP_META_CONTEXT) if data.get(4..) == Some(ALLOCATION.as_bytes()) => {
                self.maps = Numbers(data).u32();
                false
            }
            (Wanted::Maps, OPT_SET_META_CONTEXT, REP_ACK) if self.maps.is_some() => true,
            (Wanted::Go, OPT_GO, REP_INFO) => {
                self.on_info(data)?;
                false
            }
            (Wanted::Go, OPT_GO, REP_ACK) if self.size > 0 && self.generation.is_some() => {
                self.opened(said);
                return Ok(Some(20 + len as usize));
            }
            (Wanted::Maps, OPT_SET_META_CONTEXT, REP_ERR_UNKNOWN) | (Wanted::Go, OPT_GO, REP_ERR_UNKNOWN) => {
                said.push(Said::NotThere);
                self.leave();
                false
            }
            (Wanted::Abort, OPT_ABORT, REP_ACK) => {
                self.phase = Phase::Leaving;
                return Ok(Some(20 + len as usize));
            }
            _ => return Err(format!("{wanted:?} was answered with {code:#x} to option {kind}")),
        };
        if is_over {
            self.wanted.pop_front();
            self.say_wanted();
        }
        Ok(Some(20 + len as usize))
    }

    fn on_info(&mut self, data: &[u8]) -> Heard {
        let mut numbers = Numbers(data);
        match numbers.u16() {
            Some(INFO_EXPORT) => self.on_export(numbers.0),
            Some(INFO_DESCRIPTION) => {
                let text = std::str::from_utf8(numbers.0).unwrap_or_default();
                let generation = text.strip_prefix("generation ").and_then(|number| number.parse().ok());
                self.generation = Some(Generation(generation.ok_or_else(|| format!("a description {text:?}"))?));
                Ok(())
            }
            Some(_) => Ok(()),
            None => Err("information of no kind".to_owned()),
        }
    }

    // ---- Replies. -------------------------------------------------------------------------------------------------------

    fn reply(&mut self, bytes: &[u8], said: &mut Vec<Said>) -> Heard<Option<usize>> {
        match Numbers(bytes).u32() {
            None => Ok(None),
            Some(SIMPLE_REPLY_MAGIC) if self.style != Style::Extended => self.simple_reply(bytes, said),
            Some(STRUCTURED_REPLY_MAGIC) if self.style == Style::Structured => self.chunk(bytes, said),
            Some(EXTENDED_REPLY_MAGIC) if self.style == Style::Extended => self.chunk(bytes, said),
            Some(magic) => Err(format!("a reply that begins with {magic:#x}, where {:?} was agreed on", self.style)),
        }
    }

    fn simple_reply(&mut self, bytes: &[u8], said: &mut Vec<Said>) -> Heard<Option<usize>> {
        let Some(head) = bytes.get(4..16) else { return Ok(None) };
        let mut numbers = Numbers(head);
        let (error, cookie) = (numbers.u32().expect("twelve bytes"), numbers.u64().expect("twelve bytes"));
        let asked = self.asked.get_mut(&cookie).ok_or_else(|| nothing(cookie))?;
        if self.style == Style::Structured && (matches!(asked.request.kind, READ | BLOCK_STATUS) || error != 0) {
            return Err(format!("request {cookie} was answered by a simple reply, where chunks were agreed on"));
        }
        let data = if error == 0 { asked.read.len() } else { 0 };
        let Some(data) = bytes.get(16..16 + data) else { return Ok(None) };
        let len = 16 + data.len();
        if error == 0 {
            asked.read.copy_from_slice(data);
            asked.filled.fill(true);
        } else {
            asked.error = Some(error);
        }
        self.is_over(cookie, said)?;
        Ok(Some(len))
    }

    fn chunk(&mut self, bytes: &[u8], said: &mut Vec<Said>) -> Heard<Option<usize>> {
        let is_extended = self.style == Style::Extended;
        let head = if is_extended { 32 } else { 20 };
        if bytes.len() < head {
            return Ok(None);
        }
        let mut numbers = Numbers(&bytes[4..head]);
        let whole = "the bytes of a header are there";
        let (flags, kind) = (numbers.u16().expect(whole), numbers.u16().expect(whole));
        let cookie = numbers.u64().expect(whole);
        let asked = self.asked.get_mut(&cookie).ok_or_else(|| nothing(cookie))?;
        let len = if is_extended {
            let offset = numbers.u64().expect(whole);
            if offset != asked.request.offset {
                return Err(format!("a reply to request {cookie} of offset {offset}, not {}", asked.request.offset));
            }
            numbers.u64().expect(whole)
        } else {
            u64::from(numbers.u32().expect(whole))
        };
        if len > asked.read.len() as u64 + (1 << 20) {
            return Err(format!("a chunk of {len} bytes for request {cookie}"));
        }
        let Some(body) = bytes[head..].get(..len as usize) else { return Ok(None) };
        asked.take(kind, body, is_extended, self.maps).map_err(|why| format!("request {cookie}: {why}"))?;
        match flags {
            DONE => self.is_over(cookie, said)?,
            0 if kind != NONE => {}
            _ => return Err(format!("a chunk of kind {kind:#x} of request {cookie} with flags {flags:#x}")),
        }
        Ok(Some(head + len as usize))
    }

    /// A request is answered.
    fn is_over(&mut self, cookie: u64, said: &mut Vec<Said>) -> Heard {
        let asked = self.asked.remove(&cookie).expect("it was just looked at");
        let kind = asked.request.kind;
        if let Some(deserved) = asked.deserves {
            return match asked.error {
                Some(error) if error == deserved => Ok(()),
                other => Err(format!("{:?} was answered with {other:?} instead of {deserved}", asked.request)),
            };
        }
        if let Some(error) = asked.error {
            said.push(Said::Answer(cookie, Err(error)));
            return Ok(());
        }
        if asked.filled.iter().any(|is_there| !is_there) {
            return Err(format!("request {cookie} was read in part only"));
        }
        let mut before = self.asked.values().filter(|other| other.changes() && other.number < asked.number);
        if let (FLUSH, Some(other)) = (kind, before.next()) {
            return Err(format!("a flush was answered before request {}, sent before it", other.request.cookie));
        }
        let got = match kind {
            READ => Got::Bytes(asked.read),
            BLOCK_STATUS if asked.map.is_empty() => return Err(format!("request {cookie} was told of no stretch")),
            BLOCK_STATUS => Got::Map(asked.map),
            _ => Got::Nothing,
        };
        said.push(Said::Answer(cookie, Ok(got)));
        Ok(())
    }
}

fn nothing(cookie: u64) -> String {
    format!("a reply to {cookie}, which was not asked here or is answered")
}

impl Asked {
    /// One chunk of its answer.
    fn take(&mut self, kind: u16, body: &[u8], is_extended: bool, maps: Option<u32>) -> Heard {
        let mut numbers = Numbers(body);
        match kind {
            NONE if body.is_empty() && !matches!(self.request.kind, READ | BLOCK_STATUS) => Ok(()),
            OFFSET_DATA => {
                let offset = numbers.u64().ok_or("data without an offset")?;
                let data = numbers.0;
                let to = self.fill(offset, data.len())?;
                self.read[to].copy_from_slice(data);
                Ok(())
            }
            OFFSET_HOLE => {
                let (offset, len) = (numbers.u64(), numbers.u32());
                self.fill(offset.ok_or("a hole without an offset")?, len.ok_or("a hole without a length")? as usize)?;
                Ok(())
            }
            ERROR | ERROR_OFFSET => {
                let (error, len) = (numbers.u32().unwrap_or(0), numbers.u16().unwrap_or(0));
                let text = numbers.0.get(..usize::from(len)).and_then(|text| std::str::from_utf8(text).ok());
                if error == 0 || text.is_none() {
                    return Err(format!("an error of number {error} without words"));
                }
                self.error = Some(error);
                Ok(())
            }
            STATUS | STATUS_EXT if (kind == STATUS_EXT) == is_extended && self.request.kind == BLOCK_STATUS => {
                self.describe(numbers, is_extended, maps)
            }
            _ => Err(format!("a chunk of kind {kind:#x} and {} bytes for {:?}", body.len(), self.request)),
        }
    }

    /// Marks bytes of a read as come.
    fn fill(&mut self, offset: u64, len: usize) -> Heard<std::ops::Range<usize>> {
        let start = offset.checked_sub(self.request.offset).map(|start| start as usize);
        let range = start.and_then(|start| Some(start..start.checked_add(len)?));
        let range = range.filter(|range| self.filled.get(range.clone()).is_some_and(|old| !old.contains(&true)));
        let range = range.ok_or_else(|| format!("{len} bytes at {offset}, which were not asked for or have come"))?;
        self.filled[range.clone()].fill(true);
        Ok(range)
    }

    /// Lengths and states.
    fn describe(&mut self, mut numbers: Numbers<'_>, is_wide: bool, maps: Option<u32>) -> Heard {
        if maps.is_none() || numbers.u32() != maps || !self.map.is_empty() {
            return Err("the status of another context".to_owned());
        }
        let count = if is_wide { numbers.u32() } else { None };
        while !numbers.0.is_empty() {
            let (len, state) = match is_wide {
                true => (numbers.u64(), numbers.u64()),
                false => (numbers.u32().map(u64::from), numbers.u32().map(u64::from)),
            };
            match (len, state) {
                (Some(len @ 1..), Some(0)) => self.map.push((len, false)),
                // A hole, and zeroes.
                (Some(len @ 1..), Some(3)) => self.map.push((len, true)),
                other => return Err(format!("a stretch and its state are {other:?}")),
            }
        }
        let told: u64 = self.map.iter().map(|(len, _)| len).sum();
        let is_one = self.request.flags & REQ_ONE == 0 || self.map.len() == 1;
        let counts = count.is_none_or(|count| count as usize == self.map.len());
        if told > self.request.len || !is_one || !counts {
            return Err(format!("{:?} was told of {:?}", self.request, self.map));
        }
        Ok(())
    }
}

#[cfg(test)]
mod judged;
