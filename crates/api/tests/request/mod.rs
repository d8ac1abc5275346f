//! Any bytes at all, taken for a request of each service.

use api::{ApiError, ec2, query::Query, sts, xml};

/// Reads bytes as a request, and answers what is wrong with them. How many services would do it.
///
/// # Panics
/// When an answer is not what a client could read.
pub fn read_anything(bytes: &[u8]) -> usize {
    let refuse = |error: &ApiError| {
        let text = xml::error(ec2::SERVICE.protocol, error, "id") + &xml::error(sts::SERVICE.protocol, error, "id");
        assert!((400..500).contains(&error.code.status()), "a request is never the fault of the server: {error}");
        // However it was asked, the answer is short, and has no bytes that readers stumble over.
        assert!(text.len() < 4_096 && !text.contains(|c: char| c < ' ' && c != '\n' && c != '\t'), "{text}");
        assert_eq!(text.matches("<Message>").count(), 2, "{text}");
    };
    match Query::parse(bytes) {
        Ok(query) => {
            let read = [ec2::Request::read(query.clone()).map(drop), sts::Request::read(query).map(drop)];
            read.iter().filter_map(|read| read.as_ref().err()).for_each(refuse);
            read.iter().filter(|read| read.is_ok()).count()
        }
        Err(error) => {
            refuse(&error);
            0
        }
    }
}
