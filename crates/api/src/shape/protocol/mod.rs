//! botocore's protocol cases, turned round; where they come from is said in `tests/protocol/README.md`.

mod ec2_input;
mod ec2_output;
mod query_input;
mod query_output;
