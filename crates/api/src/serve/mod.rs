//! What each operation means here: typed requests become commands of the region, and its answers become typed answers.
//!
//! Describing is answered from the region's own state, at once, whatever becomes of any zone. What changes something is handed to the region under a ticket, and
//! answered when the region says how it ended ([`Desk::finish`]). Checks come in the order that clients need (aws-api.md 1.1): what can be said of the parameters
//! alone, then DryRun, then what there is.
//!
//! It knows no bytes but those of answers, and no HTTP but a status.

mod filters;
mod kinds;
mod pages;
mod places;
mod tags;
mod volumes;

pub use places::Places;

use crate::shape::{Operation, Protocol};
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
    pub fn too_many(&self, request_id: &str) -> Written {
        let protocol = match self {
            Self::Ec2(_) => Protocol::Ec2,
            Self::Sts(_) => Protocol::AwsQuery,
        };
        refused(protocol, &ApiError::request_limit(), request_id)
    }
}

/// An answer, as bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// The HTTP status.
    pub status: u16,
    /// The document.
    pub body: String,
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
    Written { status: error.code.status(), body: xml::error(protocol, error, request_id) }
}

/// How an answer of the region is told to whoever asked.
enum Telling {
    CreateVolume,
    DeleteVolume,
    CreateTags,
    DeleteTags,
}

struct Waiting {
    caller: Caller,
    telling: Telling,
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

    fn ask_ec2(&mut self, region: &mut Region, caller: Caller, request: ec2::Request) -> Begun {
        use ec2::Request as R;
        let name = request.name();
        let dry = request.is_dry_run();
        let answered = match request {
            R::DescribeRegions(m) => told(&caller, dry, self.places.regions(&m)),
            R::DescribeAvailabilityZones(m) => told(&caller, dry, self.places.zones(&m, region)),
            R::DescribeAccountAttributes(m) => told(&caller, dry, places::attributes(&m)),
            R::DescribeVolumes(m) => told(&caller, dry, self.describe_volumes(region, &caller, &m)),
            R::DescribeTags(m) => told(&caller, dry, tags::describe(region, &caller, &m)),
            R::CreateVolume(m) => {
                return self.command(region, caller, Telling::CreateVolume, dry, |desk, caller| {
                    desk.create_volume(caller, &m)
                });
            }
            R::DeleteVolume(m) => {
                return self
                    .command(region, caller, Telling::DeleteVolume, dry, |_, caller| volumes::delete(caller, &m));
            }
            R::CreateTags(m) => {
                return self.command(region, caller, Telling::CreateTags, dry, |_, caller| tags::create(caller, &m));
            }
            R::DeleteTags(m) => {
                return self.command(region, caller, Telling::DeleteTags, dry, |_, caller| tags::delete(caller, &m));
            }
            _ => refused(Protocol::Ec2, &ApiError::unsupported_operation(name), &caller.request_id),
        };
        Begun::Answered(answered)
    }

    /// Hands a command to the region, once its parameters are found to be right. `read` looks at nothing else.
    fn command(
        &mut self,
        region: &mut Region,
        caller: Caller,
        telling: Telling,
        dry: bool,
        read: impl FnOnce(&Self, &Caller) -> Outcome<Command>,
    ) -> Begun {
        let command = match read(self, &caller) {
            Ok(_) if dry => Err(ApiError::dry_run()),
            other => other,
        };
        let ticket = self.next_ticket;
        let taken =
            command.and_then(|command| region.submit(ticket, command).map_err(|why| self.error(&telling, &why)));
        match taken {
            Ok(()) => {
                self.next_ticket += 1;
                self.waiting.insert(ticket, Waiting { caller, telling });
                Begun::Waits(ticket)
            }
            Err(error) => Begun::Answered(refused(Protocol::Ec2, &error, &caller.request_id)),
        }
    }

    /// Answers what waited under a ticket; none when nobody did.
    pub fn finish(&mut self, ticket: u64, result: Result<Answer, Refusal>) -> Option<Written> {
        let Waiting { caller, telling } = self.waiting.remove(&ticket)?;
        let result = result.map_err(|why| self.error(&telling, &why));
        Some(match telling {
            Telling::CreateVolume => {
                let volume = result.map(|answer| match answer {
                    Answer::Volume(volume) => self.created(&volume),
                    Answer::Done => unreachable!("a volume was asked for"),
                });
                done::<ec2::CreateVolumeRequest>(&caller, volume)
            }
            Telling::DeleteVolume => done::<ec2::DeleteVolumeRequest>(&caller, result.map(|_| crate::shape::Done)),
            Telling::CreateTags => done::<ec2::CreateTagsRequest>(&caller, result.map(|_| crate::shape::Done)),
            Telling::DeleteTags => done::<ec2::DeleteTagsRequest>(&caller, result.map(|_| crate::shape::Done)),
        })
    }

    /// A refusal of the region in AWS's words.
    fn error(&self, telling: &Telling, why: &Refusal) -> ApiError {
        let id = |volume: &base::VolumeId| volume.to_string();
        match why {
            Refusal::Starting => ApiError::unavailable("The region is starting; try again in a moment."),
            Refusal::Broken(why) => ApiError::new(Code::InternalError, format!("The region does not serve: {why}")),
            Refusal::Busy { zone: None } => ApiError::request_limit(),
            Refusal::Busy { zone: Some(zone) } => {
                let name = self.places.name_of(*zone);
                let what = format!("Request limit exceeded: too many requests wait for zone {name}.");
                ApiError::new(Code::RequestLimitExceeded, what)
            }
            Refusal::NoSuchZone => ApiError::zone_not_found("?"),
            Refusal::NoSuchVolume(volume) => ApiError::volumes_not_found(&[id(volume)]),
            Refusal::NotNow { volume, stage } => ApiError::in_state(&id(volume), volumes::state(*stage)),
            Refusal::InUse { volume, why } => {
                ApiError::new(Code::VolumeInUse, format!("Volume {volume} is currently attached: {why}"))
            }
            Refusal::TokenTaken => ApiError::idempotent_mismatch(),
            Refusal::TooManyVolumes { max } => {
                let what = format!("You have reached the maximum number of volumes, {max}.");
                ApiError::new(Code::VolumeLimitExceeded, what)
            }
            Refusal::TooManyTags { max, .. } => {
                let what = format!("The maximum number of Tags for a resource has been reached: {max}.");
                ApiError::new(Code::TagLimitExceeded, what)
            }
            Refusal::NoRoom(why) => {
                let what = format!("There is not enough capacity to create the volume: {why}");
                ApiError::new(Code::InsufficientVolumeCapacity, what)
            }
            Refusal::Zone(why) => ApiError::unavailable(format!("The zone cannot do it now: {why}")),
            Refusal::TimedOut { volume } if matches!(telling, Telling::DeleteVolume) => ApiError::unavailable(format!(
                "The zone has not answered in time; volume {volume} goes when it does, unless it is attached."
            )),
            Refusal::TimedOut { volume } => ApiError::unavailable(format!(
                "The zone has not answered in time; volume {volume} may be made yet. Ask again with the same client token."
            )),
            Refusal::Unknown => {
                ApiError::unavailable("What became of the request is not known; ask again with the same client token.")
            }
        }
    }
}

/// The answer of an operation, or its error.
fn done<O: Operation>(caller: &Caller, result: Outcome<O::Output>) -> Written {
    match result {
        Ok(output) => Written { status: 200, body: xml::answer::<O>(&output, &caller.request_id) },
        Err(error) => refused(O::SERVICE.protocol, &error, &caller.request_id),
    }
}

/// The answer of an operation that only describes: a pair of what it answers with and the request that it answers.
fn told<O: Operation>(caller: &Caller, dry: bool, result: Outcome<Told<O>>) -> Written {
    match result {
        Ok(_) if dry => refused(O::SERVICE.protocol, &ApiError::dry_run(), &caller.request_id),
        other => done::<O>(caller, other.map(|told| told.0)),
    }
}

/// What an operation that describes answers. It names its operation, so that answers are not mixed up.
struct Told<O: Operation>(O::Output);
