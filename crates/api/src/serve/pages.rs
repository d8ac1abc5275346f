//! Pages: so many at once, and a word by which the next ones are asked for.

use crate::{ApiError, Code};

/// How many are asked for, and from where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Page {
    pub(super) most: usize,
    /// What the last page ended with.
    pub(super) after: Option<String>,
}

/// What marks our own words.
const MARK: &str = "seawall1:";

impl Page {
    /// Reads what a request says of it. `named`: it names what it wants, which goes with no number.
    pub(super) fn read(max_results: Option<i32>, next_token: Option<&str>, named: bool) -> Result<Self, ApiError> {
        if named && max_results.is_some() {
            let what = "The parameter MaxResults cannot be used with the parameter that names what is described in the same call.";
            return Err(ApiError::new(Code::InvalidParameterCombination, what));
        }
        let most = match max_results {
            None => usize::MAX,
            Some(n) if (5..=1000).contains(&n) => n as usize,
            Some(n) => {
                let why = "Expecting a value between 5 and 1000.";
                return Err(ApiError::invalid_value(&n.to_string(), "maxResults", why));
            }
        };
        let after = next_token.filter(|token| !token.is_empty()).map(after).transpose()?;
        Ok(Self { most, after })
    }

    /// As many as go on the page, and the word for the next one if there is more. `key` is what a page begins behind.
    pub(super) fn cut<T>(&self, all: impl Iterator<Item = T>, key: impl Fn(&T) -> String) -> (Vec<T>, Option<String>) {
        let mut found = Vec::new();
        for item in all {
            if found.len() == self.most {
                let next = found.last().map(|last| Self::token(&key(last)));
                return (found, next);
            }
            found.push(item);
        }
        (found, None)
    }

    /// The word for what comes behind this one.
    pub(super) fn token(last: &str) -> String {
        format!("{MARK}{last}").bytes().map(|byte| format!("{byte:02x}")).collect()
    }
}

fn after(token: &str) -> Result<String, ApiError> {
    let digit = |at: usize| u8::from_str_radix(token.get(at..at + 2)?, 16).ok();
    let bytes: Option<Vec<u8>> = (0..token.len()).step_by(2).map(digit).collect();
    let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
    let last = text.as_deref().and_then(|text| text.strip_prefix(MARK)).map(str::to_owned);
    last.ok_or_else(|| ApiError::invalid_value(token, "nextToken", "It is none that was given out here."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_says_what_the_last_page_ended_with_and_others_are_refused() {
        let page = Page::read(Some(5), Some(&Page::token("vol-1")), false).unwrap();
        assert_eq!(page, Page { most: 5, after: Some("vol-1".into()) });
        assert_eq!(Page::read(None, None, true).unwrap(), Page { most: usize::MAX, after: None });
        assert_eq!(Page::read(None, Some(""), true).unwrap().after, None);
        for token in ["x", "7", "766f6c", "ÿ7", "ff"] {
            assert_eq!(Page::read(None, Some(token), false).unwrap_err().code, Code::InvalidParameterValue);
        }
        for n in [-1, 0, 4, 1001] {
            assert_eq!(Page::read(Some(n), None, false).unwrap_err().code, Code::InvalidParameterValue);
        }
        assert_eq!(Page::read(Some(5), None, true).unwrap_err().code, Code::InvalidParameterCombination);
    }
}
