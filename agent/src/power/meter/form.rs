//! What a meter's file looks like: the columns of a CSV, or the log of MLPerf's power daemon; and where its clock stands.
//!
//! As words of `--power`:
//!
//! ```text
//! csv:FILE[?time=COLUMN][&power=COLUMN][&scope=wall|system_in][&offset=SECONDS][&uncertainty=SECONDS]
//! spl:FILE?offset=SECONDS[&scope=wall|system_in][&uncertainty=SECONDS]
//! ```
//!
//! A CSV has a header, whose columns are `unix_s`, seconds since 1970 in UTC, and `power_w` unless said otherwise. Its fields stand
//! between commas, or between semicolons or tabs, and then may have a decimal comma. A row with more or fewer fields than the
//! header is none: `1000,5,12,5` would else be read as 5 W. An `spl.txt` has lines `Time,MM-DD-YYYY HH:MM:SS.mmm,Watts,W,…` in a
//! local time whose zone it does not tell.
//!
//! The offset is added to the file's time and makes it this machine's; for a counter from zero it is when it began. The uncertainty
//! says how far it may be wrong, and widens the bound of the energy.

use std::{fmt, path::PathBuf, time::Duration};

use tokwatt_domain::power::Scope;

/// A meter's file and how to read it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Settings {
    /// Where it is.
    pub path: PathBuf,
    /// What its lines are.
    pub form: Form,
    /// What the meter sees.
    pub scope: Scope,
    /// From the file's time to this machine's, in µs.
    pub offset_us: i64,
    /// How far that may be wrong; absent where it was not stated.
    pub uncertainty: Option<Duration>,
}

/// What the lines of a file are.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Form {
    /// Named columns.
    Csv {
        /// The column with the time in s.
        time: String,
        /// The column with the power in W.
        power: String,
    },
    /// SPEC PTD's log, as MLPerf keeps it.
    Spl,
}

/// A time in µs as the file has it, and a power in µW.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Row {
    pub(super) time_us: i64,
    pub(super) microwatts: i64,
}

/// Why a line is no row.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct NoRow(pub(super) &'static str);

/// Where a CSV's columns are.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Columns {
    header: String,
    separator: char,
    n_fields: usize,
    time: usize,
    power: usize,
}

impl Settings {
    /// Reads what stands behind `csv:`.
    ///
    /// # Errors
    /// Says what of it is wrong.
    pub fn csv(word: &str) -> Result<Self, String> {
        let (mut time, mut power) = ("unix_s".to_owned(), "power_w".to_owned());
        let mut settings = Self::common(word, |key, value| {
            let column = match key {
                "time" => &mut time,
                "power" => &mut power,
                _ => return false,
            };
            value.clone_into(column);
            true
        })?;
        settings.0.form = Form::Csv { time, power };
        Ok(settings.0)
    }

    /// Reads what stands behind `spl:`.
    ///
    /// # Errors
    /// Says what of it is wrong.
    pub fn spl(word: &str) -> Result<Self, String> {
        match Self::common(word, |_, _| false)? {
            (settings, true) => Ok(settings),
            (_, false) => Err(
                "the file has local times without a zone: add ?offset=SECONDS, what has to be added to make them UTC"
                    .to_owned(),
            ),
        }
    }

    /// The settings with the form that has nothing to set, and whether there was an offset.
    fn common(
        word: &str,
        mut special: impl FnMut(&str, &str) -> bool,
    ) -> Result<(Self, bool), String> {
        let (path, options) = word.split_once('?').unwrap_or((word, ""));
        if path.is_empty() {
            return Err("a file is wanted after the colon".to_owned());
        }
        let (mut scope, mut offset, mut uncertainty) = (Scope::Wall, None, None);
        for option in options.split('&').filter(|option| !option.is_empty()) {
            let (key, value) = option.split_once('=').unwrap_or((option, ""));
            match key {
                "scope" => scope = meter_scope(value)?,
                "offset" => offset = Some(seconds(key, value)?),
                "uncertainty" => uncertainty = Some(length(key, value)?),
                _ if !value.is_empty() && special(key, value) => {}
                _ => return Err(format!("`{option}` is no option of it")),
            }
        }
        let settings = Self {
            path: PathBuf::from(path),
            form: Form::Spl,
            scope,
            offset_us: offset.unwrap_or(0),
            uncertainty,
        };
        Ok((settings, offset.is_some()))
    }
}

/// For people: what is read, and how its clock is tied to ours.
impl fmt::Display for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (path, scope) = (self.path.display(), self.scope);
        let sign = if self.offset_us < 0 { '-' } else { '+' };
        let offset = Duration::from_micros(self.offset_us.unsigned_abs());
        write!(
            f,
            "{scope} power from the meter's file `{path}`, clock offset {sign}{offset:?}"
        )?;
        match self.uncertainty {
            Some(uncertainty) => write!(f, " ± {uncertainty:?}"),
            None => f.write_str(", how exact was not stated"),
        }
    }
}

impl Columns {
    /// Finds the columns in the header, which begins with a byte order mark where some programs have written it.
    pub(super) fn find(header: &str, time: &str, power: &str) -> Result<Self, String> {
        let header = header.trim_start_matches('\u{feff}').trim_end();
        let has_both = |separator: &char| {
            let has = |wanted: &str| fields(header, *separator).any(|name| name == wanted);
            has(time) && has(power)
        };
        let separator = SEPARATORS.into_iter().find(has_both).unwrap_or(',');
        let names: Vec<&str> = fields(header, separator).collect();
        let place = |wanted: &str| {
            let place = names.iter().position(|name| *name == wanted);
            place.ok_or_else(|| format!("no column `{wanted}`, there are: {}", names.join(", ")))
        };
        Ok(Self {
            separator,
            n_fields: names.len(),
            time: place(time)?,
            power: place(power)?,
            header: header.to_owned(),
        })
    }

    /// `Ok(None)` for the header, which a logger writes again when it starts again.
    pub(super) fn row(&self, line: &str) -> Result<Option<Row>, NoRow> {
        if line.trim_end() == self.header {
            return Ok(None);
        }
        let fields: Vec<&str> = fields(line, self.separator).collect();
        if fields.len() != self.n_fields {
            return Err(NoRow("it has more or fewer fields than the header"));
        }
        let number = |place: usize| match self.separator {
            ',' => millionths(fields[place]),
            _ => millionths(&fields[place].replace(',', ".")),
        };
        let row = number(self.time).zip(number(self.power));
        let (time_us, microwatts) = row.ok_or(NoRow("its time or power is no number"))?;
        Ok(Some(Row {
            time_us,
            microwatts,
        }))
    }
}

/// A line of an `spl.txt`; `Ok(None)` for one that is no reading. The daemon writes what is not above zero where it had none.
///
/// Names and values take turns: what looks like a value where a name should stand is the rest of a number with a decimal comma.
pub(super) fn spl_row(line: &str) -> Result<Option<Row>, NoRow> {
    let fields: Vec<&str> = fields(line, ',').collect();
    match *fields {
        ["Time", _, "Watts", _, next, ..] if next.starts_with(|c: char| c.is_ascii_digit()) => {
            Err(NoRow("it has decimal commas"))
        }
        ["Time", time, "Watts", power, ..] => {
            let row = local_us(time).zip(millionths(power).filter(|power| *power > 0));
            let (time_us, microwatts) = row.ok_or(NoRow("it has no reading"))?;
            Ok(Some(Row {
                time_us,
                microwatts,
            }))
        }
        ["Time", ..] => Err(NoRow("it has no reading")),
        _ => Ok(None),
    }
}

fn fields(line: &str, separator: char) -> impl Iterator<Item = &str> {
    let fields = line.split(separator);
    fields.map(|field| field.trim().trim_matches('"'))
}

fn meter_scope(word: &str) -> Result<Scope, String> {
    match word.parse() {
        Ok(scope @ (Scope::Wall | Scope::SystemIn)) => Ok(scope),
        _ => Err(format!(
            "scope `{word}` is not for a meter, there are: wall, system_in"
        )),
    }
}

fn seconds(key: &str, word: &str) -> Result<i64, String> {
    millionths(word).ok_or_else(|| format!("{key} `{word}` is no number of seconds"))
}

fn length(key: &str, word: &str) -> Result<Duration, String> {
    let microseconds = u64::try_from(seconds(key, word)?);
    let microseconds = microseconds.map_err(|_| format!("{key} `{word}` is below zero"))?;
    Ok(Duration::from_micros(microseconds))
}

/// A decimal number in millionths, exactly; digits beyond the sixth are cut off.
fn millionths(text: &str) -> Option<i64> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, text),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let are_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !are_digits(whole) || !are_digits(fraction) {
        return None;
    }
    let fraction = format!("{fraction:0<6}").get(..6)?.parse::<i64>().ok()?;
    let whole = whole.parse::<i64>().ok()?.checked_mul(MILLION)?;
    Some(sign * whole.checked_add(fraction)?)
}

/// `MM-DD-YYYY HH:MM:SS.mmm` as if it were UTC.
fn local_us(text: &str) -> Option<i64> {
    let (date, time) = text.split_once(' ')?;
    let number = |text: &str| text.parse::<u16>().ok().map(i64::from);
    let mut date = date.split('-').map(number);
    let (month, day, year) = (date.next()??, date.next()??, date.next()??);
    let mut time = time.splitn(3, ':');
    let (hour, minute) = (number(time.next()?)?, number(time.next()?)?);
    let second_us = millionths(time.next()?)?;
    let is_date = (1..=12).contains(&month) && (1..=31).contains(&day);
    let is_time = hour < 24 && minute < 60 && (0..=60 * MILLION).contains(&second_us);
    let minutes = (days_since_1970(year, month, day) * 24 + hour) * 60 + minute;
    (is_date && is_time).then_some(minutes * 60 * MILLION + second_us)
}

/// In the Gregorian calendar. A year is counted from March, so that the leap day is its last.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month < 3 { year - 1 } else { year };
    let days_before_month = (153 * ((month + 9) % 12) + 2) / 5;
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    365 * year + leap_days + days_before_month + day - 1 - DAYS_TO_1970
}

/// Between the fields of a CSV.
const SEPARATORS: [char; 3] = [',', ';', '\t'];

const MILLION: i64 = 1_000_000;

/// From the first of March of the year 0.
const DAYS_TO_1970: i64 = 719_468;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_word_names_file_columns_scope_and_offset() {
        let settings = Settings::csv("m.csv?time=t&power=p&scope=system_in&offset=-0.25").unwrap();
        let form = Form::Csv {
            time: "t".to_owned(),
            power: "p".to_owned(),
        };
        assert_eq!(settings.path, PathBuf::from("m.csv"));
        assert_eq!((settings.form, settings.scope), (form, Scope::SystemIn));
        assert_eq!(settings.offset_us, -250_000);
        let plain = Settings::csv("m.csv").unwrap();
        assert_eq!((plain.scope, plain.offset_us), (Scope::Wall, 0));
        assert_eq!(plain.uncertainty, None);
        let exact = Settings::csv("m.csv?uncertainty=0.05").unwrap();
        assert_eq!(exact.uncertainty, Some(Duration::from_millis(50)));
        assert_eq!(
            Settings::spl("spl.txt?offset=7200").unwrap().form,
            Form::Spl
        );
    }

    #[track_caller]
    fn check_wrong(settings: Result<Settings, String>, want: &str) {
        let message = settings.unwrap_err();
        assert!(message.contains(want), "{message}");
    }

    #[test]
    fn what_is_wrong_with_a_word_is_said() {
        check_wrong(Settings::csv(""), "a file is wanted");
        check_wrong(Settings::csv("m?watts=p"), "`watts=p` is no option");
        check_wrong(Settings::csv("m?time="), "`time=` is no option");
        check_wrong(Settings::csv("m?scope=module"), "wall, system_in");
        check_wrong(Settings::csv("m?offset=soon"), "offset `soon`");
        check_wrong(
            Settings::csv("m?uncertainty=-1"),
            "uncertainty `-1` is below",
        );
        check_wrong(Settings::spl("spl.txt"), "add ?offset=SECONDS");
        check_wrong(Settings::spl("spl.txt?time=t"), "`time=t` is no option");
    }

    #[track_caller]
    fn check_millionths(text: &str, want: Option<i64>) {
        assert_eq!(millionths(text), want, "{text}");
    }

    #[test]
    fn decimals_are_exact() {
        check_millionths("12", Some(12_000_000));
        check_millionths("1795316400.123456789", Some(1_795_316_400_123_456));
        check_millionths("-0.5", Some(-500_000));
        for text in [
            "",
            "-",
            ".5",
            "1e3",
            "nan",
            "1.2.3",
            "+1",
            "1,0",
            "1.-5",
            "99999999999999",
        ] {
            check_millionths(text, None);
        }
    }

    #[track_caller]
    fn check_spl(line: &str, want: Result<Option<(i64, i64)>, ()>) {
        let got = spl_row(line).map(|row| row.map(|row| (row.time_us, row.microwatts)));
        assert_eq!(got.map_err(|NoRow(_)| ()), want, "{line}");
    }

    #[test]
    fn a_log_of_the_power_daemon_has_readings_and_other_lines() {
        let reading = "Time,02-29-2024 12:00:00.500,Watts,52.070,Volts,229.9,Amps,0.31,PF,0.73";
        check_spl(reading, Ok(Some((1_709_208_000_500_000, 52_070_000))));
        check_spl("Mark,run", Ok(None));
        check_spl("Time,02-29-2024 12:00:00.500,Watts,-1.0,Volts", Err(()));
        check_spl("Time,13-29-2024 12:00:00.500,Watts,1.0", Err(()));
        check_spl("Time,02-29-2024", Err(()));
        check_spl(
            "Time,02-29-2024 12:00:00.500,Watts,52,070,Volts,229,9",
            Err(()),
        );
        let bare = "Time,02-29-2024 12:00:00.500,Watts,52.070\r";
        check_spl(bare, Ok(Some((1_709_208_000_500_000, 52_070_000))));
    }

    #[test]
    fn columns_are_found_by_name() {
        let columns = Columns::find("\"volts\", power_w,unix_s", "unix_s", "power_w").unwrap();
        let row = columns.row("230,10.5,7");
        let want = Row {
            time_us: 7_000_000,
            microwatts: 10_500_000,
        };
        assert_eq!(row, Ok(Some(want)));
        assert!(columns.row("230,10.5").is_err());
        let message = Columns::find("a,b", "unix_s", "power_w").unwrap_err();
        assert_eq!(message, "no column `unix_s`, there are: a, b");
    }

    #[track_caller]
    fn check_row(header: &str, line: &str, want: Option<(i64, i64)>) {
        let columns = Columns::find(header, "unix_s", "power_w").unwrap();
        let row = columns.row(line).ok().flatten();
        let got = row.map(|row| (row.time_us, row.microwatts));
        assert_eq!(got, want, "{line}");
    }

    #[test]
    fn a_decimal_comma_is_read_where_it_cannot_be_a_separator_and_refused_where_it_can() {
        let want = Some((1_000_500_000, 12_500_000));
        check_row("unix_s;power_w", "1000,5;12,5", want);
        check_row("unix_s\tpower_w\r\n", "1000.5\t12.5\r", want);
        check_row(
            "\u{feff}\"unix_s\",\"power_w\"",
            "\"1000.5\",\"12.5\"",
            want,
        );
        check_row("unix_s,power_w", "1000,5,12,5", None);
        check_row("unix_s,power_w", "1000.5,12,5", None);
        check_row("unix_s;power_w", "1.000,5;12,5", None);
    }

    #[test]
    fn a_header_that_stands_again_is_no_row_and_no_failure() {
        let columns = Columns::find("unix_s,power_w\r\n", "unix_s", "power_w").unwrap();
        assert_eq!(columns.row("unix_s,power_w"), Ok(None));
        assert!(columns.row("unix_s,watts").is_err());
    }

    proptest! {
        #[test]
        fn no_line_panics(line in "\\PC{0,80}") {
            drop((spl_row(&line), millionths(&line), local_us(&line), Settings::csv(&line)));
        }

        #[test]
        fn the_days_go_on_by_one(year in 1970..2200i64, month in 1..=12i64) {
            let (next_year, next) = if month == 12 { (year + 1, 1) } else { (year, month + 1) };
            let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            let length = match month { 2 => 28 + i64::from(is_leap), 4 | 6 | 9 | 11 => 30, _ => 31 };
            let begin = days_since_1970(year, month, 1);
            prop_assert_eq!(days_since_1970(next_year, next, 1) - begin, length);
            prop_assert_eq!(days_since_1970(1970, 1, 1), 0);
        }
    }
}
