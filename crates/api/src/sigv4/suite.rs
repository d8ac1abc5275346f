//! AWS' own forty cases (tests/sigv4/README.md), in the header's form and in the query's: each canonical text and signature comes out as it
//! is written there, each signed request is believed, and none that differs from it in any one thing.

use super::*;
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::PathBuf;

/// A request that owns its parts.
#[derive(Clone)]
struct Sent {
    method: String,
    path: String,
    query: String,
    headers: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
}

impl Sent {
    /// As HTTP/1.1 is written, with line feeds alone, bytes of any kind in the target, and headers that go on over several lines.
    fn read(text: &str) -> Self {
        let (head, body) = text.split_once("\n\n").unwrap_or((text, ""));
        let mut lines = head.lines();
        let first = lines.next().unwrap();
        let (method, target) = first.strip_suffix(" HTTP/1.1").unwrap_or(first).split_once(' ').unwrap();
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let mut headers: Vec<(String, Vec<u8>)> = Vec::new();
        for line in lines {
            if line.starts_with(' ') {
                let value = &mut headers.last_mut().unwrap().1;
                value.push(b'\n');
                value.extend_from_slice(line.as_bytes());
            } else {
                let (name, value) = line.split_once(':').unwrap();
                headers.push((name.into(), value.into()));
            }
        }
        Self { method: method.into(), path: path.into(), query: query.into(), headers, body: body.into() }
    }

    fn signed(&self) -> Signed<'_> {
        Signed { method: &self.method, path: &self.path, query: &self.query, headers: &self.headers, body: &self.body }
    }

    fn with(&self, change: impl FnOnce(&mut Self)) -> Self {
        let mut changed = self.clone();
        change(&mut changed);
        changed
    }

    fn value_mut(&mut self, name: &str) -> &mut Vec<u8> {
        &mut self.headers.iter_mut().find(|(n, _)| n.eq_ignore_ascii_case(name)).unwrap().1
    }

    /// The same without a security token, which some cases send unsigned.
    fn without_token(&self) -> Self {
        self.with(|sent| {
            sent.headers.retain(|(name, _)| !name.eq_ignore_ascii_case(SECURITY_TOKEN));
            let kept: Vec<_> = sent
                .query
                .split('&')
                .filter(|part| !part.starts_with("X-Amz-Security-Token="))
                .map(String::from)
                .collect();
            sent.query = kept.join("&");
        })
    }
}

/// A case in one of its forms.
struct Case {
    name: String,
    form: &'static str,
    sent: Sent,
    secret: String,
    paths: Paths,
    omits_token: bool,
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/sigv4/v4")
}

impl Case {
    fn text(&self, what: &str) -> Option<String> {
        std::fs::read_to_string(folder().join(&self.name).join(format!("{}-{what}.txt", self.form))).ok()
    }

    fn all() -> Vec<Self> {
        let mut names: Vec<_> =
            std::fs::read_dir(folder()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names.iter().flat_map(|name| ["header", "query"].map(|form| Self::read(name, form))).flatten().collect()
    }

    fn read(name: &str, form: &'static str) -> Option<Self> {
        let context = std::fs::read_to_string(folder().join(name).join("context.json")).ok();
        let context: Value = context.map_or(Value::Null, |text| serde_json::from_str(&text).unwrap());
        // What has no context was signed with the keys of its crate's tests, or of AWS' documentation.
        let other = match name {
            "double-encode-path" => "notrealrnrELgWzOk3IfjzDKtFBhDby",
            _ => "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
        };
        let secret = context["credentials"]["secret_access_key"].as_str().unwrap_or(other);
        let paths = if context["normalize"] == false { Paths::AsSent } else { Paths::Normalised };
        let mut case = Self {
            name: name.into(),
            form,
            sent: Sent::read("GET / HTTP/1.1"),
            secret: secret.into(),
            paths,
            omits_token: context["omit_session_token"] == true,
        };
        case.sent = Sent::read(&case.text("signed-request")?);
        Some(case)
    }

    fn claim(&self) -> Claim {
        Claim::read(&self.sent.signed()).unwrap_or_else(|why| panic!("{} {}: {why}", self.name, self.form))
    }

    fn has_token(&self) -> bool {
        self.sent.signed().values(SECURITY_TOKEN).next().is_some() || self.claim().token
    }

    /// What `verify` says to a request, with the rules of this case.
    fn verify(&self, sent: &Sent) -> Result<Verified, Refusal> {
        let claim = self.claim();
        self.verify_as(sent, &claim.region, &claim.service, &self.secret, claim.signed_at_s)
    }

    fn verify_as(&self, sent: &Sent, region: &str, service: &str, secret: &str, now: u64) -> Result<Verified, Refusal> {
        let name = ["service", "lambda", "ebs"].into_iter().find(|name| *name == service).unwrap();
        let services = [Service { name, unsigned_payload: false, paths: self.paths }];
        let known = self.claim().access_key_id;
        let key_of = |id: &str| (id == known).then_some(Key { secret, account: "000000000001" });
        verify(&sent.signed(), &Rules { region, services: &services }, key_of, now)
    }
}

#[test]
fn there_are_forty_cases_and_all_but_two_have_both_forms() {
    let cases = Case::all();
    assert_eq!(cases.iter().map(|case| &case.name).collect::<BTreeSet<_>>().len(), 40);
    assert_eq!(cases.len(), 78);
    assert_eq!(cases.iter().filter(|case| case.has_token()).count(), 6);
    assert_eq!(cases.iter().filter(|case| case.paths == Paths::AsSent).count(), 14);
}

#[test]
fn every_canonical_text_and_every_signature_comes_out_as_the_suite_has_it() {
    for mut case in Case::all() {
        let what = format!("{} {}", case.name, case.form);
        if case.omits_token {
            case.sent = case.sent.without_token();
        }
        let (signed, claim) = (case.sent.signed(), case.claim());
        let payload = hex(digest::digest(&digest::SHA256, signed.body).as_ref());
        let canonical = canonical::request(&signed, &claim, case.paths, &payload);
        let mut expected = case.text("canonical-request").unwrap();
        if case.name == "double-encode-path" {
            // That one's canonical text is of another time than its signed request.
            expected = expected.replace("20210511T154045Z", "20150830T123600Z");
        }
        assert_eq!(String::from_utf8_lossy(&canonical), expected, "{what}");
        if let Some(expected) = case.text("string-to-sign") {
            assert_eq!(string_to_sign(&claim, &canonical), expected.trim_end(), "{what}");
        }
        if let Some(expected) = case.text("signature") {
            assert_eq!(expected, claim.signature, "{what}");
        }
        assert_eq!(signature(&claim, &case.secret, &canonical), claim.signature, "{what}");
    }
}

#[test]
fn every_request_is_believed_unless_it_has_a_security_token() {
    for case in Case::all() {
        let what = format!("{} {}", case.name, case.form);
        if case.has_token() {
            assert_eq!(case.verify(&case.sent), Err(Refusal::SecurityToken), "{what}");
            let bare = case.sent.without_token();
            assert_eq!(case.verify(&bare).is_ok(), case.omits_token, "{what}");
            continue;
        }
        let verified = case.verify(&case.sent).unwrap_or_else(|why| panic!("{what}: {why}"));
        assert_eq!(verified.account, "000000000001");
        assert_eq!((verified.region, verified.service), (case.claim().region, case.claim().service.as_str()));
    }
}

/// Every way in which one thing of a request can differ, and what it is called.
fn changes(case: &Case) -> Vec<(String, Sent)> {
    let sent = &case.sent;
    let mut all = vec![
        ("the method".into(), sent.with(|s| s.method = "DELETE".into())),
        ("the method's case".into(), sent.with(|s| s.method = s.method.to_lowercase())),
        ("the path".into(), sent.with(|s| s.path.insert_str(1, "x/"))),
        ("the path's end".into(), sent.with(|s| s.path.push('x'))),
        ("one parameter more".into(), sent.with(|s| s.query += "&Action=DeleteVolume")),
        ("the body".into(), sent.with(|s| s.body.push(b'x'))),
    ];
    for (name, _) in &sent.headers {
        let one_more = sent.with(|s| s.value_mut(name).push(b'x'));
        let is_signed = case.claim().signed_headers.contains(&name.to_lowercase());
        if is_signed || name == "Authorization" {
            all.push((format!("the header {name}"), one_more));
            all.push((
                format!("the header {name}, which is gone"),
                sent.with(|s| s.headers.retain(|(n, _)| n != name)),
            ));
            all.push((
                format!("the header {name}, given once more"),
                sent.with(|s| s.headers.push((name.to_uppercase(), b"x".into()))),
            ));
        }
    }
    let parts: Vec<_> = sent.query.split('&').filter(|part| !part.is_empty()).collect();
    for (at, part) in parts.iter().enumerate() {
        let mut changed: Vec<_> = parts.iter().map(|part| part.to_string()).collect();
        changed[at] = format!("{}x", part.replace("AWS4-HMAC-SHA256", "AWS4"));
        all.push((format!("the parameter {part}"), sent.with(|s| s.query = changed.join("&"))));
        changed.remove(at);
        all.push((format!("the parameter {part}, which is gone"), sent.with(|s| s.query = changed.join("&"))));
    }
    all
}

#[test]
fn no_request_is_believed_that_differs_in_any_one_thing() {
    let mut tried = 0;
    for mut case in Case::all() {
        if case.has_token() && !case.omits_token {
            continue;
        }
        case.sent = case.sent.without_token();
        for (what, changed) in changes(&case) {
            tried += 1;
            let (name, form) = (&case.name, case.form);
            assert!(case.verify(&changed).is_err(), "{name} {form}: {what} changed, and it was believed");
        }
    }
    assert!(tried > 1000, "{tried}");
}

#[test]
fn no_request_is_believed_with_another_secret_region_service_day_or_time() {
    for mut case in Case::all() {
        if case.has_token() && !case.omits_token {
            continue;
        }
        case.sent = case.sent.without_token();
        let (sent, secret, claim) = (&case.sent, case.secret.as_str(), case.claim());
        let (region, service, at) = (claim.region.as_str(), claim.service.as_str(), claim.signed_at_s);
        let try_as = |region, service, secret, at| case.verify_as(sent, region, service, secret, at);
        assert!(try_as(region, service, secret, at).is_ok());
        assert_eq!(try_as(region, service, "another", at), Err(Refusal::SignatureMismatch));
        assert_eq!(try_as("eu-west-1", service, secret, at), Err(Refusal::WrongRegion { region: region.into() }));
        assert_eq!(try_as(region, "ebs", secret, at), Err(Refusal::WrongService { service: service.into() }));
        let expired = |at| matches!(try_as(region, service, secret, at), Err(Refusal::RequestExpired { .. }));
        let last = if case.form == "header" { at + 900 } else { at + 3600 };
        assert!(try_as(region, service, secret, at - 900).is_ok() && try_as(region, service, secret, last).is_ok());
        assert!(expired(at - 901) && expired(last + 1) && expired(0) && expired(u64::MAX));

        // The claim itself says another region, service or day, and that is what is accepted.
        let rewritten = |from: &str, to: &str| {
            let (from, to) = (format!("/{from}/"), format!("/{to}/"));
            sent.with(|s| {
                s.query = s.query.replace(&from.replace('/', "%2F"), &to.replace('/', "%2F"));
                if case.form == "header" {
                    let value = s.value_mut("authorization");
                    *value = String::from_utf8_lossy(value).replace(&from, &to).into_bytes();
                }
            })
        };
        let sent = rewritten(region, "eu-west-1");
        assert_eq!(case.verify_as(&sent, "eu-west-1", service, secret, at), Err(Refusal::SignatureMismatch));
        let sent = rewritten(service, "ebs");
        assert_eq!(case.verify_as(&sent, region, "ebs", secret, at), Err(Refusal::SignatureMismatch));
        for day in ["20150831", "", &claim.date[..4], &claim.timestamp] {
            let verdict = case.verify_as(&rewritten(&claim.date, day), region, service, secret, at);
            assert!(matches!(verdict, Err(Refusal::WrongDate { .. })), "{day}: {verdict:?}");
        }
    }
}
