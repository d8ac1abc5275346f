//! Frozen points of a volume as people and scripts read them.

use crate::table::Table;
use serde_json::{Value, json};
use wire::{PointCondition, VolumePoint};

/// One line for each; nothing where there are none.
pub fn list(points: &[VolumePoint]) -> String {
    if points.is_empty() {
        return String::new();
    }
    let mut table = Table::new(&["POINT", "STATE", "REQUEST"]);
    for p in points {
        table.row(vec![p.point.to_string(), condition(p.condition).into(), p.request.to_string()]);
    }
    format!("\n{table}")
}

/// In one word.
fn condition(condition: PointCondition) -> &'static str {
    match condition {
        PointCondition::Making => "making",
        PointCondition::Made => "made",
        PointCondition::Dropping => "dropping",
    }
}

/// For scripts.
pub fn json(p: &VolumePoint) -> Value {
    json!({ "point": p.point.to_string(), "condition": condition(p.condition), "request": p.request.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::describe;
    use crate::describe::tests::sample;
    use base::{PointId, RequestId};

    #[test]
    fn a_volume_shows_its_frozen_points() {
        let mut state = sample();
        assert!(!describe::volume(&state).contains("POINT") && describe::volume_json(&state)["points"] == json!([]));
        let point = |n, condition| VolumePoint { point: PointId(n), request: RequestId(n.into()), condition };
        state.points =
            vec![point(2, PointCondition::Dropping), point(5, PointCondition::Made), point(6, PointCondition::Making)];
        let request = |n| RequestId(n).to_string();
        let lines: Vec<String> = describe::volume(&state).lines().rev().take(3).map(str::to_owned).collect();
        for (line, (name, word, n)) in
            lines.iter().rev().zip([("point-2", "dropping", 2), ("point-5", "made", 5), ("point-6", "making", 6)])
        {
            let words: Vec<&str> = line.split_whitespace().collect();
            assert_eq!(words, [name, word, &request(n)], "{line}");
        }
        let value = json!({ "point": "point-5", "condition": "made", "request": request(5) });
        assert_eq!(describe::volume_json(&state)["points"][1], value);
    }
}
