//! Signed requests from outside: as botocore makes them (sigv4/README.md), bent in every way that has a refusal of its own, and bytes that
//! mean nothing at all.

use api::sigv4::{Family, Key, Paths, Refusal, Rules, Service, Signed, Verified, claimed_service, verify};
use serde_json::Value;

const SERVICES: [Service; 4] = [
    Service { name: "ec2", unsigned_payload: false, paths: Paths::Normalised },
    Service { name: "sts", unsigned_payload: false, paths: Paths::Normalised },
    Service { name: "rds", unsigned_payload: false, paths: Paths::Normalised },
    Service { name: "ebs", unsigned_payload: true, paths: Paths::Normalised },
];
const RULES: Rules<'_> = Rules { region: "us-east-1", services: &SERVICES };

#[derive(Clone)]
struct Sent {
    name: String,
    method: String,
    path: String,
    query: String,
    headers: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
}

fn golden() -> (String, u64, Vec<Sent>) {
    let all: Value = serde_json::from_str(include_str!("sigv4/botocore.json")).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_string();
    let unhex =
        |hex: &str| (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect();
    let request = |value: &Value| Sent {
        name: text(&value["name"]),
        method: text(&value["method"]),
        path: text(&value["path"]),
        query: text(&value["query"]),
        headers: value["headers"].as_array().unwrap().iter().map(|h| (text(&h[0]), text(&h[1]).into_bytes())).collect(),
        body: unhex(value["body_hex"].as_str().unwrap()),
    };
    let requests = all["requests"].as_array().unwrap().iter().map(request).collect();
    (text(&all["secret"]), all["now_s"].as_u64().unwrap(), requests)
}

impl Sent {
    fn named(name: &str) -> Self {
        golden().2.into_iter().find(|sent| sent.name == name).unwrap()
    }

    fn signed(&self) -> Signed<'_> {
        Signed { method: &self.method, path: &self.path, query: &self.query, headers: &self.headers, body: &self.body }
    }

    fn verify(&self) -> Result<Verified, Refusal> {
        let (secret, now, _) = golden();
        let key = Key { secret: &secret, account: "000000000001" };
        verify(&self.signed(), &RULES, |id| (id == "AKIDEXAMPLE").then_some(key), now)
    }

    fn refused(&self) -> Refusal {
        self.verify().expect_err(&self.name)
    }

    fn value_mut(&mut self, name: &str) -> &mut Vec<u8> {
        &mut self.headers.iter_mut().find(|(n, _)| n.eq_ignore_ascii_case(name)).unwrap().1
    }

    fn replace(mut self, header: &str, from: &str, to: &str) -> Self {
        let value = self.value_mut(header);
        let text = String::from_utf8(value.clone()).unwrap();
        assert!(text.contains(from), "{text}");
        *value = text.replace(from, to).into_bytes();
        self
    }

    fn and(mut self, header: &str, value: &str) -> Self {
        self.headers.push((header.into(), value.into()));
        self
    }
}

#[test]
fn what_botocore_signs_is_believed() {
    let (_, _, requests) = golden();
    assert_eq!(requests.len(), 8);
    for sent in requests {
        let verified = sent.verify().unwrap_or_else(|why| panic!("{}: {why}", sent.name));
        let service = sent.name.split(' ').next().unwrap();
        let expected = Verified {
            access_key_id: "AKIDEXAMPLE".into(),
            account: "000000000001".into(),
            service: SERVICES.iter().find(|s| s.name == service).unwrap().name,
            region: "us-east-1".into(),
        };
        assert_eq!(verified, expected);
        assert_eq!(claimed_service(&sent.signed()).as_deref(), Some(service));
    }
}

#[test]
fn a_tampered_body_is_refused_unless_it_was_said_to_be_unsigned() {
    for mut sent in golden().2 {
        sent.body.push(b' ');
        let unsigned = sent.name == "ebs put_snapshot_block";
        assert_eq!(sent.verify().err(), (!unsigned).then_some(Refusal::SignatureMismatch), "{}", sent.name);
    }
}

#[test]
fn an_unsigned_body_is_refused_by_a_service_that_takes_none() {
    let sent = Sent::named("ebs put_snapshot_block").replace("authorization", "/ebs/", "/ec2/");
    assert_eq!(sent.refused(), Refusal::UnsignedPayload);
    let sent = Sent::named("ebs put_snapshot_block").replace(
        "x-amz-content-sha256",
        "UNSIGNED-PAYLOAD",
        "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
    );
    assert_eq!(sent.refused(), Refusal::StreamingPayload);
    let sent = Sent::named("ebs put_snapshot_block").replace("x-amz-content-sha256", "UNSIGNED-PAYLOAD", "unsigned");
    assert_eq!(sent.refused(), Refusal::WrongPayloadHash);
    let sent = Sent::named("ebs put_snapshot_block").and("x-amz-content-sha256", "UNSIGNED-PAYLOAD");
    assert!(matches!(sent.refused(), Refusal::Incomplete { .. }));
}

#[test]
fn a_request_that_is_not_signed_or_signed_twice_is_refused() {
    let plain = Sent::named("sts get_caller_identity");
    let mut bare = plain.clone();
    bare.headers.retain(|(name, _)| name != "Authorization");
    assert_eq!(bare.refused(), Refusal::NoSignature);
    let again = String::from_utf8(plain.clone().value_mut("authorization").clone()).unwrap();
    assert!(matches!(plain.clone().and("authorization", &again).refused(), Refusal::Incomplete { .. }));
    let mut both = plain.clone();
    both.query = Sent::named("sts get_caller_identity presigned").query;
    assert!(matches!(both.refused(), Refusal::Incomplete { .. }));
    for (header, from, to) in [
        ("authorization", "AWS4-HMAC-SHA256 ", "AWS4-HMAC-SHA512 "),
        ("authorization", "AWS4-HMAC-SHA256 ", "AWS4-HMAC-SHA256"),
        ("authorization", "Credential", "credential"),
        ("authorization", "SignedHeaders=", "Signature="),
        ("authorization", "Signature=", "Sig="),
        ("authorization", "Signature=", "Signature=,Signature="),
        ("authorization", "AKIDEXAMPLE/", ""),
        ("authorization", "AKIDEXAMPLE/", "AKIDEXAMPLE//"),
        ("authorization", "aws4_request", "aws4_requests"),
        ("authorization", "content-type;host", "host;content-type"),
        ("authorization", "content-type;host", "host;host"),
        ("authorization", "content-type;host", "Host"),
        ("authorization", "content-type;host", "content-type;;host"),
        ("x-amz-date", "20261130T120000Z", "Mon, 30 Nov 2026 12:00:00 GMT"),
    ] {
        let sent = plain.clone().replace(header, from, to);
        assert!(matches!(sent.refused(), Refusal::Incomplete { .. }), "{from} -> {to}: {}", sent.refused());
    }
    let mut undated = plain.clone();
    undated.headers.retain(|(name, _)| name != "X-Amz-Date");
    assert!(matches!(undated.refused(), Refusal::Incomplete { .. }));
}

#[test]
fn a_presigned_request_says_for_how_long_and_each_thing_once() {
    let presigned = Sent::named("sts get_caller_identity presigned");
    for (from, to) in [
        ("X-Amz-Expires=3600", "X-Amz-Expires=0"),
        ("X-Amz-Expires=3600", "X-Amz-Expires=604801"),
        ("X-Amz-Expires=3600", "X-Amz-Expires=-1"),
        ("X-Amz-Expires=3600", "X-Amz-Expires=%2B1"),
        ("X-Amz-Expires=3600", "X-Amz-Expires=99999999999999999999999"),
        ("X-Amz-Expires=3600", "X-Amz-Expires=60&X-Amz-Expires=3600"),
        ("X-Amz-Expires=3600", "X=1"),
        ("X-Amz-Date=", "X-Amz-Date=20261130T120000Z&X-Amz-Date="),
        ("AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256"),
    ] {
        let mut sent = presigned.clone();
        assert!(sent.query.contains(from), "{}", sent.query);
        sent.query = sent.query.replace(from, to);
        assert!(matches!(sent.refused(), Refusal::Incomplete { .. }), "{to}: {}", sent.refused());
    }
    let mut sent = presigned.clone();
    sent.query = sent.query.replace("X-Amz-Expires=3600", "X-Amz-Expires=3601");
    assert_eq!(sent.refused(), Refusal::SignatureMismatch);
    let mut sent = presigned.clone();
    sent.query += "&X-Amz-Security-Token=t";
    assert_eq!(sent.refused(), Refusal::SecurityToken);
    assert_eq!(presigned.and("x-amz-meta", "a").refused(), Refusal::UnsignedHeader { name: "x-amz-meta".into() });
}

#[test]
fn what_could_change_the_meaning_of_a_request_must_be_signed() {
    let plain = Sent::named("sts get_caller_identity");
    let sent = plain.clone().replace("authorization", "content-type;host;", "content-type;");
    assert_eq!(sent.refused(), Refusal::UnsignedHeader { name: "host".into() });
    let sent = plain.clone().and("X-Amz-Target", "Other");
    assert_eq!(sent.refused(), Refusal::UnsignedHeader { name: "x-amz-target".into() });
    let sent = plain.clone().replace("authorization", "host;", "host;x-a;");
    assert_eq!(sent.refused(), Refusal::AbsentHeader { name: "x-a".into() });
    assert_eq!(plain.and("X-Amz-Security-Token", "t").refused(), Refusal::SecurityToken);
}

#[test]
fn each_family_of_services_is_told_in_its_own_words() {
    let plain = Sent::named("ec2 create_volume");
    let told = |refusal: Refusal| {
        [Family::Ec2, Family::Query, Family::Json].map(|family| refusal.reply(family)).map(|r| (r.status, r.code))
    };
    let unknown = plain.clone().replace("authorization", "AKIDEXAMPLE", "AKIDOTHER").refused();
    assert_eq!(unknown, Refusal::UnknownKey);
    let expected = [(401, "AuthFailure"), (403, "InvalidClientTokenId"), (403, "UnrecognizedClientException")];
    assert_eq!(told(unknown.clone()), expected);
    let wrong = plain.clone().replace("x-amz-date", "120000Z", "120001Z").refused();
    assert_eq!(wrong, Refusal::SignatureMismatch);
    assert_eq!(unknown.reply(Family::Ec2), wrong.reply(Family::Ec2), "which of the two it was is told to nobody");
    assert_eq!(wrong.reply(Family::Ec2).message, "AWS was not able to validate the provided access credentials");
    let expected = [(401, "AuthFailure"), (403, "SignatureDoesNotMatch"), (403, "InvalidSignatureException")];
    assert_eq!(told(wrong), expected);
    let expected = [
        (403, "MissingAuthenticationToken"),
        (403, "MissingAuthenticationToken"),
        (403, "MissingAuthenticationTokenException"),
    ];
    assert_eq!(told(Refusal::NoSignature), expected);
    let region = plain.clone().replace("authorization", "us-east-1", "mars").refused();
    assert_eq!(region.reply(Family::Query).message, "Credential should be scoped to a valid region, not 'mars'.");
    let late = plain.replace("x-amz-date", "120000Z", "114459Z").refused();
    assert_eq!((late.reply(Family::Ec2).status, late.reply(Family::Ec2).code), (400, "RequestExpired"));
}

#[test]
fn a_refusal_repeats_little_of_what_was_sent() {
    let long = "ä".repeat(5000);
    let sent = Sent::named("ec2 create_volume").replace("authorization", "us-east-1", &long);
    assert!(sent.refused().to_string().len() < 256);
}

/// SplitMix64; for tests only.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % bound as u64) as usize
    }

    /// Some bytes of `value` become others, go, or come twice.
    fn bend(&mut self, value: &mut Vec<u8>) {
        const LIKED: &[u8] = b"%+&=;,/ .:AaZz019\x00\x80\xff\xe1\n-_~";
        for _ in 0..1 + self.below(4) {
            let at = self.below(value.len() + 1);
            let byte = if self.below(4) == 0 { self.below(256) as u8 } else { LIKED[self.below(LIKED.len())] };
            match self.below(4) {
                0 => value.insert(at, byte),
                1 => value.truncate(at),
                2 if at < value.len() => drop(value.remove(at)),
                _ if at < value.len() => value[at] = byte,
                _ => value.push(byte),
            }
        }
    }
}

#[test]
fn no_bytes_make_the_verifier_panic_and_no_refusal_tells_a_secret() {
    let (secret, now, requests) = golden();
    let right: Vec<_> = requests.iter().map(signature_of).collect();
    for seed in 0..20_000 {
        let mut dice = Dice(seed);
        let which = dice.below(requests.len());
        let mut sent = requests[which].clone();
        let bend_text = |dice: &mut Dice, text: &mut String| {
            let mut bytes = std::mem::take(text).into_bytes();
            dice.bend(&mut bytes);
            *text = String::from_utf8_lossy(&bytes).into_owned();
        };
        for _ in 0..1 + dice.below(3) {
            let at = dice.below(sent.headers.len());
            match dice.below(6) {
                0 => bend_text(&mut dice, &mut sent.method),
                1 => bend_text(&mut dice, &mut sent.path),
                2 => bend_text(&mut dice, &mut sent.query),
                3 => bend_text(&mut dice, &mut sent.headers[at].0),
                4 => dice.bend(&mut sent.headers[at].1),
                _ => dice.bend(&mut sent.body),
            }
        }
        let key = Key { secret: &secret, account: "1" };
        if let Err(why) = verify(&sent.signed(), &RULES, |_| Some(key), now) {
            let told = format!("{why} {why:?} {:?} {:?}", why.reply(Family::Ec2), why.reply(Family::Json));
            assert!(!told.contains(&secret) && !told.contains(&right[which]), "seed {seed}: {told}");
        }
    }
    assert!(!format!("{:?}", Key { secret: &secret, account: "1" }).contains(&secret));
}

/// What botocore signed it with.
fn signature_of(sent: &Sent) -> String {
    let header = sent.headers.iter().find(|(name, _)| name == "Authorization");
    let text = header.map_or(sent.query.clone(), |(_, value)| String::from_utf8(value.clone()).unwrap());
    text.split("Signature=").nth(1).unwrap()[..64].to_string()
}
