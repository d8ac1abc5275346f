//! From what came over HTTP to a question of somebody who is known: the signature first, then the service that it names, then what is asked.
//!
//! Whoever is not known learns nothing but that. It opens no socket and reads no clock.

pub use crate::sigv4::Signed;

use crate::serve::{Caller, Question, Written, refused};
use crate::shape::Protocol;
use crate::sigv4::{self, Family, Key, Paths, Rules, Service};
use crate::telemetry::Subject;
use crate::{ApiError, Code, ec2, query::Query, sts};
use region::Account;
use std::collections::BTreeMap;

const SERVICES: [Service; 2] = [
    Service { name: "ec2", unsigned_payload: false, paths: Paths::Normalised },
    Service { name: "sts", unsigned_payload: false, paths: Paths::Normalised },
];

/// A pair of keys, and whose it is.
#[derive(Clone)]
pub struct AccessKey {
    /// Which is sent along.
    pub id: String,
    /// Which is not.
    pub secret: String,
    /// Whose it is.
    pub account: Account,
}

/// What is known of those who may ask.
pub struct Front {
    region: String,
    keys: BTreeMap<String, (String, Account, String)>,
}

impl Front {
    /// For a region of that name and the holders of these keys.
    pub fn new(region: impl Into<String>, keys: impl IntoIterator<Item = AccessKey>) -> Self {
        let entry = |key: AccessKey| (key.id, (key.secret, key.account, key.account.to_string()));
        Self { region: region.into(), keys: keys.into_iter().map(entry).collect() }
    }

    /// Makes a question of a request; or the answer that says why it is none.
    pub fn read(&self, signed: &Signed<'_>, now_ms: u64, request_id: &str) -> Result<(Caller, Question), Box<Written>> {
        let rules = Rules { region: &self.region, services: &SERVICES };
        let key = |id: &str| {
            let (secret, _, account) = self.keys.get(id)?;
            Some(Key { secret, account })
        };
        let verified = sigv4::verify(signed, &rules, key, now_ms / 1000).map_err(|why| {
            // What it says it was signed for is vouched for by nobody, and chooses nothing but words.
            let says_sts = sigv4::claimed_service(signed).as_deref() == Some("sts");
            let (protocol, family) =
                if says_sts { (Protocol::AwsQuery, Family::Query) } else { (Protocol::Ec2, Family::Ec2) };
            let reply = why.reply(family);
            let code = Code::ALL.iter().find(|code| code.wire() == reply.code).copied().unwrap_or(Code::AuthFailure);
            Box::new(refused(protocol, &ApiError::new(code, reply.message), request_id))
        })?;
        let account = self.keys.get(&verified.access_key_id).map_or(Account(0), |(_, account, _)| *account);
        let caller =
            Caller { account, access_key_id: verified.access_key_id, now_ms, request_id: request_id.to_owned() };
        let is_sts = verified.service == "sts";
        let (protocol, served) =
            if is_sts { (Protocol::AwsQuery, sts::Request::NAMES) } else { (Protocol::Ec2, ec2::Request::NAMES) };
        let mut operation = None;
        let question = query(signed).and_then(|query| {
            // Also a request that cannot be read is one for its operation.
            operation = served.iter().copied().find(|name| *name == query.action);
            if is_sts {
                sts::Request::read(query).map(Question::Sts)
            } else {
                ec2::Request::read(query).map(|request| Question::Ec2(Box::new(request)))
            }
        });
        question.map(|question| (caller, question)).map_err(|why| {
            let subject = Subject { operation, account: Some(account), ..Subject::default() };
            Box::new(Written { subject, ..refused(protocol, &why, request_id) })
        })
    }
}

/// How somebody at a terminal speaks to the region: commands to be pasted.
pub fn first_steps(endpoint: &str, region: &str, key: (&str, &str)) -> [String; 2] {
    let (id, secret) = key;
    [
        format!("export AWS_ACCESS_KEY_ID={id} AWS_SECRET_ACCESS_KEY={secret} AWS_DEFAULT_REGION={region}"),
        format!("aws --endpoint-url {endpoint} ec2 describe-volumes"),
    ]
}

/// The parameters: of the body, or of the query where there is none.
fn query(signed: &Signed<'_>) -> Result<Query, ApiError> {
    if signed.path != "/" && !signed.path.is_empty() {
        let what = format!("There is nothing at {}.", crate::error::echo(signed.path));
        return Err(ApiError::new(Code::InvalidAction, what));
    }
    match signed.method {
        "POST" => Query::parse(signed.body),
        "GET" => {
            // What a presigned request carries for its signature alone is no parameter.
            let parameters = signed.query.split('&').filter(|pair| !pair.starts_with("X-Amz-"));
            Query::parse(parameters.collect::<Vec<_>>().join("&").as_bytes())
        }
        other => {
            let what = format!("The method {} is not supported; use POST or GET.", crate::error::echo(other));
            Err(ApiError::new(Code::InvalidQueryParameter, what))
        }
    }
}
