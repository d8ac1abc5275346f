//! The command line as scripts rely on it: exit statuses, one-line errors with their codes, JSON, examples.

use std::path::PathBuf;
use std::process::{Command, Output};

fn seawall(words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_seawall")).args(words).output().expect("the binary runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Refused: status 1, nothing on standard output, one line with this code on standard error. That line.
fn refused(words: &[&str], code: &str) -> String {
    let out = seawall(words);
    let line = text(&out.stderr);
    assert_eq!(out.status.code(), Some(1), "{words:?}: {line}");
    assert!(line.starts_with(&format!("seawall: {code}: ")), "{words:?}: {line}");
    assert_eq!(line.lines().count(), 1, "{words:?}: {line}");
    assert!(out.stdout.is_empty(), "{words:?}: {}", text(&out.stdout));
    line
}

fn folder(name: &str) -> PathBuf {
    let dir = std::env::temp_dir().join(format!("seawall-cli-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&dir).expect("a temporary folder can be made");
    dir
}

const VOLUME: &str = "vol-00123456789abcdef";

#[test]
fn what_is_not_built_yet_is_refused_by_name() {
    let cases: &[(&[&str], &str)] = &[
        (&["replay", "2011-04-21", "--as-it-was", "--svg", "x"], "seawall replay"),
        (&["whatif", "--lose-rack", "r1"], "seawall whatif"),
        (&["attach", VOLUME, "--device"], "--device"),
        (&["node", "brake", "node-1"], "seawall node brake"),
        (&["zone", "switch", "remirror", "off"], "seawall zone switch"),
        (&["zone", "freeze"], "seawall zone freeze"),
    ];
    for (words, name) in cases {
        let line = refused(words, "E0015");
        assert!(line.contains(name) && line.contains("not built yet"), "{line}");
    }
}

#[test]
fn a_region_whose_zones_do_not_go_together_says_which_and_what_to_do() {
    let dir = folder("zones");
    let example = text(&seawall(&["region", "--print-config"]).stdout);
    let zone = &example[example.find("[[zones]]").expect("it has a zone")..];
    let path = dir.join("region/config.toml");
    std::fs::create_dir_all(dir.join("region")).expect("the folder can be written");
    let at = path.to_str().expect("a temporary folder has a plain name");
    let (name, number) = (zone.replace("local-1a", "local-1b"), "number = 0");
    let (another, cluster) = (name.replace(number, "number = 1"), "cluster = \"0");
    let third = another.replace(cluster, "cluster = \"1");
    let right = third.replace("7400", "7500");
    for (second, code, words) in [
        (zone, "E0010", "two zones are called local-1a; give each a name of its own"),
        (&name, "E0010", "local-1a and local-1b both have the number 0; give each a number of its own"),
        (&another, "E0010", "both have the cluster 0"),
        (&third, "E0010", "both listen on 127.0.0.1:7400; copy `listen`"),
        // All that is wrong now is that there are no files of keys yet.
        (&right, "E0020", "access.keys"),
    ] {
        std::fs::write(&path, format!("{example}{second}")).expect("the folder can be written");
        let line = refused(&["region", "--config", at], code);
        assert!(line.contains(words), "{line}");
    }
    std::fs::write(dir.join("access.keys"), "AK secret 000000000001\n").expect("the folder can be written");
    std::fs::write(dir.join("zone.key"), "ab".repeat(32)).expect("the folder can be written");
    let other = right.replace("../zone.key", "../missing.key");
    std::fs::write(&path, format!("{example}{other}")).expect("the folder can be written");
    assert!(refused(&["region", "--config", at], "E0012").contains("missing.key"));
    std::fs::write(&path, &example[..example.len() - zone.len()]).expect("the folder can be written");
    assert!(refused(&["region", "--config", at], "E0010").contains("missing field `zones`"));
    std::fs::remove_dir_all(dir).expect("the folder can be removed");
}

#[test]
fn where_a_region_has_several_zones_a_command_is_told_which() {
    let dir = folder("which");
    let at = dir.to_str().expect("a temporary folder has a plain name");
    let zone = |name: &str| {
        let cluster = "01234567-89ab-cdef-0123-456789abcdef";
        format!(r#"{{"name":"{name}","cluster":"{cluster}","authority":{{"pid":1,"addr":"127.0.0.1:1"}},"nodes":[]}}"#)
    };
    let region = |zones: &[&str]| {
        let zones: Vec<String> = zones.iter().map(|name| zone(name)).collect();
        format!(r#"{{"region":"r","zones":[{}],"hosts":[]}}"#, zones.join(","))
    };
    std::fs::write(dir.join("zone.key"), "ab".repeat(32)).expect("the folder can be written");
    std::fs::write(dir.join("region.json"), region(&["ra", "rb"])).expect("the folder can be written");
    for words in [
        &["volume", "list"][..],
        &["volume", "create", "1GiB"],
        &["volume", "show", VOLUME],
        &["attach", VOLUME],
        &["detach", VOLUME],
        &["node", "list"],
        &["zone", "status"],
    ] {
        let line = refused(&[words, &["--dir", at]].concat(), "E0027");
        assert!(line.contains("has 2 zones") && line.contains("--zone: ra, rb"), "{line}");
        let line = refused(&[words, &["--dir", at, "--zone", "rc"]].concat(), "E0027");
        assert!(line.contains("no zone \"rc\"") && line.contains("ra, rb"), "{line}");
        // It is found; that nobody listens there is another matter.
        let line = refused(&[words, &["--dir", at, "--zone", "rb"]].concat(), "E0013");
        assert!(line.contains("dev start zone --zone rb"), "{line}");
    }
    // The only one need not be named, and may be.
    std::fs::write(dir.join("region.json"), region(&["ra"])).expect("the folder can be written");
    assert!(!refused(&["volume", "list", "--dir", at], "E0013").contains("--zone"));
    refused(&["volume", "list", "--dir", at, "--zone", "ra"], "E0013");
    refused(&["volume", "list", "--dir", at, "--zone", "rb"], "E0027");
    std::fs::remove_dir_all(dir).expect("the folder can be removed");
}

#[test]
fn wrong_usage_has_status_2() {
    let cases: &[&[&str]] = &[
        &[],
        &["frobnicate"],
        &["sim", "--scenario", "of another world"],
        &["volume"],
        &["volume", "create"],
        &["volume", "create", "1GB"],
        &["volume", "create", "1GiB", "--copies", "0"],
        &["volume", "create", "1GiB", "--iops", "0"],
        &["volume", "throttle", VOLUME],
        &["volume", "throttle", VOLUME, "--iops", "many"],
        &["volume", "throttle", VOLUME, "--bandwidth", "0"],
        &["volume", "show", "vol-1"],
        &["attach", VOLUME, "--host", "host-1"],
        &["node", "show", "1"],
        &["node"],
        &["zone"],
        &["host"],
        &["host", "--config", "x", "--print-config"],
        &["dev", "--nodes", "2"],
        &["dev", "--node-size", "lots"],
        &["dev", "--hosts", "0"],
        &["dev", "--zones", "0"],
        &["dev", "--zones", "7"],
        &["dev", "--shard-size", "4KiB"],
        &["dev", "start"],
        &["sim", "--seeds", "5..1"],
        &["sim", "--seed", "1", "--seeds", "1..2"],
        &["demo", "--fault", "unheard-of"],
        &["bench", "vol-1"],
        &["bench", "nbd+unix:///x"],
        &["bench", "--rows", "write-qd2"],
        &["bench", "--seconds", "0"],
        &["bench", "--size", "4KiB"],
        &["bench", "--size", "1TiB"],
        &["bench", "--overwrite"],
        &["bench", VOLUME, "--server", "x"],
        &["bench", VOLUME, "--rows", "read-qd1", "--verify"],
        &["inspect"],
        &["inspect", "store"],
        &["inspect", "store", "x", "--shard", "vol-1/0"],
        &["inspect", "store", "x", "--extract", "vol-1/0", "y"],
        &["inspect", "store", "x", "--extract", "vol-00123456789abcdef/0"],
        &["inspect", "store", "x", "--point", "point-1"],
        &["inspect", "store", "x", "--extract", "vol-00123456789abcdef/0", "y", "--point", "1"],
    ];
    for words in cases {
        let out = seawall(words);
        assert_eq!(out.status.code(), Some(2), "{words:?}: {}", text(&out.stderr));
        assert!(!out.stderr.is_empty(), "{words:?} says nothing");
    }
}

#[test]
fn every_command_has_help_with_an_example() {
    let commands: &[&[&str]] = &[
        &["demo"],
        &["dev"],
        &["dev", "start"],
        &["volume", "create"],
        &["volume", "list"],
        &["volume", "show"],
        &["volume", "throttle"],
        &["volume", "delete"],
        &["attach"],
        &["detach"],
        &["node"],
        &["node", "list"],
        &["node", "show"],
        &["zone"],
        &["host"],
        &["sim"],
        &["inspect", "store"],
        &["bench"],
    ];
    for words in commands {
        let mut words = words.to_vec();
        words.push("--help");
        let out = seawall(&words);
        assert_eq!(out.status.code(), Some(0), "{words:?}");
        assert!(text(&out.stdout).contains("Example"), "{words:?}");
    }
    let operate: &[&[&str]] = &[&["volume", "list", "--help"], &["attach", "--help"], &["node", "list", "--help"]];
    for words in operate {
        assert!(text(&seawall(words).stdout).contains("[default: seawall-dev]"), "{words:?} hides where it looks");
    }
}

#[test]
fn a_printed_configuration_names_every_key_and_says_what_it_is() {
    for (daemon, keys) in [
        ("zone", &["region", "zone", "cluster", "key", "listen", "allow_remote", "meta", "remirror_after_s"][..]),
        (
            "node",
            &["node", "cluster", "key", "zone", "rack", "listen", "listen_replication", "store", "store_size"][..],
        ),
        ("host", &["host", "cluster", "key", "zone", "nbd_socket", "nbd_listen"][..]),
        (
            "region",
            &["region", "id", "listen", "meta", "access_keys", "name", "number", "cluster", "key", "authority"][..],
        ),
    ] {
        let out = seawall(&[daemon, "--print-config"]);
        assert_eq!(out.status.code(), Some(0));
        let config = text(&out.stdout);
        for key in keys {
            assert!(
                config.lines().any(|l| l.trim_start_matches("# ").starts_with(&format!("{key} = "))),
                "{daemon}: {key}"
            );
        }
        assert!(config.lines().filter(|l| l.starts_with('#')).count() >= 6, "{daemon}: no comments");
    }
}

#[test]
fn without_a_region_a_command_says_where_it_looked() {
    let dir = folder("nowhere");
    let at = dir.to_str().expect("a temporary folder has a plain name");
    for words in [
        &["volume", "list", "--dir", at][..],
        &["volume", "create", "1GiB", "--dir", at],
        &["volume", "show", VOLUME, "--dir", at],
        &["volume", "throttle", VOLUME, "--iops", "none", "--dir", at],
        &["volume", "delete", VOLUME, "--dir", at],
        &["attach", VOLUME, "--dir", at],
        &["detach", VOLUME, "--dir", at],
        &["node", "list", "--dir", at],
        &["node", "show", "node-1", "--dir", at],
        &["node", "drain", "node-1", "--dir", at],
        &["node", "remove", "node-1", "--dir", at],
        &["zone", "status", "--dir", at],
        &["zone", "rebuild", "--dir", at],
        &["zone", "status", "--dir", at, "--zone", "local-1a"],
        &["zone", "rebuild", "--dir", at, "--zone", "local-1a"],
        &["dev", "start", "node-1", "--dir", at],
        &["dev", "start", "node-1", "--dir", at, "--zone", "local-1a"],
    ] {
        let line = refused(words, "E0011");
        assert!(line.contains(at), "{line}");
    }
    std::fs::remove_dir_all(dir).expect("the folder can be removed");
}

#[test]
fn with_json_the_code_of_a_refusal_is_a_field() {
    let out = seawall(&["volume", "list", "--dir", "no-such-folder", "--json"]);
    assert_eq!(out.status.code(), Some(1));
    assert!(text(&out.stdout).contains("\"error\":\"E0011\""), "{}", text(&out.stdout));
    assert_eq!(text(&out.stderr).lines().count(), 1);
}

#[test]
fn a_daemon_refuses_a_configuration_it_does_not_fully_understand() {
    let dir = folder("config");
    let example = text(&seawall(&["node", "--print-config"]).stdout);
    let path = dir.join("node.toml");
    let at = path.to_str().expect("a temporary folder has a plain name");
    assert!(refused(&["node", "--config", at], "E0010").contains("node.toml"));
    std::fs::write(&path, format!("{example}\nturbo = true\n")).expect("the folder can be written");
    assert!(refused(&["node", "--config", at], "E0010").contains("turbo"));
    std::fs::write(&path, &example).expect("the folder can be written");
    assert!(refused(&["node", "--config", at], "E0012").contains("zone.key"));
    std::fs::remove_dir_all(dir).expect("the folder can be removed");
}

#[test]
fn a_daemon_does_not_listen_beyond_this_computer_unless_told_to() {
    let dir = folder("remote");
    std::fs::write(dir.join("zone.key"), "ab".repeat(32)).expect("the folder can be written");
    std::fs::create_dir_all(dir.join("zone")).expect("the folder can be written");
    let example = text(&seawall(&["zone", "--print-config"]).stdout);
    let path = dir.join("zone/config.toml");
    let open = example.replace("\"127.0.0.1:7400\"", "\"0.0.0.0:0\"");
    assert_ne!(open, example);
    std::fs::write(&path, open).expect("the folder can be written");
    let line = refused(&["zone", "--config", path.to_str().expect("a plain name")], "E0012");
    assert!(line.contains("0.0.0.0"), "{line}");
    std::fs::remove_dir_all(dir).expect("the folder can be removed");
}

#[test]
fn a_region_is_not_poured_into_a_folder_of_something_else() {
    let dir = folder("else");
    std::fs::write(dir.join("thesis.txt"), "precious").expect("the folder can be written");
    let line = refused(&["dev", "--dir", dir.to_str().expect("a plain name")], "E0017");
    assert!(line.contains("thesis.txt"), "{line}");
    std::fs::remove_dir_all(dir).expect("the folder can be removed");
}

#[test]
fn a_disk_that_cannot_be_read_is_named_and_one_that_is_no_store_is_shown_as_that() {
    let dir = folder("disk");
    let at = dir.to_str().expect("a temporary folder has a plain name");
    let missing = format!("{at}/missing");
    assert!(refused(&["inspect", "store", &missing], "E0020").contains(&missing));
    assert!(refused(&["inspect", "store", at], "E0020").contains(at));
    let foreign = dir.join("foreign");
    std::fs::write(&foreign, "not a store".repeat(1000)).expect("the folder can be written");
    let out = seawall(&["inspect", "store", foreign.to_str().expect("a plain name")]);
    assert_eq!(out.status.code(), Some(1));
    assert!(text(&out.stdout).contains("damaged") && text(&out.stderr).contains("E0022"), "{}", text(&out.stderr));
    assert!(
        refused(&["inspect", "store", foreign.to_str().expect("plain"), "--shard", &format!("{VOLUME}/0")], "E0022")
            .contains(VOLUME)
    );
    std::fs::remove_dir_all(dir).expect("the folder can be removed");
}
