//! A drawing of how replicas move, in the language of Graphviz: what an exploration saw, and no more.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

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
