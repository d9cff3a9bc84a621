//! Wall-clock times for people, in UTC.

/// `2026-11-22 02:17:09` for microseconds since 1970.
pub fn utc(micros: i64) -> String {
    let seconds = micros.div_euclid(1_000_000);
    let (days, of_day) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (year, month, day) = civil(days);
    format!(
        "{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02}",
        of_day / 3600,
        of_day / 60 % 60,
        of_day % 60
    )
}

/// `2026-11-22 02:17`.
pub(crate) fn minute(micros: i64) -> String {
    let mut text = utc(micros);
    text.truncate(text.len() - ":00".len());
    text
}

/// Year, month and day of a day since 1970-01-01. Counts from 1 March of year 0, so that a leap day is the last of its year;
/// 400 years have 146,097 days, and five months from March or August have 153.
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 {
        from_march + 3
    } else {
        from_march - 9
    };
    (400 * era + year_of_era + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(seconds: i64, want: &str) {
        assert_eq!(utc(seconds * 1_000_000), want);
    }

    #[test]
    fn days_fall_where_the_calendar_has_them() {
        check(0, "1970-01-01 00:00:00");
        check(-1, "1969-12-31 23:59:59");
        check(951_782_400, "2000-02-29 00:00:00");
        check(1_735_689_599, "2024-12-31 23:59:59");
        check(4_107_542_400, "2100-03-01 00:00:00");
    }
}
