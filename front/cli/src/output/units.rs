//! Bytes, times and moments for people.

/// `812 B`, `1.5 MiB`.
pub(crate) fn bytes(bytes: u64) -> String {
    let mut value = bytes as f64;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if value < 1000.0 {
            let precision = usize::from(unit != "B" && value < 100.0);
            return format!("{value:.precision$} {unit}");
        }
        value /= 1024.0;
    }
    format!("{value:.1} TiB")
}

/// `12 ms`, `1.24 s`, `3 m 20 s`, `2 h 5 m`, `3 d 4 h`.
pub(crate) fn span(seconds: f64) -> String {
    let whole = seconds.max(0.0) as u64;
    match whole {
        0 => format!("{:.0} ms", seconds.max(0.0) * 1000.0),
        1..10 => format!("{seconds:.2} s"),
        10..60 => format!("{seconds:.1} s"),
        60..3600 => both(whole / 60, "m", whole % 60, "s"),
        3600..86_400 => both(whole / 3600, "h", whole % 3600 / 60, "m"),
        _ => both(whole / 86_400, "d", whole % 86_400 / 3600, "h"),
    }
}

/// Two units; the second only where there is any of it.
fn both(large: u64, large_unit: &str, small: u64, small_unit: &str) -> String {
    match small {
        0 => format!("{large} {large_unit}"),
        _ => format!("{large} {large_unit} {small} {small_unit}"),
    }
}

/// How long ago a moment was, roughly: `now`, `12 s ago`, `3 d ago`. Both in Unix seconds.
pub(crate) fn ago(moment: f64, now: f64) -> String {
    match (now - moment).max(0.0) as u64 {
        0 => "now".to_owned(),
        seconds => format!("{} ago", rough(seconds)),
    }
}

/// How long from now a moment is, roughly. Both in Unix seconds.
pub(crate) fn ahead(moment: f64, now: f64) -> String {
    format!("in {}", rough((moment - now).max(0.0) as u64))
}

/// A moment in UTC (RFC 3339), to the millisecond. In microseconds since the Unix epoch.
pub(crate) fn moment(micros: u64) -> String {
    let (seconds, millis) = (micros / 1_000_000, micros / 1000 % 1000);
    let (days, second) = ((seconds / 86_400) as i64, seconds % 86_400);
    // Days from the civil calendar, after Howard Hinnant's "chrono-Compatible Low-Level Date
    // Algorithms": years begin in March.
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
}

fn rough(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} m", seconds / 60),
        3600..86_400 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_told_by_the_calendar() {
        for (micros, told) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400_000_000, "2000-02-29T00:00:00.000Z"),
            (1_795_392_059_999_999, "2026-11-23T00:00:59.999Z"),
        ] {
            assert_eq!(moment(micros), told);
        }
    }

    #[test]
    fn units_are_chosen_for_reading() {
        let shown = [0, 999, 1024, 1_572_864, 1 << 40].map(bytes);
        assert_eq!(shown, ["0 B", "999 B", "1.0 KiB", "1.5 MiB", "1.0 TiB"]);
        let shown = [0.0123, 1.239, 60.0, 200.0, 7500.0, 273_600.0].map(span);
        assert_eq!(shown, ["12 ms", "1.24 s", "1 m", "3 m 20 s", "2 h 5 m", "3 d 4 h"]);
        assert_eq!((ago(10.0, 10.5), ago(10.0, 200.0)), ("now".into(), "3 m ago".into()));
    }
}
