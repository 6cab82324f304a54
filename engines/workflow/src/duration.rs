//! Durations: ISO 8601 texts, and maps of units.

/// The longest duration, in milliseconds: a leap year. Longer ones are mistakes.
pub(crate) const DURATION_MS_MAX: u64 = 366 * DAY_MS;

const SECOND_MS: u64 = 1_000;
const MINUTE_MS: u64 = 60 * SECOND_MS;
const HOUR_MS: u64 = 60 * MINUTE_MS;
const DAY_MS: u64 = 24 * HOUR_MS;

/// The units of an inline duration, in milliseconds.
pub(crate) const UNITS: [(&str, u64); 5] = [
    ("days", DAY_MS),
    ("hours", HOUR_MS),
    ("minutes", MINUTE_MS),
    ("seconds", SECOND_MS),
    ("milliseconds", 1),
];

/// Reads `P1DT2H3M4.5S` as milliseconds. Years and months have no fixed length and are refused; `P2W` is two weeks.
pub(crate) fn parse_iso(text: &str) -> Option<u64> {
    let rest = text.strip_prefix('P')?;
    if let Some(weeks) = rest.strip_suffix('W') {
        return bounded(digits(weeks)?.checked_mul(7 * DAY_MS)?);
    }
    let (date, time) = match rest.split_once('T') {
        Some((_, "")) => return None,
        Some((date, time)) => (date, time),
        None => (rest, ""),
    };
    if date.is_empty() && time.is_empty() {
        return None;
    }
    let mut total = 0_u64;
    if !date.is_empty() {
        total = digits(date.strip_suffix('D')?)?.checked_mul(DAY_MS)?;
    }
    let mut time = time;
    for (unit, ms) in [('H', HOUR_MS), ('M', MINUTE_MS)] {
        if let Some((count, rest)) = time.split_once(unit) {
            total = total.checked_add(digits(count)?.checked_mul(ms)?)?;
            time = rest;
        }
    }
    if !time.is_empty() {
        total = total.checked_add(seconds(time.strip_suffix('S')?)?)?;
    }
    bounded(total)
}

pub(crate) fn bounded(ms: u64) -> Option<u64> {
    (ms <= DURATION_MS_MAX).then_some(ms)
}

fn digits(text: &str) -> Option<u64> {
    let plain = !text.is_empty() && text.len() <= 12 && text.bytes().all(|b| b.is_ascii_digit());
    plain.then(|| text.parse().ok()).flatten()
}

/// Whole seconds with up to three decimals.
fn seconds(text: &str) -> Option<u64> {
    let Some((whole, fraction)) = text.split_once(['.', ',']) else {
        return digits(text)?.checked_mul(SECOND_MS);
    };
    let scale = match fraction.len() {
        1 => 100,
        2 => 10,
        3 => 1,
        _ => return None,
    };
    digits(whole)?.checked_mul(SECOND_MS)?.checked_add(digits(fraction)?.checked_mul(scale)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn iso_durations_read_as_milliseconds() {
        let cases = [
            ("PT1S", 1_000),
            ("PT0.25S", 250),
            ("PT1,5S", 1_500),
            ("PT1M30S", 90_000),
            ("PT2H", 7_200_000),
            ("P1D", DAY_MS),
            ("P1DT1H", DAY_MS + HOUR_MS),
            ("P2W", 14 * DAY_MS),
            ("PT0S", 0),
            ("P366D", DURATION_MS_MAX),
        ];
        for (text, ms) in cases {
            assert_eq!(parse_iso(text), Some(ms), "{text}");
        }
    }

    #[test]
    fn anything_else_is_not_a_duration() {
        for text in [
            "",
            "P",
            "PT",
            "1S",
            "pt1s",
            "PT1",
            "P1Y",
            "P1M",
            "P1DT",
            "PT1S1M",
            "PT-1S",
            "-PT1S",
            "PT1.S",
            "PT.5S",
            "PT0.0001S",
            "PT1S ",
            " PT1S",
            "P367D",
            "PT99999999999999S",
            "P1W1D",
            "PT1e3S",
            "PT١S",
        ] {
            assert_eq!(parse_iso(text), None, "{text}");
        }
    }
}
