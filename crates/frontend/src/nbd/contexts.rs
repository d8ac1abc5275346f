//! Metadata contexts: the client asks which there are, and chooses. There is one, `base:allocation`: which blocks are written.

/// Its name.
pub(super) const ALLOCATION: &str = "base:allocation";
/// Its number on the wire, once it is chosen.
pub(super) const ALLOCATION_ID: u32 = 1;

/// What an option about contexts asks, as far as it can be understood.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Question<'a> {
    /// Of which export.
    pub(super) export: &'a [u8],
    queries: Vec<&'a str>,
}

impl<'a> Question<'a> {
    /// None if it is not a name and a list of queries, or one of these is no query.
    pub(super) fn parse(data: &'a [u8]) -> Option<Self> {
        let (export, rest) = counted(data)?;
        let (count, mut rest) = rest.split_first_chunk::<4>()?;
        let mut queries = Vec::new();
        for _ in 0..u32::from_be_bytes(*count) {
            let (query, more) = counted(rest)?;
            rest = more;
            // A namespace, a colon, and what that namespace makes of the rest.
            queries.push(std::str::from_utf8(query).ok().filter(|query| query.contains(':'))?);
        }
        rest.is_empty().then_some(Self { export, queries })
    }

    /// Whether the context is among those asked for. Without queries all are; a namespace alone names all that are in it.
    pub(super) fn lists_allocation(&self) -> bool {
        self.queries.is_empty() || self.queries.iter().any(|query| [ALLOCATION, "base:"].contains(query))
    }

    /// Whether the context is chosen: only by its whole name.
    pub(super) fn chooses_allocation(&self) -> bool {
        self.queries.contains(&ALLOCATION)
    }
}

/// The data of a reply that names the context.
pub(super) fn named(id: u32) -> Vec<u8> {
    [&id.to_be_bytes()[..], ALLOCATION.as_bytes()].concat()
}

/// A length and as many bytes, and what comes after.
fn counted(data: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = data.split_first_chunk::<4>()?;
    rest.split_at_checked(u32::from_be_bytes(*len) as usize)
}
