//! Numbers as people read them.

/// Three or so significant digits, thousands apart by commas.
pub fn number(value: f64) -> String {
    if !value.is_finite() {
        return "–".to_owned();
    }
    let decimals = match value.abs() {
        value if value >= 1000.0 || value.fract() == 0.0 => 0,
        value if value >= 10.0 => 1,
        _ => 2,
    };
    let text = format!("{value:.decimals$}");
    let (sign, text) = text.strip_prefix('-').map_or(("", text.as_str()), |rest| ("-", rest));
    let (whole, fraction) = text.split_once('.').map_or((text, None), |(whole, fraction)| (whole, Some(fraction)));
    let mut grouped = String::new();
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    match fraction {
        Some(fraction) => format!("{sign}{grouped}.{fraction}"),
        None => format!("{sign}{grouped}"),
    }
}

/// Six significant digits: as many as a measurement has, and few enough that JSON returns the same number.
pub fn short(value: f64) -> f64 {
    format!("{value:.5e}").parse().unwrap_or(value)
}

/// A number with its unit.
pub fn quantity(value: f64, unit: &str) -> String {
    match unit {
        "" => number(value),
        _ if unit.starts_with('/') || unit == "%" => format!("{}{unit}", number(value)),
        _ => format!("{} {unit}", number(value)),
    }
}

/// How long something took.
pub fn duration(seconds: f64) -> String {
    let whole = seconds.round().max(0.0) as u64;
    match (whole / 3600, whole / 60 % 60, whole % 60) {
        (0, 0, _) if seconds < 10.0 => format!("{seconds:.1} s"),
        (0, 0, seconds) => format!("{seconds} s"),
        (0, minutes, seconds) => format!("{minutes} min {seconds} s"),
        (hours, minutes, _) => format!("{hours} h {minutes} min"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_three_digits_or_so() {
        let texts = [0.0, 0.156, 3.9, 14.32, 999.9, 1_000.0, 34_612.7, -1_234_567.0, f64::NAN].map(number);
        assert_eq!(texts, ["0", "0.16", "3.90", "14.3", "999.9", "1,000", "34,613", "-1,234,567", "–"]);
        assert_eq!(quantity(34_612.7, "/s"), "34,613/s");
        assert_eq!(quantity(2.5, "KiB"), "2.50 KiB");
    }

    #[test]
    fn short_numbers_have_six_digits() {
        assert_eq!([0.0, 1.0 / 3.0, 123_456_789.0].map(short), [0.0, 0.333_333, 123_457_000.0]);
    }

    #[test]
    fn durations_have_two_units() {
        assert_eq!([3.21, 42.0, 125.0, 7260.0].map(duration), ["3.2 s", "42 s", "2 min 5 s", "2 h 1 min"]);
    }
}
