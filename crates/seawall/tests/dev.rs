//! `seawall dev` and the commands, on real processes: what is started stops, what is killed stays dead until it is started, and each
//! refusal comes with its code.

use serde_json::Value;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

const VOLUME: &str = "vol-00123456789abcdef";

fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        std::thread::park_timeout(Duration::from_millis(10));
    }
}

fn seawall(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_seawall"));
    command.args(words).stdin(Stdio::null());
    command
}

fn said(out: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr))
}

fn kill(signal: &str, pid: u64) {
    assert!(Command::new("kill").args([signal, &pid.to_string()]).status().unwrap().success(), "kill {signal} {pid}");
}

/// Whether it runs. One that has ended may be listed until somebody asks how (state Z, proc_pid_stat(5)).
fn is_there(pid: u64) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with('Z'))
}

/// A region in a folder of its own; both go with it.
struct Region {
    top: PathBuf,
    /// Further words for its first start.
    options: &'static [&'static str],
    dev: Option<Child>,
}

impl Region {
    fn new(name: &str) -> Self {
        let top = std::env::temp_dir().join(format!("seawall-dev-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&top).unwrap();
        Self { top: std::fs::canonicalize(top).unwrap(), options: &[], dev: None }
    }

    fn started(name: &str) -> Self {
        let mut region = Self::new(name);
        region.start();
        region
    }

    fn dir(&self) -> PathBuf {
        self.top.join("region")
    }

    fn dev(&self, more: &[&str]) -> Command {
        let mut command = seawall(&["dev", "--nodes", "3", "--node-size", "1GiB"]);
        command.arg("--dir").arg(self.dir()).args(more);
        command
    }

    fn start(&mut self) {
        let log = std::fs::File::create(self.top.join("dev.log")).unwrap();
        let options = std::mem::take(&mut self.options);
        let mut child = self.dev(options).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        until("the region is ready", || {
            let ended = child.try_wait().unwrap();
            assert!(ended.is_none(), "{ended:?}: {}", std::fs::read_to_string(self.top.join("dev.log")).unwrap());
            self.dir().join("region.json").exists().then_some(())
        });
        self.dev = Some(child);
    }

    fn entries(&self) -> Value {
        serde_json::from_slice(&std::fs::read(self.dir().join("region.json")).unwrap()).unwrap()
    }

    /// The process of each id.
    fn pids(&self) -> Vec<(String, u64)> {
        let entries = self.entries();
        let named = |v: &Value| (v["id"].as_str().unwrap().to_string(), v["pid"].as_u64().unwrap());
        let zone = &entries["zones"][0];
        let mut pids = vec![("zone".to_string(), zone["authority"]["pid"].as_u64().unwrap())];
        pids.extend(zone["nodes"].as_array().unwrap().iter().map(named));
        pids.extend(entries["hosts"].as_array().unwrap().iter().map(named));
        pids
    }

    fn pid(&self, id: &str) -> u64 {
        self.pids().into_iter().find(|(name, _)| name == id).unwrap().1
    }

    fn run(&self, words: &[&str]) -> Output {
        seawall(words).arg("--dir").arg(self.dir()).output().unwrap()
    }

    /// What a command that must succeed answers.
    fn ask(&self, words: &[&str]) -> Value {
        let out = seawall(words).arg("--json").arg("--dir").arg(self.dir()).output().unwrap();
        assert!(out.status.success(), "{words:?}: {}", said(&out));
        serde_json::from_slice(&out.stdout).unwrap()
    }

    /// What a command that must be refused says, with this code.
    fn refused(&self, words: &[&str], code: &str) -> String {
        let out = self.run(words);
        let text = said(&out);
        assert_eq!(out.status.code(), Some(1), "{words:?}: {text}");
        assert!(text.starts_with(&format!("seawall: {code}: ")) && text.lines().count() == 1, "{words:?}: {text}");
        text
    }

    fn stop(&mut self) -> std::process::ExitStatus {
        let mut dev = self.dev.take().unwrap();
        kill("-TERM", u64::from(dev.id()));
        dev.wait().unwrap()
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        if let Some(mut dev) = self.dev.take() {
            let _ = dev.kill();
            let _ = dev.wait();
        }
        if std::thread::panicking() {
            eprintln!("the folder is kept: {}", self.top.display());
        } else {
            std::fs::remove_dir_all(&self.top).unwrap();
        }
    }
}

#[test]
fn a_region_serves_stops_whole_and_goes_on_with_what_it_had() {
    let mut region = Region::started("goes-on");
    let entries = region.entries();
    assert_eq!(entries["region"], "local-1");
    assert_eq!(entries["zones"][0]["name"], "local-1a");
    assert_eq!(entries["zones"][0]["nodes"].as_array().unwrap().len(), 3);
    let made = region.ask(&["volume", "create", "64MiB"]);
    let id = made["id"].as_str().unwrap();
    let attached = region.ask(&["attach", id]);
    let uri = attached["uri"].as_str().unwrap();
    assert!(uri.starts_with(&format!("nbd+unix:///{id}?socket=")), "{uri}");
    assert_eq!(String::from_utf8(region.run(&["attach", id]).stdout).unwrap().trim(), uri);
    // R2: every copy lies in the one zone, here each in a rack of its own.
    assert_eq!(made["shards"][0]["members"].as_array().unwrap().len(), 3);
    let pids = region.pids();
    assert!(region.stop().success());
    assert_eq!(pids.iter().filter(|(_, pid)| is_there(*pid)).count(), 0, "{pids:?}");
    assert!(!region.dir().join("region.json").exists());
    region.refused(&["volume", "list"], "E0011");
    region.start();
    // Each start says what it took to open the store.
    let log = std::fs::read_to_string(region.dir().join("node-1/log")).unwrap();
    assert_eq!(log.matches("its store is open after ").count(), 2, "{log}");
    let shown = region.ask(&["volume", "show", id]);
    assert_eq!((&shown["id"], &shown["size"], &shown["attached"]), (&made["id"], &made["size"], &attached["host"]));
    let list = region.ask(&["volume", "list"]);
    assert_eq!(list.as_array().unwrap().len(), 1);
    region.ask(&["detach", id]);
    region.ask(&["volume", "delete", id]);
    assert!(region.stop().success());
}

#[test]
fn what_the_authority_refuses_has_its_own_code() {
    let region = Region::started("refusals");
    for words in
        [&["volume", "show", VOLUME][..], &["volume", "delete", VOLUME], &["attach", VOLUME], &["detach", VOLUME]]
    {
        assert!(region.refused(words, "E0001").contains(VOLUME));
    }
    assert!(region.refused(&["node", "show", "node-9"], "E0001").contains("node-9"));
    region.refused(&["volume", "create", "1000B"], "E0004");
    assert!(region.refused(&["volume", "create", "100GiB"], "E0003").contains("GiB"));
    let made = region.ask(&["volume", "create", "4MiB"]);
    let id = made["id"].as_str().unwrap();
    region.refused(&["attach", id, "--host", "i-00000000000000001"], "E0001");
    region.ask(&["attach", id]);
    region.refused(&["volume", "delete", id], "E0002");
    let request = "01234567-89ab-cdef-0123-456789abcdef";
    let first = region.ask(&["volume", "create", "4MiB", "--request", request]);
    assert_eq!(region.ask(&["volume", "create", "4MiB", "--request", request])["id"], first["id"]);
    let table = String::from_utf8(region.run(&["volume", "list"]).stdout).unwrap();
    assert_eq!(table.lines().count(), 3, "{table}");
    let node = region.ask(&["node", "show", "node-2"]);
    assert_eq!((&node["id"], &node["condition"], &node["rack"]), (&"node-2".into(), &"up".into(), &"r2".into()));
}

#[test]
fn a_killed_dev_takes_its_children_with_it_and_the_same_folder_starts_again_at_once() {
    let mut region = Region::started("killed");
    let pids = region.pids();
    let mut dev = region.dev.take().unwrap();
    dev.kill().unwrap();
    dev.wait().unwrap();
    // Nobody tells the region's file; a start must not take it for its own.
    std::fs::remove_file(region.dir().join("region.json")).unwrap();
    region.start();
    assert_eq!(pids.iter().filter(|(_, pid)| is_there(*pid)).count(), 0, "{pids:?}");
    assert!(region.stop().success());
}

#[test]
fn what_is_killed_stays_dead_until_it_is_started() {
    let region = Region::started("start");
    let text = region.refused(&["dev", "start", "node-7"], "E0018");
    assert!(text.contains("node-1, node-2, node-3"), "{text}");
    let text = region.refused(&["dev", "start", "node-2"], "E0018");
    assert!(text.contains("runs already"), "{text}");
    let old = region.pid("node-2");
    kill("-KILL", old);
    until("the killed node is gone", || (!is_there(old)).then_some(()));
    let answer = region.ask(&["dev", "start", "node-2"]);
    assert_eq!((answer["id"].as_str(), answer["pid"].as_u64()), (Some("node-2"), Some(region.pid("node-2"))));
    assert_ne!(region.pid("node-2"), old);
    // Without an authority a node can be started, commands are refused, and the authority can be started.
    kill("-KILL", region.pid("zone"));
    kill("-KILL", region.pid("node-3"));
    until("nobody answers", || (region.run(&["volume", "list"]).status.code() == Some(1)).then_some(()));
    assert!(region.refused(&["node", "list"], "E0013").contains("dev start zone"));
    region.ask(&["dev", "start", "node-3"]);
    region.ask(&["dev", "start", "zone"]);
    until("all nodes are heard again", || {
        let nodes = region.ask(&["node", "list"]);
        let up = nodes.as_array().unwrap().iter().filter(|n| n["condition"] == "up" || n["condition"] == "quarantined");
        (up.count() == 3).then_some(())
    });
    // The host too.
    let host = region.pids().pop().unwrap().0;
    kill("-KILL", region.pid(&host));
    region.ask(&["dev", "start", &host]);
}

#[test]
fn two_zones_run_side_by_side_and_a_command_says_which_is_meant() {
    let mut region = Region::new("zones");
    region.options = &["--zones", "2"];
    region.start();
    let entries = region.entries();
    let (zones, hosts) = (entries["zones"].as_array().unwrap(), entries["hosts"].as_array().unwrap());
    assert_eq!(zones.iter().map(|z| z["name"].as_str().unwrap()).collect::<Vec<_>>(), ["local-1a", "local-1b"]);
    assert_ne!(zones[0]["cluster"], zones[1]["cluster"]);
    let mut volumes = Vec::new();
    for (zone, host) in zones.iter().zip(hosts) {
        assert_eq!((zone["nodes"].as_array().unwrap().len(), &host["zone"]), (3, &zone["name"]));
        let name = zone["name"].as_str().unwrap();
        let made = region.ask(&["volume", "create", "64MiB", "--zone", name]);
        let id = made["id"].as_str().unwrap().to_string();
        assert_eq!(region.ask(&["attach", &id, "--zone", name])["host"], host["id"]);
        region.ask(&["detach", &id, "--zone", name]);
        volumes.push(id);
    }
    region.refused(&["volume", "show", &volumes[0], "--zone", "local-1b"], "E0001");
    assert!(region.refused(&["volume", "list"], "E0027").contains("local-1a, local-1b"));
    assert!(region.refused(&["dev", "start", "node-1"], "E0027").contains("local-1a, local-1b"));
    region.refused(&["dev", "start", "node-1", "--zone", "local-1c"], "E0027");
    // Each has its own authority; one that is dead is nothing to the other.
    let second = |region: &Region| region.entries()["zones"][1]["authority"]["pid"].as_u64().unwrap();
    kill("-KILL", second(&region));
    // Its socket may outlive it by a moment, and then resets whoever calls.
    until("nobody listens there", || {
        let text = region.refused(&["node", "list", "--zone", "local-1b"], "E0013");
        text.contains("dev start zone --zone local-1b").then_some(())
    });
    let made = region.ask(&["volume", "create", "64MiB", "--zone", "local-1a"]);
    region.ask(&["volume", "delete", made["id"].as_str().unwrap(), "--zone", "local-1a"]);
    // Its metadata are made anew from its own nodes, and it goes on.
    assert!(region.refused(&["zone", "rebuild"], "E0027").contains("local-1a, local-1b"));
    let rebuilt = region.ask(&["zone", "rebuild", "--zone", "local-1b"]);
    assert_eq!((&rebuilt["zone"], &rebuilt["volumes"][0]["id"]), (&"local-1b".into(), &volumes[1].as_str().into()));
    let started = region.ask(&["dev", "start", "zone", "--zone", "local-1b"]);
    assert_eq!(started["pid"].as_u64(), Some(second(&region)));
    assert_eq!(region.ask(&["volume", "list", "--zone", "local-1b"])[0]["id"], volumes[1].as_str());
    // The folder says how many zones there are.
    assert!(region.stop().success());
    region.start();
    assert_eq!(region.entries()["zones"].as_array().unwrap().len(), 2);
    for (zone, volume) in ["local-1a", "local-1b"].iter().zip(&volumes) {
        assert_eq!(region.ask(&["volume", "list", "--zone", zone])[0]["id"], volume.as_str());
    }
    assert!(region.stop().success());
    let text = said(&region.dev(&["--zones", "1"]).output().unwrap());
    assert!(text.starts_with("seawall: E0017: ") && text.contains("has 2 zones"), "{text}");
}

#[test]
fn a_second_dev_does_not_touch_a_folder_in_use() {
    let region = Region::started("second");
    let out = region.dev(&[]).output().unwrap();
    assert_eq!(out.status.code(), Some(1));
    assert!(said(&out).starts_with("seawall: E0017: another `seawall dev` runs in"), "{}", said(&out));
    region.ask(&["node", "list"]);
}

#[test]
fn a_process_that_cannot_start_is_named_with_its_log_and_the_rest_is_stopped() {
    let mut region = Region::started("port");
    let entries = region.entries();
    assert!(region.stop().success());
    let taken = entries["zones"][0]["nodes"][1]["addr"].as_str().unwrap();
    let _listener = std::net::TcpListener::bind(taken).unwrap();
    let out = region.dev(&[]).output().unwrap();
    let text = said(&out);
    assert_eq!(out.status.code(), Some(1), "{text}");
    assert!(text.starts_with("seawall: E0016: node-2 ended with status 1") && text.contains("E0012"), "{text}");
    assert!(text.contains(taken) && text.lines().count() == 1, "{text}");
    for id in ["zone", "node-1", "node-2", "node-3"] {
        let pid = std::fs::read_to_string(region.dir().join(id).join("pid")).unwrap();
        assert!(!is_there(pid.trim().parse().unwrap()), "{id} is left behind");
    }
}

#[test]
fn a_node_refuses_the_disk_of_another_and_a_blank_one_where_that_is_wrong() {
    let mut region = Region::started("disk");
    assert!(region.stop().success());
    let refused = |text: &str| {
        let config = region.dir().join("node-1/other.toml");
        std::fs::write(&config, text).unwrap();
        let out = seawall(&["node", "--config"]).arg(&config).output().unwrap();
        assert_eq!(out.status.code(), Some(1), "{}", said(&out));
        let text = String::from_utf8(out.stderr).unwrap();
        let last = text.lines().last().unwrap().to_string();
        assert!(last.starts_with("seawall: E0012: node-1 "), "{text}");
        last
    };
    let config = std::fs::read_to_string(region.dir().join("node-1/config.toml")).unwrap();
    let text = refused(&config.replace("store = \"store\"", "store = \"../node-2/store\""));
    assert!(text.contains("node-2"), "{text}");
    let blank = config.replace("format_blank = true", "format_blank = false");
    let text = refused(&blank.replace("store = \"store\"", "store = \"missing\""));
    assert!(text.contains("missing"), "{text}");
    let file = std::fs::File::create(region.dir().join("node-1/blank")).unwrap();
    file.set_len(1 << 30).unwrap();
    let text = refused(&blank.replace("store = \"store\"", "store = \"blank\""));
    assert!(text.contains("blank"), "{text}");
}

#[test]
fn metadata_of_another_cluster_and_a_key_of_another_zone_are_refused() {
    let mut region = Region::started("foreign");
    let key = region.dir().join("zone.key");
    let good = std::fs::read_to_string(&key).unwrap();
    std::fs::write(&key, "ab".repeat(32)).unwrap();
    region.refused(&["node", "list"], "E0013");
    std::fs::write(&key, "not a key").unwrap();
    assert!(region.refused(&["node", "list"], "E0011").contains("64 hexadecimal digits"));
    std::fs::write(&key, good).unwrap();
    region.ask(&["node", "list"]);
    assert!(region.stop().success());
    let config = region.dir().join("zone/config.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    let at = text.find("cluster = \"").unwrap() + "cluster = \"".len();
    let other = format!("{}01234567-89ab-cdef-0123-456789abcdef{}", &text[..at], &text[at + 36..]);
    std::fs::write(&config, other).unwrap();
    let out = seawall(&["zone", "--config"]).arg(&config).output().unwrap();
    let text = String::from_utf8(out.stderr).unwrap();
    assert_eq!(out.status.code(), Some(1), "{text}");
    assert!(text.lines().last().unwrap().starts_with("seawall: E0012: local-1a cannot use its metadata"), "{text}");
}

#[test]
fn a_process_that_does_not_stop_is_killed() {
    let mut region = Region::started("deaf");
    let pid = region.pid("node-1");
    kill("-STOP", pid);
    assert!(region.stop().success());
    assert!(!is_there(pid));
    assert!(std::fs::read_to_string(region.top.join("dev.log")).unwrap().contains("node-1 did not stop within 10 s"));
}

#[test]
fn a_process_that_nobody_owns_is_named_before_anything_is_started() {
    let mut region = Region::started("stray");
    assert!(region.stop().success());
    let mut stray = seawall(&["node", "--config"])
        .arg(region.dir().join("node-1/config.toml"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    std::fs::write(region.dir().join("node-1/pid"), format!("{}\n", stray.id())).unwrap();
    let out = region.dev(&[]).output().unwrap();
    stray.kill().unwrap();
    stray.wait().unwrap();
    assert_eq!(out.status.code(), Some(1));
    assert!(said(&out).starts_with("seawall: E0017: node-1 still runs"), "{}", said(&out));
}

#[test]
fn an_interrupted_demo_leaves_nothing_behind() {
    let temp = std::env::temp_dir().join(format!("seawall-dev-interrupt-{}", std::process::id()));
    std::fs::create_dir_all(&temp).unwrap();
    let mut demo =
        seawall(&["demo"]).env("TMPDIR", &temp).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let region = until("the demo's region is ready", || {
        assert!(demo.try_wait().unwrap().is_none(), "the demo ended by itself");
        let made = std::fs::read_dir(&temp).unwrap().next()?.unwrap().path().join("region/region.json");
        serde_json::from_slice::<Value>(&std::fs::read(made).ok()?).ok()
    });
    kill("-INT", u64::from(demo.id()));
    let out = demo.wait_with_output().unwrap();
    assert_eq!(out.status.code(), Some(1));
    assert!(said(&out).contains("E0019: interrupted"), "{}", said(&out));
    assert!(!is_there(region["zones"][0]["authority"]["pid"].as_u64().unwrap()));
    assert_eq!(std::fs::read_dir(&temp).unwrap().count(), 0);
    std::fs::remove_dir_all(temp).unwrap();
}

#[test]
fn a_stopped_node_s_disk_is_inspected_and_a_shard_extracted_is_what_was_written() {
    let mut region = Region::started("inspect");
    let made = region.ask(&["volume", "create", "16MiB"]);
    let id = made["id"].as_str().unwrap().to_string();
    let attached = region.ask(&["attach", &id]);
    let socket = attached["socket"].as_str().unwrap();
    let mut client = frontend::nbd::client::Client::connect_unix(socket, &id).unwrap();
    let mut expected = vec![0; 16 << 20];
    for n in 1..=40_usize {
        let at = n * 7 % 50 * 4096 * 3;
        let bytes: Vec<u8> = (0..8192).map(|i| (i * n + n) as u8).collect();
        client.write(at as u64, &bytes).unwrap();
        expected[at..at + 8192].copy_from_slice(&bytes);
    }
    drop(client);
    let store = region.dir().join("node-2/store");
    let shard = format!("{id}/0");
    let inspect = |words: &[&str]| seawall(&["inspect", "store"]).arg(&store).args(words).output().unwrap();
    let out = inspect(&[]);
    assert!(said(&out).starts_with("seawall: E0022: ") && said(&out).contains("in use"), "{}", said(&out));
    assert!(region.stop().success());
    let about = |out: &Output| serde_json::from_slice::<Value>(&out.stdout).unwrap();
    let before = std::fs::metadata(&store).unwrap().modified().unwrap();
    let out = inspect(&["--json", "--shard", &shard]);
    assert!(out.status.success(), "{}", said(&out));
    let report = about(&out);
    assert_eq!(
        (&report["shards"][0]["shard"], &report["superblocks"][0]["node"]),
        (&shard.as_str().into(), &"node-2".into())
    );
    assert_eq!((&report["refusal"], &report["shards"][0]["suspect"]), (&Value::Null, &false.into()));
    assert!(!report["chunks"]["versions"].as_array().unwrap().is_empty());
    let text = said(&inspect(&["--shard", &shard]));
    assert!(["SUPERBLOCK", "end of the log: ", "COMMITTED", "CHUNK"].iter().all(|part| text.contains(part)), "{text}");
    let image = region.top.join("image");
    let to = |path: &PathBuf| inspect(&["--extract", &shard, path.to_str().unwrap()]);
    let out = to(&image);
    assert!(out.status.success(), "{}", said(&out));
    assert!(std::fs::read(&image).unwrap() == expected);
    assert!(said(&to(&image)).contains("E0020"), "nothing that is there is written over");
    let out = inspect(&["--extract", &format!("{VOLUME}/0"), "nowhere"]);
    assert!(said(&out).contains(&format!("E0022: there is no {VOLUME}/0")), "{}", said(&out));
    let out = inspect(&["--extract", &shard, "nowhere", "--point", "point-1"]);
    assert!(
        said(&out).contains(&format!("E0022: {shard} on ")) && said(&out).contains("no frozen point-1"),
        "{}",
        said(&out)
    );
    assert_eq!(std::fs::metadata(&store).unwrap().modified().unwrap(), before);
    // A byte of one block rots: it is named, and all others are there.
    let (disk, block) = (std::fs::read(&store).unwrap(), 4096 * 3 * 7);
    let at = disk.chunks(4096).position(|b| *b == expected[block..block + 4096]).unwrap() * 4096;
    let file = std::fs::File::options().write(true).open(&store).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &[!disk[at]], at as u64).unwrap();
    let image = region.top.join("rotten-image");
    let out = to(&image);
    assert_eq!(out.status.code(), Some(1));
    let text = said(&out);
    assert!(
        text.contains(&format!("{shard} block 21 is rotten at byte {at}")) && text.contains("E0022: 1 blocks"),
        "{text}"
    );
    expected[block..block + 4096].fill(0);
    assert!(std::fs::read(&image).unwrap() == expected);
    // And what is no store at all is shown as that.
    std::fs::write(region.top.join("blank"), vec![0; 64 << 20]).unwrap();
    let out = seawall(&["inspect", "store"]).arg(region.top.join("blank")).output().unwrap();
    assert_eq!(out.status.code(), Some(1));
    assert!(said(&out).contains("zeroes") && said(&out).contains("E0022: "), "{}", said(&out));
}
