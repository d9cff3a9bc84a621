//! Two models on one machine that holds one at a time: when a switch pays, how long to keep a model loaded, whether both fit.
//!
//! Everything here is about cost, in seconds or in joules, and nothing about answers: a model that costs more may be the
//! one whose answers are wanted, and then the switch is the price of them.

use serde::{Deserialize, Serialize};

use crate::metrics::spread::{Interval, spread, student::t_quantile};

/// What a switch costs and what it saves, all in one unit: seconds or joules.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Costs {
    /// S: taking the loaded model out and bringing the other one in, to its first generated token.
    pub switch: f64,
    /// a: a request to the model that is loaded.
    pub stay: f64,
    /// b: a request to the other one.
    pub go: f64,
}

/// From how many requests in a row on a switch costs less than staying.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum BreakEven {
    /// So many, a whole number: ⌈S / (a − b)⌉, and 1 for a switch that costs nothing.
    After(u64),
    /// A request to the other model costs as much or more, so that no number of them pays the switch.
    Never,
}

/// How long a model that nobody asks should stay in memory.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum KeepLoaded {
    /// As long as the next request is expected within so many seconds: T = E / ΔP. The error bound of ΔP makes it an interval.
    Within {
        /// T.
        seconds: f64,
        /// E / (ΔP + bound).
        from: f64,
        /// E / (ΔP − bound).
        to: f64,
    },
    /// ΔP may as well be 0, by its error bound: whether keeping costs anything cannot be judged.
    Unclear {
        /// E / (ΔP + bound): T is no less.
        from: f64,
    },
    /// A loaded model draws no more than none, whatever the error.
    Always,
    /// Loading it draws no more than waiting: take it out whenever that helps somebody else.
    Never,
}

/// What a load costs and what keeping costs, at one power scope.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Keeping {
    /// E of loading, from the call to the first generated token, in J.
    pub load_j: f64,
    /// How long that took, in s.
    pub load_s: f64,
    /// Idle power with the model loaded, in W.
    pub loaded_w: f64,
    /// Idle power without it, in W.
    pub unloaded_w: f64,
    /// How far the difference of the two may be off, in W.
    pub bound_w: f64,
}

/// What a request to the other model saves.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Saving {
    /// Mean of a − b over questions that both were asked.
    pub mean: f64,
    /// 95 %, by Student's t over the questions' differences; absent for a single question.
    pub interval: Option<Interval>,
}

/// Whether two models fit into memory together.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Together {
    /// Peak of the one and peak of the other, in bytes.
    pub needed_bytes: u64,
    /// What there was for them before either was loaded, in bytes.
    pub available_bytes: u64,
    /// Whether the one is no more than the other.
    pub fits: bool,
}

/// n·a ≥ S + n·b, solved for the smallest n that is at least 1.
///
/// Absent where a cost is no number that a cost can be.
pub fn break_even(costs: Costs) -> Option<BreakEven> {
    let Costs { switch, stay, go } = costs;
    let is_cost = |cost: f64| cost.is_finite() && cost >= 0.0;
    if ![switch, stay, go].into_iter().all(is_cost) {
        return None;
    }
    let saved = stay - go;
    if saved <= 0.0 {
        return Some(BreakEven::Never);
    }
    let requests = (switch / saved).ceil().max(1.0);
    if requests > COUNT_MOST {
        return Some(BreakEven::Never);
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a whole number from 1 to a million millions"
    )]
    let requests = requests as u64;
    Some(BreakEven::After(requests))
}

/// What going saves a request: the same questions to both, `(a, b)` for each, so that easy and hard ones cancel.
///
/// Absent without a question that both answered.
pub fn saving(costs: &[(f64, f64)]) -> Option<Saving> {
    let differences: Vec<f64> = costs.iter().map(|(stay, go)| stay - go).collect();
    let spread = spread(&differences)?;
    let interval = spread.sd.map(|sd| {
        let n = f64::from(spread.n);
        let half = t_quantile(0.975, n - 1.0) * sd / libm::sqrt(n);
        Interval {
            low: spread.mean - half,
            high: spread.mean + half,
        }
    });
    Some(Saving {
        mean: spread.mean,
        interval,
    })
}

/// The break-even of a switch for the highest and for the lowest saving that the questions leave possible.
pub fn break_even_range(switch: f64, saving: Saving) -> Option<[BreakEven; 2]> {
    let of = |saved: f64| {
        let (stay, go) = (saved.max(0.0), (-saved).max(0.0));
        break_even(Costs { switch, stay, go })
    };
    let interval = saving.interval?;
    Some([of(interval.high)?, of(interval.low)?])
}

/// Keeping a model for t costs ΔP·t, ΔP = loaded − unloaded. Taking it out and loading it again costs E = `load_j` − unloaded·`load_s`,
/// what the load draws beyond what the machine draws anyway. They are equal at T = E / ΔP.
///
/// Absent where a figure is not finite.
pub fn keep_loaded(keeping: Keeping) -> Option<KeepLoaded> {
    let Keeping {
        load_j,
        load_s,
        loaded_w,
        unloaded_w,
        bound_w,
    } = keeping;
    let reload = load_j - unloaded_w * load_s;
    let extra = loaded_w - unloaded_w;
    if !(reload.is_finite() && extra.is_finite() && bound_w.is_finite()) {
        return None;
    }
    if extra + bound_w <= 0.0 {
        return Some(KeepLoaded::Always);
    }
    if reload <= 0.0 {
        return Some(KeepLoaded::Never);
    }
    let from = reload / (extra + bound_w);
    if extra <= bound_w {
        return Some(KeepLoaded::Unclear { from });
    }
    Some(KeepLoaded::Within {
        seconds: reload / extra,
        from,
        to: reload / (extra - bound_w),
    })
}

/// Adds up the peaks of two models, each measured alone.
pub fn together(peaks: [u64; 2], available_bytes: u64) -> Together {
    let needed_bytes = peaks[0].saturating_add(peaks[1]);
    Together {
        needed_bytes,
        available_bytes,
        fits: needed_bytes <= available_bytes,
    }
}

/// Thirty requests a second for a thousand years: what pays later never does.
const COUNT_MOST: f64 = 1e12;

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(switch: f64, stay: f64, go: f64, want: Option<BreakEven>) {
        assert_eq!(break_even(Costs { switch, stay, go }), want);
    }

    #[test]
    fn a_switch_pays_when_what_it_saves_is_what_it_cost() {
        // The study's estimates: 76.27 s of loading, 7 s a request against 5 s.
        check(76.27, 7.0, 5.0, Some(BreakEven::After(39)));
        check(10.0, 3.0, 2.0, Some(BreakEven::After(10)));
        check(10.5, 3.0, 2.0, Some(BreakEven::After(11)));
        check(0.1, 3.0, 2.0, Some(BreakEven::After(1)));
        check(0.0, 3.0, 2.0, Some(BreakEven::After(1)));
    }

    #[test]
    fn a_break_even_is_the_smallest_number_that_pays() {
        for (switch, stay, go) in [(76.27, 7.1, 5.3), (3.0, 0.02, 0.013), (1e3, 1.0, 0.5)] {
            let Some(BreakEven::After(requests)) = break_even(Costs { switch, stay, go }) else {
                panic!("it saves something");
            };
            let saved = |n: u64| n as f64 * (stay - go);
            assert!(saved(requests) >= switch * (1.0 - 1e-12));
            assert!(saved(requests - 1) < switch);
        }
    }

    #[test]
    fn what_is_saved_is_judged_question_by_question() {
        // 5 s and 1 s, each 0.5 s shorter with the other model: certain, though the questions differ much.
        let steady = saving(&[(5.0, 4.5), (1.0, 0.5), (3.0, 2.5)]).unwrap();
        assert_eq!(steady.mean, 0.5);
        let low = steady.interval.unwrap().low;
        assert_eq!(low, 0.5);
        let range = break_even_range(10.0, steady);
        assert_eq!(range, Some([BreakEven::After(20), BreakEven::After(20)]));
        // 0.2 and 0.8: mean 0.5, sd 0.42426, t(0.975, 1) = 12.706: ±3.81.
        let unsteady = saving(&[(1.0, 0.8), (1.0, 0.2)]).unwrap();
        let interval = unsteady.interval.unwrap();
        assert!((interval.high - 4.3119).abs() < 1e-3, "{interval:?}");
        let range = break_even_range(10.0, unsteady);
        assert_eq!(range, Some([BreakEven::After(3), BreakEven::Never]));
    }

    #[test]
    fn a_single_question_has_a_saving_and_no_interval() {
        let saving_of_one = saving(&[(3.0, 1.0)]).unwrap();
        assert_eq!((saving_of_one.mean, saving_of_one.interval), (2.0, None));
        assert_eq!(break_even_range(1.0, saving_of_one), None);
        assert_eq!(saving(&[]), None);
    }

    #[test]
    fn a_slower_model_never_pays_in_time() {
        check(10.0, 2.0, 3.0, Some(BreakEven::Never));
        check(10.0, 2.0, 2.0, Some(BreakEven::Never));
        check(0.0, 2.0, 2.0, Some(BreakEven::Never));
        check(1.0, 1.0, 1.0 - 1e-16, Some(BreakEven::Never));
    }

    #[test]
    fn what_is_no_cost_has_no_break_even() {
        check(f64::NAN, 3.0, 2.0, None);
        check(-1.0, 3.0, 2.0, None);
        check(1.0, f64::INFINITY, 2.0, None);
    }

    const KEEPING: Keeping = Keeping {
        load_j: 700.0,
        load_s: 20.0,
        loaded_w: 12.0,
        unloaded_w: 10.0,
        bound_w: 0.0,
    };

    #[test]
    fn a_model_is_kept_as_long_as_idling_costs_less_than_loading() {
        // 700 J in 20 s of which 200 J would have been drawn anyway: 500 J, at 2 W more.
        let want = KeepLoaded::Within {
            seconds: 250.0,
            from: 250.0,
            to: 250.0,
        };
        assert_eq!(keep_loaded(KEEPING), Some(want));
    }

    #[test]
    fn a_difference_that_is_not_certain_makes_an_interval() {
        let keep = |bound_w| keep_loaded(Keeping { bound_w, ..KEEPING });
        let want = KeepLoaded::Within {
            seconds: 250.0,
            from: 200.0,
            to: 500.0 / 1.5,
        };
        assert_eq!(keep(0.5), Some(want));
    }

    #[test]
    fn a_difference_that_may_be_0_is_not_judged() {
        let keep = |loaded_w, bound_w| {
            keep_loaded(Keeping {
                loaded_w,
                bound_w,
                ..KEEPING
            })
        };
        let unclear = |from| Some(KeepLoaded::Unclear { from });
        assert_eq!(keep(12.0, 2.0), unclear(125.0));
        assert_eq!(keep(12.0, 3.0), unclear(100.0));
        // It seems to draw 1 W less, and may draw 4 W more.
        assert_eq!(keep(9.0, 5.0), unclear(125.0));
        assert_eq!(keep(9.0, 1.0), Some(KeepLoaded::Always));
        assert_eq!(keep(9.0, 0.5), Some(KeepLoaded::Always));
    }

    #[test]
    fn what_costs_nothing_is_kept_and_what_is_loaded_for_nothing_is_not() {
        let with = |loaded_w, load_j| {
            keep_loaded(Keeping {
                loaded_w,
                load_j,
                ..KEEPING
            })
        };
        assert_eq!(with(10.0, 700.0), Some(KeepLoaded::Always));
        assert_eq!(with(9.0, 700.0), Some(KeepLoaded::Always));
        assert_eq!(with(12.0, 200.0), Some(KeepLoaded::Never));
        assert_eq!(with(f64::NAN, 700.0), None);
    }

    #[test]
    fn two_models_fit_if_their_peaks_do() {
        // The study's claim that 3.7 GB and 2.5 GB coexist in 4.4 GB.
        let claim = together([3_700_000_000, 2_500_000_000], 4_400_000_000);
        assert!(!claim.fits);
        assert_eq!(claim.needed_bytes, 6_200_000_000);
        assert!(together([3, 4], 7).fits);
        assert!(!together([u64::MAX, 1], 7).fits);
    }
}
