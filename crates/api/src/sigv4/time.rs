//! `YYYYMMDDTHHMMSSZ` and seconds since 1970, both ways: the only form in which signed requests give their time.
//!
//! It refuses leap seconds, time zones and years before 1970, and reads no clock.

const DAY_S: u64 = 86_400;

fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

fn days_of(year: u64, month: u64) -> u64 {
    match month {
        2 => 28 + u64::from(is_leap(year)),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970 to the first of January of a year.
fn days_before(year: u64) -> u64 {
    let leaps = |year: u64| year / 4 - year / 100 + year / 400;
    (year - 1970) * 365 + leaps(year - 1) - leaps(1969)
}

/// Seconds since 1970 of a time in this form; none if it is in another, or is no time.
pub fn seconds(text: &str) -> Option<u64> {
    let bytes: &[u8; 16] = text.as_bytes().try_into().ok()?;
    let number = |from: usize, to: usize| {
        let digits = &bytes[from..to];
        let all = digits.iter().all(u8::is_ascii_digit);
        all.then(|| digits.iter().fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0')))
    };
    let (year, month, day) = (number(0, 4)?, number(4, 6)?, number(6, 8)?);
    let (hour, minute, second) = (number(9, 11)?, number(11, 13)?, number(13, 15)?);
    let real = year >= 1970 && (1..=12).contains(&month) && (1..=days_of(year, month)).contains(&day);
    if bytes[8] != b'T' || bytes[15] != b'Z' || !real || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let days = days_before(year) + (1..month).map(|month| days_of(year, month)).sum::<u64>() + day - 1;
    Some(days * DAY_S + hour * 3600 + minute * 60 + second)
}

/// The text of a time, which is of the year 9999 at most.
pub fn text(seconds: u64) -> String {
    let seconds = seconds.min(days_before(10_000) * DAY_S - 1);
    let (mut days, rest) = (seconds / DAY_S, seconds % DAY_S);
    // The guess is right or one too great: no year is shorter than 365 days, and 400 of them have 97 more.
    let mut year = 1970 + days / 365;
    while days_before(year) > days {
        year -= 1;
    }
    days -= days_before(year);
    let mut month = 1;
    while days >= days_of(year, month) {
        days -= days_of(year, month);
        month += 1;
    }
    format!("{year:04}{month:02}{:02}T{:02}{:02}{:02}Z", days + 1, rest / 3600, rest / 60 % 60, rest % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_and_written_the_same() {
        for (written, s) in [
            ("19700101T000000Z", 0),
            ("20000229T235959Z", 951_868_799),
            ("20150830T123600Z", 1_440_938_160),
            ("20210511T154045Z", 1_620_747_645),
            ("21000301T000000Z", 4_107_542_400),
            ("99991231T235959Z", 253_402_300_799),
        ] {
            assert_eq!(seconds(written), Some(s), "{written}");
            assert_eq!(text(s), written);
        }
        assert_eq!(text(u64::MAX), "99991231T235959Z");
        for day in 0..200_000 {
            assert_eq!(seconds(&text(day * DAY_S + day % DAY_S)), Some(day * DAY_S + day % DAY_S));
        }
    }

    #[test]
    fn what_is_no_time_is_none() {
        for text in [
            "",
            "20150830T123600",
            "20150830 123600Z",
            "20150830T123600z",
            "2015-08-30T12:36Z",
            "20150229T000000Z",
            "20151301T000000Z",
            "20150001T000000Z",
            "20150100T000000Z",
            "20150101T240000Z",
            "20150101T006000Z",
            "20150101T000060Z",
            "19691231T235959Z",
            "+0150830T123600Z",
            "2015083\u{e9}T12360Z",
        ] {
            assert_eq!(seconds(text), None, "{text:?}");
        }
    }
}
