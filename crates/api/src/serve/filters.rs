//! Filters: values of one are alternatives, all of them must hold; `*` stands for anything, `?` for one character, `\` takes their meaning away.

use crate::ApiError;
use crate::ec2::Filter;

/// Filters of one request, whose names have been found to be known.
#[derive(Debug, Default)]
pub(super) struct Filters<'a>(Vec<(&'a str, &'a [String])>);

/// Filters of one request, at most (AWS documents fifty, and two hundred values).
const FILTERS_MAX: usize = 50;
/// Values of all filters of one request, at most.
const VALUES_MAX: usize = 200;

impl<'a> Filters<'a> {
    /// Reads them. `known` are their names; one that ends with a colon is a family.
    pub(super) fn read(filters: &'a [Filter], known: &[&str]) -> Result<Self, ApiError> {
        if filters.len() > FILTERS_MAX || filters.iter().map(|f| f.values.len()).sum::<usize>() > VALUES_MAX {
            let what = format!("A request has at most {FILTERS_MAX} filters with {VALUES_MAX} values in all.");
            return Err(ApiError::new(crate::Code::InvalidParameterValue, what));
        }
        let mut read = Vec::new();
        for filter in filters {
            let name = filter.name.as_deref().unwrap_or_default();
            let is_known = known.iter().any(|known| match known.strip_suffix(':') {
                Some(_) => name.strip_prefix(known).is_some_and(|rest| !rest.is_empty()),
                None => name == *known,
            });
            if !is_known {
                return Err(ApiError::invalid_filter(name));
            }
            read.push((name, filter.values.as_slice()));
        }
        Ok(Self(read))
    }

    /// Whether all of them hold. `values` gives what something has under a filter's name.
    pub(super) fn hold(&self, values: impl Fn(&str) -> Vec<String>) -> bool {
        self.0.iter().all(|(name, wanted)| {
            let has = values(name);
            wanted.iter().any(|pattern| has.iter().any(|value| fits(pattern, value)))
        })
    }
}

/// Whether a value is as a pattern says. In one pass over both, going back to the last `*` only.
fn fits(pattern: &str, value: &str) -> bool {
    #[derive(PartialEq)]
    enum Part {
        Any,
        One,
        Char(char),
    }
    let mut parts = Vec::new();
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        parts.push(match c {
            '*' => Part::Any,
            '?' => Part::One,
            '\\' => Part::Char(chars.next().unwrap_or('\\')),
            c => Part::Char(c),
        });
    }
    let value: Vec<char> = value.chars().collect();
    let (mut p, mut v, mut back) = (0, 0, None);
    while v < value.len() {
        match parts.get(p) {
            Some(Part::Any) => {
                back = Some((p + 1, v));
                p += 1;
            }
            Some(Part::One) => (p, v) = (p + 1, v + 1),
            Some(Part::Char(c)) if *c == value[v] => (p, v) = (p + 1, v + 1),
            _ => {
                let Some((after, taken)) = back else { return false };
                back = Some((after, taken + 1));
                (p, v) = (after, taken + 1);
            }
        }
    }
    parts[p..].iter().all(|part| *part == Part::Any)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_fits_what_it_says() {
        for (pattern, value, expected) in [
            ("", "", true),
            ("", "a", false),
            ("a", "a", true),
            ("a", "A", false),
            ("*", "", true),
            ("*", "anything", true),
            ("?", "", false),
            ("?", "é", true),
            ("a*c", "abbc", true),
            ("a*c", "abcb", false),
            ("*ab*ab*", "xababx", true),
            ("*ab*ab*", "xabx", false),
            ("\\*", "*", true),
            ("\\*", "a", false),
            ("a\\", "a\\", true),
            ("a**b", "ab", true),
        ] {
            assert_eq!(fits(pattern, value), expected, "{pattern:?} {value:?}");
        }
    }

    #[test]
    fn a_pattern_of_many_stars_takes_no_longer_than_both_are_long() {
        // With backtracking into every star this would never end.
        assert!(!fits(&"*a".repeat(60), &"a".repeat(59)));
        assert!(fits(&"*a".repeat(60), &"a".repeat(600)));
    }

    #[test]
    fn values_are_alternatives_and_filters_must_all_hold() {
        let filter = |name: &str, values: &[&str]| Filter {
            name: Some(name.into()),
            values: values.iter().map(|value| (*value).to_string()).collect(),
        };
        let has = |name: &str| match name {
            "size" => vec!["8".into()],
            "tag:Name" => vec!["a b".into()],
            "tag-key" => vec!["Name".into(), "Other".into()],
            _ => vec![],
        };
        let known = ["size", "tag:", "tag-key", "snapshot-id"];
        let hold = |filters: &[Filter]| Filters::read(filters, &known).unwrap().hold(has);
        assert!(hold(&[]) && hold(&[filter("size", &["1", "8"])]));
        assert!(hold(&[filter("tag:Name", &["a*"]), filter("tag-key", &["Oth?r"])]));
        assert!(!hold(&[filter("size", &["8"]), filter("tag-key", &["Nam"])]));
        assert!(!hold(&[filter("snapshot-id", &["*"])]), "who has none is not found by it");
        assert!(!hold(&[filter("size", &[])]));
        for unknown in ["Size", "tag:", "", "color"] {
            let error = Filters::read(&[filter(unknown, &["1"])], &known).unwrap_err();
            assert_eq!(error.message, format!("The filter '{unknown}' is invalid"));
        }
        let many: Vec<String> = (0..201).map(|n| n.to_string()).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert!(Filters::read(&[filter("size", &many)], &known).is_err());
    }
}
