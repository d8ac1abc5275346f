//! One connection of an NBD client: bytes in, requests and bytes out. No socket, no clock.
//!
//! ```text
//!   flags -> option header <-> option bytes --GO or EXPORT_NAME--> request header <-> bytes of a write --DISC--> draining -> closed
//! ```
//!
//! It promises that memory stays bounded whatever comes: at most [`Policy::requests_max`] requests are in flight, and [`Policy::session_bytes_max`] bytes of
//! them and of answers that the client has not read; beyond that nothing is parsed. Of what all sessions may take together it takes no more than it is allowed ([`Session::allow`]),
//! but for a share of its own. A write whose bytes arrive in one piece is never copied; otherwise it is
//! gathered once, by whoever receives the rest right behind its beginning ([`Session::gathering`]) or here. Requests are passed on in the order they came. It refuses to know how a request is carried out.

use super::agreed::{Agreed, Terms};
use super::negotiation::{self, Choice};
use super::output::Output;
use super::policy::Policy;
use super::protocol::*;
use super::reply;
use super::request::{self, Complaint, Header, Verdict};
use base::mutant::Mutant;
use base::sometimes::Sometimes;
use base::{Payload, VolumeId};
use host::{Export, Refusal, Request};
use std::collections::{BTreeMap, VecDeque};

/// What a request takes beside its data: it is remembered, and its answer has a header.
const REQUEST_BYTES: u64 = 64;
/// Bytes of one option; a longer one is skipped and refused.
const OPTION_BYTES_MAX: u32 = 64 << 10;
/// Options in one negotiation. Nobody needs more than a dozen; who sends more is not negotiating.
const OPTIONS_MAX: u32 = 1024;
/// What a gathering begins with; it grows as bytes really come.
const GATHER_BYTES: usize = 1 << 20;
/// Bytes that may come although the session does not want more, before it gives up.
const HELD_BYTES_MAX: usize = 64 << 20;

/// What a session can be asked to export.
pub trait Exports {
    /// The volume, if it is open.
    fn find(&self, volume: VolumeId) -> Option<Export>;
    /// All that are open, in order.
    fn list(&self) -> Vec<Export>;
    /// Whether it is known what should be open. Not yet, while a host that was just started waits for its authority.
    fn is_informed(&self) -> bool;
}

/// Whether a session goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Status {
    /// It does.
    Open,
    /// It has ended: send what is in the output, then close.
    Close,
}

/// What the next bytes are.
#[derive(Debug)]
enum Phase {
    /// The client's four bytes of flags.
    Flags,
    /// Sixteen bytes before an option.
    OptionHeader,
    /// The bytes of an option.
    OptionData { option: u32, len: usize },
    /// The bytes of an option that is too long.
    OptionSkip { option: u32, left: u64 },
    /// The bytes before a request: 28, or 32 in an extended header.
    Request,
    /// Nothing, until there is room for this request.
    Short { header: Header },
    /// The bytes of a write.
    WriteData { header: Header },
    /// The bytes of a request that is refused.
    PayloadSkip { header: Header, left: u64, why: Complaint },
    /// Nothing more is listened to; what is in flight is still answered.
    Draining,
}

/// See the page above.
#[derive(Debug)]
pub struct Session {
    id: u64,
    policy: Policy,
    phase: Phase,
    fixed: bool,
    agreed: Agreed,
    options: u32,
    /// Set with the export.
    terms: Option<Terms>,
    /// The beginning of what the phase waits for.
    partial: Vec<u8>,
    /// Whether its driver gathers.
    gathers: bool,
    /// The beginning of a write, all that came of it yet.
    begun: Option<Payload>,
    /// Its driver was told to gather the write that comes.
    is_gathered: bool,
    /// What came while nothing could be taken.
    held: VecDeque<Payload>,
    held_bytes: usize,
    in_flight: BTreeMap<u64, Header>,
    /// With what a write in the making will have.
    in_flight_bytes: u64,
    /// Bytes of answers that are not known to be sent.
    unsent: u64,
    /// What it may take beyond its share.
    room: u64,
    next_tag: u64,
}

impl Session {
    /// A session that has said nothing yet. The id is the caller's, for its own use.
    pub fn new(id: u64) -> Self {
        Self {
            id,
            policy: Policy::default(),
            phase: Phase::Flags,
            fixed: false,
            agreed: Agreed::nothing(),
            options: 0,
            terms: None,
            partial: Vec::new(),
            gathers: false,
            begun: None,
            is_gathered: false,
            held: VecDeque::new(),
            held_bytes: 0,
            in_flight: BTreeMap::new(),
            in_flight_bytes: 0,
            unsent: 0,
            room: u64::MAX,
            next_tag: 1,
        }
    }

    /// One with other limits than the usual ones.
    #[must_use]
    pub fn with(self, policy: Policy) -> Self {
        Self { policy, ..self }
    }

    /// One whose driver asks what it may gather ([`Session::gathering`]) whenever it was given bytes.
    #[must_use]
    pub fn gathered(self) -> Self {
        Self { gathers: true, ..self }
    }

    /// The beginning of a write, and how long the whole is: bring that in one piece. The beginning counts as not brought; brought again as it is it is gathered here.
    pub fn gathering(&mut self) -> Option<(Payload, usize)> {
        let Phase::WriteData { header } = self.phase else { return None };
        let mut begun = self.begun.take()?;
        self.is_gathered = true;
        if self.policy.mutation.is(Mutant::BeginningNotGathered) {
            begun = Payload::empty();
        }
        Some((begun, header.payload_bytes as usize))
    }

    /// As given at birth.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The export, once it is chosen.
    pub fn export(&self) -> Option<Export> {
        self.terms.map(|terms| terms.export)
    }

    /// What the server says first.
    pub fn greeting(&mut self, out: &mut Output) {
        let before = out.added();
        out.small(&MAGIC.to_be_bytes());
        out.small(&OPTION_MAGIC.to_be_bytes());
        out.small(&(FLAG_FIXED_NEWSTYLE | FLAG_NO_ZEROES).to_be_bytes());
        self.said(before, out);
    }

    /// What it may take from now on beyond its own share, in bytes, of what all sessions may take together. Without limit until this is said.
    pub fn allow(&mut self, room: u64) {
        self.room = room;
    }

    /// So many bytes of what it said are on their way and out of memory.
    pub fn sent(&mut self, bytes: u64) {
        self.unsent = self.unsent.checked_sub(bytes).expect("more was sent than was said");
    }

    /// Bytes of its answers that are not known to be sent.
    pub fn unsent(&self) -> u64 {
        self.unsent
    }

    /// Bytes that it keeps, or has promised to keep: requests, what came and could not be taken, answers that are not sent.
    pub fn bytes_kept(&self) -> u64 {
        self.in_flight_bytes + self.held_bytes as u64 + self.unsent
    }

    /// Whether it waits for room that others have.
    pub fn is_short(&self) -> bool {
        matches!(self.phase, Phase::Short { .. })
    }

    /// The room that it waits for.
    pub fn lacks(&self) -> u64 {
        if let Phase::Short { header } = &self.phase { weight(header) } else { 0 }
    }

    /// Whether nothing of it will give room back by itself: it has nothing in flight, and all that it answered is sent.
    pub fn is_at_rest(&self) -> bool {
        self.in_flight_bytes + self.unsent == 0
    }

    /// Answers were added.
    fn said(&mut self, before: u64, out: &Output) {
        let bytes = out.added() - before;
        self.unsent += bytes;
        self.room = self.room.saturating_sub(bytes);
    }

    /// Bytes came. Requests that follow are appended, each with a tag that is unique in this session.
    pub fn bytes(
        &mut self,
        data: Payload,
        exports: &dyn Exports,
        requests: &mut Vec<Request>,
        out: &mut Output,
    ) -> Status {
        if matches!(self.phase, Phase::Draining) {
            return self.status();
        }
        // Nobody asked for it.
        for data in self.begun.take().into_iter().chain([data]) {
            self.held_bytes += data.len();
            self.held.push_back(data);
        }
        if self.held_bytes > HELD_BYTES_MAX && !self.may_take() {
            return Status::Close;
        }
        self.proceed(exports, requests, out)
    }

    /// Goes on with what came while too much was in flight.
    pub fn proceed(&mut self, exports: &dyn Exports, requests: &mut Vec<Request>, out: &mut Output) -> Status {
        if let Phase::Short { header } = self.phase {
            self.admit(header, requests);
        }
        while self.may_take() {
            let Some(mut data) = self.held.pop_front() else { break };
            self.held_bytes -= data.len();
            while !data.is_empty() && self.may_take() {
                let before = out.added();
                let status = self.take(&mut data, exports, requests, out);
                self.said(before, out);
                if status == Status::Close {
                    return Status::Close;
                }
            }
            if !data.is_empty() && !matches!(self.phase, Phase::Draining) {
                self.held_bytes += data.len();
                match self.policy.mutation.is(Mutant::HeldOutOfOrder) {
                    true => self.held.push_back(data),
                    false => self.held.push_front(data),
                }
            }
        }
        self.status()
    }

    /// Whether more bytes are of use now. When not, stop reading from the client: that is what slows it down.
    pub fn wants_more(&self) -> bool {
        self.held.is_empty() && self.may_take()
    }

    /// How many requests are in flight.
    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// The end of a request.
    pub fn reply(&mut self, tag: u64, result: Result<Vec<Payload>, Refusal>, out: &mut Output) -> Status {
        let asked = match self.policy.mutation.is(Mutant::AnsweredInOrderOfAsking) {
            true => self.in_flight.pop_first().map(|(_, header)| header),
            false => self.in_flight.remove(&tag),
        };
        let header = asked.expect("a reply to a request not in flight");
        self.in_flight_bytes -= weight(&header);
        if matches!(result, Err(Refusal::NotOpen | Refusal::Detached)) {
            // The volume is gone: what is in flight is still answered, and then the client must come again.
            self.stop();
        }
        let is_told = header.payload_bytes > 0 && self.policy.mutation.is(Mutant::AnsweredOnArrival);
        if !is_told {
            let before = out.added();
            reply::answer(&header, result, self.terms().style, out);
            self.said(before, out);
        }
        self.status()
    }

    /// The volume is not what it was when this session chose it: answer what is in flight, then close.
    pub fn drain(&mut self) -> Status {
        self.stop();
        self.status()
    }

    /// Listens to nothing more.
    fn stop(&mut self) {
        if let Phase::WriteData { header } = self.phase {
            self.in_flight_bytes -= weight(&header);
        }
        self.phase = Phase::Draining;
        self.partial = Vec::new();
        self.begun = None;
        self.held.clear();
        self.held_bytes = 0;
    }

    fn status(&self) -> Status {
        let is_over = matches!(self.phase, Phase::Draining) && self.in_flight.is_empty();
        if is_over { Status::Close } else { Status::Open }
    }

    fn terms(&self) -> Terms {
        self.terms.expect("an export was chosen before requests")
    }

    fn may_take(&self) -> bool {
        let bytes = self.in_flight_bytes + self.unsent;
        match self.phase {
            Phase::Draining | Phase::Short { .. } => false,
            // There is room for it already, or it needs none.
            Phase::WriteData { .. } | Phase::PayloadSkip { .. } | Phase::OptionSkip { .. } => true,
            Phase::Flags | Phase::OptionHeader | Phase::OptionData { .. } => self.unsent <= self.policy.share_bytes,
            Phase::Request => {
                let Policy { requests_max, session_bytes_max, share_bytes, .. } = self.policy;
                let is_allowed = self.room > 0 || bytes <= share_bytes;
                is_allowed && self.in_flight.len() < requests_max && bytes < session_bytes_max
            }
        }
    }

    /// Takes a request on if there is room for it, or waits with it.
    fn admit(&mut self, header: Header, requests: &mut Vec<Request>) {
        let weight = weight(&header);
        let is_small = self.in_flight_bytes + self.unsent + weight <= self.policy.share_bytes;
        if weight > self.room && !is_small {
            self.phase = Phase::Short { header };
            return;
        }
        self.room = self.room.saturating_sub(weight);
        self.in_flight_bytes += weight;
        self.phase = Phase::Request;
        match header.payload_bytes {
            0 => self.pass_on(header, Payload::empty(), requests),
            _ => self.phase = Phase::WriteData { header },
        }
    }

    /// Takes one thing off the front of the bytes, or all of them towards it.
    fn take(
        &mut self,
        data: &mut Payload,
        exports: &dyn Exports,
        requests: &mut Vec<Request>,
        out: &mut Output,
    ) -> Status {
        match &mut self.phase {
            Phase::Flags => match self.unit(4, data) {
                Some(flags) => self.on_flags(&flags),
                None => Status::Open,
            },
            Phase::OptionHeader => match self.unit(16, data) {
                Some(header) => self.on_option_header(&header, exports, out),
                None => Status::Open,
            },
            Phase::OptionData { option, len } => {
                let (option, len) = (*option, *len);
                match self.unit(len, data) {
                    Some(bytes) => self.on_option(option, &bytes, exports, out),
                    None => Status::Open,
                }
            }
            Phase::OptionSkip { option, left } => {
                skip(left, data);
                if *left == 0 {
                    let option = *option;
                    self.phase = Phase::OptionHeader;
                    negotiation::refuse(option, REP_ERR_TOO_BIG, "the option is longer than 64 KiB", out);
                }
                Status::Open
            }
            Phase::Request => match self.unit(self.terms().style.header_bytes(), data) {
                Some(header) => self.on_request(&header, requests, out),
                None => Status::Open,
            },
            Phase::WriteData { header } => {
                let header = *header;
                let missing = (header.payload_bytes as usize).saturating_sub(data.len());
                let is_new = self.gathers && !self.is_gathered && self.partial.is_empty();
                if is_new && self.held.is_empty() && missing >= self.policy.gathered_bytes_min {
                    self.begun = Some(std::mem::replace(data, Payload::empty()));
                } else if let Some(bytes) = self.unit(header.payload_bytes as usize, data) {
                    self.phase = Phase::Request;
                    self.is_gathered = false;
                    if self.policy.mutation.is(Mutant::AnsweredOnArrival) {
                        reply::done(&header, self.terms().style, out);
                    }
                    self.pass_on(header, bytes, requests);
                }
                Status::Open
            }
            Phase::PayloadSkip { header, left, why } => {
                skip(left, data);
                if *left == 0 {
                    let (header, why) = (*header, *why);
                    self.phase = Phase::Request;
                    reply::refuse(&header, why, self.terms().style, out);
                }
                Status::Open
            }
            Phase::Short { .. } | Phase::Draining => Status::Open,
        }
    }

    /// The next `len` bytes: as they lie if they are all there, gathered if they come in pieces.
    fn unit(&mut self, len: usize, data: &mut Payload) -> Option<Payload> {
        if self.partial.is_empty() && data.len() >= len {
            return Some(Payload(data.0.split_to(len)));
        }
        if self.partial.capacity() == 0 {
            self.partial.reserve_exact(len.min(GATHER_BYTES));
        }
        let more = data.0.split_to((len - self.partial.len()).min(data.len()));
        self.partial.extend_from_slice(&more);
        (self.partial.len() == len).then(|| Payload::from(std::mem::take(&mut self.partial)))
    }

    fn on_flags(&mut self, flags: &[u8]) -> Status {
        let flags = u32::from_be_bytes(flags.try_into().expect("four bytes were taken"));
        let known = u32::from(FLAG_FIXED_NEWSTYLE | FLAG_NO_ZEROES);
        if flags & !known != 0 {
            return Status::Close;
        }
        self.fixed = flags & u32::from(FLAG_FIXED_NEWSTYLE) != 0;
        self.agreed.no_zeroes = flags & u32::from(FLAG_NO_ZEROES) != 0;
        self.phase = Phase::OptionHeader;
        Status::Open
    }

    fn on_option_header(&mut self, header: &[u8], exports: &dyn Exports, out: &mut Output) -> Status {
        let (magic, rest) = header.split_at(8);
        let (option, len) = rest.split_at(4);
        let option = u32::from_be_bytes(option.try_into().expect("four bytes"));
        let len = u32::from_be_bytes(len.try_into().expect("four bytes"));
        self.options += 1;
        if magic != OPTION_MAGIC.to_be_bytes() || self.options > OPTIONS_MAX {
            return Status::Close;
        }
        // Only this one option exists for clients that cannot read replies to options.
        if !self.fixed && option != OPT_EXPORT_NAME {
            return Status::Close;
        }
        if len > OPTION_BYTES_MAX {
            if option == OPT_EXPORT_NAME {
                return Status::Close;
            }
            self.phase = Phase::OptionSkip { option, left: u64::from(len) };
            return Status::Open;
        }
        if len == 0 {
            return self.on_option(option, &[], exports, out);
        }
        self.phase = Phase::OptionData { option, len: len as usize };
        Status::Open
    }

    fn on_option(&mut self, option: u32, data: &[u8], exports: &dyn Exports, out: &mut Output) -> Status {
        self.phase = Phase::OptionHeader;
        match negotiation::answer(option, data, &mut self.agreed, exports, out) {
            Choice::Nothing => Status::Open,
            Choice::Export(export) => {
                self.terms = Some(self.agreed.terms(export));
                self.phase = Phase::Request;
                Status::Open
            }
            Choice::Close => Status::Close,
        }
    }

    fn on_request(&mut self, bytes: &[u8], requests: &mut Vec<Request>, out: &mut Output) -> Status {
        let (terms, mutation) = (self.terms(), self.policy.mutation);
        match request::judge(bytes, &terms) {
            Verdict::Garbage => return Status::Close,
            Verdict::Disconnect if mutation.is(Mutant::LeaveEndsAll) => return Status::Close,
            Verdict::Disconnect => return self.drain(),
            Verdict::Refuse { header, why } => match header.payload_bytes {
                0 => reply::refuse(&header, why, terms.style, out),
                _ if mutation.is(Mutant::RefusedBytesStay) => reply::refuse(&header, why, terms.style, out),
                left => {
                    Sometimes::NbdSkips.happens();
                    self.phase = Phase::PayloadSkip { header, left, why };
                }
            },
            Verdict::Done(header) => reply::done(&header, terms.style, out),
            Verdict::Do(header) if header.command == CMD_FLUSH && mutation.is(Mutant::FlushNotPassedOn) => {
                reply::done(&header, terms.style, out);
            }
            Verdict::Do(header) => self.admit(header, requests),
        }
        Status::Open
    }

    fn pass_on(&mut self, header: Header, data: Payload, requests: &mut Vec<Request>) {
        let volume = self.terms().export.volume;
        let tag = self.next_tag;
        self.next_tag += 1;
        self.in_flight.insert(tag, header);
        requests.push(Request { volume, tag, op: header.op(data) });
    }
}

/// What a request takes of the bounds.
fn weight(header: &Header) -> u64 {
    header.weight() + REQUEST_BYTES
}

fn skip(left: &mut u64, data: &mut Payload) {
    let step = (*left).min(data.len() as u64);
    let _ = data.0.split_to(step as usize);
    *left -= step;
}
