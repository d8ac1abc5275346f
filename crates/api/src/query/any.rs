//! Any bytes at all, taken for a request. Tests try it with seeded bytes and the fuzzer with its own; what it may find is a panic.

use super::Query;
use crate::{ec2, sts, xml};

/// Reads bytes as a request of either service and, where they are none, writes the error. True if they were a request.
pub fn read_anything(bytes: &[u8]) -> bool {
    let query = match Query::parse(bytes) {
        Ok(query) => query,
        Err(error) => {
            let _ = xml::error(ec2::SERVICE.protocol, &error, "");
            return false;
        }
    };
    let read = [ec2::Request::read(query.clone()).map(|_| ()), sts::Request::read(query).map(|_| ())];
    for error in read.iter().filter_map(|result| result.as_ref().err()) {
        let _ = xml::error(sts::SERVICE.protocol, error, "");
    }
    read.iter().any(Result::is_ok)
}
