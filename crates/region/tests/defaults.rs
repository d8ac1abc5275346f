//! What accounts want of all their volumes, and volumes of a case that cannot come, is kept.

mod world;

use base::VolumeId;
use region::{Account, Answer, Command, Defaults, DefaultsChange, Refusal};
use world::{ME, World};

#[test]
fn what_an_account_wants_is_its_own_and_kept() {
    let mut w = World::new(1);
    let set = |account, change| Command::SetDefaults { account, change };
    let key = Some("arn:x".to_string());
    assert_eq!(w.region.defaults(ME), Defaults::default());
    w.told(set(ME, DefaultsChange::Encrypted(true))).unwrap();
    let told = w.told(set(ME, DefaultsChange::Key(key.clone())));
    let both = Defaults { encrypted: true, key };
    assert_eq!(told, Ok(Answer::Defaults(both.clone())));
    w.restart();
    w.run();
    assert_eq!((w.region.defaults(ME), w.region.defaults(Account(1))), (both, Defaults::default()));
    w.told(set(ME, DefaultsChange::Encrypted(false))).unwrap();
    w.told(set(ME, DefaultsChange::Key(None))).unwrap();
    assert!(!w.meta.pairs.keys().any(|key| key.starts_with("account/")), "nothing is kept of who wants nothing");
}

#[test]
fn whether_a_volume_goes_on_by_itself_is_kept() {
    let mut w = World::new(1);
    let id = w.made(World::create(0, 1, None)).id;
    let set = |volume, on| Command::SetResumes { account: ME, volume, on };
    assert_eq!(w.told(set(VolumeId(7), true)), Err(Refusal::NoSuchVolume(VolumeId(7))));
    w.told(set(id, true)).unwrap();
    w.restart();
    w.run();
    assert!(w.region.volume(ME, id).unwrap().resumes_by_itself);
    w.told(set(id, false)).unwrap();
    assert!(!w.region.volume(ME, id).unwrap().resumes_by_itself);
}
