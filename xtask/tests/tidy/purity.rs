//! Planted impurity: every disguise of std, floats, source from elsewhere, roots without their attributes.

use crate::plant::Plant;

const ROOT: &str = "crates/zone/src/lib.rs";

/// Plants a file into ring 1 whose second line begins the code given.
fn check(code: &str, line: usize, words: &str) {
    let plant = Plant::new();
    plant.write("crates/zone/src/room.rs", &format!("//! A room.\n{code}\n"));
    plant.is_found("purity", "crates/zone/src/room.rs", line, words);
}

#[test]
fn std_is_found_in_every_disguise() {
    for (code, line) in [
        ("extern crate std;", 2),
        ("extern crate std as core2;", 2),
        ("extern crate r#std as x;", 2),
        ("extern /* a */ crate\n// b\n  std\n as x;", 4),
        ("#[macro_use]\nextern crate std;", 3),
        ("pub mod a { pub mod b { extern crate std; } }", 2),
        ("fn f() { extern crate std; }", 2),
        ("use std::time::Instant;", 2),
        ("use ::std::thread;", 2),
        ("use ::r#std::thread;", 2),
        ("use {core::fmt, std::fs};", 2),
        ("type T =\n    ::std::collections::HashMap<u8, u8>;", 3),
        ("macro_rules! m { () => { extern crate std as s; } }\nm!();", 2),
        ("macro_rules! m { ($c:ident) => { extern crate $c as s; } }\nm!(std);", 3),
        ("#[cfg(test)]\nmod tests { extern crate std; }", 3),
    ] {
        let plant = Plant::new();
        plant.write("crates/zone/src/room.rs", &format!("//! A room.\n{code}\n"));
        let found = plant.findings();
        let named = found.iter().any(|f| {
            (f.rule, f.path.as_str(), f.line) == ("purity", "crates/zone/src/room.rs", Some(line))
                && f.what.contains("may not name std")
        });
        assert!(named, "{code}: {found:#?}");
    }
}

#[test]
fn std_in_comments_strings_and_other_words_is_no_name() {
    let plant = Plant::new();
    let code = "//! Like std::fs, without std.\n/* extern crate std; */\n/// `std::fs`\npub const A: &str = \"std::fs\";\n\
                pub const B: &str = r#\"std\"#;\npub fn std_like<'std>(x: &'std u8) -> u8 { *x }\n";
    plant.write("crates/zone/src/room.rs", code);
    plant.is_clean();
}

#[test]
fn std_is_allowed_in_integration_tests_and_outside_ring_1() {
    let plant = Plant::new();
    plant.write("crates/zone/tests/story.rs", "//! A story.\nuse std::fs;\nconst X: f64 = 0.5;\n");
    plant.append("crates/runtime/src/lib.rs", "pub use std::time::Instant;\npub const X: f64 = 0.5;\n");
    plant.is_clean();
}

#[test]
fn other_crates_of_the_sysroot_are_found() {
    check("extern crate proc_macro;", 2, "`extern crate alloc` and no other");
    check("extern\ncrate test as t;", 3, "`extern crate alloc` and no other");
    let plant = Plant::new();
    plant.append(ROOT, "extern crate alloc;\nextern crate core as c;\n");
    plant.is_clean();
}

#[test]
fn floats_are_found_as_types_and_as_numbers() {
    check("pub fn f(x: f64) {}", 2, "not in floats");
    check("pub fn f(d: core::time::Duration) -> u64 { d.as_secs_f64() as u64 }", 2, "not in floats");
    check("pub const X: u64 = 3 as f32 as u64;", 2, "not in floats");
    check("pub fn f() -> bool { 0.5 < 1 as _ }", 2, "this is a float");
    check("pub fn f() -> u64 { (2e3) as u64 }", 2, "this is a float");
    let plant = Plant::new();
    plant.append(ROOT, "pub fn f(p: ((u8, u8), u8)) -> u8 { (0..9).count() as u8 + p.0.1 + 0x1e5_u32 as u8 }\n");
    plant.is_clean();
}

#[test]
fn hash_maps_of_chance_order_and_shared_memory_are_found() {
    check("use hashbrown::HashMap;", 2, "base::map");
    check("type T = hashbrown::hash_map::HashMap<u8, hashbrown::DefaultHashBuilder>;", 2, "base::map");
    check("static COUNT: core::sync::atomic::AtomicU64 = x;", 2, "shares nothing");
    let plant = Plant::new();
    plant.write("crates/base/src/map.rs", "//! Maps.\npub type Map<K, V> = hashbrown::HashMap<K, V, Fold>;\n");
    plant.is_clean();
}

#[test]
fn source_from_elsewhere_is_found() {
    check("include!(\"../../../runtime/src/lib.rs\");", 2, "may not include!");
    check("core::include! { \"x.rs\" }", 2, "may not include!");
    check("use core::include as import;", 2, "may not include!");
    check("#[path = \"../../runtime/src/lib.rs\"]\nmod x;", 2, "from another #[path]");
    check("macro_rules! m { ($a:ident) => { #[$a = \"x.rs\"] mod y; } }", 2, "whose name a macro fills in");
    check("#[cfg_attr(all(), path = \"x.rs\")]\nmod y;", 2, "no conditional attributes");
}

#[test]
fn a_root_without_its_attributes_is_found() {
    let plant = Plant::new();
    plant.edit(ROOT, "#![no_std]\n", "");
    plant.is_found("purity", ROOT, 1, "begins with #![no_std]");
    let plant = Plant::new();
    plant.edit(ROOT, "#![forbid(unsafe_code)]\n", "#![deny(unsafe_code)]\n");
    plant.is_found("purity", ROOT, 1, "begins with #![forbid(unsafe_code)]");
}

#[test]
fn an_attribute_that_holds_only_sometimes_or_elsewhere_does_not_count() {
    let plant = Plant::new();
    plant.edit(ROOT, "#![no_std]\n", "#![cfg_attr(not(test), no_std)]\n");
    plant.is_among("purity", ROOT, "begins with #![no_std]");
    plant.is_among("purity", ROOT, "no conditional attributes");
    let plant = Plant::new();
    plant.edit(ROOT, "#![no_std]\n", "// #![no_std]\n");
    plant.is_found("purity", ROOT, 1, "begins with #![no_std]");
    let plant = Plant::new();
    plant.edit(ROOT, "#![no_std]\n", "");
    plant.append(ROOT, "pub mod m { #![no_std] }\n");
    plant.is_found("purity", ROOT, 1, "begins with #![no_std]");
}

#[test]
fn a_build_script_in_ring_1_is_found() {
    let plant = Plant::new();
    plant.write("crates/zone/build.rs", "//! Builds.\nfn main() {}\n");
    plant.is_among("purity", "crates/zone/build.rs", "has no build script");
    plant.is_among("purity", "crates/zone/Cargo.toml", "not a custom-build at crates/zone/build.rs");
}

#[test]
fn a_library_rooted_elsewhere_is_found() {
    let plant = Plant::new();
    plant.append("crates/zone/Cargo.toml", "\n[lib]\npath = \"hidden/lib.rs\"\n");
    plant.write("crates/zone/hidden/lib.rs", "//! Hidden.\nextern crate std;\n");
    plant.is_among("purity", "crates/zone/Cargo.toml", "not a lib at crates/zone/hidden/lib.rs");
}

#[test]
fn a_program_in_ring_1_is_found() {
    let plant = Plant::new();
    plant.write("crates/zone/src/main.rs", "//! A program.\nfn main() {}\n");
    plant.is_found("purity", "crates/zone/Cargo.toml", None, "not a bin at crates/zone/src/main.rs");
}
