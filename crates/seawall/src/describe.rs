//! Volumes and nodes as people and scripts read them: the same facts as columns and as JSON.

use crate::table::Table;
use crate::{points, slowness};
use base::Member;
use base::size::Size;
use serde_json::{Value, json};
use std::time::Duration;
use wire::{NodeCondition, NodeState, ShardCondition, ShardState, Throttle, VolumeCondition, VolumeState};

/// In one word. What begins with `stuck` has I/O waiting, and the rest of the word is why.
pub fn volume_condition(condition: &VolumeCondition) -> &'static str {
    match condition {
        VolumeCondition::Ok => "ok",
        VolumeCondition::Degraded => "degraded",
        VolumeCondition::StuckElecting => "stuck-electing",
        VolumeCondition::StuckAwaitingAuthority => "stuck-awaiting-authority",
        VolumeCondition::StuckAwaitingMember => "stuck-awaiting-member",
        VolumeCondition::AtRisk => "at-risk",
        VolumeCondition::Creating => "creating",
        VolumeCondition::Deleting => "deleting",
    }
}

/// In one word.
pub fn node_condition(condition: &NodeCondition) -> &'static str {
    match condition {
        NodeCondition::Up => "up",
        NodeCondition::Suspect => "suspect",
        NodeCondition::Failed => "failed",
        NodeCondition::Quarantined => "quarantined",
        NodeCondition::Isolated => "isolated",
    }
}

/// In one word, also whether it is drained or slow.
pub fn node_state(n: &NodeState) -> &'static str {
    match (&n.condition, n.drain) {
        (NodeCondition::Up, Some(wire::Drain { replicas: 0, .. })) => "drained",
        (NodeCondition::Up, Some(_)) => "draining",
        (NodeCondition::Up, None) if n.slow.is_some() => "slow",
        (condition, _) => node_condition(condition),
    }
}

fn shard_condition(condition: &ShardCondition) -> &'static str {
    match condition {
        ShardCondition::Serving => "serving",
        ShardCondition::Electing => "electing",
        ShardCondition::AwaitingAuthority => "awaiting-authority",
        ShardCondition::AwaitingMember => "awaiting-member",
    }
}

fn names(members: &[Member]) -> String {
    if members.is_empty() {
        return "-".into();
    }
    members.iter().map(|m| m.node.to_string()).collect::<Vec<_>>().join(",")
}

/// A time for people: `350ms`, `12s`, `3m05s`, `2h10m`.
pub fn ago(ms: u64) -> String {
    let seconds = Duration::from_millis(ms).as_secs();
    match seconds {
        0 => format!("{ms}ms"),
        1..60 => format!("{seconds}s"),
        60..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        _ => format!("{}h{:02}m", seconds / 3600, seconds / 60 % 60),
    }
}

fn attached(volume: &VolumeState) -> String {
    let how = if volume.read_only { ", read only" } else { "" };
    volume.attached.map_or("-".into(), |host| format!("{host}{how}"))
}

/// One line for each.
pub fn volumes(all: &[VolumeState]) -> String {
    let mut table = Table::new(&["VOLUME", "SIZE", "COPIES", "STATE", "ATTACHED"]);
    for v in all {
        table.row(vec![
            v.info.volume.to_string(),
            Size(v.info.size).to_string(),
            v.copies.to_string(),
            volume_condition(&v.condition).into(),
            attached(v),
        ]);
    }
    table.to_string()
}

/// All of one.
pub fn volume(v: &VolumeState) -> String {
    let mut table = Table::new(&["SHARD", "STATE", "FOR", "EPOCH", "PRIMARY", "MEMBERS", "HOLDERS", "LEARNER"]);
    for s in &v.shards {
        table.row(vec![
            s.config.shard.index.to_string(),
            volume_condition(&s.condition).into(),
            ago(s.for_ms),
            s.config.epoch.to_string(),
            s.config.primary.to_string(),
            members(s),
            names(&s.config.holders),
            learner(s),
        ]);
    }
    format!(
        "{}  {}  {}  {} copies  attached to {}, generation {}\n{}\n{table}{}",
        v.info.volume,
        Size(v.info.size),
        volume_condition(&v.condition),
        v.copies,
        attached(v),
        v.generation,
        throttled(v),
        points::list(&v.points),
    )
}

/// That a volume has the size that was asked for.
pub fn resized(v: &VolumeState) -> String {
    let size = format!("{} has {}\n", v.info.volume, Size(v.info.size));
    match v.attached {
        Some(_) => size + "an NBD client that is connected sees it when it connects anew\n",
        None => size,
    }
}

/// What a volume may do, in words.
pub fn throttle(throttle: &Throttle) -> String {
    let iops = (throttle.iops > 0).then(|| format!("{} IOPS", throttle.iops));
    let bandwidth = (throttle.bytes_per_s > 0).then(|| format!("{}/s", Size(throttle.bytes_per_s)));
    match (iops, bandwidth) {
        (None, None) => "what it can: it has no limit".into(),
        (Some(one), None) | (None, Some(one)) => format!("{one} at most"),
        (Some(iops), Some(bandwidth)) => format!("{iops} and {bandwidth} at most"),
    }
}

/// A line about the throttle; nothing where there is none and nothing waits for one.
fn throttled(v: &VolumeState) -> String {
    let mut line = String::new();
    if v.throttle != Throttle::default() {
        line = format!("may do {}", throttle(&v.throttle));
    }
    if let Some(t) = v.throttled.filter(|t| t.waiting > 0) {
        line += &format!("; throttled: {} requests wait, the oldest for {}", t.waiting, ago(t.waiting_ms));
    }
    if let Some(t) = v.throttled {
        line += &format!("; {} had to wait so far", t.delayed);
    }
    if line.is_empty() { line } else { format!("{}\n", line.trim_start_matches("; ")) }
}

/// Those of which nothing counts until they were filled anew are marked, and those whose disks are gone.
fn members(s: &ShardState) -> String {
    let name = |m: &Member| {
        let mark = match m.node {
            node if s.lost.contains(&node) => "(lost)",
            node if s.suspect.contains(&node) => "(suspect)",
            _ => "",
        };
        format!("{}{mark}", m.node)
    };
    s.config.members.iter().map(name).collect::<Vec<_>>().join(",")
}

fn learner(s: &ShardState) -> String {
    let Some(learner) = &s.config.learner else { return "-".into() };
    let Some(work) = work(s) else { return format!("{} is asked", learner.member.node) };
    let Work { by_delta, planned, moved, left, left_ms } = work;
    let how = if by_delta { "by delta" } else { "in full" };
    let percent = moved * 100 / planned.max(1);
    let time = left_ms.map_or("time unknown".into(), ago);
    format!("{} {percent}% {how}, {} left, {time}", learner.member.node, Size(left))
}

/// Bytes that a learner is to be sent.
struct Work {
    by_delta: bool,
    planned: u64,
    moved: u64,
    left: u64,
    /// As fast as until now; none while nothing is known of that.
    left_ms: Option<u64>,
}

fn work(s: &ShardState) -> Option<Work> {
    let report = s.report.as_ref()?;
    let filling = report.filling?;
    let bytes = |blocks: u32| u64::from(blocks) * base::BLOCK_BYTES as u64;
    let (planned, moved) = (bytes(filling.planned), bytes(report.learned_blocks));
    // What was written since it began may have made it more.
    let left = planned.saturating_sub(moved);
    let left_ms = u128::from(filling.for_ms) * u128::from(left);
    let left_ms = left_ms.checked_div(u128::from(moved)).map(|ms| ms as u64);
    Some(Work { by_delta: filling.by_delta, planned, moved, left, left_ms })
}

/// For scripts.
pub fn volume_json(v: &VolumeState) -> Value {
    json!({
        "id": v.info.volume.to_string(),
        "size": v.info.size,
        "shard_size": u64::from(v.info.shard_blocks) * base::BLOCK_BYTES as u64,
        "copies": v.copies,
        "condition": volume_condition(&v.condition),
        "attached": v.attached.map(|h| h.to_string()),
        "read_only": v.read_only,
        "generation": v.generation.0,
        // No limit is null.
        "iops": Some(v.throttle.iops).filter(|n| *n > 0),
        "bandwidth": Some(v.throttle.bytes_per_s).filter(|n| *n > 0),
        "throttled": v.throttled.map(|t| json!({
            "waiting": t.waiting,
            "waiting_ms": t.waiting_ms,
            "delayed": t.delayed,
        })),
        "points": v.points.iter().map(points::json).collect::<Vec<_>>(),
        "shards": v.shards.iter().map(shard_json).collect::<Vec<_>>(),
    })
}

fn shard_json(s: &ShardState) -> Value {
    let member = |m: &Member| json!({ "node": m.node.to_string(), "store": m.store.to_string() });
    let members = |m: &[Member]| m.iter().map(member).collect::<Vec<_>>();
    json!({
        "index": s.config.shard.index,
        "bytes": u64::from(s.config.blocks) * base::BLOCK_BYTES as u64,
        "condition": volume_condition(&s.condition),
        "for_ms": s.for_ms,
        "epoch": s.config.epoch.0,
        "revision": s.config.revision.0,
        "primary": s.config.primary.to_string(),
        "members": members(&s.config.members),
        "suspect": s.suspect.iter().map(|n| n.to_string()).collect::<Vec<_>>(),
        "lost": s.lost.iter().map(|n| n.to_string()).collect::<Vec<_>>(),
        "holders": members(&s.config.holders),
        "target_copies": s.config.target_copies,
        "min_copies": s.config.min_copies,
        "learner": s.config.learner.as_ref().map(|l| {
            let work = work(s);
            json!({
                "node": l.member.node.to_string(),
                "plan": l.plan,
                "by_delta": work.as_ref().map(|w| w.by_delta),
                // Bytes.
                "planned": work.as_ref().map(|w| w.planned),
                "moved": work.as_ref().map(|w| w.moved),
                "left": work.as_ref().map(|w| w.left),
                "left_ms": work.as_ref().and_then(|w| w.left_ms),
            })
        }),
        "primary_says": s.report.as_ref().map(|r| shard_condition(&r.condition)),
        "committed": s.report.as_ref().map(|r| r.committed.0),
    })
}

/// That a zone must be rebuilt, and why.
pub fn behind(ahead: &wire::Ahead) -> String {
    format!(
        "THE ZONE MUST BE REBUILT: {} was told more than its metadata know (start {}, revision {}), so they are an old copy, or new, and nothing is changed; \
         stop the zone and run `seawall zone rebuild`",
        ahead.node, ahead.seen.start, ahead.seen.revision
    )
}

/// A zone.
pub fn zone(z: &wire::ZoneState) -> String {
    let mut table = Table::new(&["ZONE", &z.cluster.to_string()]);
    let mut row = |name: &str, value: String| table.row(vec![name.into(), value]);
    row("nodes", format!("{}, of them {} up", z.nodes, z.nodes_up));
    row("volumes", z.volumes.to_string());
    row("shards", format!("{}, of them {} whole", z.shards, z.shards_whole));
    let waiting = "copies wait for nodes that lost touch together";
    row("copying", format!("{} {waiting}; {} times a node was isolated", z.shards_put_off, z.counters.isolated));
    row("metadata", format!("start {} ({}), revision {}", z.at.start, z.at.meta, z.at.revision));
    let c = &z.counters;
    row("replicas moved off drained nodes", c.drained.to_string());
    let slow = format!("{} put out; {} that could not be", c.slow_put_out, c.slow_kept);
    row("replicas on slow nodes", slow);
    z.slow.iter().for_each(|s| row("slow", format!("{} {}", s.node, slowness::words(s))));
    row("nodes removed", c.removed.to_string());
    row("wishes asked for again to see that their node hears", c.unheard.to_string());
    row("processes that were one too many", c.overtaken.to_string());
    row("disks lost", format!("{}, with {} replicas", c.disks_lost, c.replicas_lost));
    let behind = z.behind.as_ref().map_or(String::new(), |ahead| format!("\n{}\n", behind(ahead)));
    format!("{table}{behind}")
}

/// For scripts.
pub fn zone_json(z: &wire::ZoneState) -> Value {
    let seen = |s: &wire::Seen| json!({ "start": s.start, "name": s.meta.to_string(), "revision": s.revision.0 });
    json!({
        "cluster": z.cluster.to_string(),
        "metadata": seen(&z.at),
        "nodes": z.nodes,
        "nodes_up": z.nodes_up,
        "volumes": z.volumes,
        "shards": z.shards,
        "shards_whole": z.shards_whole,
        "shards_put_off": z.shards_put_off,
        "isolated": z.counters.isolated,
        "must_be_rebuilt": z.behind.is_some(),
        "behind": z.behind.as_ref().map(|a| json!({ "node": a.node.to_string(), "was_told": seen(&a.seen) })),
        "unheard": z.counters.unheard,
        "overtaken": z.counters.overtaken,
        "disks_lost": z.counters.disks_lost,
        "drained": z.counters.drained,
        "removed": z.counters.removed,
        "replicas_lost": z.counters.replicas_lost,
        "slow_put_out": z.counters.slow_put_out,
        "slow_kept": z.counters.slow_kept,
        "slow": z.slow.iter().map(slowness::json).collect::<Vec<_>>(),
    })
}

/// One line for each.
pub fn nodes(all: &[NodeState]) -> String {
    let mut table =
        Table::new(&["NODE", "STATE", "FOR", "RACK", "REPLICAS", "PRIMARIES", "CAPACITY", "PROMISED", "HELD", "ROOM"]);
    for n in all {
        table.row(vec![
            n.info.entry.node.to_string(),
            node_state(n).into(),
            ago(n.for_ms),
            n.info.rack.clone(),
            n.replicas.to_string(),
            n.primaries.to_string(),
            whole(n.info.space.capacity),
            whole(n.reserved),
            whole(n.held),
            whole(n.info.space.room),
        ]);
    }
    table.to_string()
}

/// Rounded down to whole MiB, so that a column can be read.
fn whole(bytes: u64) -> String {
    let size = if bytes >= 1 << 20 { bytes & !((1 << 20) - 1) } else { bytes };
    Size(size).to_string()
}

/// Which block of which volume: its byte in the shard, as an operator may want to look for it.
fn lost_block(lost: &wire::LostBlock) -> String {
    let of = if lost.frozen { ", as a frozen point has it; the volume itself has other data there" } else { "" };
    format!("block {} of {}{of}", lost.block, lost.shard)
}

/// All of one.
pub fn node(n: &NodeState) -> String {
    let mut table = Table::new(&["NODE", &n.info.entry.node.to_string()]);
    let mut row = |name: &str, value: String| table.row(vec![name.into(), value]);
    row("state", format!("{}, for {}", node_state(n), ago(n.for_ms)));
    if let Some(drain) = n.drain {
        let left = format!("{} replicas of {} are still on it", drain.replicas, whole(drain.bytes));
        row("drain", if drain.replicas == 0 { "done: it holds nothing".into() } else { left });
    }
    if let Some(slow) = &n.slow {
        row("slow", slowness::words(slow));
    }
    row("touch", touch(&n.touch));
    row("rack", n.info.rack.clone());
    row("address", n.info.entry.primary.0.to_string());
    row("replication address", n.info.entry.replication.0.to_string());
    row("disk", n.info.store.to_string());
    row("replicas", format!("{}, of them {} primaries", n.replicas, n.primaries));
    row("capacity", whole(n.info.space.capacity));
    row("promised to replicas", whole(n.reserved));
    row("kept by holders", whole(n.held));
    row("used", whole(n.info.space.used));
    row("room to append", whole(n.info.space.room));
    let space = &n.info.space;
    let written = format!("{}, of it {} by the cleaner", whole(space.log), whole(space.moved));
    row("written to the log", written);
    row("written to checkpoints", whole(space.checkpoints));
    row("taught by delta", taught(n.taught.by_delta, n.taught.delta_blocks, n.taught.delta_bytes));
    row("taught in full", taught(n.taught.in_full, n.taught.full_blocks, n.taught.full_bytes));
    row("copying halved", format!("{} times, because clients were served more slowly for it", n.taught.halved));
    row("rotten blocks", format!("{} found, {} mended, {} lost", n.rot.found, n.rot.mended, n.rot.lost));
    n.rot.named.iter().for_each(|lost| row("lost", lost_block(lost)));
    row("writes and flushes", format!("{} in the last second", slowness::disk(&n.disk)));
    row("failed reads", n.rot.reads_failed.to_string());
    row("rewritten of its own", format!("{} headers, pieces of checkpoints and superblocks", n.rot.rewritten));
    let last =
        n.rot.scrubbed_ms.map_or("none ended since it was started".into(), |ms| format!("ended {} ago", ago(ms)));
    row("scrub", format!("{} segments looked at; the last pass: {last}", n.rot.scrubbed_segments));
    for (name, t) in [("primary network", &n.traffic.primary), ("replication network", &n.traffic.replication)] {
        row(name, format!("sent {}; received {}", classes(&t.sent), classes(&t.received)));
    }
    row(
        "links that ride the second",
        format!("of {} peers; {} frames misrouted", n.traffic.aside, n.traffic.misrouted),
    );
    let t = &n.traffic;
    row("connections", format!("{} being opened, {} being closed, {} waiting", t.opening, t.closing, t.queued));
    table.to_string()
}

/// With whom a node is in touch, for people.
fn touch(t: &wire::Touch) -> String {
    let isolated = t.isolated_ms.map_or(String::new(), |ms| format!("; isolated for {}", ago(ms)));
    format!("{} of {} peers lost{isolated}; {} times isolated since it was started", t.lost, t.peers, t.times)
}

/// Bytes by class, for people.
fn classes(c: &wire::ClassReport) -> String {
    let all = [
        ("client", c.client),
        ("replication", c.replication),
        ("copies", c.bulk),
        ("control", c.control),
        ("keepalives", c.keepalive),
    ];
    all.map(|(name, bytes)| format!("{name} {}", whole(bytes))).join(", ")
}

fn network_json(n: &wire::NetworkReport) -> Value {
    let classes = |c: &wire::ClassReport| {
        json!({
            "client": c.client,
            "replication": c.replication,
            "bulk": c.bulk,
            "control": c.control,
            "keepalive": c.keepalive,
        })
    };
    json!({ "sent": classes(&n.sent), "received": classes(&n.received), "pings": n.pings, "pongs": n.pongs })
}

fn taught(learners: u64, blocks: u64, bytes: u64) -> String {
    format!("{learners} replicas made whole, {blocks} blocks sent in {}", Size(bytes))
}

/// For scripts.
pub fn node_json(n: &NodeState) -> Value {
    json!({
        "id": n.info.entry.node.to_string(),
        "condition": node_condition(&n.condition),
        "for_ms": n.for_ms,
        "state": node_state(n),
        "drain": n.drain.map(|d| json!({ "replicas": d.replicas, "bytes": d.bytes })),
        "touch": {
            "peers": n.touch.peers,
            "lost": n.touch.lost,
            "isolated_ms": n.touch.isolated_ms,
            "times_isolated": n.touch.times,
        },
        "rack": n.info.rack,
        "addr": n.info.entry.primary.0.to_string(),
        "replication_addr": n.info.entry.replication.0.to_string(),
        "store": n.info.store.to_string(),
        "incarnation": n.info.incarnation.0,
        "replicas": n.replicas,
        "primaries": n.primaries,
        "capacity": n.info.space.capacity,
        "reserved": n.reserved,
        "held": n.held,
        "used": n.info.space.used,
        "room": n.info.space.room,
        "activity": { "log": n.info.space.log, "moved": n.info.space.moved, "checkpoints": n.info.space.checkpoints },
        // Sent to learners since its process began; bytes with all that is around the blocks.
        "taught": {
            "by_delta": n.taught.by_delta,
            "halved": n.taught.halved,
            "delta_blocks": n.taught.delta_blocks,
            "delta_bytes": n.taught.delta_bytes,
            "in_full": n.taught.in_full,
            "full_blocks": n.taught.full_blocks,
            "full_bytes": n.taught.full_bytes,
        },
        "rot": {
            "found": n.rot.found,
            "mended": n.rot.mended,
            "lost": n.rot.lost,
            "rewritten": n.rot.rewritten,
            "reads_failed": n.rot.reads_failed,
            "scrubbed_segments": n.rot.scrubbed_segments,
            "scrubbed_ms": n.rot.scrubbed_ms,
            "named": n.rot.named.iter().map(|lost| json!({
                "volume": lost.shard.volume.to_string(),
                "shard": lost.shard.index,
                "block": lost.block,
                "frozen": lost.frozen,
            })).collect::<Vec<_>>(),
        },
        "networks": {
            "primary": network_json(&n.traffic.primary),
            "replication": network_json(&n.traffic.replication),
            "misrouted": n.traffic.misrouted,
            "aside": n.traffic.aside,
        },
        "disk": slowness::disk_json(&n.disk),
        "slow": n.slow.as_ref().map(slowness::json),
        "connections": { "opening": n.traffic.opening, "closing": n.traffic.closing, "queued": n.traffic.queued },
    })
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use base::{Configuration, Epoch, Generation, HostId, Learner, NodeId, Revision, ShardId, StoreUuid, VolumeId};

    pub fn sample() -> VolumeState {
        let member = |n| Member { node: NodeId(n), store: StoreUuid(u128::from(n)) };
        let shard = ShardId { volume: VolumeId(1), index: 0 };
        let config = Configuration {
            shard,
            epoch: Epoch(3),
            revision: Revision(9),
            blocks: 1024,
            layout: base::Layout::default(),
            primary: NodeId(2),
            members: vec![member(2), member(3)],
            anchors: vec![member(2), member(3)],
            learner: Some(Learner { member: member(4), plan: 5 }),
            holders: vec![member(1)],
            target_copies: 3,
            min_copies: 2,
            generation: Generation(1),
            client: Some(HostId(7)),
            fence: vec![],
            newborn: false,
            deleted: false,
        };
        let report = wire::ShardReport {
            shard,
            epoch: Epoch(3),
            condition: ShardCondition::Serving,
            committed: base::Sequence(10),
            learned_blocks: 256,
            filling: Some(wire::Filling { by_delta: true, planned: 1024, for_ms: 4000 }),
        };
        let shard = ShardState {
            config,
            report: Some(report),
            condition: VolumeCondition::Degraded,
            for_ms: 65_000,
            suspect: vec![NodeId(3)],
            lost: vec![NodeId(2)],
        };
        VolumeState {
            info: wire::VolumeInfo { volume: VolumeId(1), size: 4 << 20, shard_blocks: 1024 },
            condition: VolumeCondition::Degraded,
            copies: 3,
            attached: Some(HostId(7)),
            read_only: false,
            generation: Generation(1),
            throttle: Throttle::default(),
            throttled: None,
            points: vec![],
            shards: vec![shard],
        }
    }

    #[test]
    fn whoever_makes_a_volume_larger_is_told_who_does_not_see_it_yet() {
        let info = wire::VolumeInfo { size: 3 << 30, ..sample().info };
        let free = VolumeState { info, attached: None, ..sample() };
        let id = free.info.volume;
        assert_eq!(resized(&free), format!("{id} has 3GiB\n"));
        let attached = resized(&VolumeState { attached: Some(base::HostId(1)), ..free });
        assert!(attached.contains("sees it when it connects anew"), "{attached}");
    }

    #[test]
    fn a_volume_that_nobody_may_write_to_is_shown_so() {
        let (written, read) = (sample(), VolumeState { read_only: true, ..sample() });
        assert!(volume(&read).contains(", read only, generation 1") && !volume(&written).contains("read only"));
        assert!(
            volumes(std::slice::from_ref(&read)).contains("read only")
                && volume_json(&read)["read_only"] == json!(true)
        );
    }

    #[test]
    fn what_a_volume_may_do_is_shown_with_what_waits_for_it() {
        let free = sample();
        assert!(volume(&free).lines().nth(1) == Some("") && volume_json(&free)["iops"].is_null());
        let throttle = Throttle { iops: 500, bytes_per_s: 100 << 20 };
        let limited = VolumeState { throttle, ..sample() };
        assert_eq!(volume(&limited).lines().nth(1), Some("may do 500 IOPS and 100MiB/s at most"));
        let waits = wire::ThrottledVolume { volume: VolumeId(1), waiting: 3, waiting_ms: 40, delayed: 17 };
        let slow = VolumeState { throttled: Some(waits), ..limited };
        let line = "may do 500 IOPS and 100MiB/s at most; throttled: 3 requests wait, the oldest for 40ms; 17 had to wait so far";
        assert_eq!(volume(&slow).lines().nth(1), Some(line));
        let value = volume_json(&slow);
        assert_eq!((&value["iops"], &value["bandwidth"]), (&json!(500), &json!(100 << 20)));
        assert_eq!(value["throttled"], json!({ "waiting": 3, "waiting_ms": 40, "delayed": 17 }));
    }

    #[test]
    fn a_volume_shows_where_each_copy_is_and_who_learns() {
        let text = volume(&sample());
        let learner = "node-4 25% by delta, 3MiB left, 12s";
        for word in ["degraded", "1m05s", "node-2(lost),node-3(suspect)", "node-1", learner, "i-00000000000000007"] {
            assert!(text.contains(word), "{word} in {text}");
        }
        let value = volume_json(&sample());
        let said = &value["shards"][0]["learner"];
        assert_eq!(
            (&said["planned"], &said["moved"], &said["left"]),
            (&json!(4 << 20), &json!(1 << 20), &json!(3 << 20))
        );
        assert_eq!((&said["left_ms"], &said["by_delta"]), (&json!(12_000), &json!(true)));
        assert_eq!(value["shards"][0]["members"][1]["node"], "node-3");
        assert_eq!(value["shards"][0]["suspect"], json!(["node-3"]));
        assert_eq!(value["shards"][0]["lost"], json!(["node-2"]));
        assert_eq!(value["condition"], "degraded");
    }

    #[test]
    fn a_learner_of_which_nothing_is_known_yet_shows_no_figures() {
        let mut volume = sample();
        let report = volume.shards[0].report.as_mut().expect("it has one");
        report.learned_blocks = 0;
        assert_eq!(learner(&volume.shards[0]), "node-4 0% by delta, 4MiB left, time unknown");
        volume.shards[0].report = None;
        assert_eq!(learner(&volume.shards[0]), "node-4 is asked");
        assert_eq!(volume_json(&volume)["shards"][0]["learner"]["left"], Value::Null);
    }

    #[test]
    fn a_node_shows_the_rot_it_found_and_names_what_is_lost() {
        let address = |port| wire::Address(([127, 0, 0, 1], port).into());
        let lost = wire::LostBlock { shard: ShardId { volume: VolumeId(1), index: 2 }, block: 77, frozen: false };
        let state = NodeState {
            info: wire::NodeInfo {
                entry: wire::NodeEntry { node: NodeId(4), primary: address(1), replication: address(2) },
                store: StoreUuid(4),
                incarnation: base::Incarnation(1),
                rack: "r1".into(),
                space: wire::Space::default(),
            },
            condition: NodeCondition::Up,
            for_ms: 5,
            reserved: 0,
            held: 0,
            replicas: 1,
            primaries: 0,
            taught: wire::Taught {
                by_delta: 3,
                delta_blocks: 20,
                delta_bytes: 81_920,
                halved: 6,
                ..wire::Taught::default()
            },
            rot: wire::RotReport {
                found: 12,
                mended: 11,
                lost: 1,
                named: vec![lost, wire::LostBlock { block: 78, frozen: true, ..lost }],
                rewritten: 2,
                reads_failed: 3,
                scrubbed_segments: 7,
                scrubbed_ms: Some(65_000),
            },
            traffic: wire::TrafficReport {
                replication: wire::NetworkReport {
                    sent: wire::ClassReport { replication: 3 << 20, ..Default::default() },
                    pings: 9,
                    ..Default::default()
                },
                aside: 2,
                queued: 4,
                ..Default::default()
            },
            touch: wire::Touch { peers: 5, lost: 2, isolated_ms: None, times: 4 },
            disk: wire::DiskReport::default(),
            slow: None,
            drain: Some(wire::Drain { replicas: 1, bytes: 3 << 20 }),
        };
        // That it is drained says more than that it is slow.
        let slow = NodeState { slow: Some(slow_node()), drain: None, ..state.clone() };
        assert_eq!((node_state(&state), node_state(&slow)), ("draining", "slow"));
        assert!(node(&slow).contains("for 20ms, for 5ms more at least") && !node(&state).contains("more at least"));
        assert_eq!((&node_json(&slow)["slow"]["for_ms"], &node_json(&state)["slow"]), (&json!(20), &Value::Null));
        let cut_off = NodeState {
            condition: NodeCondition::Isolated,
            touch: wire::Touch { isolated_ms: Some(65_000), ..state.touch },
            ..state.clone()
        };
        assert!(node(&cut_off).contains("2 of 5 peers lost; isolated for 1m05s; 4 times isolated since"));
        assert!(nodes(std::slice::from_ref(&cut_off)).contains(" isolated "));
        assert_eq!(node_json(&cut_off)["touch"]["isolated_ms"], json!(65_000));
        let text = node(&state);
        for line in [
            "7 segments looked at; the last pass: ended 1m05s ago",
            "12 found, 11 mended, 1 lost",
            "draining, for 5ms",
            "6 times, because clients were served more slowly",
            "2 of 5 peers lost; 4 times isolated since",
            "1 replicas of 3MiB are still on it",
            "block 77 of vol-00000000000000001/2",
            "block 78 of vol-00000000000000001/2, as a frozen point has it",
            "sent client 0B, replication 3MiB",
            "of 2 peers; 0 frames misrouted",
            "0 being opened, 0 being closed, 4 waiting",
            "3 replicas made whole, 20 blocks sent in 80KiB",
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
        let networks = &node_json(&state)["networks"];
        assert_eq!(networks["replication"]["sent"]["replication"], 3 << 20);
        assert_eq!((&networks["replication"]["pings"], &networks["aside"]), (&json!(9), &json!(2)));
        assert_eq!(node_json(&state)["connections"]["queued"], 4);
        let rot = &node_json(&state)["rot"];
        assert_eq!((&rot["found"], &rot["mended"], &rot["lost"]), (&json!(12), &json!(11), &json!(1)));
        assert_eq!((&rot["rewritten"], &rot["scrubbed_ms"]), (&json!(2), &json!(65_000)));
        assert_eq!(rot["reads_failed"], json!(3));
        assert_eq!(node_json(&state)["taught"]["delta_blocks"], json!(20));
        assert_eq!(
            rot["named"],
            json!([{ "volume": "vol-00000000000000001", "shard": 2, "block": 77, "frozen": false }, { "volume": "vol-00000000000000001", "shard": 2, "block": 78, "frozen": true }])
        );
    }

    fn slow_node() -> wire::SlowNode {
        let seen = wire::DiskReport::default();
        wire::SlowNode { node: NodeId(7), for_ms: 20, left_ms: 5, seen, fleet: seen, put_out: 0, kept: 0 }
    }

    #[test]
    fn a_zone_says_that_it_must_be_rebuilt_and_who_knows_better() {
        let seen = wire::Seen { start: 3, meta: base::MetaUuid(5), revision: Revision(70) };
        let mut state = wire::ZoneState {
            cluster: base::ClusterId(9),
            at: seen,
            nodes: 4,
            nodes_up: 3,
            volumes: 2,
            shards_whole: 1,
            shards: 2,
            shards_put_off: 1,
            behind: None,
            slow: vec![slow_node()],
            counters: wire::ZoneCounters {
                disks_lost: 1,
                replicas_lost: 8,
                slow_kept: 3,
                unheard: 17,
                ..wire::ZoneCounters::default()
            },
        };
        assert!(!zone(&state).contains("REBUILT") && zone_json(&state)["must_be_rebuilt"] == json!(false));
        state.behind = Some(wire::Ahead { node: NodeId(2), seen: wire::Seen { start: 4, ..seen } });
        let text = zone(&state);
        for word in [
            "4, of them 3 up",
            "2, of them 1 whole",
            "1 copies wait",
            "1, with 8 replicas",
            "node-7 for 20ms",
            "0 put out; 3 that",
            "17",
            "REBUILT",
            "node-2",
            "start 4",
        ] {
            assert!(text.contains(word), "{word} in {text}");
        }
        let value = zone_json(&state);
        assert_eq!((&value["behind"]["node"], &value["must_be_rebuilt"]), (&json!("node-2"), &json!(true)));
        assert_eq!(value["metadata"]["revision"], json!(70));
        assert_eq!(value["unheard"], json!(17));
        assert_eq!((&value["slow"][0]["node"], &value["slow_kept"]), (&json!("node-7"), &json!(3)));
    }

    #[test]
    fn times_are_written_for_people() {
        let texts = [999, 12_000, 185_000, 7_800_000].map(ago);
        assert_eq!(texts, ["999ms", "12s", "3m05s", "2h10m"]);
    }
}
