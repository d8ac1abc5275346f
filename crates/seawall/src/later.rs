//! Commands of the surface that are not built yet: each is refused by name, with what to do meanwhile. None pretends.

use crate::refusal::{Code, Refusal};

/// That `what` is not built yet, and what to do `instead`.
pub fn refuse(what: &str, instead: &str) -> Refusal {
    Refusal::new(Code::NotBuilt, format!("{what} is not built yet; {instead}"))
}
