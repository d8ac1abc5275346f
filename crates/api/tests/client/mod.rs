//! A client of a desk over a region whose zones obey: a body goes in, a document comes out.
#![allow(dead_code)] // Each test binary uses its own part of this.

#[path = "../../../region/tests/world/mod.rs"]
pub mod world;

use api::ec2;
use api::query::Query;
use api::serve::{Begun, Caller, Desk, Places, Question, Written};
use region::ZoneNumber;
use world::{ME, World};

pub struct Client {
    pub w: World,
    pub desk: Desk,
    asked: u64,
}

pub fn places() -> Places {
    let zones = ["local-1a", "local-1b"].into_iter().zip(0..).map(|(name, n)| (name.to_string(), ZoneNumber(n)));
    Places::new("local-1", "http://127.0.0.1:7480", zones.collect())
}

impl Client {
    pub fn new() -> Self {
        Self { w: World::new(2), desk: Desk::new(places()), asked: 0 }
    }

    pub fn caller(&mut self) -> Caller {
        self.asked += 1;
        let request_id = format!("request-{}", self.asked);
        Caller { account: ME, access_key_id: "AK".into(), now_ms: 1_764_500_000_000, request_id }
    }

    pub fn ask(&mut self, body: &str) -> Begun {
        let caller = self.caller();
        let read = Query::parse(body.as_bytes()).and_then(ec2::Request::read);
        match read {
            Ok(request) => self.desk.ask(&mut self.w.region, caller, Question::Ec2(Box::new(request))),
            Err(error) => Begun::Answered(api::serve::refused(api::Protocol::Ec2, &error, &caller.request_id)),
        }
    }

    /// Asks and is answered without time passing.
    pub fn told(&mut self, body: &str) -> Written {
        match self.ask(body) {
            Begun::Answered(written) => written,
            Begun::Waits(ticket) => {
                self.w.run();
                let result = self.w.replies.remove(&ticket).expect("it was not answered");
                self.desk.finish(ticket, result).expect("somebody waited")
            }
        }
    }

    pub fn ok(&mut self, body: &str) -> String {
        let written = self.told(body);
        assert_eq!(written.status, 200, "{}", written.body);
        written.body
    }

    /// The code and the message of an error, with its status.
    pub fn refused(&mut self, body: &str) -> (u16, String, String) {
        let written = self.told(body);
        let of = |tag: &str| between(&written.body, &format!("<{tag}>"), &format!("</{tag}>")).unwrap_or_default();
        (written.status, of("Code"), of("Message"))
    }

    pub fn create(&mut self, more: &str) -> String {
        let body = self.ok(&format!("Action=CreateVolume&AvailabilityZone=local-1a{more}"));
        between(&body, "<volumeId>", "</volumeId>").unwrap()
    }
}

pub fn between(text: &str, from: &str, to: &str) -> Option<String> {
    let at = text.find(from)? + from.len();
    Some(text[at..at + text[at..].find(to)?].to_string())
}
