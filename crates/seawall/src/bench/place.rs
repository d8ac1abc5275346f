//! What is measured: an export under its NBD address, or a volume by its id.

use base::VolumeId;
use frontend::nbd::client::{Client, Error};
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// The port of NBD where an address names none.
const PORT: u16 = 10_809;

/// An export.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// As it was written.
    text: String,
    /// Its name.
    export: String,
    server: Server,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Server {
    Unix(PathBuf),
    Tcp(String),
}

/// What was named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// `seawall attach` printed it.
    Address(Address),
    /// It is attached for as long as it is measured, unless it is already.
    Volume(VolumeId),
}

impl Address {
    /// Connects and opens the export.
    pub fn open(&self) -> Result<Client, Error> {
        match &self.server {
            Server::Unix(path) => Client::connect_unix(path, &self.export),
            Server::Tcp(server) => Client::connect_tcp(server, &self.export),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Address {
    type Err = String;

    /// As the NBD project writes addresses (its doc/uri.md), without TLS.
    fn from_str(text: &str) -> Result<Self, String> {
        let bad = |why: &str| format!("{text:?} is no NBD address: {why}");
        let (scheme, rest) = text.split_once("://").ok_or_else(|| bad("it has no scheme such as nbd+unix://"))?;
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (server, export) = rest.split_once('/').unwrap_or((rest, ""));
        let export = unescaped(export).ok_or_else(|| bad("a % is not followed by two hexadecimal digits"))?;
        let server = match scheme {
            "nbd+unix" => {
                let socket = query.split('&').find_map(|pair| pair.strip_prefix("socket="));
                let socket = socket.filter(|path| !path.is_empty()).ok_or_else(|| bad("it names no socket=PATH"))?;
                let path = unescaped(socket).ok_or_else(|| bad("a % is not followed by two hexadecimal digits"))?;
                Server::Unix(path.into())
            }
            "nbd" if server.is_empty() => return Err(bad("it names no server")),
            "nbd" => {
                // Colons also stand within the brackets of an address.
                let has_port = server.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
                Server::Tcp(if has_port { server.into() } else { format!("{server}:{PORT}") })
            }
            other => return Err(bad(&format!("{other} is neither nbd+unix nor nbd"))),
        };
        Ok(Self { text: text.into(), export, server })
    }
}

/// With every `%41` as the byte that it stands for.
fn unescaped(text: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, behind)) = rest.split_first() {
        rest = behind;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let (digits, behind) = rest.split_at_checked(2)?;
        let digits = std::str::from_utf8(digits).ok().filter(|d| d.bytes().all(|b| b.is_ascii_hexdigit()))?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        rest = behind;
    }
    String::from_utf8(bytes).ok()
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.contains("://") {
            return text.parse().map(Self::Address);
        }
        let neither = |_| {
            format!("{text:?} is neither a volume such as vol-00123456789abcdef nor an address such as nbd+unix:///..")
        };
        text.parse().map(Self::Volume).map_err(neither)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::region::nbd_uri;

    #[test]
    fn an_address_is_read_as_attach_prints_it() {
        let text = nbd_uri("vol-00000000000000abc", "/srv/a b%/nbd.sock");
        let address: Address = text.parse().unwrap();
        assert_eq!(address.to_string(), text);
        assert_eq!(address.export, "vol-00000000000000abc");
        assert_eq!(address.server, Server::Unix("/srv/a b%/nbd.sock".into()));
    }

    #[test]
    fn a_server_may_be_anywhere_and_an_export_may_have_no_name() {
        let server = |text: &str| text.parse::<Address>().map(|a| (a.server, a.export));
        assert_eq!(server("nbd://localhost"), Ok((Server::Tcp("localhost:10809".into()), String::new())));
        assert_eq!(server("nbd://h:1/a%2Fb"), Ok((Server::Tcp("h:1".into()), "a/b".into())));
        assert_eq!(server("nbd://[::1]:7/x"), Ok((Server::Tcp("[::1]:7".into()), "x".into())));
        assert_eq!(server("nbd://[::1]/x"), Ok((Server::Tcp("[::1]:10809".into()), "x".into())));
        assert_eq!(server("nbd+unix://?socket=s"), Ok((Server::Unix("s".into()), String::new())));
    }

    #[test]
    fn what_is_no_place_is_refused() {
        for bad in [
            "",
            "vol-1",
            "x",
            "nbd+unix:///x",
            "nbd+unix:///x?socket=",
            "nbd:///x",
            "nbds://h/x",
            "nbd://h/%4",
            "nbd://h/%zz",
        ] {
            assert!(bad.parse::<Place>().is_err(), "{bad}");
        }
        assert_eq!("vol-00000000000000abc".parse(), Ok(Place::Volume(VolumeId(0xabc))));
    }
}
