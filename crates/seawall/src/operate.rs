//! What an operator types: volumes, attachments, nodes. Asks the zone's authority and prints what it answers.

use crate::args::{Attach, NodeOperation, OneVolume, Target, ThrottleVolume, Volume};
use crate::authority::{Authority, Place};
use crate::refusal::{Code, Refusal};
use crate::{describe, later, points, region, say};
use base::{RequestId, VolumeId};
use std::time::Duration;
use wire::Message;

/// For questions, and for what is done as soon as it is durable.
const SOON: Duration = Duration::from_secs(10);
/// For what waits for a host or for an old primary's fence.
const PATIENT: Duration = Duration::from_secs(60);

/// `seawall volume`.
pub fn volume(command: Volume) -> Result<(), Refusal> {
    match command {
        Volume::Create { size, copies, iops, bandwidth, request, target } => {
            let request = request.unwrap_or_else(|| RequestId(runtime::entropy_u128()));
            let throttle = wire::Throttle { iops: iops.unwrap_or(0), bytes_per_s: bandwidth.unwrap_or(0) };
            let create = wire::CreateVolume { request, size: size.0, copies: copies.unwrap_or(0), throttle };
            let made = made(volumes(&target, create, SOON)?)?;
            print_one(&target, &made, format!("{}\n", made.info.volume));
            Ok(())
        }
        Volume::List { target } => {
            let all = list(&target)?;
            say(&if target.json {
                format!("{}\n", serde_json::Value::Array(all.iter().map(describe::volume_json).collect()))
            } else {
                describe::volumes(&all)
            });
            Ok(())
        }
        Volume::Show(OneVolume { volume, target }) => {
            let shown = show(&target, volume)?;
            print_one(&target, &shown, describe::volume(&shown));
            Ok(())
        }
        Volume::Throttle(ThrottleVolume { volume, iops, bandwidth, target }) => {
            let throttle = wire::ThrottleVolume { volume, iops, bytes_per_s: bandwidth };
            let now = one(volumes(&target, throttle, SOON)?, volume)?;
            print_one(&target, &now, format!("{volume} may do {}\n", describe::throttle(&now.throttle)));
            Ok(())
        }
        Volume::Delete(OneVolume { volume, target }) => {
            let gone = one(volumes(&target, wire::DeleteVolume { volume }, SOON)?, volume)?;
            print_one(&target, &gone, format!("{volume} is deleted; its space comes back as its nodes drop it\n"));
            Ok(())
        }
        Volume::Freeze { volume, request, target } => {
            let request = request.unwrap_or_else(|| RequestId(runtime::entropy_u128()));
            let now = one(volumes(&target, wire::FreezeVolume { volume, request }, SOON)?, volume)?;
            let point = frozen(&now, request)?;
            say(&if target.json { format!("{}\n", points::json(&point)) } else { format!("{}\n", point.point) });
            Ok(())
        }
        Volume::Thaw { volume, point, target } => {
            let now = one(volumes(&target, wire::ThawVolume { volume, point }, SOON)?, volume)?;
            let text = format!("{point} of {volume} is dropped; its space comes back as the shards drop it\n");
            print_one(&target, &now, text);
            Ok(())
        }
        Volume::Resize { volume, size, target } => {
            let now = one(volumes(&target, wire::ResizeVolume { volume, size: size.0 }, PATIENT)?, volume)?;
            print_one(&target, &now, describe::resized(&now));
            Ok(())
        }
    }
}

/// `seawall attach`.
pub fn attach(args: &Attach) -> Result<(), Refusal> {
    if args.device {
        let text = "a device under /dev (--device)";
        return Err(later::refuse(text, "leave it out and connect an NBD client to the address that is printed"));
    }
    let made = attach_volume(&args.target, args.volume, args.host, args.read_only)?;
    let uri = region::nbd_uri(&made.volume.to_string(), &made.socket);
    if args.target.json {
        let value = serde_json::json!({
            "volume": made.volume.to_string(),
            "host": made.host.to_string(),
            "generation": made.generation.0,
            "read_only": args.read_only,
            "uri": uri,
            "socket": made.socket,
        });
        say(&format!("{value}\n"));
    } else {
        say(&format!("{uri}\n"));
    }
    Ok(())
}

/// Has a volume attached: where it is.
pub fn attach_volume<'a>(
    place: impl Into<Place<'a>>,
    volume: VolumeId,
    host: Option<base::HostId>,
    read_only: bool,
) -> Result<wire::AttachReply, Refusal> {
    match Authority::connect(place)?.ask(wire::AttachVolume { volume, host, read_only }, PATIENT)? {
        Message::AttachReply(reply) => Ok(reply),
        other => Err(unexpected(&other)),
    }
}

/// `seawall detach`.
pub fn detach(args: &OneVolume) -> Result<(), Refusal> {
    let free = detach_volume(&args.target, args.volume)?;
    print_one(&args.target, &free, format!("{} is detached\n", args.volume));
    Ok(())
}

/// Has a volume detached.
pub fn detach_volume<'a>(place: impl Into<Place<'a>>, volume: VolumeId) -> Result<wire::VolumeState, Refusal> {
    one(volumes(place, wire::DetachVolume { volume }, PATIENT)?, volume)
}

/// Makes a volume.
pub fn create_volume<'a>(place: impl Into<Place<'a>>, size: u64) -> Result<wire::VolumeState, Refusal> {
    let request = RequestId(runtime::entropy_u128());
    made(volumes(place, wire::CreateVolume { request, size, copies: 0, throttle: wire::Throttle::default() }, SOON)?)
}

fn made(volumes: Vec<wire::VolumeState>) -> Result<wire::VolumeState, Refusal> {
    volumes.into_iter().next().ok_or_else(|| Refusal::new(Code::Protocol, "the authority made a volume and named none"))
}

/// The point that a request made.
fn frozen(volume: &wire::VolumeState, request: RequestId) -> Result<wire::VolumePoint, Refusal> {
    let made = |p: &&wire::VolumePoint| p.request == request && p.condition == wire::PointCondition::Made;
    volume.points.iter().find(made).copied().ok_or_else(|| {
        let text = format!("{} was frozen, and the point has been dropped since", volume.info.volume);
        Refusal::new(Code::Zone(wire::ErrorCode::NotFound), text)
    })
}

/// All volumes.
fn list<'a>(place: impl Into<Place<'a>>) -> Result<Vec<wire::VolumeState>, Refusal> {
    volumes(place, wire::DescribeVolumes { volume: None }, SOON)
}

/// One volume, as it is now.
pub fn show<'a>(place: impl Into<Place<'a>>, volume: VolumeId) -> Result<wire::VolumeState, Refusal> {
    one(volumes(place, wire::DescribeVolumes { volume: Some(volume) }, SOON)?, volume)
}

/// All nodes.
pub fn nodes<'a>(place: impl Into<Place<'a>>, node: Option<base::NodeId>) -> Result<Vec<wire::NodeState>, Refusal> {
    match Authority::connect(place)?.ask(wire::DescribeNodes { node }, SOON)? {
        Message::NodeReply(reply) => Ok(reply.nodes),
        other => Err(unexpected(&other)),
    }
}

/// `seawall zone status`.
pub fn zone(target: &Target) -> Result<(), Refusal> {
    let state = zone_state(target)?;
    if target.json {
        say(&format!("{}\n", describe::zone_json(&state)));
    } else {
        say(&describe::zone(&state));
    }
    Ok(())
}

fn zone_state(target: &Target) -> Result<wire::ZoneState, Refusal> {
    match Authority::connect(target)?.ask(wire::DescribeZone {}, SOON)? {
        Message::ZoneReply(reply) => Ok(reply.zone),
        other => Err(unexpected(&other)),
    }
}

/// `seawall node list` and the rest.
pub fn node(command: NodeOperation) -> Result<(), Refusal> {
    match command {
        NodeOperation::List { target } => {
            let all = nodes(&target, None)?;
            if target.json {
                say(&format!("{}\n", serde_json::Value::Array(all.iter().map(describe::node_json).collect())));
            } else {
                say(&describe::nodes(&all));
                // What is listed is as old as the metadata are.
                if let Some(ahead) = zone_state(&target)?.behind {
                    say(&format!("\n{}\n", describe::behind(&ahead)));
                }
            }
            Ok(())
        }
        NodeOperation::Show { node, target } => {
            let found = nodes(&target, Some(node))?.into_iter().find(|n| n.info.entry.node == node);
            let found = found.ok_or_else(|| no_node(node))?;
            if target.json {
                say(&format!("{}\n", describe::node_json(&found)));
            } else {
                say(&describe::node(&found));
            }
            Ok(())
        }
        NodeOperation::Format(args) => crate::format::run(&args),
        NodeOperation::Drain { node, undo, target } => {
            let order = if undo { wire::NodeOrder::Undrain } else { wire::NodeOrder::Drain };
            let found = alter(&target, node, order)?;
            let found = found.ok_or_else(|| no_node(node))?;
            if target.json {
                say(&format!("{}\n", describe::node_json(&found)));
            } else {
                say(&format!("{node} is {}\n", describe::node_state(&found)));
            }
            Ok(())
        }
        NodeOperation::Remove { node, target } => {
            nodes(&target, Some(node))?;
            alter(&target, node, wire::NodeOrder::Remove)?;
            let json = format!("{}\n", serde_json::json!({ "id": node.to_string(), "removed": true }));
            say(&if target.json { json } else { format!("{node} is forgotten\n") });
            Ok(())
        }
        NodeOperation::Brake(_) => Err(later::refuse("seawall node brake", "nothing replaces it yet")),
    }
}

fn no_node(node: base::NodeId) -> Refusal {
    let text = format!("no node {node} in this zone; `seawall node list` shows those there are");
    Refusal::new(Code::Zone(wire::ErrorCode::NotFound), text)
}

/// Has something done with a node: how it is then, unless it is gone.
fn alter<'a>(
    place: impl Into<Place<'a>>,
    node: base::NodeId,
    order: wire::NodeOrder,
) -> Result<Option<wire::NodeState>, Refusal> {
    match Authority::connect(place)?.ask(wire::AlterNode { node, order }, SOON)? {
        Message::NodeReply(reply) => Ok(reply.nodes.into_iter().next()),
        other => Err(unexpected(&other)),
    }
}

fn volumes<'a>(
    place: impl Into<Place<'a>>,
    question: impl Into<Message>,
    within: Duration,
) -> Result<Vec<wire::VolumeState>, Refusal> {
    match Authority::connect(place)?.ask(question, within)? {
        Message::VolumeReply(reply) => Ok(reply.volumes),
        other => Err(unexpected(&other)),
    }
}

fn one(found: Vec<wire::VolumeState>, volume: VolumeId) -> Result<wire::VolumeState, Refusal> {
    found.into_iter().find(|v| v.info.volume == volume).ok_or_else(|| {
        let text = format!("no volume {volume} in this zone; `seawall volume list` shows those there are");
        Refusal::new(Code::Zone(wire::ErrorCode::NotFound), text)
    })
}

fn unexpected(answer: &Message) -> Refusal {
    let text = format!(
        "the authority answered with {}, which is no answer to this question; run the same build everywhere",
        answer.name()
    );
    Refusal::new(Code::Protocol, text)
}

fn print_one(target: &Target, volume: &wire::VolumeState, text: String) {
    if target.json {
        say(&format!("{}\n", describe::volume_json(volume)));
    } else {
        say(&text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::PointId;

    #[test]
    fn of_many_points_the_one_that_was_asked_for_is_named() {
        let mut state = describe::tests::sample();
        let point = |n, condition| wire::VolumePoint { point: PointId(n), request: RequestId(n.into()), condition };
        state.points = vec![
            point(1, wire::PointCondition::Made),
            point(2, wire::PointCondition::Dropping),
            point(3, wire::PointCondition::Made),
        ];
        assert_eq!(frozen(&state, RequestId(1)).map(|p| p.point), Ok(PointId(1)));
        for gone in [2, 4] {
            let refusal = frozen(&state, RequestId(gone)).expect_err("it is not there");
            assert!(refusal.to_string().contains("has been dropped since"), "{refusal}");
        }
    }
}
