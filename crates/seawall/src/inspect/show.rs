//! What an inspection found, as columns for people and as JSON for scripts.

use crate::table::Table;
use base::log::{Register, Stamp, Standing};
use base::size::Size;
use base::{Member, ShardId};
use serde_json::{Value, json};
use store::{LogEnd, Report, SegmentUse, ShardSeen, SuperblockSeen};

/// The chunks of a shard and their versions.
pub type Versions = (ShardId, Vec<(u32, Stamp)>);

/// Batches that are shown to people; scripts get all.
const BATCHES_SHOWN: usize = 40;

fn stamp(stamp: Stamp) -> String {
    format!("{}:{}", stamp.epoch, stamp.sequence)
}

fn standing(standing: Standing) -> String {
    match standing {
        Standing::Reserved => "reserved".into(),
        Standing::Complete => "complete".into(),
        Standing::Suspect => "suspect".into(),
        Standing::Learning { plan, base: None } => format!("learning {plan}"),
        Standing::Learning { plan, base: Some(base) } => format!("learning {plan} from {base}"),
        Standing::Learned { plan } => format!("learned {plan}"),
    }
}

fn segment_use(used: SegmentUse) -> &'static str {
    match used {
        SegmentUse::Free => "free",
        SegmentUse::Log => "log",
        SegmentUse::Checkpoint => "checkpoint",
    }
}

fn members(members: &[Member]) -> String {
    members.iter().map(|m| m.node.to_string()).collect::<Vec<_>>().join(",")
}

fn end(end: &LogEnd) -> &'static str {
    match end {
        LogEnd::NotFollowed => "not-followed",
        LogEnd::End => "end",
        LogEnd::TornTail { .. } => "torn-tail",
        LogEnd::Broken => "broken",
    }
}

/// For people.
pub fn text(report: &Report, versions: Option<&Versions>) -> String {
    let mut parts = vec![superblocks(report), checkpoint(report)];
    if !report.segments.is_empty() {
        parts.extend([segments(report), log(report), shards(report)]);
        parts.extend(points(report));
    }
    parts.extend(salvage(report));
    parts.extend(versions.map(chunks));
    parts.join("\n")
}

fn superblocks(report: &Report) -> String {
    let mut table = Table::new(&["SUPERBLOCK", "STATE", "GENERATION", "RUN", "NODE", "CLUSTER", "STORE", "CHECKPOINT"]);
    let newest = report
        .superblocks
        .iter()
        .filter_map(|s| if let SuperblockSeen::Whole(s) = s { Some(s.generation) } else { None })
        .max();
    for (at, seen) in [0, 4096].into_iter().zip(&report.superblocks) {
        let mut row = vec![format!("byte {at}")];
        match seen {
            SuperblockSeen::Whole(s) => row.extend([
                if Some(s.generation) == newest { "whole".into() } else { "whole, older".into() },
                s.generation.to_string(),
                format!("{} from batch {}", s.run, s.run_first),
                s.node.to_string(),
                s.cluster.to_string(),
                s.uuid.to_string(),
                if s.root_at[0] == 0 {
                    "-".into()
                } else {
                    format!("after batch {}, bytes {} and {}", s.checkpoint_batch, s.root_at[0], s.root_at[1])
                },
            ]),
            SuperblockSeen::Zeroes => row.push("zeroes".into()),
            SuperblockSeen::Newer(version) => row.push(format!("version {version}")),
            SuperblockSeen::Damaged => row.push("damaged".into()),
        }
        table.row(row);
    }
    let g = report.geometry;
    let shape = format!(
        "{} in segments of {}, behind {}; {} of {} in the reserve",
        Size(g.capacity_bytes),
        Size(g.segment_bytes),
        Size(g.preface_bytes),
        g.reserve_segments,
        g.segments()
    );
    format!("{table}{shape}\n")
}

fn checkpoint(report: &Report) -> String {
    let Some(seen) = &report.checkpoint else { return "checkpoint: none\n".into() };
    let blocks: u64 = seen.pieces.iter().map(|piece| u64::from(piece.blocks)).sum();
    let mut text = format!(
        "checkpoint: after batch {}, a root and {} pieces ({} of them its base), {} blocks in each copy\n",
        seen.batch,
        seen.pieces.len() - 1,
        seen.base_pieces,
        blocks
    );
    for (n, piece) in seen.pieces.iter().enumerate().filter(|(_, piece)| piece.bad != [false; 2]) {
        let name = if n == 0 { "root".to_owned() } else { format!("piece {n}") };
        let lost = if piece.bad == [true; 2] { "both copies are" } else { "one copy is" };
        let at: Vec<String> =
            piece.at.iter().zip(piece.bad).filter(|(_, bad)| *bad).map(|(at, _)| at.to_string()).collect();
        text += &format!("  {name} (serial {}): {lost} bad, byte {}\n", piece.serial, at.join(" and "));
    }
    text
}

fn segments(report: &Report) -> String {
    let count = |used| report.segments.iter().filter(|s| s.used == used).count();
    let mut table = Table::new(&["SEGMENT", "USED", "LIVE BLOCKS", "FIRST BATCH"]);
    for (number, seen) in report.segments.iter().enumerate().filter(|(_, seen)| seen.used != SegmentUse::Free) {
        table.row(vec![
            number.to_string(),
            segment_use(seen.used).into(),
            seen.live_blocks.to_string(),
            if seen.used == SegmentUse::Log { seen.first_batch.to_string() } else { String::new() },
        ]);
    }
    let [log, checkpoint, free] = [SegmentUse::Log, SegmentUse::Checkpoint, SegmentUse::Free].map(count);
    format!("segments: {log} of the log, {checkpoint} of the checkpoint, {free} free\n{table}")
}

fn log(report: &Report) -> String {
    let mut table = Table::new(&["BATCH", "BYTE", "SEGMENT", "RUN", "ENTRIES", "BLOCKS"]);
    let hidden = report.batches.len().saturating_sub(BATCHES_SHOWN);
    for b in &report.batches[hidden..] {
        let cells = [b.batch, b.at, u64::from(b.segment), b.run, u64::from(b.entries), u64::from(b.blocks)];
        table.row(cells.map(|cell| cell.to_string()).into());
    }
    let why = match &report.end {
        LogEnd::NotFollowed => "not followed, since what says where it begins is damaged".into(),
        LogEnd::End => "nothing follows".into(),
        LogEnd::TornTail { headers } => format!("a torn tail follows, {headers} headers of it; it was never durable"),
        LogEnd::Broken => "broken: the next batch of the chain had been durable, or could not be read".into(),
    };
    let hidden =
        if hidden == 0 { String::new() } else { format!(", the last {BATCHES_SHOWN} of them here (--json has all)") };
    format!("log: {} batches behind the checkpoint{hidden}\n{table}end of the log: {why}\n", report.batches.len())
}

fn shards(report: &Report) -> String {
    let head =
        ["SHARD", "STANDING", "PROMISED", "ADOPTED", "MEMBERS", "COMMITTED", "END", "WINDOW", "BLOCKS", "CHUNKS", ""];
    let mut table = Table::new(&head);
    // What the node remembers for itself is no shard.
    for s in report.shards.iter().filter(|s| s.shard != ShardId::NODE) {
        let of = |what: &dyn Fn(&Register) -> String| s.register.as_ref().map_or("-".into(), what);
        table.row(vec![
            s.shard.to_string(),
            of(&|r| standing(r.standing)),
            of(&|r| r.promised.to_string()),
            of(&|r| r.adopted.to_string()),
            of(&|r| members(&r.config.members)),
            s.committed.to_string(),
            stamp(s.end),
            s.window_entries.to_string(),
            s.blocks.to_string(),
            s.chunks.to_string(),
            if s.suspect { "suspect".into() } else { String::new() },
        ]);
    }
    table.to_string()
}

fn points(report: &Report) -> Option<String> {
    let mut table = Table::new(&["SHARD", "FROZEN POINT", "FROZEN BY", "BLOCKS HELD"]);
    let all: Vec<_> = report.shards.iter().flat_map(|s| s.points.iter().map(move |point| (s.shard, point))).collect();
    for (shard, point) in &all {
        table.row(vec![shard.to_string(), point.id.to_string(), stamp(point.stamp), point.held_blocks.to_string()]);
    }
    (!all.is_empty()).then(|| table.to_string())
}

fn salvage(report: &Report) -> Option<String> {
    let salvage = report.salvage.as_ref()?;
    let lost: Vec<String> =
        salvage.lost.iter().map(|(a, b)| if a == b { a.to_string() } else { format!("{a} to {b}") }).collect();
    let lost = if lost.is_empty() { String::new() } else { format!(" Lost batches: {}.", lost.join(", ")) };
    Some(format!(
        "salvaged: what should lead to them is damaged, so {} batches were found by their headers alone.{lost} {} blocks could not be read while looking. \
         A shard that is called suspect may lack writes or hold older ones; every block that is there is one that was written at its place.\n",
        salvage.batches, salvage.unreadable_blocks
    ))
}

fn chunks((shard, versions): &Versions) -> String {
    let mut table = Table::new(&["CHUNK", "VERSION"]);
    for (chunk, version) in versions {
        table.row(vec![chunk.to_string(), stamp(*version)]);
    }
    format!("{shard}\n{table}")
}

/// For scripts.
pub fn json(report: &Report, versions: Option<&Versions>) -> Value {
    let g = report.geometry;
    let chunks = versions.map(|(shard, versions)| {
        let chunk = |(chunk, version): &(u32, Stamp)| json!({ "chunk": chunk, "epoch": version.epoch.0, "sequence": version.sequence.0 });
        json!({ "shard": shard.to_string(), "versions": versions.iter().map(chunk).collect::<Vec<_>>() })
    });
    json!({
        "superblocks": report.superblocks.iter().map(superblock_json).collect::<Vec<_>>(),
        "geometry": {
            "capacity_bytes": g.capacity_bytes,
            "segment_bytes": g.segment_bytes,
            "preface_bytes": g.preface_bytes,
            "reserve_segments": g.reserve_segments,
        },
        "checkpoint": report.checkpoint.as_ref().map(|seen| json!({
            "batch": seen.batch,
            "base_pieces": seen.base_pieces,
            "pieces": seen.pieces.iter().map(|p| json!({ "serial": p.serial, "at": p.at, "blocks": p.blocks, "bad": p.bad })).collect::<Vec<_>>(),
        })),
        "segments": report.segments.iter().map(|s| json!({
            "used": segment_use(s.used), "live_blocks": s.live_blocks, "first_batch": s.first_batch,
        })).collect::<Vec<_>>(),
        "batches": report.batches.iter().map(|b| json!({
            "batch": b.batch, "at": b.at, "segment": b.segment, "run": b.run, "entries": b.entries, "blocks": b.blocks,
        })).collect::<Vec<_>>(),
        "end": end(&report.end),
        "refusal": report.refusal.as_ref().map(ToString::to_string),
        "damage": report.damage.map(|d| json!({ "batch": d.batch, "segment": d.segment, "at": d.at })),
        "salvage": report.salvage.as_ref().map(|s| json!({
            "batches": s.batches, "lost": s.lost, "unreadable_blocks": s.unreadable_blocks, "all_suspect": s.all_suspect,
        })),
        "shards": report.shards.iter().filter(|s| s.shard != ShardId::NODE).map(shard_json).collect::<Vec<_>>(),
        "chunks": chunks,
    })
}

fn superblock_json(seen: &SuperblockSeen) -> Value {
    match seen {
        SuperblockSeen::Whole(s) => json!({
            "state": "whole",
            "store": s.uuid.to_string(),
            "node": s.node.to_string(),
            "cluster": s.cluster.to_string(),
            "generation": s.generation,
            "run": s.run,
            "run_first": s.run_first,
            "checkpoint_batch": s.checkpoint_batch,
            "root_at": s.root_at,
        }),
        SuperblockSeen::Zeroes => json!({ "state": "zeroes" }),
        SuperblockSeen::Newer(version) => json!({ "state": "newer", "version": version }),
        SuperblockSeen::Damaged => json!({ "state": "damaged" }),
    }
}

fn shard_json(s: &ShardSeen) -> Value {
    json!({
        "shard": s.shard.to_string(),
        "register": s.register.as_ref().map(|r| json!({
            "promised": r.promised.0,
            "adopted": r.adopted.0,
            "standing": standing(r.standing),
            "epoch": r.config.epoch.0,
            "blocks": r.config.blocks,
            "primary": r.config.primary.to_string(),
            "members": r.config.members.iter().map(|m| m.node.to_string()).collect::<Vec<_>>(),
        })),
        "committed": s.committed.0,
        "end": { "epoch": s.end.epoch.0, "sequence": s.end.sequence.0 },
        "window_entries": s.window_entries,
        "blocks": s.blocks,
        "chunks": s.chunks,
        "points": s.points.iter().map(|p| json!({
            "point": p.id.to_string(), "epoch": p.stamp.epoch.0, "sequence": p.stamp.sequence.0, "held_blocks": p.held_blocks,
        })).collect::<Vec<_>>(),
        "suspect": s.suspect,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::log::Stamp;
    use base::{Epoch, PointId, Sequence, VolumeId};
    use store::{Geometry, PointSeen};

    #[test]
    fn frozen_points_are_shown_where_there_are_any() {
        let stamp = Stamp { epoch: Epoch(2), sequence: Sequence(7) };
        let mut shard = ShardSeen {
            shard: ShardId { volume: VolumeId(1), index: 0 },
            register: None,
            committed: Sequence(9),
            end: stamp,
            window_entries: 0,
            blocks: 3,
            chunks: 1,
            points: vec![],
            suspect: false,
        };
        let mut report = Report {
            superblocks: [SuperblockSeen::Damaged; 2],
            geometry: Geometry::tiny(1 << 20),
            checkpoint: None,
            segments: vec![],
            batches: vec![],
            end: LogEnd::End,
            refusal: None,
            damage: None,
            salvage: None,
            shards: vec![shard.clone()],
        };
        assert_eq!(points(&report), None);
        shard.points = vec![PointSeen { id: PointId(4), stamp, held_blocks: 2 }];
        report.shards = vec![shard];
        let text = points(&report).expect("there is one");
        assert!(["FROZEN POINT", "point-4", "2:7"].iter().all(|part| text.contains(part)), "{text}");
        let json = json(&report, None);
        let expected = json!([{ "point": "point-4", "epoch": 2, "sequence": 7, "held_blocks": 2 }]);
        assert_eq!(json["shards"][0]["points"], expected);
    }
}
