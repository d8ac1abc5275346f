//! Planted imports: unlisted, listed and not there, unused, through a wall, from outside.

use crate::plant::Plant;

/// Gives a crate one more dependency, which its code names.
fn import(plant: &Plant, importer: &str, line: &str, name: &str) {
    plant.append(&format!("crates/{importer}/Cargo.toml"), &format!("{line}\n"));
    plant.append(&format!("crates/{importer}/src/lib.rs"), &format!("pub use {name};\n"));
}

#[test]
fn an_import_that_is_not_listed_is_found_where_it_is_declared() {
    let plant = Plant::new();
    import(&plant, "zone", "store = { path = \"../store\" }", "store");
    let line = plant.read("crates/zone/Cargo.toml").lines().count();
    let words = "zone imports store, which its row in ARCHITECTURE.md (line 9) does not allow";
    plant.is_found("imports", "crates/zone/Cargo.toml", line, words);
}

#[test]
fn a_listed_import_that_is_not_there_is_found_in_the_table() {
    let plant = Plant::new();
    plant.edit("ARCHITECTURE.md", "| `zone` | 1 | base, wire |", "| `zone` | 1 | base, wire, store |");
    plant.is_found("imports", "ARCHITECTURE.md", 9, "zone is listed as importing store and does not");
}

#[test]
fn a_crate_without_a_row_and_a_row_without_a_crate_are_found() {
    let plant = Plant::new();
    plant.edit("ARCHITECTURE.md", "| `sim` | 2 | base, node | – |\n", "");
    plant.is_found("imports", "ARCHITECTURE.md", None, "sim is a crate and has no row");
    let plant = Plant::new();
    plant.append("ARCHITECTURE.md", "| `ghost` | 2 | – | – |\n");
    plant.is_found("imports", "ARCHITECTURE.md", 13, "ghost is listed and no such crate exists");
}

#[test]
fn a_missing_table_is_found() {
    let plant = Plant::new();
    plant.write("ARCHITECTURE.md", "# Architecture\n");
    plant.is_found("imports", "ARCHITECTURE.md", None, "the table of imports is missing");
}

#[test]
fn the_page_cannot_move_a_crate_out_of_ring_1() {
    let plant = Plant::new();
    plant.edit("ARCHITECTURE.md", "| `zone` | 1 |", "| `zone` | 2 |");
    plant.is_found("imports", "ARCHITECTURE.md", 9, "zone is listed in ring 2");
}

#[test]
fn tests_may_import_more_only_as_listed() {
    let plant = Plant::new();
    plant.append("crates/store/Cargo.toml", "[dev-dependencies]\nwire = { path = \"../wire\" }\n");
    plant.write("crates/store/tests/story.rs", "//! A story.\nuse wire as _;\n");
    let line = plant.read("crates/store/Cargo.toml").lines().count();
    plant.is_found("imports", "crates/store/Cargo.toml", line, "the tests of store import wire");
    plant.edit("ARCHITECTURE.md", "| `store` | 1 | base | – |", "| `store` | 1 | base | wire |");
    plant.is_clean();
    plant.edit("ARCHITECTURE.md", "| `store` | 1 | base | wire |", "| `store` | 1 | base | wire, node |");
    plant.is_found("imports", "ARCHITECTURE.md", 7, "the tests of store are listed as importing node and do not");
}

#[test]
fn a_wall_holds_even_when_the_page_allows_the_step() {
    let plant = Plant::new();
    import(&plant, "sim", "runtime = { path = \"../runtime\" }", "runtime");
    plant.edit("ARCHITECTURE.md", "| `sim` | 2 | base, node |", "| `sim` | 2 | base, node, runtime |");
    plant.is_among("imports", "crates/sim/Cargo.toml", "sim must never reach runtime, and does: sim -> runtime");
    plant.is_among("imports", "crates/sim/Cargo.toml", "sim imports runtime; only seawall and xtask may");
}

#[test]
fn a_wall_is_not_passed_by_way_of_a_third_crate() {
    let plant = Plant::new();
    import(&plant, "store", "zone = { path = \"../zone\" }", "zone");
    plant.is_among("imports", "crates/node/Cargo.toml", "node must never reach zone, and does: node -> store -> zone");
    plant.is_among(
        "imports",
        "crates/store/Cargo.toml",
        "store must never reach wire, and does: store -> zone -> wire",
    );
}

#[test]
fn ring_1_takes_only_the_allowed_releases() {
    let plant = Plant::new();
    import(&plant, "zone", "bytes = \"1\"", "bytes");
    plant.is_clean();
    import(&plant, "zone", "libc = \"0.2\"", "libc");
    let line = plant.read("crates/zone/Cargo.toml").lines().count();
    plant.is_found("imports", "crates/zone/Cargo.toml", line, "zone is in ring 1 and may not use libc");
}

#[test]
fn a_release_cannot_hide_behind_another_name() {
    let plant = Plant::new();
    import(&plant, "zone", "bytes = { package = \"libc\", version = \"0.2\" }", "bytes");
    plant.is_among("imports", "crates/zone/Cargo.toml", "zone is in ring 1 and may not use libc");
}

#[test]
fn a_dependency_that_no_code_names_is_found() {
    let plant = Plant::new();
    plant.edit("crates/zone/src/lib.rs", "pub use wire;\n", "// wire\n");
    let line = plant.read("crates/zone/Cargo.toml").lines().count();
    plant.is_found("imports", "crates/zone/Cargo.toml", line, "zone declares wire and no code of it names that");
}

#[test]
fn a_folder_outside_the_workspace_is_found() {
    let plant = Plant::new();
    plant.edit("Cargo.toml", "members = [\"crates/*\"]", "members = [\"crates/*\"]\nexclude = [\"aside\"]");
    plant.write("aside/Cargo.toml", "[package]\nname = \"aside\"\nedition = \"2024\"\n");
    plant.write("aside/src/lib.rs", "//! Aside.\n");
    import(&plant, "seawall", "aside = { path = \"../../aside\" }", "aside");
    plant.is_among("imports", "crates/seawall/Cargo.toml", "from a folder that is no member of this workspace");
}
