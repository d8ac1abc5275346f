//! A process that is killed leaves its disk, its metadata and its ports to the one that is started after it, at once.

mod rig;

use base::io::net::Link;
use rig::{Hand, Rig, Scratch, node, setup};
use runtime::Setup;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Set for the process that is to be killed: its folder and its address.
const ROLE: &str = "SEAWALL_TEST_VICTIM";

fn whole(folder: &Path, listen: SocketAddr) -> Setup {
    let disk = runtime::disk::Config { path: folder.join("disk"), capacity_bytes: 64 << 20, create: true };
    Setup { listen: Some(listen), disk: Some(disk), meta: Some(folder.join("meta")), ..setup(2) }
}

/// Runs the world of the victim until it is killed, when this process is one; otherwise there is nothing to be done.
#[test]
fn victim() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let (folder, listen) = role.split_once('|').unwrap();
    let rig = Rig::new(whole(Path::new(folder), listen.parse().unwrap()));
    println!("ready");
    rig.until("its end", |_| None::<()>);
}

fn start(folder: &Path, listen: SocketAddr) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    // The same test in this binary and in the one over epoll.
    let name = concat!(module_path!(), "::victim").split_once("::").unwrap().1;
    command.args([name, "--exact", "--nocapture"]).env(ROLE, format!("{}|{listen}", folder.display()));
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.map_while(Result::ok).any(|line| line.contains("ready")), "the victim did not start");
    child
}

#[test]
fn what_a_killed_process_had_is_free_for_the_next_at_once() {
    let folder = Scratch::new("kill");
    std::fs::create_dir(&folder.0).unwrap();
    let listen = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for _ in 0..5 {
        let mut child = start(&folder.0, listen);
        let _hand = Hand::open(listen, node(1), node(2));
        child.kill().unwrap();
        child.wait().unwrap();
        let rig = Rig::new(whole(&folder.0, listen));
        let _hand = Hand::open(rig.primary(), node(1), node(2));
        rig.until_up(Link::from(node(1)));
    }
    let folder: PathBuf = folder.0.clone();
    std::fs::remove_dir_all(folder).unwrap();
}
