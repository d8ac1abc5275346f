//! A drawing of how replicas move, in the language of Graphviz: what an exploration saw, and no more.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::Path;

/// From, by what, to.
pub type Move = (&'static str, String, &'static str);

/// The drawing.
pub fn draw(name: &str, moves: &BTreeSet<Move>) -> String {
    let mut edges: BTreeMap<(&str, &str), Vec<&str>> = BTreeMap::new();
    for (from, by, to) in moves {
        edges.entry((from, to)).or_default().push(by);
    }
    let mut text = format!("digraph {name} {{\n  node [shape=box, style=rounded];\n");
    for ((from, to), by) in edges {
        writeln!(text, "  {from:?} -> {to:?} [label={:?}];", by.join("\n")).expect("nothing fails here");
    }
    text.push_str("}\n");
    text
}

/// Asserts that a drawing is the one in docs/machines. Where it is not, the new one is put beside the test's other files, to be looked at and moved.
pub fn assert_drawn(file: &str, text: &str) {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/machines").join(file);
    if std::fs::read_to_string(&golden).unwrap_or_default() == text {
        return;
    }
    let new = Path::new(env!("CARGO_TARGET_TMPDIR")).join(file);
    std::fs::write(&new, text).expect("the folder of this test's files is there");
    panic!(
        "docs/machines/{file} is not what was seen. If what was seen is right:\n  cp {} {}",
        new.display(),
        golden.display()
    );
}
