//! One line of `tegrastats`, from JetPack 4 to 7: every field by its name, none guessed.
//!
//! A line is words. A word's meaning is decided by the shape of what follows it, never by its position or by the
//! release, since both change between boards and within one release:
//!
//! ```text
//! MM-DD-YYYY HH:MM:SS                           time of day, JetPack 5 and later
//! RAM 1/2MB (lfb 3x4MB)  SWAP 1/2MB (cached 0MB)  IRAM 0/252kB(lfb 252kB)
//! CPU [1%@729,off]       cpu [1%,2%]@408        cores, the second form on L4T 28
//! EMC_FREQ 1%@2133       GR3D_FREQ @[314,314]   memory controller; GPU, its share can be missing
//! MTS fg 0% bg 0%        APE 174
//! NAME@1.5C              NAME@1.5C/2C           temperature, highest so far
//! NAME 1/2               NAME 1mW/2mW/3mW       rail: now, mean since the tool started, highest
//! NAME off | NAME 729 | NAME @314 | NAME 79%@166    any other engine
//! ```

use std::{collections::BTreeMap, str::SplitWhitespace};

use serde::{Serialize, Serializer};

/// What a line said. A field that it did not have is absent, never zero.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Line {
    /// Local time as printed, without a zone: for people only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<String>,
    /// Memory in use in MiB, of the whole board.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ram_used_mb: Option<u64>,
    /// Memory in MiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ram_total_mb: Option<u64>,
    /// Largest free blocks: how many, how large, unit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lfb: Option<(u64, u64, String)>,
    /// Swap in use in MiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub swap_used_mb: Option<u64>,
    /// Swap in MiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub swap_total_mb: Option<u64>,
    /// Swap that is also in memory, in MiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub swap_cached_mb: Option<u64>,
    /// On-chip memory in use and in all, in KiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub iram_kb: Option<(u64, u64)>,
    /// Cores in order; `None` for one that is off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu: Option<Vec<Option<Core>>>,
    /// Share of the memory bandwidth used, in percent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub emc_pct: Option<u64>,
    /// Clock of the memory controller in MHz.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub emc_mhz: Option<u64>,
    /// Share of time the GPU was busy, in percent; see [`GpuLoad`].
    #[serde(skip_serializing_if = "GpuLoad::is_absent")]
    pub gr3d_pct: GpuLoad,
    /// Clocks of the GPU's clusters in MHz.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gr3d_mhz: Option<Vec<u64>>,
    /// Clock of the audio processor in MHz.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ape_mhz: Option<u64>,
    /// Code translation of TX2 and Xavier: foreground and background share in percent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mts_pct: Option<(u64, u64)>,
    /// Temperatures in °C; -256 is a sensor that is powered down.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub temps_c: BTreeMap<String, f64>,
    /// Highest temperatures since the tool started, in °C.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub temps_max_c: BTreeMap<String, f64>,
    /// Rails in mW, signed: now, then mean since the tool started, then highest, as far as printed.
    /// The second rail of a name in one line is `NAME#2`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub rails_mw: BTreeMap<String, Vec<i64>>,
    /// Every other engine; `None` is off.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub engines: BTreeMap<String, Option<Engine>>,
    /// Words that fit no form, as they stood.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unknown: Vec<String>,
}

/// A core's load in percent, and its clock in MHz where printed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
pub struct Core(pub u64, pub Option<u64>);

/// How busy the GPU was.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum GpuLoad {
    /// The line did not name the GPU.
    #[default]
    Absent,
    /// The line gave clocks only: not known, and not zero.
    Unknown,
    /// In percent.
    Percent(u64),
}

/// What an engine does.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize)]
pub struct Engine {
    /// Load in percent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pct: Option<u64>,
    /// Clock in MHz.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mhz: Option<u64>,
}

/// Nothing in the text belongs to a line of `tegrastats`.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not a line of tegrastats: `{0}`")]
pub struct Unreadable(String);

/// A word's load and clocks: `12%`, `12%@300`, `@[300,300]`, `300`, `off`.
enum Activity {
    Off,
    On {
        percent: Option<u64>,
        clocks: Option<Vec<u64>>,
    },
}

type Words<'a> = std::iter::Peekable<SplitWhitespace<'a>>;

impl Line {
    /// Reads a line.
    ///
    /// # Errors
    /// The text has neither memory nor cores, GPU, temperature or rail.
    pub fn parse(text: &str) -> Result<Self, Unreadable> {
        let mut line = Self::default();
        let mut words = text.split_whitespace().peekable();
        while let Some(word) = words.next() {
            if line.read(word, &mut words).is_none() {
                line.unknown.push(word.to_owned());
            }
        }
        if line.is_recognised() {
            Ok(line)
        } else {
            Err(Unreadable(text.chars().take(EXCERPT_CHARS).collect()))
        }
    }

    /// What a rail reads now, in mW.
    pub fn rail_mw(&self, name: &str) -> Option<i64> {
        self.rails_mw.get(name)?.first().copied()
    }

    /// Takes `word`, and of the words after it those that belong to it. `None`: it fits no form, nothing was taken.
    fn read(&mut self, word: &str, words: &mut Words<'_>) -> Option<()> {
        if let Some((name, reading)) = word.split_once('@') {
            return self.read_temperature(name, reading);
        }
        let mut ahead = words.clone();
        let next = ahead.next()?;
        match word {
            "RAM" => self.read_memory(next, &mut ahead),
            "SWAP" => self.read_swap(next, &mut ahead),
            "IRAM" => self.read_iram(next, &mut ahead),
            "CPU" | "cpu" if next.starts_with('[') => self.read_cores(next, &mut ahead),
            "EMC_FREQ" | "EMC" => self.read_emc(next),
            "GR3D_FREQ" | "GR3D" => self.read_gpu(next),
            "APE" => digits(next)
                .map(|mhz| self.ape_mhz = Some(mhz))
                .or_else(|| self.read_engine(word, next)),
            "MTS" => self.read_mts(next, &mut ahead),
            name if is_date(name) && is_time(next) => {
                self.timestamp = Some(format!("{name} {next}"));
                Some(())
            }
            name => self
                .read_rail(name, next)
                .or_else(|| self.read_engine(name, next)),
        }?;
        *words = ahead;
        Some(())
    }

    fn read_memory(&mut self, amount: &str, words: &mut Words<'_>) -> Option<()> {
        let (amount, is_open) = opened(amount);
        let (used, total) = fraction(amount, "MB")?;
        (self.ram_used_mb, self.ram_total_mb) = (Some(used), Some(total));
        let blocks = parenthesis(words, "(lfb", is_open).and_then(blocks);
        self.lfb = self.lfb.take().or(blocks);
        Some(())
    }

    fn read_swap(&mut self, amount: &str, words: &mut Words<'_>) -> Option<()> {
        let (used, total) = fraction(amount, "MB")?;
        (self.swap_used_mb, self.swap_total_mb) = (Some(used), Some(total));
        self.swap_cached_mb = parenthesis(words, "(cached", false)
            .and_then(|cached| digits(cached.strip_suffix("MB")?));
        Some(())
    }

    /// `0/252kB(lfb 252kB)`: no blank before the parenthesis.
    fn read_iram(&mut self, amount: &str, words: &mut Words<'_>) -> Option<()> {
        let (amount, is_open) = opened(amount);
        self.iram_kb = Some(fraction(amount, "kB")?);
        parenthesis(words, "(lfb", is_open);
        Some(())
    }

    /// Blanks after the commas are not known from any release, and cost nothing to allow. Anywhere else they would make one figure
    /// of two.
    fn read_cores(&mut self, first: &str, words: &mut Words<'_>) -> Option<()> {
        let mut list = first.to_owned();
        let mut last = first;
        while !last.contains(']') {
            last = words.next().filter(|_| list.ends_with(['[', ',']))?;
            list.push_str(last);
        }
        let (cores, after) = list.strip_prefix('[')?.split_once(']')?;
        // L4T 28 prints one clock for all cores, after the list.
        let common = match after {
            "" => None,
            after => Some(digits(after.strip_prefix('@')?)?),
        };
        self.cpu = Some(
            cores
                .split(',')
                .map(|core| read_core(core, common))
                .collect::<Option<_>>()?,
        );
        Some(())
    }

    fn read_emc(&mut self, reading: &str) -> Option<()> {
        if let Activity::On { percent, clocks } = activity(reading)? {
            self.emc_pct = percent;
            self.emc_mhz = clocks.and_then(|clocks| clocks.first().copied());
        }
        Some(())
    }

    fn read_gpu(&mut self, reading: &str) -> Option<()> {
        (self.gr3d_pct, self.gr3d_mhz) = match activity(reading)? {
            Activity::Off => (GpuLoad::Unknown, None),
            Activity::On { percent, clocks } => {
                (percent.map_or(GpuLoad::Unknown, GpuLoad::Percent), clocks)
            }
        };
        Some(())
    }

    /// `fg 0% bg 1%`.
    fn read_mts(&mut self, first: &str, words: &mut Words<'_>) -> Option<()> {
        let foreground = (first == "fg").then(|| words.next())??;
        let background = (words.next()? == "bg").then(|| words.next())??;
        let percent = |text: &str| digits(text.strip_suffix('%')?);
        self.mts_pct = Some((percent(foreground)?, percent(background)?));
        Some(())
    }

    fn read_temperature(&mut self, name: &str, reading: &str) -> Option<()> {
        let (now, highest) = match reading.split_once('/') {
            Some((now, highest)) => (now, Some(celsius(highest)?)),
            None => (reading, None),
        };
        let now = celsius(now)?;
        if !is_name(name) {
            return None;
        }
        if let Some(highest) = highest {
            insert(&mut self.temps_max_c, name, highest)?;
        }
        insert(&mut self.temps_c, name, now)
    }

    /// One figure is a rail only if it has its unit: `APE 174` and `NVJPG1 729` are clocks.
    fn read_rail(&mut self, name: &str, reading: &str) -> Option<()> {
        let has_unit = reading.ends_with("mW");
        let figures: Vec<i64> = reading.split('/').map(milliwatts).collect::<Option<_>>()?;
        if !is_name(name) || figures.len() > 3 || (figures.len() == 1 && !has_unit) {
            return None;
        }
        insert(&mut self.rails_mw, name, figures)
    }

    fn read_engine(&mut self, name: &str, reading: &str) -> Option<()> {
        let engine = match activity(reading)? {
            Activity::Off => None,
            Activity::On { percent, clocks } => Some(Engine {
                pct: percent,
                mhz: clocks.and_then(|clocks| clocks.first().copied()),
            }),
        };
        if !is_engine_name(name) {
            return None;
        }
        insert(&mut self.engines, name, engine)
    }

    fn is_recognised(&self) -> bool {
        self.ram_total_mb.is_some()
            || self.cpu.is_some()
            || self.gr3d_pct != GpuLoad::Absent
            || !self.temps_c.is_empty()
            || !self.rails_mw.is_empty()
    }
}

impl GpuLoad {
    fn is_absent(&self) -> bool {
        *self == Self::Absent
    }
}

impl Serialize for GpuLoad {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Absent | Self::Unknown => serializer.serialize_none(),
            Self::Percent(percent) => serializer.serialize_u64(*percent),
        }
    }
}

/// A name that stands twice in one line, like the unconnected channels `NC`, is kept twice, and so on up to
/// [`NAMESAKES_MAX`]: beyond that it is no line of a device.
fn insert<V>(map: &mut BTreeMap<String, V>, name: &str, value: V) -> Option<()> {
    let namesake = |n: usize| match n {
        1 => name.to_owned(),
        n => format!("{name}#{n}"),
    };
    let mut keys = (1..=NAMESAKES_MAX).map(namesake);
    map.insert(keys.find(|key| !map.contains_key(key))?, value);
    Some(())
}

fn read_core(core: &str, common: Option<u64>) -> Option<Option<Core>> {
    if core == "off" {
        return Some(None);
    }
    let (percent, clock) = match core.split_once('@') {
        Some((percent, clock)) => (percent, Some(digits(clock)?)),
        None => (core, common),
    };
    Some(Some(Core(digits(percent.strip_suffix('%')?)?, clock)))
}

fn activity(reading: &str) -> Option<Activity> {
    if reading == "off" {
        return Some(Activity::Off);
    }
    let (percent, clocks) = match reading.split_once('@') {
        Some((percent, clocks)) => (percent, Some(clocks)),
        None if reading.ends_with('%') => (reading, None),
        None => ("", Some(reading)),
    };
    let percent = match percent {
        "" => None,
        percent => Some(digits(percent.strip_suffix('%')?)?),
    };
    let clocks = clocks.map_or(Some(None), |clocks| clock_list(clocks).map(Some))?;
    Some(Activity::On { percent, clocks })
}

fn clock_list(text: &str) -> Option<Vec<u64>> {
    match text.strip_prefix('[') {
        Some(list) => list.strip_suffix(']')?.split(',').map(digits).collect(),
        None => Some(vec![digits(text)?]),
    }
}

/// `1/2MB`.
fn fraction(text: &str, unit: &str) -> Option<(u64, u64)> {
    let (part, whole) = text.strip_suffix(unit)?.split_once('/')?;
    Some((digits(part)?, digits(whole)?))
}

/// Whether the parenthesis about the largest free blocks follows without a blank; takes its opening off.
fn opened(amount: &str) -> (&str, bool) {
    match amount.strip_suffix("(lfb") {
        Some(amount) => (amount, true),
        None => (amount, false),
    }
}

/// What stands after `opening`, which may have been taken already, up to the closing parenthesis; takes it.
fn parenthesis<'a>(words: &mut Words<'a>, opening: &str, is_open: bool) -> Option<&'a str> {
    if !is_open {
        words.next_if_eq(&opening)?;
    }
    words.next()?.strip_suffix(')')
}

/// `34x4MB`.
fn blocks(text: &str) -> Option<(u64, u64, String)> {
    let (count, size) = text.split_once('x')?;
    let unit = size.trim_start_matches(|c: char| c.is_ascii_digit());
    let size = digits(size.strip_suffix(unit)?)?;
    Some((digits(count)?, size, unit.to_owned()))
}

fn celsius(text: &str) -> Option<f64> {
    let number = text.strip_suffix('C')?;
    let is_plain = number
        .bytes()
        .all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'-'));
    number.parse().ok().filter(|_| is_plain)
}

fn milliwatts(text: &str) -> Option<i64> {
    let number = text.strip_suffix("mW").unwrap_or(text);
    digits(number.strip_prefix('-').unwrap_or(number))?;
    number.parse().ok()
}

fn digits(text: &str) -> Option<u64> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| is_plain)
}

fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b'+'))
}

/// Engines are upper case, so that `error 5` is not one.
fn is_engine_name(text: &str) -> bool {
    is_name(text) && !text.bytes().any(|byte| byte.is_ascii_lowercase())
}

fn is_date(text: &str) -> bool {
    let lengths = text.split('-').map(|part| digits(part).map(|_| part.len()));
    lengths.eq([Some(2), Some(2), Some(4)])
}

fn is_time(text: &str) -> bool {
    let lengths = text.split(':').map(|part| digits(part).map(|_| part.len()));
    lengths.eq([Some(2); 3])
}

/// How much of an unreadable line its error shows.
const EXCERPT_CHARS: usize = 80;

/// Most fields of one name in a line. An AGX Orin has two unconnected channels.
const NAMESAKES_MAX: usize = 16;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    #[track_caller]
    fn check(text: &str, want: Value) {
        let line = Line::parse(text).unwrap();
        assert_eq!(serde_json::to_value(line).unwrap(), want, "{text}");
    }

    #[test]
    fn rails_come_with_one_two_or_three_figures_and_with_or_without_unit() {
        check("VIN 5mW", json!({"rails_mw": {"VIN": [5]}}));
        check("VDD_IN 5/6", json!({"rails_mw": {"VDD_IN": [5, 6]}}));
        check("VIN 5mW/6mW/7mW", json!({"rails_mw": {"VIN": [5, 6, 7]}}));
        check(
            "VDD_GPU -392mW/-1mW",
            json!({"rails_mw": {"VDD_GPU": [-392, -1]}}),
        );
    }

    #[test]
    fn a_rail_that_stands_twice_is_kept_twice() {
        let want = json!({"rails_mw": {"NC": [1, 1], "NC#2": [2, 2], "NC#3": [3, 3]}});
        check("NC 1mW/1mW NC 2mW/2mW NC 3mW/3mW", want);
    }

    #[test]
    fn a_gpu_without_percentage_is_unknown_not_idle() {
        check(
            "GR3D_FREQ @[1,2,3]",
            json!({"gr3d_pct": null, "gr3d_mhz": [1, 2, 3]}),
        );
        check("GR3D_FREQ 99%", json!({"gr3d_pct": 99}));
        check("GR3D 3%@76", json!({"gr3d_pct": 3, "gr3d_mhz": [76]}));
        check(
            "GR3D_FREQ tj@1C",
            json!({"temps_c": {"tj": 1.0}, "unknown": ["GR3D_FREQ"]}),
        );
    }

    #[test]
    fn temperatures_are_decided_word_by_word() {
        let want = json!({"temps_c": {"GPU": -256.0, "tj": 38.875}, "temps_max_c": {"tj": 40.0}});
        check("GPU@-256C tj@38.875C/40C", want);
    }

    #[test]
    fn cores_are_off_or_loaded_with_their_own_clock_or_a_common_one() {
        check("CPU [1%@729,off]", json!({"cpu": [[1, 729], null]}));
        check("cpu [17%,13%]@408", json!({"cpu": [[17, 408], [13, 408]]}));
    }

    #[test]
    fn what_fits_no_form_is_kept_as_it_stood() {
        let want = json!({"ram_used_mb": 1, "ram_total_mb": 2, "unknown": ["NEW{}", "thing"]});
        check("RAM 1/2MB NEW{} thing", want);
        let want = json!({"rails_mw": {"VIN": [1, 1]}, "unknown": ["RAM", "soon"]});
        check("RAM soon VIN 1mW/1mW", want);
        let huge = "99999999999999999999999mW";
        let want = json!({"rails_mw": {"VIN": [1, 1]}, "unknown": ["VDD", huge]});
        check(&format!("VIN 1mW/1mW VDD {huge}"), want);
    }

    #[test]
    fn a_message_is_not_a_line() {
        for text in ["", "   ", "tegrastats: error 5", "CPU off soon", "(null)"] {
            assert!(Line::parse(text).is_err(), "{text}");
        }
    }

    /// Derived from the grammar: what no line of the corpus has.
    #[test]
    fn blanks_may_stand_where_a_release_puts_none_and_be_missing_where_it_puts_one() {
        check(
            "RAM 1/2MB(lfb 3x512kB)",
            json!({"ram_used_mb": 1, "ram_total_mb": 2, "lfb": [3, 512, "kB"]}),
        );
        let want = json!({"ram_used_mb": 1, "ram_total_mb": 2, "iram_kb": [0, 252]});
        check("RAM 1/2MB IRAM 0/252kB (lfb 252kB)", want.clone());
        check("RAM 1/2MB IRAM 0/252kB(lfb 252kB)\r", want);
        check(
            "CPU [1%@729, off, 2%@730]",
            json!({"cpu": [[1, 729], null, [2, 730]]}),
        );
    }

    #[test]
    fn an_engine_is_off_or_has_share_and_clock_in_every_release() {
        let want = json!({
            "temps_c": {"tj": 1.0},
            "engines": {
                "APE": null, "NVENC0_FREQ": {"mhz": 314}, "NVJPG1": {"mhz": 729}, "VIC": {"pct": 36, "mhz": 115},
                "PVA0_FREQ": null, "GR3D2_FREQ": {"pct": 0, "mhz": 114},
            },
        });
        check(
            "tj@1C APE off NVENC0_FREQ @314 NVJPG1 729 VIC 36%@115 PVA0_FREQ off GR3D2_FREQ 0%@[114]",
            want,
        );
    }

    #[test]
    fn a_line_of_one_name_over_and_over_costs_no_more_than_it_is_long() {
        let line = Line::parse(&"NC 1mW ".repeat(100_000)).unwrap();
        assert_eq!(line.rails_mw.len(), NAMESAKES_MAX);
        assert_eq!(line.unknown.len(), 2 * (100_000 - NAMESAKES_MAX));
    }

    #[test]
    fn two_figures_with_a_blank_between_them_do_not_become_one() {
        let want = json!({"ram_used_mb": 1, "ram_total_mb": 2, "unknown": ["CPU", "[1%,", "32", "61%@7]"]});
        check("RAM 1/2MB CPU [1%, 32 61%@7]", want);
    }

    /// Every beginning looks for the end of its list; to the end of the line each would be hours.
    #[test]
    fn lists_without_an_end_are_given_up() {
        for list in ["CPU [1%, ", "CPU [ "] {
            let line = Line::parse(&format!("VIN 1mW {}", list.repeat(100_000))).unwrap();
            assert_eq!((line.cpu, line.unknown.len()), (None, 200_000));
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".{0,200}") {
            drop(Line::parse(&text));
        }

        #[test]
        fn no_mixture_of_known_words_panics(
            words in proptest::collection::vec(
                proptest::sample::select(vec![
                    "RAM", "SWAP", "IRAM", "CPU", "cpu", "EMC", "GR3D_FREQ", "MTS", "fg", "bg", "APE", "0%", "1/2MB", "0/252kB(lfb",
                    "252kB)", "(lfb", "1x4MB)", "(cached", "0MB)", "[1%@2,off]", "[]@3", "@[1,]", "@", "1%@", "x@1C/2C", "@-C", "VIN",
                    "1mW/2mW", "//", "-mW", "01-02-2026", "01:02:03", "NC", "ü",
                ]),
                0..40,
            )
        ) {
            drop(Line::parse(&words.join(" ")));
        }

        #[test]
        fn a_rail_reads_back_as_written(now in any::<i32>(), mean in any::<i32>()) {
            let line = Line::parse(&format!("VDD_X {now}mW/{mean}mW")).unwrap();
            prop_assert_eq!(line.rail_mw("VDD_X"), Some(i64::from(now)));
        }
    }
}
