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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_node_is_told_with_its_figures_and_those_of_the_fleet() {
        let seen = wire::DiskReport { count: 60, median_us: 9215, p99_us: 98_303, oldest_us: 1_200_000 };
        let fleet = wire::DiskReport { count: 200, median_us: 575, p99_us: 9004, oldest_us: 0 };
        let node = base::NodeId(3);
        let mut slow = wire::SlowNode { node, for_ms: 1500, left_ms: 58_500, seen, fleet, put_out: 4, kept: 0 };
        let text = line(&slow);
        for word in [
            "node-3 is slow for 1s, for 58s more at least",
            "60, half within 9.21 ms, 99 of 100 within 98.30 ms, one under way for 1200.00 ms",
            "the fleet: 200, half within 0.57 ms, 99 of 100 within 9.00 ms;",
            "4 replicas were put out of their shards",
        ] {
            assert!(text.contains(word), "{word} in {text}");
        }
        assert!(!text.contains("could not be"));
        slow.kept = 2;
        assert!(words(&slow).ends_with("4 replicas were put out of their shards, 2 could not be"));
        let value = json(&slow);
        assert_eq!(
            (&value["node"], &value["kept"], &value["seen"]["p99_us"]),
            (&json!("node-3"), &json!(2), &json!(98_303))
        );
    }
}
