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
    fn units_are_chosen_for_reading() {
        let shown = [0, 999, 1024, 1_572_864, 1 << 40].map(bytes);
        assert_eq!(shown, ["0 B", "999 B", "1.0 KiB", "1.5 MiB", "1.0 TiB"]);
        let shown = [0.0123, 1.239, 60.0, 200.0, 7500.0, 273_600.0].map(span);
        assert_eq!(shown, ["12 ms", "1.24 s", "1 m", "3 m 20 s", "2 h 5 m", "3 d 4 h"]);
        assert_eq!((ago(10.0, 10.5), ago(10.0, 200.0)), ("now".into(), "3 m ago".into()));
    }
}
