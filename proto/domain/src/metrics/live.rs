//! What one stretch of a run came to, for whoever watches it: never a result, and never stored as one.

use super::energy::energy;
use crate::{
    campaign::LivePower,
    run::{RequestTrace, Segment},
    units::Watts,
};

/// Speed and power over a segment's window.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Live {
    /// ΣN / W over the successes; absent without a token count or a window.
    pub output_tps: Option<f64>,
    /// E / W of each sensor that saw something of it.
    pub power: Vec<LivePower>,
}

/// Speed and power of a segment.
pub fn live(segment: &Segment) -> Live {
    let seconds = segment.window.length().as_secs_f64();
    if seconds <= 0.0 {
        return Live::default();
    }
    let successes = segment.requests.iter();
    let successes = successes.filter(|request| request.outcome.is_success());
    let counted: Option<Vec<u64>> = successes.map(completion).collect();
    let power = segment.power.iter().filter_map(|trace| {
        let energy = energy(&trace.sensor, &[(segment.window, &trace.samples)]);
        Some(LivePower {
            scope: trace.sensor.scope,
            source: trace.sensor.source.clone(),
            power: Watts(energy.joules?.0 / seconds),
        })
    });
    Live {
        output_tps: counted.map(|tokens| tokens.iter().sum::<u64>() as f64 / seconds),
        power: power.collect(),
    }
}

fn completion(request: &RequestTrace) -> Option<u64> {
    request.tokens.map(|tokens| u64::from(tokens.completion))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::example;

    /// Two answers of 10 and 30 tokens within 2 s, and 5 W throughout.
    fn segment() -> Segment {
        let requests = vec![
            example::request(0, 0, &[100, 500], 50, 10),
            example::request(1, 1000, &[100, 1000], 50, 30),
        ];
        let mut segment = example::segment(requests);
        segment.power = vec![example::power(&[(0, 5), (1000, 5), (2000, 5)])];
        segment
    }

    #[test]
    fn speed_and_power_are_those_of_the_window() {
        let live = live(&segment());
        assert_eq!(live.output_tps, Some(20.0));
        let power: Vec<f64> = live.power.iter().map(|live| live.power.0).collect();
        assert_eq!(power, [5.0]);
    }

    #[test]
    fn what_nobody_counted_or_did_not_last_is_absent() {
        let mut segment = segment();
        segment.requests[0].tokens = None;
        assert_eq!(live(&segment).output_tps, None);
        segment.window.to = segment.window.from;
        assert_eq!(live(&segment), Live::default());
    }
}
