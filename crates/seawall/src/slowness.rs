//! How the disks of nodes do, and which nodes are slow, in words and for scripts.

use crate::describe::ago;
use serde_json::{Value, json};

/// How long a disk takes, for people.
pub fn disk(d: &wire::DiskReport) -> String {
    let ms = |us: u32| format!("{}.{:02} ms", us / 1000, us % 1000 / 10);
    let oldest =
        if d.oldest_us >= 1_000_000 { format!(", one under way for {}", ms(d.oldest_us)) } else { String::new() };
    format!("{}, half within {}, 99 of 100 within {}{oldest}", d.count, ms(d.median_us), ms(d.p99_us))
}

/// That a node is slow, for people.
pub fn words(s: &wire::SlowNode) -> String {
    let kept = if s.kept > 0 { format!(", {} could not be", s.kept) } else { String::new() };
    format!(
        "for {}, for {} more at least: writes and flushes {}; the fleet: {}; {} replicas were put out of their shards{kept}",
        ago(s.for_ms),
        ago(s.left_ms),
        disk(&s.seen),
        disk(&s.fleet),
        s.put_out
    )
}

/// One line for the log, when a node is found slow.
pub fn line(s: &wire::SlowNode) -> String {
    format!("{} is slow {}", s.node, words(s))
}

/// For scripts.
pub fn disk_json(d: &wire::DiskReport) -> Value {
    json!({ "count": d.count, "median_us": d.median_us, "p99_us": d.p99_us, "oldest_us": d.oldest_us })
}

/// For scripts.
pub fn json(s: &wire::SlowNode) -> Value {
    json!({
        "node": s.node.to_string(),
        "for_ms": s.for_ms,
        "left_ms": s.left_ms,
        "seen": disk_json(&s.seen),
        "fleet": disk_json(&s.fleet),
        "put_out": s.put_out,
        "kept": s.kept,
    })
}
