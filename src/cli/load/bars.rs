//! A histogram as people read it: times in classes with round bounds.
//!
//! Owns the choice of the classes. Tests: below.

use std::time::Duration;

use mynah::load::Distribution;

/// Bounds within a power of ten, from the coarsest to the finest.
const SERIES: [&[f64]; 4] = [
    &[1.0],
    &[1.0, 2.0, 5.0],
    &[1.0, 1.5, 2.0, 3.0, 5.0, 7.0],
    &[
        1.0, 1.2, 1.4, 1.6, 1.8, 2.0, 2.2, 2.5, 2.8, 3.2, 3.6, 4.0, 4.5, 5.0, 5.6, 6.3, 7.0, 8.0,
        9.0,
    ],
];

/// A class: how many times lie above `from` and at most at `to`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Bar {
    pub(crate) from: Duration,
    pub(crate) to: Duration,
    pub(crate) count: u64,
}

/// The classes of those that were answered, at most `most`, as fine as that allows.
pub(crate) fn bars(times: &Distribution, most: usize) -> Vec<Bar> {
    let histogram = times.answered().histogram();
    // A bucket stands for its shortest time: a round time is in the class that ends with it.
    let shortest = |nanos: u64| Duration::from_nanos(histogram.lowest_equivalent(nanos));
    if histogram.is_empty() {
        return Vec::new();
    }
    let (low, high) = (shortest(histogram.min()), shortest(histogram.max()));
    let classes = SERIES.iter().map(|series| classes(series, low, high));
    let classes: Vec<Vec<Bar>> = classes.collect();
    let fits = classes.iter().rposition(|bars| bars.len() <= most);
    let mut bars = classes
        .into_iter()
        .nth(fits.unwrap_or(0))
        .unwrap_or_default();
    for value in histogram.iter_recorded() {
        let time = shortest(value.value_iterated_to());
        let index = bars.partition_point(|bar| bar.to < time);
        if let Some(bar) = bars.get_mut(index) {
            bar.count += value.count_since_last_iteration();
        }
    }
    bars
}

/// The classes from the one of `low` to the one of `high`, empty.
fn classes(series: &[f64], low: Duration, high: Duration) -> Vec<Bar> {
    let bounds = (0..14).flat_map(|power| {
        series
            .iter()
            .map(move |bound| (bound * 10f64.powi(power)).round() as u64)
    });
    let mut bounds: Vec<u64> = bounds.collect();
    bounds.insert(0, 0);
    bounds.dedup();
    bounds
        .windows(2)
        .map(|pair| Bar {
            from: Duration::from_nanos(pair[0]),
            to: Duration::from_nanos(pair[1]),
            count: 0,
        })
        .skip_while(|bar| bar.to < low)
        .take_while(|bar| bar.from < high)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_answer_stands_in_one_class_and_the_bounds_are_round() {
        let mut times = Distribution::default();
        assert_eq!(bars(&times, 16), []);
        for micros in [12, 13, 30, 170, 950, 4_000] {
            times.record(Duration::from_micros(micros));
        }
        times.give_up(Duration::from_secs(1), 5);
        for most in [3, 16, 60] {
            let bars = bars(&times, most);
            assert!(bars.len() <= most.max(3), "{bars:?}");
            assert_eq!(bars.iter().map(|bar| bar.count).sum::<u64>(), 6);
            assert!(bars.windows(2).all(|pair| pair[0].to == pair[1].from));
            assert!(bars[0].count > 0 && bars[bars.len() - 1].count > 0);
        }
        let first = bars(&times, 16)[0];
        assert_eq!((first.from.as_micros(), first.to.as_micros()), (10, 15));
    }
}
