//! Anything at any time: processes die between any two steps, stores do not say what they did, zones fall silent. In the end everything that was promised is there, and
//! nothing else is.

mod world;

use base::{HostId, Rng, VolumeId};
use region::{
    Answer, AttachStage, Command, Modification, ModifyStage, Policy, Quality, Refusal, Stage, Volume, ZoneNumber,
};
use std::collections::{BTreeMap, BTreeSet};
use wire::Throttle;
use world::{Fault, GIB, ME, Mood, World};

const ZONES: u16 = 2;
/// Has volumes of which the region knows nothing.
const STRANGER: HostId = HostId(99);

#[derive(Default)]
struct Book {
    /// Tickets that ask for volumes, with their tokens.
    creates: BTreeMap<u64, u64>,
    deletes: BTreeMap<u64, VolumeId>,
    /// Which volume each token was said to have made.
    made: BTreeMap<u64, VolumeId>,
    /// Which may be deleted, and which are.
    doomed: BTreeSet<VolumeId>,
    deleted: BTreeSet<VolumeId>,
    refused: u64,
}

impl Book {
    fn read(&mut self, w: &mut World) {
        for (ticket, result) in std::mem::take(&mut w.replies) {
            if let Some(token) = self.creates.remove(&ticket) {
                match result {
                    Ok(Answer::Volume(volume)) => {
                        let first = *self.made.entry(token).or_insert(volume.id);
                        assert_eq!(first, volume.id, "token {token} made two volumes");
                    }
                    Ok(other) => panic!("{other:?}"),
                    Err(Refusal::NoRoom(_) | Refusal::Zone(_)) => {
                        assert!(!self.made.contains_key(&token), "token {token} had made one");
                        self.refused += 1;
                    }
                    Err(Refusal::TokenTaken | Refusal::NoSuchZone) => panic!("token {token}: {result:?}"),
                    Err(_) => {}
                }
            } else if let Some(volume) = self.deletes.remove(&ticket)
                && matches!(result, Ok(_) | Err(Refusal::NoSuchVolume(_)))
            {
                self.deleted.insert(volume);
            }
        }
    }
}

fn walk(seed: u64, steps: u32) -> (usize, u64) {
    let policy = Policy { zone_waits_max: 12, zone_flight_max: 4, ..Policy::default() };
    let (mut w, mut rng, mut book) = (World::with(ZONES, policy, seed), Rng::new(seed).split("walk"), Book::default());
    let mut tokens = 0;
    for _ in 0..steps {
        match rng.below(34) {
            0..8 => {
                let again = rng.chance(1, 3) && tokens > 0;
                let token = if again {
                    rng.within(1, tokens)
                } else {
                    tokens += 1;
                    tokens
                };
                // What a token asks for is always the same.
                let (zone, gib) = ((token % u64::from(ZONES)) as u16, 1 + token % 5);
                let ticket = w.ask(World::create(zone, gib, Some(&token.to_string())));
                book.creates.insert(ticket, token);
            }
            8..11 => {
                if let Some(volume) = rng.pick(&book.made.values().copied().collect::<Vec<_>>()).copied() {
                    let ticket = w.ask(Command::DeleteVolume { account: ME, volume });
                    book.deletes.insert(ticket, volume);
                    book.doomed.insert(volume);
                }
            }
            11 => {
                if let Some(id) = rng.pick(&book.made.values().copied().collect::<Vec<_>>()).copied() {
                    let zone = w.zones.values_mut().find(|zone| zone.volumes.contains_key(&id));
                    if let Some(zone) = zone {
                        match zone.attached.get(&id) {
                            None => drop(zone.attached.insert(id, STRANGER)),
                            Some(&STRANGER) => drop(zone.attached.remove(&id)),
                            Some(_) => {}
                        }
                    }
                }
            }
            12..14 => {
                let mood = *rng
                    .pick(&[
                        Mood::Obeys,
                        Mood::Obeys,
                        Mood::Obeys,
                        Mood::Mute,
                        Mood::Deaf,
                        Mood::Full,
                        Mood::Unavailable,
                    ])
                    .unwrap();
                w.zone(rng.below(u64::from(ZONES)) as u16).mood = mood;
            }
            14 => {
                let zone = ZoneNumber(rng.below(u64::from(ZONES)) as u16);
                let up = w.zones[&zone].up;
                w.link(zone, !up);
            }
            15 => {
                // Whoever waits hears nothing any more.
                w.restart();
                book.creates.clear();
                book.deletes.clear();
            }
            16 => w.meta.faults.push(*rng.pick(&[Fault::Conflict, Fault::UnknownDone, Fault::UnknownLost]).unwrap()),
            17 => w.meta.stopped = !w.meta.stopped,
            18..21 => {
                let ms = rng.within(1, 3000);
                w.pass_ms(ms);
            }
            21..25 => {
                if let Some(volume) = rng.pick(&book.made.values().copied().collect::<Vec<_>>()).copied() {
                    w.ask(use_it(&mut rng, volume));
                }
            }
            25 => {
                let host = HostId(rng.within(1, 4));
                let zone = w.zone((host.0 % u64::from(ZONES)) as u16);
                let connected = zone.hosts.entry(host).or_default();
                *connected = !*connected;
            }
            _ => w.step(),
        }
        book.read(&mut w);
    }
    settle(&mut w, &mut book);
    // Each token that is asked for again is what it was, and each volume is where it was said to be.
    for token in 1..=tokens {
        let gib = 1 + token % 5;
        let ticket = w.ask(World::create((token % u64::from(ZONES)) as u16, gib, Some(&token.to_string())));
        book.creates.insert(ticket, token);
        w.pass_ms(1);
        book.read(&mut w);
        assert!(
            book.creates.is_empty() && book.made.contains_key(&token),
            "seed {seed}: token {token} is not answered"
        );
    }
    settle(&mut w, &mut book);
    is_as_told(&w, seed);
    let there: BTreeSet<VolumeId> = w.region.volumes(ME, None).map(|volume| volume.id).collect();
    let kept: BTreeSet<VolumeId> = w.zones.values().flat_map(|zone| zone.volumes.keys().copied()).collect();
    assert_eq!(there, kept, "seed {seed}: what the region knows of and what the zones have room for");
    assert!(w.region.volumes(ME, None).all(|volume| volume.stage == Stage::There), "seed {seed}");
    for (token, id) in &book.made {
        let (is, may_go) = (there.contains(id), book.doomed.contains(id));
        assert!(is || may_go, "seed {seed}: {id} of token {token} is lost");
        assert!(!is || !book.deleted.contains(id), "seed {seed}: {id} of token {token} is back");
    }
    assert!(w.zones.values().all(|zone| zone.made.values().all(|times| *times == 1)), "seed {seed}: made twice");
    (there.len(), book.refused)
}

/// Somebody wants it attached, detached, larger or faster, whether or not it can be.
fn use_it(rng: &mut Rng, volume: VolumeId) -> Command {
    let (account, at_ms) = (ME, 1_000_000);
    match rng.below(4) {
        0 | 1 => {
            let (host, device) = (HostId(rng.within(1, 4)), format!("d{}", rng.below(3)));
            Command::AttachVolume { account, volume, host, device, at_ms }
        }
        2 => Command::DetachVolume { account, volume, host: None, device: None },
        _ => {
            let throttle = Throttle { iops: rng.within(1, 9), bytes_per_s: rng.within(1, 9) };
            let to = Quality { size: rng.within(1, 20) * GIB, throttle, label: format!("{}", throttle.iops) };
            Command::ModifyVolume { account, volume, to, at_ms }
        }
    }
}

/// What a volume is by the region's word, its zone has made of it, and the other way round.
fn is_as_told(w: &World, seed: u64) {
    for volume in w.region.volumes(ME, None) {
        let zone = &w.zones[&volume.shape.zone];
        let (size, _, throttle) = zone.volumes[&volume.id];
        assert_eq!((size, throttle), (volume.shape.size, volume.shape.throttle), "seed {seed}: {volume:?}");
        let has = volume.attachment.as_ref().map(|attachment| (attachment.host, attachment.stage));
        let is = zone.attached.get(&volume.id).map(|host| (*host, AttachStage::Attached));
        assert_eq!(has, is, "seed {seed}: {volume:?}");
        let devices: Vec<&str> = w.region.volumes_of(ME, HostId(1)).filter_map(device).collect();
        assert_eq!(devices.len(), devices.iter().collect::<BTreeSet<_>>().len(), "seed {seed}: one name twice");
        let ended = |m: &Modification| matches!(m.stage, ModifyStage::Completed | ModifyStage::Failed);
        assert!(volume.modification.as_ref().is_none_or(ended), "seed {seed}: {volume:?}");
    }
}

fn device(volume: &Volume) -> Option<&str> {
    volume.attachment.as_ref().map(|attachment| attachment.device.as_str())
}

/// Nothing is wrong any more, and all that was begun comes to its end.
fn settle(w: &mut World, book: &mut Book) {
    w.meta.stopped = false;
    w.meta.faults.clear();
    for n in 0..ZONES {
        w.zone(n).mood = Mood::Obeys;
        w.zone(n).attached.retain(|_, host| *host != STRANGER);
        w.zone(n).hosts.values_mut().for_each(|connected| *connected = true);
        if !w.zone(n).up {
            w.link(ZoneNumber(n), true);
        }
    }
    w.pass_ms(60_000);
    book.read(w);
}

#[test]
fn whatever_happens_a_token_is_one_volume_and_no_room_is_lost() {
    let (mut volumes, mut refused) = (0, 0);
    for seed in 0..300 {
        let (there, no) = walk(seed, 300);
        volumes += there;
        refused += no;
    }
    assert!(volumes > 3000 && refused > 100, "{volumes} volumes, {refused} refusals");
}
