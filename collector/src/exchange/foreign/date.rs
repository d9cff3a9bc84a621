//! Dates as tools write them.

use tokwatt_domain::time::WallTime;

/// `2026-11-25T21:08:46.124024`, with `Z`, an offset or nothing behind it: then it is taken for UTC.
pub(super) fn iso(text: &str) -> Option<WallTime> {
    let (date, time) = text.split_once(['T', ' '])?;
    let mut parts = date.split('-');
    let day = day(parts.next()?, parts.next()?, parts.next()?)?;
    let zone = time.find(['Z', '+', '-']).unwrap_or(time.len());
    let (time, zone) = time.split_at(zone);
    let (whole, fraction) = time.split_once('.').unwrap_or((time, ""));
    let mut parts = whole.split(':').map(|part| part.parse::<i64>().ok());
    let (hours, minutes) = (parts.next()??, parts.next()??);
    let seconds = parts.next().unwrap_or(Some(0))?;
    let is_time =
        (0..24).contains(&hours) && (0..60).contains(&minutes) && (0..=60).contains(&seconds);
    if !is_time || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let micros: i64 = format!("{fraction:0<6.6}").parse().ok()?;
    let of_day = 3600 * hours + 60 * minutes + seconds;
    Some(WallTime(
        1_000_000 * (86_400 * day + of_day - offset(zone)?) + micros,
    ))
}

/// `20261126-041029`.
pub(super) fn compact(text: &str) -> Option<WallTime> {
    let is_compact = text.len() == 15 && text.is_ascii() && text.as_bytes()[8] == b'-';
    if !is_compact {
        return None;
    }
    iso(&format!(
        "{}-{}-{}T{}:{}:{}",
        &text[..4],
        &text[4..6],
        &text[6..8],
        &text[9..11],
        &text[11..13],
        &text[13..]
    ))
}

/// Seconds since 1970.
#[expect(
    clippy::cast_possible_truncation,
    reason = "between 1970 and the year 33658"
)]
pub(super) fn epoch(seconds: f64) -> Option<WallTime> {
    (0.0..1e12)
        .contains(&seconds)
        .then(|| WallTime((seconds * 1e6).round() as i64))
}

/// `Z`, nothing, or `+01:00` in seconds.
fn offset(zone: &str) -> Option<i64> {
    let sign = match zone.bytes().next() {
        None | Some(b'Z') => return Some(0),
        Some(b'-') => -1,
        _ => 1,
    };
    let digits: String = zone[1..].chars().filter(|c| *c != ':').collect();
    let hours: i64 = digits.get(..2)?.parse().ok()?;
    let minutes: i64 = digits.get(2..4).unwrap_or("0").parse().ok()?;
    Some(sign * (3600 * hours + 60 * minutes))
}

/// Days since 1970-01-01. Counts from 1 March, so that a leap day is the last of its year.
fn day(year: &str, month: &str, day: &str) -> Option<i64> {
    let (year, month, day): (i64, i64, i64) =
        (year.parse().ok()?, month.parse().ok()?, day.parse().ok()?);
    let is_date =
        (1970..10_000).contains(&year) && (1..=12).contains(&month) && (1..=31).contains(&day);
    if !is_date {
        return None;
    }
    let (year, from_march) = match month > 2 {
        true => (year, month - 3),
        false => (year - 1, month + 9),
    };
    let leap_days = year / 4 - year / 100 + year / 400;
    Some(365 * year + leap_days + (153 * from_march + 2) / 5 + day - 1 - 719_468)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::utc;

    #[track_caller]
    fn check(found: Option<WallTime>, want: Option<&str>) {
        assert_eq!(found.map(|time| utc(time.0)).as_deref(), want);
    }

    #[test]
    fn dates_of_all_tools_are_read_and_others_are_none() {
        check(
            iso("2026-11-25T21:08:46.124024"),
            Some("2026-11-25 21:08:46"),
        );
        check(iso("2025-08-28T17:05:56Z"), Some("2025-08-28 17:05:56"));
        check(iso("2025-03-19 21:50:27"), Some("2025-03-19 21:50:27"));
        check(
            iso("2025-07-30T00:45:05+01:00"),
            Some("2025-07-29 23:45:05"),
        );
        check(compact("20261126-041029"), Some("2026-11-26 04:10:29"));
        check(epoch(1_795_640_916.444), Some("2026-11-25 21:08:36"));
        check(iso("2024-02-29T23:59:59Z"), Some("2024-02-29 23:59:59"));
        for none in [
            "",
            "yesterday",
            "2026-13-01T00:00:00",
            "2026-01-01T25:00:00",
            "2026-01-01Tü",
        ] {
            check(iso(none), None);
        }
        check(compact("2026112-6041029"), None);
        check(epoch(f64::NAN), None);
    }
}
