//! How nodes and volumes move from one condition to another, drawn as it was seen in walks, and held equal to docs/machines.

mod world;

use base::*;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::Path;
use wire::*;
use world::{GIB, World};
use zone::Policy;

/// From, by what, to.
type Moves = BTreeSet<(String, &'static str, String)>;

struct Walk {
    w: World,
    rng: Rng,
    host: HostId,
    requests: u128,
    nodes: Moves,
    volumes: Moves,
}

/// The conditions of nodes and of volumes.
type Seen = (BTreeMap<NodeId, String>, BTreeMap<VolumeId, String>);

impl Walk {
    fn new(seed: u64) -> Self {
        let policy = Policy { shard_blocks: 1 << 18, ..Policy::dev() };
        let mut w = World::with(0, policy, seed);
        (1..=4).for_each(|n| w.add_node(n, &format!("r{n}"), 10 * GIB));
        w.comes_again = true;
        w.run();
        let host = w.add_host(1);
        Self { w, rng: Rng::new(seed), host, requests: 1000, nodes: Moves::new(), volumes: Moves::new() }
    }

    fn live(&self) -> Vec<VolumeId> {
        let mut ids: Vec<VolumeId> =
            self.w.zone.configurations().filter(|c| !c.deleted).map(|c| c.shard.volume).collect();
        ids.dedup();
        ids
    }

    fn seen(&mut self) -> Seen {
        let nodes = self.w.node_states().into_iter().map(|s| (s.info.entry.node, format!("{:?}", s.condition)));
        let nodes = nodes.collect();
        let volumes = self.live().into_iter().map(|v| (v, format!("{:?}", self.w.state(v).condition))).collect();
        (nodes, volumes)
    }

    /// One thing happens; what it is called.
    fn act(&mut self) -> &'static str {
        let n = 1 + self.rng.below(4);
        let (up, frozen) = (self.w.nodes[&NodeId(n)].up, self.w.nodes[&NodeId(n)].frozen);
        match self.rng.below(22) {
            0..2 if up => {
                self.w.kill(n);
                "its process dies"
            }
            2..5 if !up => {
                self.w.restart(n);
                "its process is back"
            }
            5 if !up => {
                self.w.restart_with_new_disk(n);
                "it is back, empty"
            }
            6..8 if up && !frozen => {
                self.w.nodes.get_mut(&NodeId(n)).unwrap().frozen = true;
                "time"
            }
            8..10 if up && frozen => {
                self.w.restart(n);
                "its process is back"
            }
            10 if self.live().len() < 3 => {
                self.requests += 1;
                let copies = 2 + self.rng.below(2) as u8;
                self.w.ask(CreateVolume {
                    request: RequestId(self.requests),
                    size: GIB / 2,
                    copies,
                    throttle: wire::Throttle::default(),
                });
                if let Some(volume) = self.live().last() {
                    self.w.ask(AttachVolume { volume: *volume, host: Some(self.host), read_only: false });
                }
                "an operator"
            }
            11..14 => self.admit(),
            20 if up && !frozen => self.touch(n, Some(0)),
            21 if up && !frozen => self.touch(n, None),
            _ => {
                let ms = [40, 600, 1700, 6000][self.rng.below(4) as usize];
                self.w.pass_ms(ms);
                "time"
            }
        }
    }

    fn touch(&mut self, n: u64, isolated_ms: Option<u64>) -> &'static str {
        self.w.nodes.get_mut(&NodeId(n)).unwrap().touch.isolated_ms = isolated_ms;
        self.w.report(n, Vec::new());
        self.w.run();
        if isolated_ms.is_some() { "it says that it is isolated" } else { "it says that it is not isolated" }
    }

    /// A learner is whole.
    fn admit(&mut self) -> &'static str {
        let learning: Vec<Configuration> =
            self.w.zone.configurations().filter(|c| c.learner.is_some() && !c.deleted).cloned().collect();
        if let Some(c) = self.rng.pick(&learning).cloned() {
            let primary = &self.w.nodes[&c.primary];
            if primary.up && !primary.frozen && primary.asked.is_none() {
                let wish = self.w.admission(&c);
                self.w.propose(c.primary.0, wish);
            }
        }
        "a wish"
    }

    fn step(&mut self, before: &Seen) -> Seen {
        let by = self.act();
        let after = self.seen();
        for (node, to) in &after.0 {
            if let Some(from) = before.0.get(node).filter(|from| *from != to) {
                self.nodes.insert((from.clone(), by, to.clone()));
            }
        }
        for (volume, to) in &after.1 {
            if let Some(from) = before.1.get(volume).filter(|from| *from != to) {
                // What happens to one node happens to many volumes in many ways: the ways would hide the machine.
                self.volumes.insert((from.clone(), "", to.clone()));
            }
        }
        after
    }
}

fn draw(name: &str, moves: &Moves) -> String {
    let mut edges: BTreeMap<(&str, &str), Vec<&str>> = BTreeMap::new();
    for (from, by, to) in moves {
        edges.entry((from, to)).or_default().push(by);
    }
    let mut text = format!("digraph {name} {{\n  node [shape=box, style=rounded];\n");
    for ((from, to), by) in edges {
        let label = if by == [""] { String::new() } else { format!(" [label={:?}]", by.join("\n")) };
        writeln!(text, "  {from:?} -> {to:?}{label};").unwrap();
    }
    text.push_str("}\n");
    text
}

/// What to do about a drawing that is not the one in docs/machines; the new one is put beside this test's other files.
fn not_drawn(file: &str, text: &str) -> Option<String> {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/machines").join(file);
    if std::fs::read_to_string(&golden).unwrap_or_default() == text {
        return None;
    }
    let new = Path::new(env!("CARGO_TARGET_TMPDIR")).join(file);
    std::fs::write(&new, text).unwrap();
    Some(format!("cp {} {}", new.display(), golden.display()))
}

#[test]
fn nodes_and_volumes_move_as_they_are_drawn() {
    let (mut nodes, mut volumes) = (Moves::new(), Moves::new());
    for seed in 0..120 {
        let mut walk = Walk::new(seed);
        let mut seen = walk.seen();
        for _ in 0..300 {
            seen = walk.step(&seen);
        }
        nodes.extend(walk.nodes);
        volumes.extend(walk.volumes);
    }
    let drawn = [("node.dot", draw("node", &nodes)), ("volume.dot", draw("volume", &volumes))];
    let not_drawn: Vec<String> = drawn.iter().filter_map(|(file, text)| not_drawn(file, text)).collect();
    assert!(not_drawn.is_empty(), "docs/machines says something else. If this is right:\n{}", not_drawn.join("\n"));
}
