//! A small NBD client, blocking, for demonstrations, tests and `seawall bench`: it checks what a server may get wrong.
//!
//! Several commands may be in flight: [`Client::send`] each, then [`Client::receive`] their ends in whatever order they come.

use super::protocol::*;
use std::collections::HashMap;
use std::fmt;
use std::io::{self, BufReader, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// Why the client cannot go on, or why a command was not done.
#[derive(Debug)]
pub enum Error {
    /// The connection failed.
    Io(io::Error),
    /// The server refused an option of the handshake.
    Refused {
        /// Its code.
        code: u32,
        /// Its text.
        text: String,
    },
    /// The server answered a command with an error.
    Failed(Errno),
    /// The server does not keep to the protocol.
    Protocol(&'static str),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(e) => write!(f, "the NBD connection failed: {e}"),
            Self::Refused { code, text } => write!(f, "the NBD server refused: {text} (code {code:#x})"),
            Self::Failed(errno) => write!(f, "the NBD server answered {errno}"),
            Self::Protocol(what) => write!(f, "the NBD server broke the protocol: {what}"),
        }
    }
}

impl std::error::Error for Error {}

impl From<io::Error> for Error {
    fn from(e: io::Error) -> Self {
        Self::Io(e)
    }
}

/// A connected socket.
#[derive(Debug)]
enum Socket {
    Unix(UnixStream),
    Tcp(TcpStream),
}

impl Read for Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Unix(s) => s.read(buffer),
            Self::Tcp(s) => s.read(buffer),
        }
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Unix(s) => s.write(bytes),
            Self::Tcp(s) => s.write(bytes),
        }
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// One command.
#[derive(Debug, Clone, Copy)]
pub enum Command<'a> {
    /// Read `len` bytes at `offset`.
    Read {
        /// From which byte.
        offset: u64,
        /// How many bytes.
        len: u32,
    },
    /// Write `data` at `offset`.
    Write {
        /// From which byte.
        offset: u64,
        /// What.
        data: &'a [u8],
    },
    /// Make all that was answered durable.
    Flush,
    /// These bytes are not needed any more.
    Trim {
        /// From which byte.
        offset: u64,
        /// How many bytes.
        len: u32,
    },
    /// Write zeroes.
    Zero {
        /// From which byte.
        offset: u64,
        /// How many bytes.
        len: u32,
    },
}

/// The end of a command.
#[derive(Debug)]
pub struct Completion {
    /// As [`Client::send`] returned it.
    pub cookie: u64,
    /// The bytes of a read, nothing for the others; or the server's error.
    pub result: Result<Vec<u8>, Errno>,
}

/// One connection, in use.
#[derive(Debug)]
pub struct Client {
    socket: BufReader<Socket>,
    size: u64,
    /// Offset and length of each command in flight; the length only of reads.
    in_flight: HashMap<u64, (u64, u32)>,
    next_cookie: u64,
    /// Kept for the next command, so that a command needs no memory of its own.
    outgoing: Vec<u8>,
}

impl Client {
    /// Connects to a Unix socket and opens an export by its name, which at our servers is a volume's id.
    pub fn connect_unix(path: impl AsRef<Path>, export: impl fmt::Display) -> Result<Self, Error> {
        Self::open(Socket::Unix(UnixStream::connect(path)?), &export.to_string())
    }

    /// Connects to a TCP address and opens an export.
    pub fn connect_tcp(address: impl ToSocketAddrs, export: impl fmt::Display) -> Result<Self, Error> {
        let socket = TcpStream::connect(address)?;
        socket.set_nodelay(true)?;
        Self::open(Socket::Tcp(socket), &export.to_string())
    }

    /// Opens an export over a socket that is connected already.
    pub fn over_unix(socket: UnixStream, export: impl fmt::Display) -> Result<Self, Error> {
        Self::open(Socket::Unix(socket), &export.to_string())
    }

    /// The names of all exports.
    pub fn list_unix(path: impl AsRef<Path>) -> Result<Vec<String>, Error> {
        let mut socket = BufReader::new(Socket::Unix(UnixStream::connect(path)?));
        greet(&mut socket)?;
        option(&mut socket, OPT_LIST, &[])?;
        let mut names = Vec::new();
        while let Some((_, data)) = option_reply(&mut socket, OPT_LIST)? {
            let (len, rest) = data.split_first_chunk::<4>().ok_or(Error::Protocol("an export without a name"))?;
            let name = rest.get(..u32::from_be_bytes(*len) as usize).ok_or(Error::Protocol("an export's name"))?;
            names.push(String::from_utf8_lossy(name).into_owned());
        }
        option(&mut socket, OPT_ABORT, &[])?;
        while option_reply(&mut socket, OPT_ABORT)?.is_some() {}
        Ok(names)
    }

    fn open(socket: Socket, name: &str) -> Result<Self, Error> {
        let mut socket = BufReader::with_capacity(64 << 10, socket);
        greet(&mut socket)?;
        option(&mut socket, OPT_STRUCTURED_REPLY, &[])?;
        while option_reply(&mut socket, OPT_STRUCTURED_REPLY)?.is_some() {}
        let data = [&(name.len() as u32).to_be_bytes()[..], name.as_bytes(), &0u16.to_be_bytes()].concat();
        option(&mut socket, OPT_GO, &data)?;
        let mut size = None;
        while let Some((_, data)) = option_reply(&mut socket, OPT_GO)? {
            if let Some((kind, rest)) = data.split_first_chunk::<2>()
                && u16::from_be_bytes(*kind) == INFO_EXPORT
            {
                size = rest.first_chunk::<8>().map(|bytes| u64::from_be_bytes(*bytes));
            }
        }
        let size = size.ok_or(Error::Protocol("an export without a size"))?;
        Ok(Self { socket, size, in_flight: HashMap::new(), next_cookie: 1, outgoing: Vec::new() })
    }

    /// Bytes of the volume.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// How many commands have been sent and not received.
    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// How long [`Self::send`] and [`Self::receive`] wait before they fail; for ever when none. A connection whose wait ended is of no more use.
    pub fn set_timeout(&self, timeout: Option<Duration>) -> Result<(), Error> {
        match self.socket.get_ref() {
            Socket::Unix(s) => s.set_read_timeout(timeout).and_then(|()| s.set_write_timeout(timeout))?,
            Socket::Tcp(s) => s.set_read_timeout(timeout).and_then(|()| s.set_write_timeout(timeout))?,
        }
        Ok(())
    }

    /// Sends a command and returns its cookie.
    pub fn send(&mut self, command: Command<'_>) -> Result<u64, Error> {
        let (kind, offset, len, data): (u16, u64, u32, &[u8]) = match command {
            Command::Read { offset, len } => (CMD_READ, offset, len, &[]),
            Command::Write { offset, data } => {
                let len = u32::try_from(data.len()).map_err(|_| Error::Protocol("a write of 4 GiB or more"))?;
                (CMD_WRITE, offset, len, data)
            }
            Command::Flush => (CMD_FLUSH, 0, 0, &[]),
            Command::Trim { offset, len } => (CMD_TRIM, offset, len, &[]),
            Command::Zero { offset, len } => (CMD_WRITE_ZEROES, offset, len, &[]),
        };
        let cookie = self.next_cookie;
        self.next_cookie += 1;
        let bytes = &mut self.outgoing;
        bytes.clear();
        bytes.reserve(28 + data.len());
        bytes.extend_from_slice(&REQUEST_MAGIC.to_be_bytes());
        bytes.extend_from_slice(&0u16.to_be_bytes());
        bytes.extend_from_slice(&kind.to_be_bytes());
        bytes.extend_from_slice(&cookie.to_be_bytes());
        bytes.extend_from_slice(&offset.to_be_bytes());
        bytes.extend_from_slice(&len.to_be_bytes());
        bytes.extend_from_slice(data);
        self.socket.get_mut().write_all(bytes)?;
        self.in_flight.insert(cookie, (offset, if kind == CMD_READ { len } else { 0 }));
        Ok(cookie)
    }

    /// Waits for the end of any command.
    pub fn receive(&mut self) -> Result<Completion, Error> {
        match u32::from_be_bytes(take(&mut self.socket)?) {
            SIMPLE_REPLY_MAGIC => {
                let error = u32::from_be_bytes(take(&mut self.socket)?);
                let cookie = u64::from_be_bytes(take(&mut self.socket)?);
                let (_, len) = self.in_flight.remove(&cookie).ok_or(Error::Protocol("a reply to nothing"))?;
                if error == 0 && len > 0 {
                    return Err(Error::Protocol("a simple reply to a read, though structured replies were agreed on"));
                }
                let result = if error == 0 { Ok(Vec::new()) } else { Err(Errno(error)) };
                Ok(Completion { cookie, result })
            }
            STRUCTURED_REPLY_MAGIC => self.receive_chunks(),
            _ => Err(Error::Protocol("a reply of no known kind")),
        }
    }

    /// A structured reply, its first magic number taken: chunks up to the one that says it is the last.
    fn receive_chunks(&mut self) -> Result<Completion, Error> {
        let mut reading: Option<(u64, Vec<u8>, u64)> = None;
        let mut failed = None;
        loop {
            let flags = u16::from_be_bytes(take(&mut self.socket)?);
            let kind = u16::from_be_bytes(take(&mut self.socket)?);
            let cookie = u64::from_be_bytes(take(&mut self.socket)?);
            let len = u32::from_be_bytes(take(&mut self.socket)?) as usize;
            let (offset, wanted) = *self.in_flight.get(&cookie).ok_or(Error::Protocol("a reply to nothing"))?;
            if len > wanted as usize + 8 + 65_536 {
                return Err(Error::Protocol("a chunk longer than what was asked for"));
            }
            let (_, bytes, filled) = reading.get_or_insert_with(|| (cookie, vec![0; wanted as usize], 0));
            let mut body = Vec::new();
            if kind == REPLY_OFFSET_DATA {
                // Straight to where it belongs: a body of its own would be copied once more.
                let len = len.checked_sub(8).ok_or(Error::Protocol("data without an offset"))?;
                let start = u64::from_be_bytes(take(&mut self.socket)?).checked_sub(offset).map(|start| start as usize);
                let target = start.and_then(|start| bytes.get_mut(start..start.checked_add(len)?));
                self.socket.read_exact(target.ok_or(Error::Protocol("data that was not asked for"))?)?;
                *filled += len as u64;
            } else {
                body.resize(len, 0);
                self.socket.read_exact(&mut body)?;
            }
            match kind {
                REPLY_NONE | REPLY_OFFSET_DATA => {}
                REPLY_OFFSET_HOLE => {
                    let hole = body.get(8..12).ok_or(Error::Protocol("a hole without a length"))?;
                    *filled += u64::from(u32::from_be_bytes(hole.try_into().expect("four bytes")));
                }
                REPLY_ERROR | REPLY_ERROR_OFFSET => {
                    let code = body.first_chunk::<4>().ok_or(Error::Protocol("an error without a number"))?;
                    failed = Some(Errno(u32::from_be_bytes(*code)));
                }
                _ => return Err(Error::Protocol("a chunk of no known kind")),
            }
            if flags & REPLY_FLAG_DONE == 0 {
                // Our server sends each reply as one chunk; another's chunks of several replies may come mixed, which this
                // small client does not follow.
                if u32::from_be_bytes(take(&mut self.socket)?) != STRUCTURED_REPLY_MAGIC {
                    return Err(Error::Protocol("chunks of several replies, mixed"));
                }
                continue;
            }
            let (first, bytes, filled) = reading.take().expect("at least one chunk came");
            self.in_flight.remove(&cookie);
            if first != cookie {
                return Err(Error::Protocol("chunks of several replies, mixed"));
            }
            if failed.is_none() && filled != u64::from(wanted) {
                return Err(Error::Protocol("less data than was asked for"));
            }
            return Ok(Completion { cookie, result: failed.map_or(Ok(bytes), Err) });
        }
    }

    fn run(&mut self, command: Command<'_>) -> Result<Vec<u8>, Error> {
        if !self.in_flight.is_empty() {
            return Err(Error::Protocol("one command at a time was asked for while others are in flight"));
        }
        self.send(command)?;
        self.receive()?.result.map_err(Error::Failed)
    }

    /// Reads and waits. Nothing else may be in flight; so it is with those below.
    pub fn read(&mut self, offset: u64, len: u32) -> Result<Vec<u8>, Error> {
        self.run(Command::Read { offset, len })
    }

    /// Writes and waits.
    pub fn write(&mut self, offset: u64, data: &[u8]) -> Result<(), Error> {
        self.run(Command::Write { offset, data }).map(drop)
    }

    /// Flushes and waits.
    pub fn flush(&mut self) -> Result<(), Error> {
        self.run(Command::Flush).map(drop)
    }

    /// Trims and waits.
    pub fn trim(&mut self, offset: u64, len: u32) -> Result<(), Error> {
        self.run(Command::Trim { offset, len }).map(drop)
    }

    /// Writes zeroes and waits.
    pub fn zero(&mut self, offset: u64, len: u32) -> Result<(), Error> {
        self.run(Command::Zero { offset, len }).map(drop)
    }

    /// Takes its leave: the server ends what is in flight and closes.
    pub fn disconnect(mut self) -> Result<(), Error> {
        let mut bytes = [0; 28];
        bytes[..4].copy_from_slice(&REQUEST_MAGIC.to_be_bytes());
        bytes[6..8].copy_from_slice(&CMD_DISC.to_be_bytes());
        self.socket.get_mut().write_all(&bytes)?;
        let mut rest = Vec::new();
        self.socket.read_to_end(&mut rest)?;
        Ok(())
    }
}

fn take<const N: usize>(socket: &mut BufReader<Socket>) -> Result<[u8; N], Error> {
    let mut bytes = [0; N];
    socket.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn greet(socket: &mut BufReader<Socket>) -> Result<(), Error> {
    let magics = (u64::from_be_bytes(take(socket)?), u64::from_be_bytes(take(socket)?));
    if magics != (MAGIC, OPTION_MAGIC) {
        return Err(Error::Protocol("it does not greet as an NBD server does"));
    }
    let flags = u16::from_be_bytes(take(socket)?);
    if flags & FLAG_FIXED_NEWSTYLE == 0 {
        return Err(Error::Protocol("it does not negotiate in the fixed newstyle"));
    }
    let answer = u32::from(flags & (FLAG_FIXED_NEWSTYLE | FLAG_NO_ZEROES));
    socket.get_mut().write_all(&answer.to_be_bytes())?;
    Ok(())
}

fn option(socket: &mut BufReader<Socket>, option: u32, data: &[u8]) -> Result<(), Error> {
    let header = [&OPTION_MAGIC.to_be_bytes()[..], &option.to_be_bytes(), &(data.len() as u32).to_be_bytes(), data];
    Ok(socket.get_mut().write_all(&header.concat())?)
}

/// One reply to an option; none when it is the acknowledgement that ends them.
fn option_reply(socket: &mut BufReader<Socket>, option: u32) -> Result<Option<(u32, Vec<u8>)>, Error> {
    let magic = u64::from_be_bytes(take(socket)?);
    let echoed = u32::from_be_bytes(take(socket)?);
    let code = u32::from_be_bytes(take(socket)?);
    let len = u32::from_be_bytes(take(socket)?);
    if (magic, echoed) != (OPTION_REPLY_MAGIC, option) || len > 1 << 20 {
        return Err(Error::Protocol("a reply to an option is not one"));
    }
    let mut data = vec![0; len as usize];
    socket.read_exact(&mut data)?;
    match code {
        REP_ACK => Ok(None),
        code if code >> 31 == 1 => Err(Error::Refused { code, text: String::from_utf8_lossy(&data).into_owned() }),
        code => Ok(Some((code, data))),
    }
}
