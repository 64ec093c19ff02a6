//! From microseconds to a place in the picture.

use sextant::clock::Span;

/// Marks of an axis, at most.
const MARKS: u64 = 8;

/// Where the times of a panel lie. Lengths are in tenths of a pixel, so that no floating point is needed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scale {
    span: Span,
    left: u64,
    width: u64,
}

/// Tenths of a pixel, as SVG writes a length.
pub(super) fn pixels(tenths: u64) -> String {
    format!("{}.{}", tenths / 10, tenths % 10)
}

impl Scale {
    /// `left` and `width` are in pixels.
    pub(super) fn new(span: Span, left: u64, width: u64) -> Self {
        Self { span, left: left.saturating_mul(10), width: width.saturating_mul(10) }
    }

    /// The place of a time; of one that is outside, that of the nearest one inside.
    pub(super) fn at(&self, time: u64) -> u64 {
        let Span { begin, end } = self.span;
        let length = end.saturating_sub(begin).max(1);
        let offset = time.clamp(begin, end.max(begin)).saturating_sub(begin);
        let scaled = u128::from(offset) * u128::from(self.width) / u128::from(length);
        self.left.saturating_add(u64::try_from(scaled).unwrap_or(self.width))
    }

    /// Begin and width of a bar. It is a pixel wide at least, and ends inside.
    pub(super) fn bar(&self, span: Span) -> (u64, u64) {
        let edge = self.left.saturating_add(self.width).saturating_sub(10);
        let begin = self.at(span.begin).min(edge);
        (begin, self.at(span.end).saturating_sub(begin).max(10))
    }

    /// Marks of an axis: times, and what they are called, from the begin of the panel.
    pub(super) fn marks(&self) -> Vec<(u64, String)> {
        let length = self.span.end.saturating_sub(self.span.begin);
        let step = step(length);
        (0..=MARKS)
            .map(|number| number.saturating_mul(step))
            .take_while(|offset| *offset <= length)
            .map(|offset| (self.span.begin.saturating_add(offset), mark(offset, step, length)))
            .collect()
    }
}

/// The least of 1, 2, 5, 10, … microseconds of which `length` has at most [`MARKS`].
fn step(length: u64) -> u64 {
    let mut decade = 1_u64;
    loop {
        for factor in [1, 2, 5] {
            let step = decade.saturating_mul(factor);
            if length / step <= MARKS {
                return step;
            }
        }
        decade = decade.saturating_mul(10);
    }
}

/// A duration for people: three digits count, and no more than there are.
pub(super) fn duration(usec: u64) -> String {
    match usec {
        0..1000 => format!("{usec} µs"),
        1000..10_000 => format!("{}.{} ms", usec / 1000, usec % 1000 / 100),
        10_000..1_000_000 => format!("{} ms", usec / 1000),
        1_000_000..100_000_000 => format!("{}.{:02} s", usec / 1_000_000, usec % 1_000_000 / 10_000),
        _ => format!("{} s", usec / 1_000_000),
    }
}

/// A multiple of `step` on an axis of `length`, with the decimals that the others have.
fn mark(usec: u64, step: u64, length: u64) -> String {
    let (unit, name) = match length {
        1_000_000.. => (1_000_000, "s"),
        1000..1_000_000 => (1000, "ms"),
        _ => (1, "µs"),
    };
    let (whole, rest) = (usec / unit, usec % unit);
    match [1, 10, 100].into_iter().zip(0..).find(|(factor, _)| step.saturating_mul(*factor) % unit == 0) {
        Some((_, 0)) => format!("{whole} {name}"),
        Some((factor, decimals)) => format!("{whole}.{:0decimals$} {name}", rest * factor / unit),
        None => format!("{whole}.{:03} {name}", rest * 1000 / unit),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_stays_in_the_panel_whatever_the_times_are() {
        let scale = Scale::new(Span { begin: 1_000_000, end: 3_000_000 }, 100, 200);
        assert_eq!((scale.at(1_000_000), scale.at(2_000_000), scale.at(3_000_000)), (1000, 2000, 3000));
        assert_eq!(scale.bar(Span { begin: 1_500_000, end: 2_500_000 }), (1500, 1000));
        assert_eq!(scale.bar(Span { begin: 2_000_000, end: 2_000_001 }), (2000, 10), "thin, and still to be seen");
        for span in [Span { begin: 0, end: u64::MAX }, Span { begin: u64::MAX, end: 0 }, Span { begin: 9, end: 3 }] {
            let (begin, width) = scale.bar(span);
            assert!(begin >= 1000 && width >= 10 && begin + width <= 3000, "{span:?}: {begin} {width}");
            let scale = Scale::new(span, 100, 200);
            let (begin, width) = scale.bar(Span { begin: 5, end: 7 });
            assert!(begin >= 1000 && width >= 10 && begin + width <= 3000, "{span:?}: {begin} {width}");
            assert!(scale.marks().len() <= 9);
        }
    }

    #[test]
    fn marks_are_round_numbers() {
        let marks = |length: u64| {
            let scale = Scale::new(Span { begin: 7, end: 7 + length }, 0, 100);
            scale.marks().into_iter().map(|(_, text)| text).collect::<Vec<_>>()
        };
        assert_eq!(marks(3_100_000), ["0.0 s", "0.5 s", "1.0 s", "1.5 s", "2.0 s", "2.5 s", "3.0 s"]);
        assert_eq!(marks(12_000_000), ["0 s", "2 s", "4 s", "6 s", "8 s", "10 s", "12 s"]);
        assert_eq!(marks(1900).last().map(String::as_str), Some("1.5 ms"));
        assert_eq!(marks(1_003_000).last().map(String::as_str), Some("1.0 s"));
        assert_eq!(marks(45), ["0 µs", "10 µs", "20 µs", "30 µs", "40 µs"]);
        assert_eq!(marks(0), ["0 µs"]);
    }

    #[test]
    fn durations_have_three_digits() {
        let texts = [7, 999, 1234, 12_345, 999_999, 1_234_567, 61_000_000, 3_600_000_000].map(duration);
        assert_eq!(texts, ["7 µs", "999 µs", "1.2 ms", "12 ms", "999 ms", "1.23 s", "61.00 s", "3600 s"]);
    }
}
