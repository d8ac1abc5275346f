//! What each operation means here: typed requests become commands of the region, and its answers become typed answers.
//!
//! Describing is answered from the region's own state, at once, whatever becomes of any zone. What changes something is handed to the region under a ticket, and
//! answered when the region says how it ended ([`Desk::finish`]). Checks come in the order that clients need (aws-api.md 1.1): what can be said of the parameters
//! alone, then DryRun, then what there is.
//!
//! It knows no bytes but those of answers, and no HTTP but a status.

mod ask;
mod attachments;
mod defaults;
mod filters;
mod instances;
mod kinds;
mod modifying;
mod pages;
mod places;
mod status;
mod subject;
mod tags;
mod tell;
mod volumes;

pub use places::Places;

use crate::shape::{Operation, Protocol};
use crate::telemetry::Subject;
use crate::{ApiError, Code, ec2, sts, xml};
use region::{Account, Answer, Command, Refusal, Region};
use std::collections::BTreeMap;

/// Who asks, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// Whose request it is.
    pub account: Account,
    /// By which access key.
    pub access_key_id: String,
    /// The wall clock, in milliseconds since 1970.
    pub now_ms: u64,
    /// The request's own id, which stands in its answer.
    pub request_id: String,
}

/// What is asked.
#[derive(Debug, Clone, PartialEq)]
pub enum Question {
    /// Of EC2.
    Ec2(Box<ec2::Request>),
    /// Of STS.
    Sts(sts::Request),
}

impl Question {
    /// The answer that nothing more is taken now, in the words of whoever asks.
    pub fn too_many(&self, caller: &Caller) -> Written {
        let protocol = match self {
            Self::Ec2(_) => Protocol::Ec2,
            Self::Sts(_) => Protocol::AwsQuery,
        };
        let refused = refused(protocol, &ApiError::request_limit(), &caller.request_id);
        Written { subject: self.subject(caller.account), ..refused }
    }
}

/// An answer, as bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// The HTTP status.
    pub status: u16,
    /// The document.
    pub body: String,
    /// The error that it tells, if it tells one.
    pub code: Option<Code>,
    /// What it is the answer to.
    pub subject: Subject,
}

/// What became of a question so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Begun {
    /// It is answered.
    Answered(Written),
    /// The region deals with it, under this ticket.
    Waits(u64),
}

impl Written {
    /// An answer that is no error.
    fn ok(body: String) -> Self {
        Self { status: 200, body, code: None, subject: Subject::default() }
    }

    /// What goes with it: the names and values of headers.
    pub fn headers(&self, request_id: &str) -> Vec<(&'static str, String)> {
        let mut headers =
            vec![("content-type", xml::CONTENT_TYPE.to_string()), ("x-amzn-requestid", request_id.to_string())];
        if self.status == 503 {
            headers.push(("retry-after", "1".into()));
        }
        headers
    }
}

/// An error in words of a protocol.
pub fn refused(protocol: Protocol, error: &ApiError, request_id: &str) -> Written {
    let body = xml::error(protocol, error, request_id);
    Written { status: error.code.status(), body, code: Some(error.code), subject: Subject::default() }
}

/// How an answer of the region is told to whoever asked.
enum Telling {
    CreateVolume,
    DeleteVolume,
    AttachVolume,
    /// With the instance that was named, if one was.
    DetachVolume(Option<String>),
    ModifyVolume,
    VolumeAttribute,
    Encrypt,
    DoNotEncrypt,
    SetKey,
    ResetKey,
    CreateTags,
    DeleteTags,
}

struct Waiting {
    caller: Caller,
    telling: Telling,
    subject: Subject,
}

/// What an operation comes to at once.
type Outcome<T> = Result<T, ApiError>;

/// Answers questions about one region.
pub struct Desk {
    places: Places,
    next_ticket: u64,
    waiting: BTreeMap<u64, Waiting>,
}

impl Desk {
    /// Nobody has asked yet.
    pub fn new(places: Places) -> Self {
        Self { places, next_ticket: 1, waiting: BTreeMap::new() }
    }

    /// Takes a question.
    pub fn ask(&mut self, region: &mut Region, caller: Caller, question: Question) -> Begun {
        let subject = self.subject(region, &caller, &question);
        match self.deal_with(region, caller, question) {
            Begun::Answered(written) => Begun::Answered(Written { subject, ..written }),
            Begun::Waits(ticket) => {
                if let Some(waiting) = self.waiting.get_mut(&ticket) {
                    waiting.subject = subject;
                }
                Begun::Waits(ticket)
            }
        }
    }

    fn deal_with(&mut self, region: &mut Region, caller: Caller, question: Question) -> Begun {
        match question {
            Question::Sts(sts::Request::GetCallerIdentity(_)) => {
                let account = caller.account.to_string();
                let arn = format!("arn:aws:iam::{account}:root");
                let who = sts::GetCallerIdentityResponse {
                    user_id: Some(account.clone()),
                    account: Some(account),
                    arn: Some(arn),
                };
                Begun::Answered(done::<sts::GetCallerIdentityRequest>(&caller, Ok(who)))
            }
            Question::Ec2(request) => self.ask_ec2(region, caller, *request),
        }
    }

    /// Hands a command to the region, whose parameters were found to be right, or tells what is wrong with them.
    fn command(
        &mut self,
        region: &mut Region,
        caller: Caller,
        telling: Telling,
        dry: bool,
        command: Outcome<Command>,
    ) -> Begun {
        let command = match command {
            Ok(_) if dry => Err(ApiError::dry_run()),
            other => other,
        };
        let ticket = self.next_ticket;
        let taken =
            command.and_then(|command| region.submit(ticket, command).map_err(|why| self.error(&telling, &why)));
        match taken {
            Ok(()) => {
                self.next_ticket += 1;
                self.waiting.insert(ticket, Waiting { caller, telling, subject: Subject::default() });
                Begun::Waits(ticket)
            }
            Err(error) => Begun::Answered(refused(Protocol::Ec2, &error, &caller.request_id)),
        }
    }

    /// Answers what waited under a ticket; none when nobody did.
    pub fn finish(&mut self, ticket: u64, result: Result<Answer, Refusal>) -> Option<Written> {
        let Waiting { caller, telling, mut subject } = self.waiting.remove(&ticket)?;
        subject.volume = subject.volume.or_else(|| subject::named(&result));
        let result = result.map_err(|why| self.error(&telling, &why));
        Some(Written { subject, ..self.tell(&telling, &caller, result) })
    }
}

/// The answer of an operation, or its error.
fn done<O: Operation>(caller: &Caller, result: Outcome<O::Output>) -> Written {
    match result {
        Ok(output) => Written::ok(xml::answer::<O>(&output, &caller.request_id)),
        Err(error) => refused(O::SERVICE.protocol, &error, &caller.request_id),
    }
}

/// The answer of an operation that only describes: a pair of what it answers with and the request that it answers.
fn told<O: Operation>(caller: &Caller, dry: bool, result: Outcome<Told<O>>) -> Written {
    told_with(caller, dry, &[], result)
}

/// The same, with lists that AWS writes also when they are empty, wherever they stand in the answer.
fn told_with<O: Operation>(caller: &Caller, dry: bool, lists: &[&str], result: Outcome<Told<O>>) -> Written {
    match result {
        Ok(_) if dry => refused(O::SERVICE.protocol, &ApiError::dry_run(), &caller.request_id),
        Ok(told) => Written::ok(xml::answer_keeping::<O>(&told.0, &caller.request_id, lists)),
        Err(error) => refused(O::SERVICE.protocol, &error, &caller.request_id),
    }
}

/// What an operation that describes answers. It names its operation, so that answers are not mixed up.
struct Told<O: Operation>(O::Output);
