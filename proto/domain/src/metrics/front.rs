//! The Pareto front: what nothing else beats in every respect.

/// Which points are on the front: none of the others is as good on every axis and better on one. Compared by their values alone.
///
/// Every point has as many values as there are axes.
pub fn front(points: &[Vec<f64>], is_lower_better: &[bool]) -> Vec<bool> {
    let is_on_front = |point: &Vec<f64>| {
        let mut others = points.iter();
        !others.any(|other| dominates(other, point, is_lower_better))
    };
    points.iter().map(is_on_front).collect()
}

fn dominates(left: &[f64], right: &[f64], is_lower_better: &[bool]) -> bool {
    let mut is_better = false;
    for ((left, right), is_lower_better) in left.iter().zip(right).zip(is_lower_better) {
        let (better, worse) = if *is_lower_better {
            (left < right, left > right)
        } else {
            (left > right, left < right)
        };
        if worse {
            return false;
        }
        is_better |= better;
    }
    is_better
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_worse_in_everything_is_behind_the_front() {
        // Speed (more is better) and energy (less is better).
        let points = [[10.0, 5.0], [8.0, 3.0], [7.0, 4.0], [10.0, 5.0], [2.0, 3.0]].map(Vec::from);
        assert_eq!(
            front(&points, &[false, true]),
            [true, true, false, true, false]
        );
        assert_eq!(front(&[], &[false]), Vec::<bool>::new());
    }

    proptest! {
        #[test]
        fn there_is_always_a_front_and_the_best_of_an_axis_may_be_on_it(
            points in prop::collection::vec(prop::collection::vec(0.0..9.0_f64, 3), 1..20)
        ) {
            let points: Vec<Vec<f64>> = points;
            let on_front = front(&points, &[false, true, false]);
            prop_assert!(on_front.iter().any(|is_on| *is_on));
            let highest = points.iter().map(|point| point[0]).fold(0.0, f64::max);
            let has_highest = points
                .iter()
                .zip(&on_front)
                .any(|(point, is_on)| *is_on && point[0] == highest);
            prop_assert!(has_highest);
        }
    }
}
