//! The daemons: each joins one machine to the real world and runs it until it is asked to stop.
//!
//! A daemon says on its standard output how far it is, one line each: `listening` when its sockets and files are open, `ready`
//! when it can do its work. What it has to say besides goes to standard error.

mod authorities;
#[cfg(feature = "faults")]
pub mod fail_point;
pub mod host;
pub mod node;
pub mod region;
mod telemetry;
pub mod zone;

use crate::refusal::{Code, Refusal};
use base::Incarnation;
use base::io::net::{Addresses, Down, Event, Link, Op, Peer};
use base::io::{Inbox, Input, Outbox};
use runtime::{Application, StartError, World, ZoneKey};
use std::net::SocketAddr;
use std::path::Path;

/// Draws the number of this run of a process: greater than that of every run before, even if the wall clock went back. It
/// is kept, durably, beside the configuration.
pub fn incarnation(config: &Path) -> Result<Incarnation, Refusal> {
    let path = config.with_file_name("incarnation");
    let last = match std::fs::read_to_string(&path) {
        Ok(text) => text.trim().parse::<u64>().map_err(|_| {
            let text = format!(
                "{} holds no number; write one into it that is greater than any this process had (nanoseconds since 1970)",
                path.display()
            );
            Refusal::new(Code::Start, text)
        })?,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => 0,
        Err(e) => return Err(Refusal::file("read", &path, &e)),
    };
    let next = Incarnation(last).next().max(Incarnation(wall_ns()));
    crate::region::replace(&path, format!("{next}\n").as_bytes(), 0o644)?;
    Ok(next)
}

fn wall_ns() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// Reads the zone's key.
pub fn key(path: &Path) -> Result<ZoneKey, Refusal> {
    ZoneKey::read(path).map_err(|e| Refusal::new(Code::Start, e.to_string()))
}

/// Why a process did not start.
pub fn cannot_start(who: &str, error: &StartError) -> Refusal {
    Refusal::new(Code::Start, format!("{who} cannot start: {error}"))
}

/// Tells a machine's network where the authority is: the only address a node or a host is born with.
fn know_zone(at: SocketAddr, out: &mut Outbox) {
    out.net(Op::Know { peer: Peer::Zone, at: Addresses { primary: at, replication: None } });
}

/// Drives a machine until it is asked to stop, and leaves a line that says what the run cost.
fn drive(who: &str, world: &mut World, app: &mut dyn Application) -> Result<(), Refusal> {
    let ended = world.run(app).map_err(|e| Refusal::new(Code::Fault, format!("{who}: {e}")));
    eprintln!("counters: {}", world.counters());
    ended.map(drop)
}

/// Whether the authority answered a registration among these inputs: it says who the nodes are.
fn has_directory(inbox: &Inbox) -> bool {
    let directory = wire::Message::from(wire::Directory { nodes: Vec::new() }).kind();
    inbox.iter().any(|input| {
        matches!(input, Input::Net(Event::Frame { from, frame }) if from.peer == Peer::Zone && frame.kind == directory)
    })
}

/// Status of a process that found that it is one too many.
const DISPLACED: i32 = 1;

/// Who else has this process's identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Displaced {
    /// A process that is alive, and came first.
    Twin,
    /// A later run.
    Overtaken(Incarnation),
}

impl Displaced {
    /// What the authority says of it among these inputs.
    fn among(inbox: &Inbox) -> Option<Self> {
        inbox.iter().find_map(|input| match input {
            Input::Net(Event::Down { link, why: Down::Twin }) if *link == Link::to(Peer::Zone) => Some(Self::Twin),
            Input::Net(Event::Frame { from, frame }) if *from == Link::to(Peer::Zone) => {
                match wire::Message::decode(frame) {
                    Ok(wire::Message::Overtaken(m)) => Some(Self::Overtaken(m.incarnation)),
                    _ => None,
                }
            }
            _ => None,
        })
    }

    /// Why the process ended.
    fn refusal(self, who: &str, world: &World) -> Refusal {
        let text = match self {
            Self::Twin => world.twin().unwrap_or("another process of this identity is at work").to_string(),
            Self::Overtaken(run) => format!(
                "a later run, {run}, of this identity has registered with the zone, so this one is over; if they are two processes, give one of \
                 them an identity and a disk of its own"
            ),
        };
        Refusal::new(Code::Twin, format!("{who} ends: {text}"))
    }
}

/// Says how far the process is. Whoever started it may be gone; that changes nothing here.
fn announce(stage: &str) {
    crate::say(&format!("{stage}\n"));
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::Payload;

    #[test]
    fn every_run_has_a_greater_number_even_if_the_clock_goes_back() {
        let dir = std::env::temp_dir().join(format!("seawall-incarnation-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let config = dir.join("config.toml");
        let first = incarnation(&config).unwrap();
        let second = incarnation(&config).unwrap();
        assert!(second > first && first.0 > 1_600_000_000_000_000_000);
        let future = u64::MAX - 10;
        std::fs::write(dir.join("incarnation"), future.to_string()).unwrap();
        assert_eq!(incarnation(&config).unwrap(), Incarnation(future + 1));
        std::fs::write(dir.join("incarnation"), "soon").unwrap();
        assert_eq!(incarnation(&config).unwrap_err().code, Code::Start);
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn only_a_directory_from_the_authority_means_that_it_knows_us() {
        let frame = |from, message: wire::Message| {
            Inbox::from([Input::Net(Event::Frame { from, frame: message.frame_with(vec![Payload::empty()]) })])
        };
        let directory = wire::Directory { nodes: Vec::new() };
        assert!(has_directory(&frame(Link::to(Peer::Zone), directory.clone().into())));
        assert!(!has_directory(&frame(Link::to(Peer::Node(base::NodeId(1))), directory.into())));
        assert!(!has_directory(&frame(Link::to(Peer::Zone), wire::NodeReply { nodes: Vec::new() }.into())));
    }

    #[test]
    fn only_the_authority_says_that_a_process_is_one_too_many() {
        let (zone, node) = (Link::to(Peer::Zone), Link::to(Peer::Node(base::NodeId(1))));
        let down = |link, why| Inbox::from([Input::Net(Event::Down { link, why })]);
        let says = |from| {
            let frame = wire::Message::from(wire::Overtaken { incarnation: Incarnation(9) }).frame();
            Inbox::from([Input::Net(Event::Frame { from, frame })])
        };
        assert_eq!(Displaced::among(&down(zone, Down::Twin)), Some(Displaced::Twin));
        assert_eq!(Displaced::among(&says(zone)), Some(Displaced::Overtaken(Incarnation(9))));
        for other in [down(zone, Down::Rejected), down(node, Down::Twin), says(node)] {
            assert_eq!(Displaced::among(&other), None);
        }
    }
}
