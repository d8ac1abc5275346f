//! The hello: who is at the other end, and the proof that it has the zone's key. Bytes in, bytes out, an outcome; no socket.
//!
//! ```text
//!  opener                                   acceptor
//!    | Hello   who, whom, cluster, nonce  ---> |
//!    | <--- Welcome  who, cluster, nonce, MAC  |     MAC over both messages, key for acceptors
//!    | Proof   MAC                        ---> |     MAC over all three, key for openers
//!    | ============ frames =================== |
//! ```
//!
//! Whoever refuses says why in a Reject before it closes, so that both ends can log it by name. Each side draws a nonce, so
//! nothing recorded can be played again; the two keys differ, so nothing can be sent back to where it came from.
//!
//! The header of these frames is that of `wire::frame` and, with the first field of each head, is the same in every version of
//! the protocol: only so can two versions tell each other that they differ. After the hello frames pass as they are:
//! they are checked against damage, not against somebody in between. Encryption (TLS with both sides proven) is to come.

use crate::key::ZoneKey;
use base::checksum::crc32c;
use base::codec::{Field, Malformed, Reader, Writer};
use base::io::net::{Frame, Lane, Network, Peer};
use base::{ClusterId, HostId, Incarnation, NodeId};
use std::fmt;
use wire::frame::HEADER_BYTES;

/// Kind of the frame that opens a connection.
pub const HELLO: u16 = 0x01;
/// Kind of the answer.
pub const WELCOME: u16 = 0x02;
/// Kind of the opener's proof.
pub const PROOF: u16 = 0x03;
/// Kind of a refusal, in either direction.
pub const REJECT: u16 = 0x04;
/// Kind of a keepalive: its head is the sender's clock.
pub const PING: u16 = 0x05;
/// Kind of its answer: the same head.
pub const PONG: u16 = 0x06;
/// Kinds below this are the runtime's; messages begin here.
pub const MESSAGES_FROM: u16 = 0x10;

/// The largest head of a hello frame.
const HEAD_BYTES_MAX: usize = 4096;
/// The longest text of a refusal that is believed.
const TEXT_BYTES_MAX: usize = 1024;

/// What a process says of itself in every hello.
#[derive(Debug, Clone)]
pub struct Terms {
    /// The version of the wire protocol: [`wire::VERSION`], but for tests.
    pub version: u16,
    /// Versions of the stored formats this build writes, for logs: the store's, the metadata's.
    pub formats: [u16; 2],
    /// Who it is.
    pub me: Peer,
    /// Which cluster it belongs to.
    pub cluster: ClusterId,
    /// Which run of it this is.
    pub incarnation: Incarnation,
    /// The key all of the zone have.
    pub key: ZoneKey,
}

impl Terms {
    /// The terms of this build. Nobody is a [`Peer::Authority`]: it is a name that others have for a [`Peer::Zone`].
    pub fn new(me: Peer, cluster: ClusterId, incarnation: Incarnation, key: ZoneKey) -> Self {
        Self { version: wire::VERSION, formats: [1, 1], me, cluster, incarnation, key }
    }
}

/// What a connection is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Aim {
    /// The other end.
    pub peer: Peer,
    /// For what; none when it carries keepalives only.
    pub lane: Option<Lane>,
    /// Over which network.
    pub network: Network,
}

/// Why one end refused the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    /// Another version of the protocol.
    Version,
    /// Another cluster.
    Cluster,
    /// Not who was meant.
    WrongPeer,
    /// The address is on the other network.
    WrongNetwork,
    /// Not the zone's key.
    Key,
    /// Not our protocol, or broken.
    Garbage,
    /// Another run of the same identity is at work.
    Twin,
    /// A code that this build does not know.
    Other(u8),
}

impl Code {
    const ALL: [(u8, Self); 7] = [
        (1, Self::Version),
        (2, Self::Cluster),
        (3, Self::WrongPeer),
        (4, Self::WrongNetwork),
        (5, Self::Key),
        (6, Self::Garbage),
        (7, Self::Twin),
    ];
    fn byte(self) -> u8 {
        match self {
            Self::Other(byte) => byte,
            known => Self::ALL.iter().find(|(_, code)| *code == known).expect("every known code is listed").0,
        }
    }
    fn from_byte(byte: u8) -> Self {
        Self::ALL.iter().find(|(b, _)| *b == byte).map_or(Self::Other(byte), |(_, code)| *code)
    }
}

/// A refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Why, for programs.
    pub code: Code,
    /// Why, for people: both sides of the difference.
    pub text: String,
    /// Whether the other end refused us, rather than we it.
    pub by_peer: bool,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", if self.by_peer { "refused by the peer" } else { "refused here" }, self.text)
    }
}

fn refuse(code: Code, text: String) -> Refusal {
    Refusal { code, text, by_peer: false }
}

fn garbage(what: impl fmt::Display) -> Refusal {
    refuse(Code::Garbage, format!("{what}; something that is no Seawall process of this zone is at the other end"))
}

/// What the bytes read so far amount to.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// More bytes are needed, or must be awaited; nothing is to be sent.
    More,
    /// Send this and read on.
    Reply(Vec<u8>),
    /// The other end is proven. Send what is there; from now on frames.
    Open {
        /// To be sent first; maybe nothing.
        send: Vec<u8>,
        /// Who and for what.
        aim: Aim,
        /// Which run of the peer.
        incarnation: Incarnation,
    },
    /// It is over. Send what is there, then close.
    Refused {
        /// To be sent before closing; maybe nothing.
        send: Vec<u8>,
        /// Why.
        why: Refusal,
    },
}

/// One end of one hello.
#[derive(Debug)]
pub struct Session {
    state: State,
    /// Who the other end says it is, once it said so; for logs.
    claimed: Option<Peer>,
}

#[derive(Debug)]
enum State {
    /// Opener: the Hello is out.
    AwaitWelcome { aim: Aim, hello: Vec<u8> },
    /// Acceptor: nothing came yet.
    AwaitHello { network: Network, nonce: [u8; 32] },
    /// Acceptor: the Welcome is out.
    AwaitProof { aim: Aim, incarnation: Incarnation, expected: [u8; 32] },
    /// Open or refused.
    Over,
}

fn key_of(terms: &Terms, role: &str) -> [u8; 32] {
    terms.key.derive(&format!("seawall 2026-11 hello {role}"))
}

fn mac(terms: &Terms, role: &str, transcript: &[&[u8]]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_keyed(&key_of(terms, role));
    for part in transcript {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    *hasher.finalize().as_bytes()
}

/// Compares without telling by its time where they differ.
fn same(a: &[u8; 32], b: &[u8; 32]) -> bool {
    blake3::Hash::from_bytes(*a) == blake3::Hash::from_bytes(*b)
}

fn frame(kind: u16, head: Vec<u8>) -> Vec<u8> {
    let frame = Frame { kind, head: head.into(), data: Vec::new() };
    let mut bytes = wire::frame::encode(&frame).to_vec();
    bytes.extend_from_slice(&frame.head);
    bytes
}

fn reject(refusal: &Refusal) -> Vec<u8> {
    let mut w = Writer::default();
    w.u8(refusal.code.byte());
    refusal.text.put(&mut w);
    frame(REJECT, w.finish())
}

/// Reads the head of a Reject.
pub fn read_reject(head: &[u8]) -> Result<Refusal, Malformed> {
    let mut r = Reader::new(head);
    let code = Code::from_byte(r.u8()?);
    let text = String::take(&mut r)?;
    // It ends up in our log: no control characters of somebody else's choosing.
    let text = text.chars().filter(|c| !c.is_control()).take(TEXT_BYTES_MAX).collect();
    Ok(Refusal { code, text, by_peer: true })
}

/// The refusal of a second process under one identity, and its bytes. `at` is where the first is, alive.
pub fn twin(peer: Peer, at: std::net::SocketAddr, first: Incarnation, second: Incarnation) -> (Vec<u8>, Refusal) {
    let text = format!(
        "another process that is {peer} is at work, connected from {at} as run {first}, and this one is run {second}; an identity belongs to one \
         process and one disk: stop one of the two, or give this one an identity and a disk of its own"
    );
    let refusal = refuse(Code::Twin, text);
    (reject(&refusal), refusal)
}

fn put_peer(peer: Peer, w: &mut Writer) {
    let (tag, number) = match peer {
        Peer::Node(id) => (1, id.0),
        // Which of several it is says the cluster, and which it is here is nobody else's business.
        Peer::Zone | Peer::Authority(_) => (2, 0),
        Peer::Host(id) => (3, id.0),
        Peer::Operator(number) => (4, number),
        Peer::Region(number) => (5, number),
    };
    w.u8(tag);
    w.u64(number);
}

fn take_peer(r: &mut Reader<'_>) -> Result<Peer, Malformed> {
    match (r.u8()?, r.u64()?) {
        (1, id) => Ok(Peer::Node(NodeId(id))),
        (2, 0) => Ok(Peer::Zone),
        (3, id) => Ok(Peer::Host(HostId(id))),
        (4, number) => Ok(Peer::Operator(number)),
        (5, number) => Ok(Peer::Region(number)),
        _ => Err(Malformed { what: "peer: a tag that nobody gave" }),
    }
}

/// What a peer calls itself, whatever it is called here.
fn own_name(peer: Peer) -> Peer {
    match peer {
        Peer::Authority(_) => Peer::Zone,
        Peer::Node(_) | Peer::Zone | Peer::Host(_) | Peer::Operator(_) | Peer::Region(_) => peer,
    }
}

/// The part that Hello and Welcome share: version first, whatever comes later.
struct Greeting {
    formats: [u16; 2],
    cluster: ClusterId,
    from: Peer,
    to: Peer,
    incarnation: Incarnation,
    nonce: [u8; 32],
}

impl Greeting {
    fn write(&self, version: u16) -> Writer {
        let mut w = Writer::with_capacity(160);
        w.u16(version);
        self.formats.iter().for_each(|v| w.u16(*v));
        w.u128(self.cluster.0);
        put_peer(self.from, &mut w);
        put_peer(self.to, &mut w);
        self.incarnation.put(&mut w);
        w.raw(&self.nonce);
        w
    }

    /// The version is read and judged first: nothing behind it is believed to have our shape before.
    fn read(r: &mut Reader<'_>, terms: &Terms) -> Result<Self, Refusal> {
        let version = r.u16().map_err(garbage)?;
        if version != terms.version {
            let (me, mine) = (terms.me, terms.version);
            let older = if version < mine { "its peer".to_string() } else { me.to_string() };
            let text = format!("{me} speaks protocol version {mine} and its peer speaks {version}; upgrade {older}");
            return Err(refuse(Code::Version, text));
        }
        let mut rest = || -> Result<Self, Malformed> {
            Ok(Self {
                formats: [r.u16()?, r.u16()?],
                cluster: ClusterId(r.u128()?),
                from: take_peer(r)?,
                to: take_peer(r)?,
                incarnation: Incarnation(r.u64()?),
                nonce: r.raw(32)?.try_into().expect("raw returned 32 bytes"),
            })
        };
        rest().map_err(garbage)
    }

    fn judge(&self, terms: &Terms) -> Result<(), Refusal> {
        if self.cluster != terms.cluster {
            let text = format!(
                "{} belongs to cluster {} and {} to cluster {}; one of them has the wrong configuration or address",
                self.from, self.cluster, terms.me, terms.cluster
            );
            return Err(refuse(Code::Cluster, text));
        }
        if self.to != terms.me {
            let text = format!("{} was meant and this is {}; its address is out of date", self.to, terms.me);
            return Err(refuse(Code::WrongPeer, text));
        }
        Ok(())
    }
}

impl Session {
    /// Opens: the bytes returned are to be sent first. `nonce` must be fresh entropy.
    pub fn open(terms: &Terms, aim: Aim, nonce: [u8; 32]) -> (Self, Vec<u8>) {
        let Terms { version, formats, me, cluster, incarnation, .. } = *terms;
        let mut w = Greeting { formats, cluster, from: me, to: aim.peer, incarnation, nonce }.write(version);
        w.u8(match aim.lane {
            Some(Lane::Data) => 1,
            Some(Lane::Bulk) => 2,
            None => 3,
        });
        w.u8(match aim.network {
            Network::Primary => 1,
            Network::Replication => 2,
        });
        let hello = w.finish();
        let bytes = frame(HELLO, hello.clone());
        (Self { state: State::AwaitWelcome { aim, hello }, claimed: Some(aim.peer) }, bytes)
    }

    /// Waits for a Hello on a connection that came in over `network`. `nonce` must be fresh entropy.
    pub fn accept(network: Network, nonce: [u8; 32]) -> Self {
        Self { state: State::AwaitHello { network, nonce }, claimed: None }
    }

    /// Who the other end says it is; proven only when [`Step::Open`] came.
    pub fn claimed(&self) -> Option<Peer> {
        self.claimed
    }

    /// For what the other end says that it opened this, and in which run, while its proof is awaited.
    pub fn awaited(&self) -> Option<(Aim, Incarnation)> {
        match &self.state {
            State::AwaitProof { aim, incarnation, .. } => Some((*aim, *incarnation)),
            _ => None,
        }
    }

    /// Reads at most one frame off the front of `bytes`, all that came and was not yet consumed. Returns how many bytes it
    /// consumed. Call again after [`Step::Reply`].
    pub fn read(&mut self, terms: &Terms, bytes: &[u8]) -> (usize, Step) {
        assert!(!matches!(self.state, State::Over), "a hello that was over was read on");
        let outcome = match cut(bytes) {
            Ok(None) => return (0, Step::More),
            Ok(Some((kind, head, consumed))) => self.take(terms, kind, head).map(|step| (consumed, step)),
            Err(why) => Err(why),
        };
        let (consumed, step) = outcome.unwrap_or_else(|why| {
            let send = if why.by_peer { Vec::new() } else { reject(&why) };
            (bytes.len(), Step::Refused { send, why })
        });
        if matches!(step, Step::Open { .. } | Step::Refused { .. }) {
            self.state = State::Over;
        }
        (consumed, step)
    }

    fn take(&mut self, terms: &Terms, kind: u16, head: &[u8]) -> Result<Step, Refusal> {
        if kind == REJECT {
            return Err(read_reject(head).unwrap_or_else(garbage));
        }
        match std::mem::replace(&mut self.state, State::Over) {
            State::AwaitHello { network, nonce } if kind == HELLO => self.take_hello(terms, network, nonce, head),
            State::AwaitWelcome { aim, hello } if kind == WELCOME => take_welcome(terms, aim, &hello, head),
            State::AwaitProof { aim, incarnation, expected } if kind == PROOF => {
                let proof = <[u8; 32]>::try_from(head).map_err(|_| garbage("a proof of the wrong length"))?;
                if !same(&proof, &expected) {
                    return Err(wrong_key(terms, aim.peer));
                }
                Ok(Step::Open { send: Vec::new(), aim, incarnation })
            }
            _ => Err(garbage(format_args!("a frame of kind {kind:#04x} in the middle of a hello"))),
        }
    }

    fn take_hello(&mut self, terms: &Terms, network: Network, nonce: [u8; 32], head: &[u8]) -> Result<Step, Refusal> {
        let mut r = Reader::new(head);
        let greeting = Greeting::read(&mut r, terms)?;
        self.claimed = Some(greeting.from);
        let lane = match r.u8().map_err(garbage)? {
            1 => Some(Lane::Data),
            2 => Some(Lane::Bulk),
            3 => None,
            _ => return Err(garbage("an unknown lane")),
        };
        let wanted = match r.u8().map_err(garbage)? {
            1 => Network::Primary,
            2 => Network::Replication,
            _ => return Err(garbage("an unknown network")),
        };
        r.end("hello: bytes are left over").map_err(garbage)?;
        greeting.judge(terms)?;
        if wanted != network {
            let text = format!("{wanted:?} traffic came in on the {network:?} network; an address is wrong");
            return Err(refuse(Code::WrongNetwork, text));
        }
        if network == Network::Replication && !are_nodes(terms.me, greeting.from) {
            let text = format!("{} called on the replication network, which is for nodes only", greeting.from);
            return Err(refuse(Code::WrongNetwork, text));
        }
        let Terms { version, formats, me, cluster, incarnation, .. } = *terms;
        let welcome =
            Greeting { formats, cluster, from: me, to: greeting.from, incarnation, nonce }.write(version).finish();
        let proof = mac(terms, "acceptor", &[head, &welcome]);
        let expected = mac(terms, "opener", &[head, &welcome, &proof]);
        let aim = Aim { peer: greeting.from, lane, network };
        self.state = State::AwaitProof { aim, incarnation: greeting.incarnation, expected };
        Ok(Step::Reply(frame(WELCOME, [&welcome[..], &proof].concat())))
    }
}

/// Whether two may meet on the replication network.
pub fn are_nodes(a: Peer, b: Peer) -> bool {
    matches!((a, b), (Peer::Node(_), Peer::Node(_)))
}

fn wrong_key(terms: &Terms, peer: Peer) -> Refusal {
    let text =
        format!("{peer} and {} do not have the same zone key; copy the key file from one to the other", terms.me);
    refuse(Code::Key, text)
}

fn take_welcome(terms: &Terms, aim: Aim, hello: &[u8], head: &[u8]) -> Result<Step, Refusal> {
    let mut r = Reader::new(head);
    let greeting = Greeting::read(&mut r, terms)?;
    let welcome = &head[..head.len() - r.left()];
    let proof: [u8; 32] = r.raw(32).map_err(garbage)?.try_into().expect("raw returned 32 bytes");
    r.end("welcome: bytes are left over").map_err(garbage)?;
    greeting.judge(terms)?;
    if greeting.from != own_name(aim.peer) {
        let text = format!("{} was meant and {} answered; its address is out of date", aim.peer, greeting.from);
        return Err(refuse(Code::WrongPeer, text));
    }
    if !same(&proof, &mac(terms, "acceptor", &[hello, welcome])) {
        return Err(wrong_key(terms, aim.peer));
    }
    let send = frame(PROOF, mac(terms, "opener", &[hello, welcome, &proof]).to_vec());
    Ok(Step::Open { send, aim, incarnation: greeting.incarnation })
}

/// A hello frame: its kind, its head, and how many bytes it was.
type Cut<'a> = (u16, &'a [u8], usize);

/// One hello frame off the front. The version in the header is passed over on purpose.
fn cut(bytes: &[u8]) -> Result<Option<Cut<'_>>, Refusal> {
    if !b"SWL1".starts_with(&bytes[..bytes.len().min(4)]) {
        return Err(garbage(format_args!(
            "it speaks another protocol (first bytes {:02x?})",
            &bytes[..bytes.len().min(4)]
        )));
    }
    let Some(header) = bytes.first_chunk::<HEADER_BYTES>() else { return Ok(None) };
    let u32_at = |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    if u32_at(28) != crc32c(&header[..28]) {
        return Err(garbage("a damaged header in the hello"));
    }
    let kind = u16::from_le_bytes([header[6], header[7]]);
    let (head_len, data_len) = (u32_at(8) as usize, u32_at(12));
    if kind >= MESSAGES_FROM || head_len > HEAD_BYTES_MAX || data_len != 0 {
        return Err(garbage(format_args!("a frame of kind {kind:#04x} and {head_len} bytes in the hello")));
    }
    let Some(head) = bytes[HEADER_BYTES..].get(..head_len) else { return Ok(None) };
    if crc32c(head) != u32_at(16) {
        return Err(garbage("a damaged frame in the hello"));
    }
    Ok(Some((kind, head, HEADER_BYTES + head_len)))
}
