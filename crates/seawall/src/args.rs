//! What may be typed: every command, its options, and an example of each. Nothing is carried out here.

use crate::bench::{self, place::Place, rows::Row};
use base::size::Size;
use base::{HostId, NodeId, PointId, RequestId, ShardId, StoreUuid, VolumeId};
use clap::error::ErrorKind;
use clap::{Args, CommandFactory as _, Parser, Subcommand, ValueEnum};
use std::ffi::OsString;
use std::fmt::Display;
use std::path::PathBuf;
use std::str::FromStr;

/// Block storage that outlives its nodes.
#[derive(Debug, Parser)]
#[command(name = "seawall", version, about, long_about = None, disable_help_subcommand = true)]
#[command(after_help = "Exit status: 0 done, 1 refused or failed, 2 wrong usage.\n\
Start here:\n  seawall demo\n  seawall dev")]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Shows the whole thing in about a minute: real processes, real data, nodes killed, every byte verified
    #[command(after_help = "Example:\n  seawall demo")]
    Demo(Demo),
    /// Runs a region on this machine until interrupted; the same folder again continues with all data
    #[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
    #[command(
        after_help = "Examples:\n  seawall dev\n  seawall dev --dir /srv/seawall --nodes 5 --node-size 64GiB\n  \
seawall dev --zones 3\n  seawall dev start node-1 --dir /srv/seawall"
    )]
    Dev(Dev),
    /// Makes, lists, shows, freezes and deletes volumes
    #[command(subcommand)]
    Volume(Volume),
    /// Attaches a volume to a host and prints where it is
    #[command(
        after_help = "Example:\n  seawall attach vol-00123456789abcdef\n  nbdinfo \"$(seawall attach vol-00123456789abcdef)\""
    )]
    Attach(Attach),
    /// Detaches a volume: whoever still writes to it is refused
    #[command(after_help = "Example:\n  seawall detach vol-00123456789abcdef")]
    Detach(OneVolume),
    /// Runs a storage node, or lists and shows the nodes of a zone
    #[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
    #[command(
        after_help = "Examples:\n  seawall node --print-config > node.toml\n  seawall node --config node.toml\n  \
seawall node list"
    )]
    Node(NodeCommand),
    /// Runs the authority of a zone
    #[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
    #[command(after_help = "Examples:\n  seawall zone --print-config > zone.toml\n  seawall zone --config zone.toml")]
    Zone(ZoneCommand),
    /// Runs a host: attaches volumes and offers them over NBD
    #[command(after_help = "Examples:\n  seawall host --print-config > host.toml\n  seawall host --config host.toml")]
    Host(Daemon),
    /// Runs the simulator: the same machines in an invented world, by seed
    #[command(
        after_help = "Examples:\n  seawall sim --seed 7\n  seawall sim --seeds 0..100\n  seawall sim --seed 7 --story"
    )]
    Sim(Sim),
    /// Runs the control plane of a region: serves its API
    #[command(
        after_help = "Examples:\n  seawall region --print-config > region.toml\n  seawall region --config region.toml"
    )]
    Region(Daemon),
    /// Drives a volume for the tests that torture a region, and judges what it saw
    #[command(hide = true)]
    #[command(after_help = "Example:\n  cargo xtask torture --minutes 5")]
    Witness(Witness),
    /// Reads a disk that no process has, and changes nothing
    #[command(subcommand)]
    Inspect(Inspect),
    /// Not built yet: replays 21 April 2011
    #[command(after_help = "Example:\n  seawall replay 2011-04-21 --as-we-are")]
    Replay(Later),
    /// Not built yet: answers what would happen if
    #[command(after_help = "Example:\n  seawall whatif --lose-rack r1")]
    Whatif(Later),
    /// Measures a volume by the project's own workloads; without one, a volume made for it in a region of its own
    #[command(
        after_help = "Examples:\n  seawall bench\n  seawall bench --rows write-qd1,write-qd32 --seconds 10 --json\n  \
seawall bench vol-00123456789abcdef --rows read-qd1,read-qd32\n  seawall bench \"$(seawall attach vol-00123456789abcdef)\" --overwrite --verify"
    )]
    Bench(Bench),
}

/// Where the region is, and how to answer.
#[derive(Debug, Clone, Args)]
pub struct Target {
    /// Folder of the region, as given to `seawall dev`; its region.json says where the authority is
    #[arg(long, value_name = "DIR", default_value = "seawall-dev")]
    pub dir: PathBuf,
    /// The zone that is meant, where the region has several [default: the only one]
    #[arg(long, value_name = "NAME")]
    pub zone: Option<String>,
    /// Answers in JSON
    #[arg(long)]
    pub json: bool,
}

/// `seawall demo`.
#[derive(Debug, Args)]
pub struct Demo {
    /// Prints the measured table as JSON at the end; the story goes to standard error
    #[arg(long)]
    pub json: bool,
    /// Breaks something on purpose, to see that the demo notices: it must then fail
    #[arg(long, value_name = "NAME")]
    pub fault: Option<DemoFault>,
}

/// What can be broken on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DemoFault {
    /// Somebody else changes one byte of the volume behind the client's back
    FlipByte,
    /// So many nodes are killed for good that only one copy is left and no node to mirror it to
    LoseTwo,
}

/// `seawall dev`.
#[derive(Debug, Args)]
pub struct Dev {
    /// Or start one process again that was killed
    #[command(subcommand)]
    pub command: Option<DevCommand>,
    /// Folder of the region and its data; made when it does not exist
    #[arg(long, value_name = "DIR", default_value = "seawall-dev")]
    pub dir: PathBuf,
    /// Zones, each a cluster of its own with an authority, nodes and hosts [default: 1, or as many as the folder has]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=6))]
    pub zones: Option<u16>,
    /// Nodes of each zone, each in a rack of its own [default: 4, or as many as the folder has]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(3..=64))]
    pub nodes: Option<u16>,
    /// Space of each new node; the file is sparse
    #[arg(long, value_name = "SIZE", default_value = "8GiB", value_parser = written::<Size>)]
    pub node_size: Size,
    /// Hosts of each zone, which its volumes can be attached to [default: 1, or as many as the folder has]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=16))]
    pub hosts: Option<u16>,
    /// Bytes in each shard of the volumes, in a new folder; a multiple of 512KiB [default: 128GiB]
    #[arg(long, value_name = "SIZE", value_parser = shard_size)]
    pub shard_size: Option<Size>,
    /// First port: the zone takes it, the API the next, and two more for each node follow, then the next zone [default: free ones]
    #[arg(long, value_name = "P", value_parser = clap::value_parser!(u16).range(1024..=65000))]
    pub port: Option<u16>,
    /// Seconds that a lost copy is waited for before a new one is made on another node, in a new folder [default: 10]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(0..=86_400))]
    pub remirror_after: Option<u64>,
    /// Name of the region [default: local-1]
    #[arg(long, value_name = "NAME")]
    pub region: Option<String>,
    /// Prints region.json when all is ready, instead of the table
    #[arg(long)]
    pub json: bool,
}

/// What else `seawall dev` does.
#[derive(Debug, Subcommand)]
pub enum DevCommand {
    /// Starts one process of a running region again
    #[command(
        after_help = "Examples:\n  seawall dev start node-1 --dir seawall-dev\n  seawall dev start zone --zone local-1b"
    )]
    Start {
        /// zone, region, node-1, or the id of a host
        id: String,
        /// Where the region is
        #[command(flatten)]
        target: Target,
    },
}

/// `seawall volume`.
#[derive(Debug, Subcommand)]
pub enum Volume {
    /// Makes a volume, each copy in a different rack
    #[command(
        after_help = "Examples:\n  seawall volume create 1GiB\n  seawall volume create 1GiB --iops 500 --bandwidth 100MiB"
    )]
    Create {
        /// How large, such as 1GiB; a multiple of 4KiB
        #[arg(value_parser = written::<Size>)]
        size: Size,
        /// Copies on different nodes [default: the zone's, 3]
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=7))]
        copies: Option<u8>,
        /// I/Os that it may do in a second, each of up to 256KiB, or none for no limit [default: none]
        #[arg(long, value_name = "N", value_parser = iops)]
        iops: Option<u64>,
        /// Bytes that it may read and write in a second, such as 100MiB, or none for no limit [default: none]
        #[arg(long, value_name = "SIZE", value_parser = bandwidth)]
        bandwidth: Option<u64>,
        /// The same request twice is one volume: a UUID [default: a new one]
        #[arg(long, value_name = "UUID", value_parser = written::<RequestId>)]
        request: Option<RequestId>,
        /// Where the region is
        #[command(flatten)]
        target: Target,
    },
    /// Lists all volumes
    #[command(after_help = "Example:\n  seawall volume list")]
    List {
        /// Where the region is
        #[command(flatten)]
        target: Target,
    },
    /// Shows a volume and each of its shards: epoch, primary, members, holders, learner, state
    #[command(after_help = "Example:\n  seawall volume show vol-00123456789abcdef")]
    Show(OneVolume),
    /// Limits what a volume may do in a second, also while it is attached; what waits for that is never failed
    #[command(
        after_help = "Examples:\n  seawall volume throttle vol-00123456789abcdef --iops 500 --bandwidth 100MiB\n  \
seawall volume throttle vol-00123456789abcdef --bandwidth none"
    )]
    Throttle(ThrottleVolume),
    /// Freezes a volume: a point that keeps what all its shards held at one moment, also while it is written to. Prints the point
    #[command(after_help = "Example:\n  seawall volume freeze vol-00123456789abcdef")]
    Freeze {
        /// Its id
        #[arg(value_parser = written::<VolumeId>)]
        volume: VolumeId,
        /// The same request twice is one point, until it is dropped: a UUID [default: a new one]
        #[arg(long, value_name = "UUID", value_parser = written::<RequestId>)]
        request: Option<RequestId>,
        /// Where the region is
        #[command(flatten)]
        target: Target,
    },
    /// Drops a frozen point of a volume, and all that only it keeps
    #[command(after_help = "Example:\n  seawall volume thaw vol-00123456789abcdef point-1")]
    Thaw {
        /// Its id
        #[arg(value_parser = written::<VolumeId>)]
        volume: VolumeId,
        /// The point, as `volume show` lists it
        #[arg(value_parser = written::<PointId>)]
        point: PointId,
        /// Where the region is
        #[command(flatten)]
        target: Target,
    },
    /// Deletes a detached volume and its data
    #[command(after_help = "Example:\n  seawall volume delete vol-00123456789abcdef")]
    Delete(OneVolume),
    /// Makes a volume larger, also while it is attached; never smaller. An NBD client that is connected sees it when it connects anew
    #[command(after_help = "Example:\n  seawall volume resize vol-00123456789abcdef 2GiB")]
    Resize {
        /// Its id
        #[arg(value_parser = written::<VolumeId>)]
        volume: VolumeId,
        /// How large it is to be, such as 2GiB; a multiple of 4KiB, and no less than it has
        #[arg(value_parser = written::<Size>)]
        size: Size,
        /// Where the region is
        #[command(flatten)]
        target: Target,
    },
}

/// `seawall volume throttle`.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("limit").args(["iops", "bandwidth"]).multiple(true).required(true))]
pub struct ThrottleVolume {
    /// Its id
    #[arg(value_parser = written::<VolumeId>)]
    pub volume: VolumeId,
    /// I/Os in a second, each of up to 256KiB, or none for no limit [default: as it is]
    #[arg(long, value_name = "N", value_parser = iops)]
    pub iops: Option<u64>,
    /// Bytes read and written in a second, such as 100MiB, or none for no limit [default: as it is]
    #[arg(long, value_name = "SIZE", value_parser = bandwidth)]
    pub bandwidth: Option<u64>,
    /// Where the region is
    #[command(flatten)]
    pub target: Target,
}

/// A command on one volume.
#[derive(Debug, Args)]
pub struct OneVolume {
    /// Its id
    #[arg(value_parser = written::<VolumeId>)]
    pub volume: VolumeId,
    /// Where the region is
    #[command(flatten)]
    pub target: Target,
}

/// `seawall attach`.
#[derive(Debug, Args)]
pub struct Attach {
    /// Its id
    #[arg(value_parser = written::<VolumeId>)]
    pub volume: VolumeId,
    /// To which host [default: the only one]
    #[arg(long, value_name = "ID", value_parser = written::<HostId>)]
    pub host: Option<HostId>,
    /// Nothing may be written to it: clients see a read-only device, and what would change it is refused
    #[arg(long)]
    pub read_only: bool,
    /// Not built yet: as a device under /dev
    #[arg(long)]
    pub device: bool,
    /// Where the region is
    #[command(flatten)]
    pub target: Target,
}

/// How a daemon is started.
#[derive(Debug, Args)]
pub struct Daemon {
    /// Its configuration
    #[arg(long, value_name = "FILE", required_unless_present = "print_config", conflicts_with = "print_config")]
    pub config: Option<PathBuf>,
    /// Prints a commented example configuration and ends
    #[arg(long)]
    pub print_config: bool,
}

/// `seawall node`.
#[derive(Debug, Args)]
pub struct NodeCommand {
    /// About the nodes of a zone
    #[command(subcommand)]
    pub command: Option<NodeOperation>,
    /// As a daemon
    #[command(flatten)]
    pub daemon: Daemon,
}

/// What can be asked of nodes.
#[derive(Debug, Subcommand)]
pub enum NodeOperation {
    /// Lists all nodes: state, rack, space
    #[command(after_help = "Example:\n  seawall node list")]
    List {
        /// Where the region is
        #[command(flatten)]
        target: Target,
    },
    /// Shows one node
    #[command(after_help = "Example:\n  seawall node show node-1")]
    Show {
        /// Its id
        #[arg(value_parser = written::<NodeId>)]
        node: NodeId,
        /// Where the region is
        #[command(flatten)]
        target: Target,
    },
    /// Makes a new, empty store on a node's disk; what was on it is another's from then on, and mirrored anew
    #[command(after_help = "Examples:\n  seawall node format --config node.toml\n  \
seawall node format --config node.toml --erase 01234567-89ab-cdef-0123-456789abcdef")]
    Format(Format),
    /// Moves everything off a node: each copy is made elsewhere first; `node show` says how far it is
    #[command(after_help = "Examples:\n  seawall node drain node-1\n  seawall node drain node-1 --undo")]
    Drain {
        /// Its id
        #[arg(value_parser = written::<NodeId>)]
        node: NodeId,
        /// Takes it back: what has left stays where it is
        #[arg(long)]
        undo: bool,
        /// Where the region is
        #[command(flatten)]
        target: Target,
    },
    /// Forgets a node that is drained and stopped
    #[command(after_help = "Example:\n  seawall node remove node-1")]
    Remove {
        /// Its id
        #[arg(value_parser = written::<NodeId>)]
        node: NodeId,
        /// Where the region is
        #[command(flatten)]
        target: Target,
    },
    /// Not built yet: limits what a node may do
    #[command(after_help = "Example:\n  seawall node brake node-1")]
    Brake(Later),
}

/// `seawall node format`.
#[derive(Debug, Args)]
pub struct Format {
    /// The node's configuration: it says which disk, whose, and how large
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// Gives up the store of this UUID that is on the disk, with all that is in it; `damaged` where the disk does not say which it is
    #[arg(long, value_name = "UUID", value_parser = written::<Erase>)]
    pub erase: Option<Erase>,
    /// Answers in JSON
    #[arg(long)]
    pub json: bool,
}

/// What may be erased.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Erase {
    /// This store and no other.
    Store(StoreUuid),
    /// What is damaged so that it does not say what it was.
    Damaged,
}

impl FromStr for Erase {
    type Err = base::id::BadId;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "damaged" { Ok(Self::Damaged) } else { text.parse().map(Self::Store) }
    }
}

/// `seawall zone`.
#[derive(Debug, Args)]
pub struct ZoneCommand {
    /// About a zone
    #[command(subcommand)]
    pub command: Option<ZoneOperation>,
    /// As a daemon
    #[command(flatten)]
    pub daemon: Daemon,
}

/// What can be asked of a zone.
#[derive(Debug, Subcommand)]
pub enum ZoneOperation {
    /// Shows how the zone is: its nodes and volumes, how far its metadata are, and whether they must be rebuilt
    #[command(after_help = "Example:\n  seawall zone status")]
    Status {
        /// Where the region is
        #[command(flatten)]
        target: Target,
    },
    /// Makes the zone's metadata anew from what its nodes know, when they are lost, damaged or an old copy
    #[command(after_help = "Examples:\n  seawall zone rebuild --dir seawall-dev\n  \
seawall zone rebuild --config zone.toml --node node-1 --node node-2 --node node-3 --without node-3")]
    Rebuild(Rebuild),
    /// Not built yet: changes its policies
    #[command(after_help = "Example:\n  seawall zone switch remirror off")]
    Switch(Later),
    /// Not built yet: stops its changes
    #[command(after_help = "Example:\n  seawall zone freeze")]
    Freeze(Later),
}

/// `seawall zone rebuild`.
#[derive(Debug, Args)]
pub struct Rebuild {
    /// The zone's configuration, when it is in no folder of `seawall dev`; its nodes are then named by --node
    #[arg(long, value_name = "FILE", conflicts_with_all = ["dir", "zone"], requires = "node")]
    pub config: Option<PathBuf>,
    /// A node of the zone; once for each. All must be heard, and those that others name, unless they are written off
    #[arg(long, value_name = "NODE", value_parser = written::<NodeId>)]
    pub node: Vec<NodeId>,
    /// Writes a node off that will not come back: what only it could know is left out and named
    #[arg(long, value_name = "NODE", value_parser = written::<NodeId>)]
    pub without: Vec<NodeId>,
    /// Seconds that nodes are waited for
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub within: u64,
    /// Where the region is
    #[command(flatten)]
    pub target: Target,
}

/// `seawall sim`.
#[derive(Debug, Args)]
pub struct Sim {
    /// One seed, twice: both runs must be the same to the byte
    #[arg(long, value_name = "N", conflicts_with = "seeds")]
    pub seed: Option<u64>,
    /// Seeds from A up to, and without, B; each twice [default: 0..20]
    #[arg(long, value_name = "A..B", value_parser = seeds)]
    pub seeds: Option<std::ops::Range<u64>>,
    /// Tells how a seed fails, with no more faults, nodes and clients than it needs for it
    #[arg(long, requires = "seed", conflicts_with_all = ["json", "cover"])]
    pub story: bool,
    /// Seeds at a time, each on its own thread
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub jobs: u16,
    /// Fails when some state of the machines was struck by no fault, or some kind of fault struck nothing
    #[arg(long)]
    pub cover: bool,
    /// Only these kinds of fault, by the names under which seeds count them
    #[arg(long, value_name = "FAULT,FAULT", value_delimiter = ',', value_parser = fault_class)]
    pub faults: Vec<String>,
    /// Of the end of a failing seed's trace, so many lines
    #[arg(long, value_name = "N", default_value_t = 200)]
    pub lines: usize,
    /// One world of a chosen shape and what it costs, instead of chance; with --seed another one of its kind
    #[arg(long, value_name = "NAME", conflicts_with_all = ["seeds", "story", "cover"], value_parser = clap::builder::PossibleValuesParser::new(sim::scenario::names()))]
    pub scenario: Option<String>,
    /// Prints the outcome as JSON
    #[arg(long)]
    pub json: bool,
}

/// `seawall bench`.
#[derive(Debug, Args)]
pub struct Bench {
    /// The address that `seawall attach` prints, or a volume's id, which is attached meanwhile [default: a new volume on three new nodes]
    #[arg(value_name = "URI|VOLUME", value_parser = written::<Place>)]
    pub place: Option<Place>,
    /// Workloads, in this order [default: all, in the order below]
    #[arg(long, value_name = "ROW,ROW", value_delimiter = ',')]
    pub rows: Vec<Row>,
    /// Seconds of each row but fill
    #[arg(long, value_name = "SECONDS", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub seconds: u64,
    /// How much of the volume is touched, from its front; a multiple of 1MiB [default: 512MiB, or as much as it has]
    #[arg(long, value_name = "SIZE", value_parser = bench_size)]
    pub size: Option<Size>,
    /// Places, kinds and contents of all requests follow from it
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// Reads everything that was written when all rows are done, and compares it
    #[arg(long)]
    pub verify: bool,
    /// Lets what is in the volume be lost
    #[arg(long, requires = "place")]
    pub overwrite: bool,
    /// Another build of seawall, which the region without a volume is made of; the measuring stays this one's
    #[arg(long, value_name = "FILE", conflicts_with = "place")]
    pub server: Option<PathBuf>,
    /// Where the region of a volume is
    #[command(flatten)]
    pub target: Target,
}

/// `seawall witness`.
#[derive(Debug, Args)]
pub struct Witness {
    /// The volume, attached to a host of this machine
    #[arg(value_parser = written::<VolumeId>)]
    pub volume: VolumeId,
    /// What is asked when follows from it
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// Connections of the load
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..=64))]
    pub connections: u64,
    /// Requests that each of them has in flight at most
    #[arg(long, value_name = "N", default_value_t = 4)]
    pub depth: usize,
    /// Requests per second that all of them make together, when they are answered
    #[arg(long, value_name = "N", default_value_t = 1000)]
    pub rate: u64,
    /// Bears false witness now and then, to see that it is noticed
    #[arg(long, value_name = "NAME")]
    pub lie: Option<Lie>,
}

/// How a witness can lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Lie {
    /// A write is said to have been acknowledged, and was never sent
    LostWrite,
    /// A read is said to have returned what was there before
    StaleRead,
    /// A block is written that is not whole
    TornBlock,
    /// A byte of what was read is changed
    FlipByte,
}

/// `seawall inspect`.
#[derive(Debug, Subcommand)]
pub enum Inspect {
    /// Shows the store of a node, also a broken one, and writes the blocks of a shard to a file
    #[command(after_help = "Examples:\n  seawall inspect store seawall-dev/node-1/store\n  \
seawall inspect store node-1/store --extract vol-00123456789abcdef/0 shard.img\n  \
seawall inspect store node-1/store --extract vol-00123456789abcdef/0 shard.img --point point-3\n\n\
Exit status 1: the store would not be opened, or a block could not be had. What could be had is shown and written all the same.")]
    Store(InspectStore),
}

/// `seawall inspect store`.
#[derive(Debug, Args)]
pub struct InspectStore {
    /// The file or device
    pub path: PathBuf,
    /// Shows also the versions of this shard's chunks
    #[arg(long, value_name = "VOLUME/SHARD", value_parser = written::<ShardId>)]
    pub shard: Option<ShardId>,
    /// Writes the shard's blocks to a new file, those included that are not known to be committed
    #[arg(long, num_args = 2, value_names = ["VOLUME/SHARD", "FILE"])]
    pub extract: Vec<OsString>,
    /// Extracts the blocks as they were at this frozen point instead
    #[arg(long, requires = "extract", value_name = "POINT", value_parser = written::<PointId>)]
    pub point: Option<PointId>,
    /// Answers in JSON
    #[arg(long)]
    pub json: bool,
}

/// Ends the process as for any other slip on the command line, for what can be understood only together.
pub fn wrong_usage(error: impl Display) -> ! {
    Cli::command().error(ErrorKind::ValueValidation, error).exit()
}

/// Reads a value in the form in which it is printed.
fn written<T: FromStr<Err: Display>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|e: T::Err| e.to_string())
}

fn shard_size(text: &str) -> Result<Size, String> {
    let size = written(text)?;
    crate::config::wrong_shard_size(size).map_or(Ok(size), Err)
}

/// A limit, as the wire has it: 0 is none.
fn limit(text: &str, number: Result<u64, String>) -> Result<u64, String> {
    match (text, number) {
        ("none", _) => Ok(0),
        (_, Ok(0)) => Err("a limit of 0 would let nothing pass; write none for no limit".into()),
        (_, number) => number,
    }
}

fn iops(text: &str) -> Result<u64, String> {
    limit(text, text.parse().map_err(|_| format!("{text:?} is not a whole number, nor none")))
}

fn bandwidth(text: &str) -> Result<u64, String> {
    limit(text, written::<Size>(text).map(|size| size.0))
}

fn bench_size(text: &str) -> Result<Size, String> {
    let (size, grain) = (written::<Size>(text)?, bench::GRAIN);
    if !size.0.is_multiple_of(grain.0) || size < grain || size > bench::SIZE_MAX {
        return Err(format!("{size} is not a multiple of {grain} from {grain} to {}", bench::SIZE_MAX));
    }
    Ok(size)
}

/// A kind of fault that the simulator knows.
fn fault_class(text: &str) -> Result<String, String> {
    let known: Vec<&str> = sim::fault_classes().collect();
    if known.contains(&text) { Ok(text.to_owned()) } else { Err(format!("it is none of {}", known.join(", "))) }
}

fn seeds(text: &str) -> Result<std::ops::Range<u64>, String> {
    let range = || {
        let (from, to) = text.split_once("..")?;
        let range = from.parse::<u64>().ok()?..to.parse::<u64>().ok()?;
        (!range.is_empty()).then_some(range)
    };
    range().ok_or_else(|| format!("{text:?} is not a range of seeds such as 0..100"))
}

/// A command of the surface that is not built yet: whatever follows is taken, and refused by name.
#[derive(Debug, Args)]
pub struct Later {
    /// Taken, and not used yet
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
    pub rest: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_has_an_example_in_its_help() {
        fn walk(command: &clap::Command, path: &str) {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            let group = command.has_subcommands() && !command.is_args_conflicts_with_subcommands_set();
            assert!(group || help.contains("Example"), "{path} has no example");
            command.get_subcommands().for_each(|c| walk(c, &format!("{path} {}", c.get_name())));
        }
        walk(&Cli::command(), "seawall");
    }

    #[test]
    fn a_limit_is_a_number_or_none() {
        assert_eq!(
            (iops("500"), iops("none"), bandwidth("100MiB"), bandwidth("none")),
            (Ok(500), Ok(0), Ok(100 << 20), Ok(0))
        );
        for bad in ["", "0", "-1", "1.5", "no"] {
            assert!(iops(bad).is_err() && bandwidth(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_point_is_named_as_it_is_printed() {
        let read = |words: &str| Cli::try_parse_from(words.split(' '));
        let Ok(Cli { command: Command::Volume(Volume::Thaw { volume, point, .. }) }) =
            read("seawall volume thaw vol-00123456789abcdef point-7")
        else {
            panic!("not read")
        };
        assert_eq!((volume, point), (VolumeId(0x0123_4567_89ab_cdef), PointId(7)));
        let asked = read("seawall volume freeze vol-00123456789abcdef --request 00000000-0000-0000-0000-000000000005");
        assert!(matches!(
            asked,
            Ok(Cli { command: Command::Volume(Volume::Freeze { request: Some(RequestId(5)), .. }) })
        ));
        for bad in ["thaw vol-00123456789abcdef", "thaw vol-00123456789abcdef 7", "freeze point-7", "freeze"] {
            assert!(read(&format!("seawall volume {bad}")).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_range_of_seeds_is_read_or_refused() {
        assert_eq!(seeds("3..5"), Ok(3..5));
        for bad in ["", "3", "5..3", "3..3", "a..b", "-1..2"] {
            assert!(seeds(bad).is_err(), "{bad}");
        }
    }
}
