//! Points in time as the protocols write them: ISO 8601, UTC, to the millisecond (`2026-11-23T04:46:34.000Z`).
//!
//! Written always in that one form, which filters compare as text. Read in every form that clients send: with or without a fraction,
//! with `Z` or an offset. It knows no clock.

use std::fmt;
use std::str::FromStr;

/// Milliseconds since 1970-01-01T00:00:00Z; earlier is negative.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub i64);

/// A text that is no point in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotATimestamp;

const DAY_MS: i64 = 86_400_000;
/// The years that four digits can say: the first and the last millisecond that are written. What lies beyond is written as these.
const FIRST_MS: i64 = -62_167_219_200_000;
const LAST_MS: i64 = 253_402_300_799_999;

/// Days from 1970-01-01 to a date of the Gregorian calendar. Years begin in March here, so that the leap day comes last; 400 years
/// have 146,097 days, and month lengths from March on follow (153 m + 2) / 5.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// The date of a day: the inverse of [`days`].
fn date(day: i64) -> (i64, i64, i64) {
    let day = day + 719_468;
    let (era, of_era) = (day.div_euclid(146_097), day.rem_euclid(146_097));
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year + i64::from(month <= 2), month, day)
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = self.0.clamp(FIRST_MS, LAST_MS);
        let (year, month, day) = date(ms.div_euclid(DAY_MS));
        let of_day = ms.rem_euclid(DAY_MS);
        let (hour, minute, second, ms) =
            (of_day / 3_600_000, of_day / 60_000 % 60, of_day / 1_000 % 60, of_day % 1_000);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z")
    }
}

/// Takes a number of exactly `digits` digits off the front.
fn number(text: &mut &[u8], digits: usize) -> Option<i64> {
    let (front, rest) = text.split_at_checked(digits)?;
    *text = rest;
    front.iter().try_fold(0, |sum, c| c.is_ascii_digit().then(|| sum * 10 + i64::from(c - b'0')))
}

fn expect(text: &mut &[u8], wanted: u8) -> Option<()> {
    let (first, rest) = text.split_first()?;
    *text = rest;
    (*first == wanted).then_some(())
}

/// Digits behind the point, of which three count: a finer time than this type has is cut, not rounded, so that it never lies later.
fn fraction(text: &mut &[u8]) -> Option<i64> {
    if text.first() != Some(&b'.') {
        return Some(0);
    }
    *text = &text[1..];
    let digits = text.iter().take_while(|c| c.is_ascii_digit()).count();
    let (front, rest) = text.split_at(digits);
    *text = rest;
    let ms = (0..3).fold(0, |sum, at| sum * 10 + front.get(at).map_or(0, |c| i64::from(c - b'0')));
    (digits > 0).then_some(ms)
}

/// Minutes that the written time is ahead of UTC.
fn offset(text: &mut &[u8]) -> Option<i64> {
    let (sign, rest) = text.split_first()?;
    *text = rest;
    if matches!(sign, b'Z' | b'z') {
        return Some(0);
    }
    let sign = match sign {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let hours = number(text, 2)?;
    expect(text, b':')?;
    let minutes = number(text, 2)?;
    (hours < 24 && minutes < 60).then_some(sign * (hours * 60 + minutes))
}

fn parse(mut text: &[u8]) -> Option<Timestamp> {
    let text = &mut text;
    let year = number(text, 4)?;
    expect(text, b'-')?;
    let month = number(text, 2)?;
    expect(text, b'-')?;
    let day = number(text, 2)?;
    expect(text, b'T')?;
    let hour = number(text, 2)?;
    expect(text, b':')?;
    let minute = number(text, 2)?;
    expect(text, b':')?;
    let second = number(text, 2)?;
    let ms = fraction(text)?;
    let ahead = offset(text)?;
    let is_date = (1..=12).contains(&month) && date(days(year, month, day)) == (year, month, day);
    let fits = is_date && hour < 24 && minute < 60 && second < 60 && text.is_empty();
    let minutes = (days(year, month, day) * 24 + hour) * 60 + minute - ahead;
    fits.then_some(Timestamp((minutes * 60 + second) * 1_000 + ms))
}

impl FromStr for Timestamp {
    type Err = NotATimestamp;

    fn from_str(text: &str) -> Result<Self, NotATimestamp> {
        parse(text.as_bytes()).ok_or(NotATimestamp)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_filters_compare_them() {
        let cases = [
            (0, "1970-01-01T00:00:00.000Z"),
            (1_795_409_194_000, "2026-11-23T04:46:34.000Z"),
            (951_827_696_789, "2000-02-29T12:34:56.789Z"),
            (-1, "1969-12-31T23:59:59.999Z"),
            (i64::MIN, "0000-01-01T00:00:00.000Z"),
            (i64::MAX, "9999-12-31T23:59:59.999Z"),
        ];
        for (ms, text) in cases {
            assert_eq!(Timestamp(ms).to_string(), text);
        }
    }

    #[test]
    fn a_time_is_read_in_every_form_that_clients_send() {
        let cases = [
            ("2014-04-29T18:30:38Z", 1_398_796_238_000),
            ("2014-04-29T18:30:38.5Z", 1_398_796_238_500),
            ("2014-04-29T18:30:38.123999Z", 1_398_796_238_123),
            ("2019-12-16T22:48:18-01:00", 1_576_540_098_000),
            ("2019-12-17T00:48:18+01:00", 1_576_540_098_000),
        ];
        for (text, ms) in cases {
            assert_eq!(text.parse(), Ok(Timestamp(ms)), "{text}");
        }
    }

    #[test]
    fn what_is_no_time_is_refused() {
        let cases = [
            "",
            "2026",
            "2026-11-23",
            "2026-13-01T00:00:00Z",
            "2026-02-29T00:00:00Z",
            "2026-11-23T24:00:00Z",
            "2026-11-23T00:00:00",
            "2026-11-23T00:00:00.Z",
            "2026-11-23T00:00:00Zulu",
            "2026-11-23T00:00:00+0100",
            "1795409194",
            "２０26-11-23T00:00:00Z",
        ];
        for text in cases {
            assert_eq!(text.parse::<Timestamp>(), Err(NotATimestamp), "{text}");
        }
    }

    #[test]
    fn every_day_of_ten_thousand_years_is_read_as_it_was_written() {
        for day in (FIRST_MS / DAY_MS..=LAST_MS / DAY_MS).step_by(13) {
            let time = Timestamp(day * DAY_MS + 1);
            assert_eq!(time.to_string().parse(), Ok(time));
        }
    }
}
