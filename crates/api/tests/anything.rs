//! A seeded run of what fuzz/fuzz_targets/request.rs tries without end: sound requests, changed, and plain noise. And a second opinion on
//! what a form is.

mod request;

use api::query::Query;
use base::Rng;
use request::read_anything;

const SOUND: &str = include_str!("golden/requests.txt");

/// Changes bytes a little, mostly to what means something in a form.
fn change(bytes: &mut Vec<u8>, rng: &mut Rng) {
    for _ in 0..=rng.below(4) {
        let at = rng.below(bytes.len() as u64 + 1) as usize;
        match rng.below(5) {
            0 => bytes.truncate(at),
            1 => bytes.insert(at, b"&=.%+019\x00\xff"[rng.below(10) as usize]),
            2 if at < bytes.len() => bytes[at] = rng.u64() as u8,
            3 if at < bytes.len() => drop(bytes.remove(at)),
            // A piece once more, which makes names longer or gives them twice.
            _ => {
                let piece = bytes[at..(at + 40).min(bytes.len())].to_vec();
                bytes.splice(at..at, piece);
            }
        }
    }
}

#[test]
fn whatever_is_sent_is_a_request_or_refused_with_a_message() {
    let (mut rng, mut done, mut refused) = (Rng::new(11), 0, 0);
    let requests =
        SOUND.lines().chain(["Action=CreateVolume&Size=1&TagSpecification.1.Tag.1.Key=a", "Action=DeleteVolume"]);
    for text in requests {
        // Long ones are many times the same.
        let sound = &text.as_bytes()[..text.len().min(3_000)];
        for _ in 0..1_000 {
            let mut bytes = sound.to_vec();
            change(&mut bytes, &mut rng);
            let services = read_anything(&bytes);
            (done, refused) = (done + services, refused + usize::from(services == 0));
        }
    }
    for _ in 0..20_000 {
        let noise: Vec<u8> =
            (0..rng.below(64)).map(|_| b"Action=&.%+12aZ\xc3\xa9\x00"[rng.below(18) as usize]).collect();
        refused += usize::from(read_anything(&noise) == 0);
    }
    assert!(done > 1_000 && refused > 10_000, "{done} done and {refused} refused: they try nothing");
}

#[test]
fn what_a_common_encoder_writes_is_read_as_it_was_meant() {
    let mut rng = Rng::new(12);
    for _ in 0..5_000 {
        let meant: String = (0..rng.below(20)).filter_map(|_| char::from_u32(rng.below(0x3_0000) as u32)).collect();
        let meant: String =
            meant.chars().filter(|c| !c.is_control() && !matches!(c, '\u{fffe}' | '\u{ffff}')).collect();
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.append_pair("Action", "X").append_pair("Version", &meant);
        let body = form.finish();
        assert_eq!(Query::parse(body.as_bytes()).map(|query| query.version), Ok(meant), "{body}");
    }
}
