//! Planted violations of all the other rules: names, shape, forbidden words, manifests, pages, places, and what git knows.

use crate::plant::Plant;
use std::process::Command;
use xtask::tidy::{Tree, check};

const ROOM: &str = "crates/seawall/src/room.rs";

fn with_room(code: &str) -> Plant {
    let plant = Plant::new();
    plant.write(ROOM, &format!("//! A room.\n{code}\n"));
    plant
}

#[test]
fn the_words_of_one_customer_are_found_outside_the_api() {
    for (code, word) in [
        ("pub struct Ec2Query;", "ec2"),
        ("pub fn sigv4_sign() {}", "sigv4"),
        ("pub const HEADER: &str = \"x-amz-date\";", "amz"),
        ("pub mod aws {}", "aws"),
    ] {
        with_room(code).is_found("names", ROOM, 2, &format!("the word {word:?} belongs to the crate api"));
    }
    with_room("// As EC2 does.\nuse aws_lc_rs as _; pub struct Lawsuit; pub const X: &str = \"websites\";").is_clean();
    let plant = Plant::new();
    plant.append("ARCHITECTURE.md", "| `api` | 2 | base | – |\n");
    let manifest = plant.read("crates/store/Cargo.toml").replace("\"store\"", "\"api\"");
    plant.write("crates/api/Cargo.toml", &manifest);
    plant.write("crates/api/src/lib.rs", "//! Shapes.\npub use base;\npub struct Ec2Query;\n");
    plant.is_clean();
}

#[test]
fn a_file_above_800_lines_is_found_and_one_above_500_noted() {
    with_room(&"// x\n".repeat(800)).is_found("shape", ROOM, None, "802 lines; above 800 a file is split");
    let plant = with_room(&"// x\n".repeat(798));
    plant.is_clean();
    assert_eq!(plant.notes(), [format!("{ROOM}: 800 lines (aim at 500)")]);
    let plant = Plant::new();
    plant.write("tests/e2e/long.py", &("\"\"\"Long.\"\"\"\n".to_string() + &"# x\n".repeat(800)));
    plant.is_found("shape", "tests/e2e/long.py", None, "801 lines");
}

#[test]
fn a_long_function_is_noted() {
    let body = "    let _ = [0; { 1 }];\n".repeat(99);
    let plant = with_room(&format!("pub fn long<T>(a: [u8; 3], f: fn(u8) -> u8) -> T\nwhere T: Copy {{\n{body}}}"));
    assert_eq!(plant.notes(), [format!("{ROOM}:2: fn long has 102 lines (aim at 70)")]);
    let plant = with_room(&format!("pub trait T {{\n    fn short();\n{}}}", "    const A: u8 = 1;\n".repeat(200)));
    assert_eq!(plant.notes(), Vec::<String>::new());
}

#[test]
fn a_file_without_a_head_is_found() {
    let plant = Plant::new();
    plant.write(ROOM, "use base as _;\n//! Too late.\n");
    plant.is_found("shape", ROOM, 1, "a file opens with `//!`");
    plant.write(ROOM, "// A plain comment.\n");
    plant.is_found("shape", ROOM, 1, "a file opens with `//!`");
    plant.remove(ROOM);
    plant.write("tests/e2e/bare.py", "#!/usr/bin/env python3\nimport os\n");
    plant.is_found("shape", "tests/e2e/bare.py", 1, "a script opens with a docstring");
}

#[test]
fn a_module_whose_name_says_nothing_is_found() {
    let plant = Plant::new();
    plant.write("crates/seawall/src/utils.rs", "//! Things.\n");
    plant.is_found("shape", "crates/seawall/src/utils.rs", None, "\"utils\" says nothing");
    let plant = Plant::new();
    plant.write("crates/seawall/tests/common/mod.rs", "//! Things.\n");
    plant.is_found("shape", "crates/seawall/tests/common/mod.rs", None, "\"common\" says nothing");
    with_room("pub mod helpers {}").is_found("shape", ROOM, 2, "a module named \"helpers\"");
}

#[test]
fn unfinished_work_is_found() {
    for (code, word) in [
        ("fn f() { todo!() }", "todo!"),
        ("fn f() { core::unimplemented ! (\"x\") }", "unimplemented!"),
        ("fn f() { dbg!(1); }", "dbg!"),
        ("use std::todo as later;", "todo!"),
    ] {
        with_room(code).is_found("forbidden", ROOM, 2, word);
    }
    with_room("// todo! dbg!\npub struct S { pub todo: u8 }\npub const X: &str = \"todo!()\";").is_clean();
}

#[test]
fn an_ignored_test_is_found() {
    for code in ["#[ignore]\nfn f() {}", "# [ ignore = \"slow\" ]\nfn f() {}", "#[cfg_attr(all(), ignore)]\nfn f() {}"]
    {
        with_room(code).is_found("forbidden", ROOM, 2, "an ignored test");
    }
    with_room("pub fn f(ignore: u8) -> [u8; 1] { [ignore] }").is_clean();
}

#[test]
fn a_sleep_is_found_unless_a_comment_says_why() {
    for code in ["use std::thread::sleep;", "fn f() { ::std::thread::sleep(d) }", "fn f() { thread::sleep_ms(1) }"] {
        with_room(code).is_found("forbidden", ROOM, 2, "wait for a condition");
    }
    with_room("// tidy: sleep:\nfn f() { thread::sleep(d) }").is_found("forbidden", ROOM, 3, "say why");
    let plant = with_room("// tidy: sleep: polls a file nobody can watch\nfn f() { thread::sleep(d) }");
    plant.is_clean();
    assert_eq!(plant.notes(), [format!("{ROOM}:3: sleeps: polls a file nobody can watch")]);
}

#[test]
fn a_manifest_that_states_too_little_is_found() {
    for (line, words) in [
        ("license.workspace = true\n", "Apache-2.0"),
        ("rust-version.workspace = true\n", "rust-version"),
        ("edition.workspace = true\n", "edition 2024"),
        ("publish.workspace = true\n", "published by mistake"),
        ("[lints]\nworkspace = true\n", "the house's lints"),
    ] {
        let plant = Plant::new();
        plant.edit("crates/sim/Cargo.toml", line, "");
        plant.is_found("manifests", "crates/sim/Cargo.toml", None, words);
    }
}

#[test]
fn a_workspace_that_cargo_refuses_is_found() {
    let plant = Plant::new();
    plant.append("crates/sim/Cargo.toml", "ghost = { path = \"../ghost\" }\nghost = 1\n");
    plant.is_among("manifests", "Cargo.toml", "cargo metadata: ");
}

#[test]
fn a_missing_lock_license_or_foreign_source_is_found() {
    let plant = Plant::new();
    plant.remove("Cargo.lock");
    plant.is_found("manifests", "Cargo.lock", None, "is missing");
    let plant = Plant::new();
    plant.write("LICENSE", "MIT\n");
    plant.is_found("manifests", "LICENSE", None, "full text");
    let plant = Plant::new();
    plant.append("Cargo.toml", "[patch.crates-io]\n");
    let line = plant.read("Cargo.toml").lines().count();
    plant.is_found("manifests", "Cargo.toml", line, "which no list of dependencies shows");
    let plant = Plant::new();
    plant.append("Cargo.lock", "[[package]]\nsource = \"git+https://example.com/x\"\n");
    plant.is_found("manifests", "Cargo.lock", 3, "does not come from crates.io");
}

#[test]
fn an_error_without_a_page_is_found() {
    let plant = Plant::new();
    plant.remove("docs/errors/E0002.md");
    plant.edit("docs/errors/README.md", " [E0002](E0002.md)", "");
    let line = plant.read("crates/wire/src/lib.rs").lines().position(|l| l.contains("2 = InUse")).unwrap() + 1;
    plant.is_found("pages", "crates/wire/src/lib.rs", line, "E0002 has no page; write docs/errors/E0002.md");
    with_room("pub const TEXT: &str = \"seawall: E0010: no\";").is_found("pages", ROOM, 2, "E0010 has no page");
}

#[test]
fn a_code_that_a_match_numbers_needs_its_page() {
    let code =
        "pub enum Code { Config }\nimpl Code { fn number(self) -> u16 { match self {\n    Self::Config => 10,\n} } }";
    let plant = with_room(code);
    plant.is_found("pages", ROOM, 4, "E0010 has no page");
    plant.write("docs/errors/E0010.md", "# E0010 Config\n");
    plant.append("docs/errors/README.md", "[E0010](E0010.md)\n");
    plant.is_clean();
}

#[test]
fn a_page_without_an_error_a_wrong_title_or_a_missing_link_is_found() {
    let plant = Plant::new();
    plant.write("docs/errors/E0099.md", "# E0099 Gone\n");
    plant.is_found("pages", "docs/errors/E0099.md", None, "no code says E0099");
    let plant = Plant::new();
    plant.write("docs/errors/E0002.md", "# E0002 Used\n");
    plant.is_found("pages", "docs/errors/E0002.md", 1, "say \"InUse\"");
    let plant = Plant::new();
    plant.write("docs/errors/README.md", "[E0001](E0001.md)\n");
    plant.is_found("pages", "docs/errors/README.md", None, "does not link E0002.md");
}

#[test]
fn a_place_on_somebodys_machine_is_found() {
    for place in [
        concat!("see /wo", "rk/main/x"),
        concat!("`/ho", "me/ann/x`"),
        concat!("file:///tm", "p/x"),
        concat!("the folder .libr", "ary"),
        concat!("https://index.crates", ".io/x"),
        concat!("socket=/tm", "p/nbd.sock"),
    ] {
        let plant = Plant::new();
        plant.write("docs/page.md", &format!("# Page\n\n{place}\n"));
        plant.is_found("places", "docs/page.md", 3, "is a place on one machine");
    }
    let plant = Plant::new();
    let fine = concat!("frame/wo", "rk/ {dir}/tm", "p/x a.libr", "aryan https://example.com/ho", "me/x");
    plant.write("docs/page.md", fine);
    plant.is_clean();
}

#[test]
fn a_link_that_leads_nowhere_is_found() {
    let plant = Plant::new();
    plant.write(
        "docs/page.md",
        "[a](errors/E0001.md) [b](../ARCHITECTURE.md#rings) [c](errors/) [d](https://example.com/x) [e](#x)\n",
    );
    plant.is_clean();
    for target in ["errors/E0009.md", "../../outside.md", "/docs/page.md", "error"] {
        plant.write("docs/page.md", &format!("# Page\n[a](errors/E0001.md) [b]({target})\n"));
        plant.is_found("links", "docs/page.md", 2, &format!("the link to {target} leads nowhere"));
    }
}

#[test]
fn a_page_that_a_comment_names_and_nobody_wrote_is_found() {
    let page = format!("docs/{}.md", "format");
    with_room(&format!("// See {page}.\n/// Not `docs/format.mdx`.\npub const X: &str = \"{page}\";")).is_found(
        "links",
        ROOM,
        2,
        "is named here and does not exist",
    );
    with_room("/// See docs/errors/E0001.md, and docs/errors/README.md too.").is_clean();
}

fn git(plant: &Plant, words: &[&str]) {
    let status = Command::new("git").arg("-C").arg(plant.root()).args(words).status().expect("git can be started");
    assert!(status.success(), "git {words:?}");
}

#[test]
fn in_a_checkout_ignored_files_are_not_read_and_new_ones_are() {
    let plant = Plant::new();
    git(&plant, &["init", "--quiet"]);
    plant.write(".gitignore", "made/\n");
    plant.write("made/room.rs", "no head\n");
    plant.is_found("manifests", "Cargo.lock", None, "is not tracked");
    git(&plant, &["add", "."]);
    plant.is_clean();
    plant.write(ROOM, "no head\n");
    plant.is_found("shape", ROOM, 1, "a file opens with `//!`");
    // Tracked, and gone from the folder: not there, and no reason to fail.
    git(&plant, &["add", "."]);
    plant.remove(ROOM);
    plant.is_clean();
}

#[test]
fn a_tree_that_is_not_there_is_an_error_and_bytes_that_are_no_text_are_passed_over() {
    assert!(Tree::open(&std::env::temp_dir().join("seawall-no-such-tree")).is_err());
    let plant = Plant::new();
    // A link to a folder cannot be read as a file, and could hide source from the rules.
    std::os::unix::fs::symlink(plant.root().join("docs"), plant.root().join("crates/zone/src/away")).unwrap();
    let why = Tree::open(plant.root()).unwrap_err().to_string();
    assert!(why.starts_with("crates/zone/src/away: "), "{why}");
    let plant = Plant::new();
    std::fs::write(plant.root().join("docs/image.bin"), [0xff, 0xfe, 0x00]).unwrap();
    assert!(Tree::open(plant.root()).unwrap().text("docs/image.bin").is_none());
    assert_eq!(check(&Tree::open(plant.root()).unwrap()).findings, []);
}
