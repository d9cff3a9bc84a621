//! A page of metrics in Prometheus' text form: which lines are known, and what they come to.
//!
//! Names differ between servers and between their versions, counters stand with and without `_total`, and the one `:` may be a `_`.
//! A server with several models or engines has a line for each: their counts add up, their shares do not. What is not known is
//! skipped and counted, what is damaged is skipped and counted apart.

use std::collections::BTreeMap;

use tokwatt_domain::run::GaugeKind;

/// What a page tells.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Page {
    /// Whose page it is, by the first line that is known.
    pub(super) server: Option<&'static str>,
    /// In each kind's unit.
    pub(super) values: BTreeMap<GaugeKind, i64>,
    /// Lines about something else.
    pub(super) n_others: usize,
    /// Lines that are none, and values that cannot be.
    pub(super) n_damaged: usize,
}

/// How the lines of one metric become one value.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Take {
    /// Counts: added up.
    Sum,
    /// Shares, 0 to 1: the largest, in ‰.
    LargestShare,
}

/// A metric that is known.
struct Known {
    /// Without `_total`, with `_` for `:`.
    name: &'static str,
    server: &'static str,
    kinds: &'static [GaugeKind],
    take: Take,
}

/// A line of a page.
struct Line<'a> {
    name: &'a str,
    value: f64,
}

/// Reads a page; any text will do.
pub(super) fn read(text: &str) -> Page {
    let mut page = Page::default();
    // By kind, then in the order of the table and by the name as it stands there: two names of one thing are not added up.
    let mut found: BTreeMap<(GaugeKind, usize, &str), f64> = BTreeMap::new();
    for line in text.lines().map(str::trim) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let Some(line) = Line::read(line) else {
            page.n_damaged += 1;
            continue;
        };
        let Some(place) = place(line.name) else {
            page.n_others += 1;
            continue;
        };
        let known = &KNOWN[place];
        if *page.server.get_or_insert(known.server) != known.server {
            page.n_others += 1;
        } else if !known.take.can_be(line.value) {
            page.n_damaged += 1;
        } else {
            for kind in known.kinds {
                let value = found.entry((*kind, place, line.name)).or_insert(0.0);
                *value = known.take.both(*value, line.value);
            }
        }
    }
    for ((kind, place, _), value) in found {
        let value = whole(KNOWN[place].take.in_units(value));
        page.values.entry(kind).or_insert(value);
    }
    page
}

impl Take {
    /// NaN is what Prometheus' own clients say of what they do not know yet.
    fn can_be(self, value: f64) -> bool {
        let largest = match self {
            Self::Sum => COUNT_MAX,
            Self::LargestShare => 1.0,
        };
        (0.0..=largest).contains(&value)
    }

    fn both(self, one: f64, other: f64) -> f64 {
        match self {
            Self::Sum => (one + other).min(COUNT_MAX),
            Self::LargestShare => one.max(other),
        }
    }

    fn in_units(self, value: f64) -> f64 {
        match self {
            Self::Sum => value,
            Self::LargestShare => 1000.0 * value,
        }
    }
}

impl<'a> Line<'a> {
    /// `name{label="value",…} number [time]`.
    fn read(line: &'a str) -> Option<Self> {
        let is_name = |letter: char| letter.is_ascii_alphanumeric() || "_:".contains(letter);
        let end = line.find(|letter| !is_name(letter))?;
        let (name, rest) = line.split_at(end);
        let rest = match rest.strip_prefix('{') {
            Some(labels) => &labels[end_of_labels(labels)?..],
            None => rest,
        };
        let value = rest.split_whitespace().next()?.parse().ok()?;
        (!name.is_empty()).then_some(Self { name, value })
    }
}

/// Behind the brace that ends labels; one inside a quoted value does not.
fn end_of_labels(labels: &str) -> Option<usize> {
    let (mut is_quoted, mut is_escaped) = (false, false);
    for (place, letter) in labels.char_indices() {
        match letter {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = is_quoted,
            '"' => is_quoted = !is_quoted,
            '}' if !is_quoted => return Some(place + 1),
            _ => {}
        }
    }
    None
}

/// Where in the table a metric stands, however it is written.
fn place(name: &str) -> Option<usize> {
    let plain = name.strip_suffix("_total").unwrap_or(name);
    let is_it = |known: &Known| {
        plain.len() == known.name.len() && plain.replacen(':', "_", 1) == known.name
    };
    KNOWN.iter().position(is_it)
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "0 to 2^53, or 0 to 1000: `can_be` looks"
)]
fn whole(value: f64) -> i64 {
    value.round() as i64
}

/// Counts up to here are exact in a floating number.
const COUNT_MAX: f64 = 9_007_199_254_740_992.0;

const fn known(name: &'static str, server: &'static str, kinds: &'static [GaugeKind]) -> Known {
    Known {
        name,
        server,
        kinds,
        take: Take::Sum,
    }
}

const fn share(name: &'static str, server: &'static str) -> Known {
    Known {
        name,
        server,
        kinds: &[GaugeKind::KvCacheUse],
        take: Take::LargestShare,
    }
}

const VLLM: &str = "vllm";
const LLAMA_CPP: &str = "llama.cpp";
const SGLANG: &str = "sglang";
const TRTLLM: &str = "trtllm";

/// Of two names of one thing the newer stands first. SGLang looks every prompt token up in its cache.
const KNOWN: &[Known] = &[
    known(
        "vllm_num_requests_running",
        VLLM,
        &[GaugeKind::RequestsRunning],
    ),
    known(
        "vllm_num_requests_waiting",
        VLLM,
        &[GaugeKind::RequestsQueued],
    ),
    share("vllm_kv_cache_usage_perc", VLLM),
    share("vllm_gpu_cache_usage_perc", VLLM),
    known("vllm_num_preemptions", VLLM, &[GaugeKind::Preemptions]),
    known("vllm_prompt_tokens", VLLM, &[GaugeKind::PromptTokens]),
    known(
        "vllm_generation_tokens",
        VLLM,
        &[GaugeKind::GeneratedTokens],
    ),
    known(
        "vllm_prefix_cache_queries",
        VLLM,
        &[GaugeKind::PrefixCacheQueries],
    ),
    known(
        "vllm_gpu_prefix_cache_queries",
        VLLM,
        &[GaugeKind::PrefixCacheQueries],
    ),
    known(
        "vllm_prefix_cache_hits",
        VLLM,
        &[GaugeKind::PrefixCacheHits],
    ),
    known(
        "vllm_gpu_prefix_cache_hits",
        VLLM,
        &[GaugeKind::PrefixCacheHits],
    ),
    known(
        "llamacpp_requests_processing",
        LLAMA_CPP,
        &[GaugeKind::RequestsRunning],
    ),
    known(
        "llamacpp_requests_deferred",
        LLAMA_CPP,
        &[GaugeKind::RequestsQueued],
    ),
    share("llamacpp_kv_cache_usage_ratio", LLAMA_CPP),
    known(
        "llamacpp_prompt_tokens",
        LLAMA_CPP,
        &[GaugeKind::PromptTokens],
    ),
    known(
        "llamacpp_tokens_predicted",
        LLAMA_CPP,
        &[GaugeKind::GeneratedTokens],
    ),
    known(
        "sglang_num_running_reqs",
        SGLANG,
        &[GaugeKind::RequestsRunning],
    ),
    known(
        "sglang_num_queue_reqs",
        SGLANG,
        &[GaugeKind::RequestsQueued],
    ),
    share("sglang_token_usage", SGLANG),
    known(
        "sglang_num_retracted_requests",
        SGLANG,
        &[GaugeKind::Preemptions],
    ),
    known(
        "sglang_prompt_tokens",
        SGLANG,
        &[GaugeKind::PromptTokens, GaugeKind::PrefixCacheQueries],
    ),
    known(
        "sglang_generation_tokens",
        SGLANG,
        &[GaugeKind::GeneratedTokens],
    ),
    known(
        "sglang_cached_tokens",
        SGLANG,
        &[GaugeKind::PrefixCacheHits],
    ),
    known(
        "trtllm_num_requests_running",
        TRTLLM,
        &[GaugeKind::RequestsRunning],
    ),
    known(
        "trtllm_num_requests_waiting",
        TRTLLM,
        &[GaugeKind::RequestsQueued],
    ),
    share("trtllm_kv_cache_utilization", TRTLLM),
];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(text: &str, server: Option<&str>, want: &[(GaugeKind, i64)]) {
        let page = read(text);
        assert_eq!(page.server, server, "{page:?}");
        assert_eq!(page.values, want.iter().copied().collect(), "{page:?}");
    }

    #[test]
    fn each_server_tells_it_in_words_of_its_own() {
        check(
            "# HELP vllm:num_requests_running Number of requests in model execution batches.\n\
             # TYPE vllm:num_requests_running gauge\n\
             vllm:num_requests_running{engine=\"0\",model_name=\"a/b\"} 8.0\n\
             vllm:num_requests_waiting{engine=\"0\",model_name=\"a/b\"} 3.0\n\
             vllm:kv_cache_usage_perc{engine=\"0\",model_name=\"a/b\"} 0.4567\n\
             vllm:prefix_cache_queries_total{engine=\"0\",model_name=\"a/b\"} 1200.0\n\
             vllm:prefix_cache_hits_total{engine=\"0\",model_name=\"a/b\"} 1.0e+03\n\
             vllm:num_preemptions_total{engine=\"0\",model_name=\"a/b\"} 2.0\n\
             vllm:prompt_tokens_total{engine=\"0\",model_name=\"a/b\"} 5000.0\n\
             vllm:generation_tokens_total{engine=\"0\",model_name=\"a/b\"} 700.0\n\
             vllm:time_to_first_token_seconds_bucket{le=\"+Inf\",model_name=\"a/b\"} 9.0\n",
            Some("vllm"),
            &[
                (GaugeKind::RequestsRunning, 8),
                (GaugeKind::RequestsQueued, 3),
                (GaugeKind::KvCacheUse, 457),
                (GaugeKind::PrefixCacheQueries, 1200),
                (GaugeKind::PrefixCacheHits, 1000),
                (GaugeKind::Preemptions, 2),
                (GaugeKind::PromptTokens, 5000),
                (GaugeKind::GeneratedTokens, 700),
            ],
        );
        check(
            "llamacpp:prompt_tokens_total 812\nllamacpp:tokens_predicted_total 1.23457e+06\n\
             llamacpp:requests_processing 1\nllamacpp:requests_deferred 4\nllamacpp:prompt_tokens_seconds 431.2\n",
            Some("llama.cpp"),
            &[
                (GaugeKind::PromptTokens, 812),
                (GaugeKind::GeneratedTokens, 1_234_570),
                (GaugeKind::RequestsRunning, 1),
                (GaugeKind::RequestsQueued, 4),
            ],
        );
        check(
            "sglang:num_running_reqs{model_name=\"m\"} 2\nsglang:num_queue_reqs{model_name=\"m\"} 0\n\
             sglang:token_usage{model_name=\"m\"} 0.1\nsglang:num_retracted_reqs{model_name=\"m\"} 1\n\
             sglang:num_retracted_requests_total{model_name=\"m\"} 5\nsglang:prompt_tokens_total{model_name=\"m\"} 90\n\
             sglang:cached_tokens_total{cache_source=\"device\"} 30\nsglang:cached_tokens_total{cache_source=\"host\"} 10\n",
            Some("sglang"),
            &[
                (GaugeKind::RequestsRunning, 2),
                (GaugeKind::RequestsQueued, 0),
                (GaugeKind::KvCacheUse, 100),
                (GaugeKind::Preemptions, 5),
                (GaugeKind::PromptTokens, 90),
                (GaugeKind::PrefixCacheQueries, 90),
                (GaugeKind::PrefixCacheHits, 40),
            ],
        );
        check(
            "trtllm_num_requests_running{engine_type=\"trtllm\"} 1.0\ntrtllm_num_requests_waiting 0.0\ntrtllm_kv_cache_utilization 1.0\n",
            Some("trtllm"),
            &[
                (GaugeKind::RequestsRunning, 1),
                (GaugeKind::RequestsQueued, 0),
                (GaugeKind::KvCacheUse, 1000),
            ],
        );
    }

    #[test]
    fn counts_of_several_models_add_up_and_shares_do_not() {
        check(
            "vllm:prompt_tokens_total{model_name=\"a\"} 5\nvllm:prompt_tokens_total{model_name=\"b\"} 7\n\
             vllm:kv_cache_usage_perc{engine=\"0\"} 0.7\nvllm:kv_cache_usage_perc{engine=\"1\"} 0.2\n",
            Some("vllm"),
            &[(GaugeKind::PromptTokens, 12), (GaugeKind::KvCacheUse, 700)],
        );
    }

    #[test]
    fn one_thing_under_two_names_counts_once() {
        check(
            "vllm:gpu_prefix_cache_queries_total 5\nvllm:prefix_cache_queries_total 6\n\
             vllm:prompt_tokens 7\nvllm:prompt_tokens_total 7\nvllm:gpu_cache_usage_perc 0.5\n",
            Some("vllm"),
            &[
                (GaugeKind::PrefixCacheQueries, 6),
                (GaugeKind::PromptTokens, 7),
                (GaugeKind::KvCacheUse, 500),
            ],
        );
    }

    #[test]
    fn what_is_damaged_or_cannot_be_is_counted_and_costs_nothing_else() {
        let page = read(
            "vllm:num_requests_running NaN\nvllm:num_requests_running -1\nvllm:num_requests_running 1e300\n\
             vllm:kv_cache_usage_perc 45.6\nvllm:prompt_tokens_total\nvllm:prompt_tokens_total many\n{} 1\n\
             vllm:prompt_tokens_total{model_name=\"open 5\n\u{1f600} 1\nprocess_cpu_seconds_total 3\n\
             llamacpp:requests_processing 1\nvllm:num_requests_waiting{a=\"}\\\"} 9\"} 2 1700000000\n",
        );
        assert_eq!(page.server, Some("vllm"));
        assert_eq!(page.values, [(GaugeKind::RequestsQueued, 2)].into());
        assert_eq!((page.n_others, page.n_damaged), (2, 9));
    }

    #[test]
    fn a_page_about_something_else_is_nobodys() {
        check("[{\"iter\": 1, \"iterLatencyMS\": 7.5}]", None, &[]);
        check("", None, &[]);
        check("# vllm:num_requests_running 1", None, &[]);
    }

    proptest! {
        #[test]
        fn any_text_is_read_and_every_line_counted(text in "(vllm:|[a-z_:{}\"\\\\=0-9eE+. -]|\\PC|\n){0,200}") {
            let page = read(&text);
            let is_comment = |line: &&str| line.trim().is_empty() || line.trim().starts_with('#');
            let n_lines = text.lines().filter(|line| !is_comment(line)).count();
            prop_assert!(page.n_others + page.n_damaged <= n_lines);
            prop_assert!(page.values.len() <= 8);
        }

        #[test]
        fn a_damaged_page_has_only_values_that_can_be(
            place in any::<prop::sample::Index>(),
            byte in any::<u8>(),
        ) {
            let mut page = b"vllm:num_requests_running{a=\"b\"} 8.0\nvllm:kv_cache_usage_perc{a=\"b\"} 0.4567\n".to_vec();
            let place = place.index(page.len());
            page[place] = byte;
            let page = read(&String::from_utf8_lossy(&page));
            for (kind, value) in page.values {
                let most = if kind == GaugeKind::KvCacheUse { 1000 } else { i64::MAX };
                prop_assert!((0..=most).contains(&value), "{kind:?} {value}");
            }
        }
    }
}
