//! The Pareto front: what nothing else beats in every respect.

/// Where a point stands on one axis.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Place {
    /// What is known best.
    pub value: f64,
    /// In what it lies, low and high; the value itself, twice, where it is taken as it is.
    pub interval: (f64, f64),
}

impl Place {
    /// A value that is taken as it is.
    pub fn exact(value: f64) -> Self {
        Self {
            value,
            interval: (value, value),
        }
    }

    /// The same where more is better, so that less is.
    fn turned(self) -> Self {
        let (low, high) = self.interval;
        Self {
            value: -self.value,
            interval: (-high, -low),
        }
    }
}

/// Which points are on the front: none of the others is as good on every axis, and better on one beyond both intervals.
///
/// Every point has as many places as there are axes.
pub fn front(points: &[Vec<Place>], is_lower_better: &[bool]) -> Vec<bool> {
    let gain = |(place, is_lower_better): (&Place, &bool)| match is_lower_better {
        true => place.turned(),
        false => *place,
    };
    let gains = |point: &Vec<Place>| point.iter().zip(is_lower_better).map(gain).collect();
    let points: Vec<Vec<Place>> = points.iter().map(gains).collect();
    let is_on_front = |point: &Vec<Place>| !points.iter().any(|other| beats(other, point));
    points.iter().map(is_on_front).collect()
}

/// Of places where more is better.
fn beats(left: &[Place], right: &[Place]) -> bool {
    let pairs = || left.iter().zip(right);
    pairs().all(|(left, right)| left.value >= right.value)
        && pairs().any(|(left, right)| left.interval.0 > right.interval.1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_worse_in_everything_is_behind_the_front() {
        // Speed (more is better) and energy (less is better).
        let points = [[10.0, 5.0], [8.0, 3.0], [7.0, 4.0], [10.0, 5.0], [2.0, 3.0]];
        let points = points.map(|point| point.map(Place::exact).to_vec());
        assert_eq!(
            front(&points, &[false, true]),
            [true, true, false, true, false]
        );
        assert_eq!(front(&[], &[false]), Vec::<bool>::new());
    }

    #[test]
    fn what_may_be_as_good_is_not_behind_it() {
        let place = |value, low, high| Place {
            value,
            interval: (low, high),
        };
        let best = vec![Place::exact(5.0), Place::exact(1.0)];
        let maybe = vec![place(4.0, 3.0, 5.0), Place::exact(1.0)];
        let worse = vec![place(4.0, 3.5, 4.5), Place::exact(1.0)];
        let maybe_less = vec![Place::exact(5.0), place(2.0, 1.0, 3.0)];
        let points = [best, maybe, worse, maybe_less];
        assert_eq!(front(&points, &[false, true]), [true, true, false, true]);
    }

    proptest! {
        #[test]
        fn there_is_always_a_front_and_the_best_of_an_axis_may_be_on_it(
            points in prop::collection::vec(prop::collection::vec((0.0..9.0_f64, 0.0..3.0_f64), 3), 1..20)
        ) {
            let place = |(value, reach): &(f64, f64)| Place {
                value: *value,
                interval: (value - reach, value + reach),
            };
            let places = |point: &Vec<(f64, f64)>| point.iter().map(place).collect();
            let points: Vec<Vec<Place>> = points.iter().map(places).collect();
            let on_front = front(&points, &[false, true, false]);
            prop_assert!(on_front.iter().any(|is_on| *is_on));
            let highest = points.iter().map(|point| point[0].value).fold(0.0, f64::max);
            let has_highest = points
                .iter()
                .zip(&on_front)
                .any(|(point, is_on)| *is_on && point[0].value == highest);
            prop_assert!(has_highest);
        }
    }
}
