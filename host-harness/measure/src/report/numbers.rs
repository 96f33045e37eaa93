//! Numbers as people read them.

use indicatif::HumanCount;

/// Between a number and its unit: narrow, and no line breaks there.
const GAP: char = '\u{202f}';

const UNITS: [(&str, f64); 4] = [("ns", 1.0), ("µs", 1e3), ("ms", 1e6), ("s", 1e9)];

/// A duration with three significant digits, as in `43.1 µs`; nanoseconds are whole.
pub(crate) fn nanos(nanos: u64) -> String {
    let value = nanos as f64;
    if nanos < 1000 {
        return format!("{nanos}{GAP}ns");
    }
    // What rounds up to 1000 of one unit is 1 of the next.
    let unit = UNITS.iter().find(|(_, size)| value / size < 999.5);
    let (name, size) = unit.unwrap_or(&UNITS[3]);
    format!("{}{GAP}{name}", significant(value / size))
}

/// The same of a round number, for an axis: `50 µs`.
pub(crate) fn tick(nanos: f64) -> String {
    let unit = UNITS.iter().rfind(|(_, size)| nanos >= *size);
    let (name, size) = unit.unwrap_or(&UNITS[0]);
    format!("{}{GAP}{name}", nanos / size)
}

/// How many times the floor's, as in `1.02×`; a dash where there is nothing to divide by.
pub(crate) fn ratio(nanos: u64, floor: u64) -> String {
    if floor == 0 {
        return "–".into();
    }
    format!("{}×", significant(nanos as f64 / floor as f64))
}

fn significant(value: f64) -> String {
    match value {
        value if value < 9.995 => format!("{value:.2}"),
        value if value < 99.95 => format!("{value:.1}"),
        value => grouped(value.round() as u64),
    }
}

/// Digits in groups of three, as in `12,106`.
pub(crate) fn grouped(number: u64) -> String {
    HumanCount(number).to_string()
}

/// Instructions: `43` where only whole numbers are compared, else `12,106.0`.
pub(crate) fn instructions(count: f64, is_whole: bool) -> String {
    if is_whole {
        return grouped(count as u64);
    }
    let tenths = (count * 10.0).round() as u64;
    format!("{}.{}", grouped(tenths / 10), tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(text: String) -> String {
        text.replace(GAP, " ")
    }

    #[test]
    fn durations_have_three_digits_and_the_unit_that_fits() {
        for (value, text) in [
            (0, "0 ns"),
            (999, "999 ns"),
            (1000, "1.00 µs"),
            (43_149, "43.1 µs"),
            (99_960, "100 µs"),
            (999_499, "999 µs"),
            (999_600, "1.00 ms"),
            (1_211_000, "1.21 ms"),
            (3_987_455_000, "3.99 s"),
            (12_000_000_000_000, "12,000 s"),
        ] {
            assert_eq!(plain(nanos(value)), text);
        }
    }

    #[test]
    fn ticks_are_round() {
        let ticks = [10.0, 500.0, 2e3, 1e6, 5e9].map(|value| plain(tick(value)));
        assert_eq!(ticks, ["10 ns", "500 ns", "2 µs", "1 ms", "5 s"]);
    }

    #[test]
    fn ratios_and_counts() {
        assert_eq!(ratio(1020, 1000), "1.02×");
        assert_eq!(ratio(43_000, 1000), "43.0×");
        assert_eq!(ratio(300_000, 1000), "300×");
        assert_eq!(ratio(5, 0), "–");
        assert_eq!(instructions(12_106.0, true), "12,106");
        assert_eq!(instructions(251.0, false), "251.0");
    }
}
