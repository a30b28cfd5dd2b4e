//! Wall time as Python and HTTP print it.

use jiff::Timestamp;
use jogi_core::Wall;

fn timestamp(wall: Wall) -> Timestamp {
    Timestamp::from_microsecond(wall.0).unwrap_or_default()
}

/// `str(datetime)` in UTC: `2026-11-22 22:03:10.831115+00:00`, without the fraction when it is zero.
pub(super) fn python(wall: Wall) -> String {
    let format = if wall.0.rem_euclid(1_000_000) == 0 { "%Y-%m-%d %H:%M:%S" } else { "%Y-%m-%d %H:%M:%S.%6f" };
    format!("{}+00:00", timestamp(wall).strftime(format))
}

/// Seconds since 1970 as a Python float.
pub(super) fn epoch(wall: Wall) -> String {
    jogi_config::python::float_text(wall.0 as f64 / 1e6)
}

/// `Sun, 22 Nov 2026 22:03:10 GMT`.
pub(super) fn http_date(wall: Wall) -> String {
    timestamp(wall).strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_print_as_python_prints_them() {
        let wall = Wall(1_795_384_990_831_115);
        assert_eq!(python(wall), "2026-11-22 22:03:10.831115+00:00");
        assert_eq!(python(Wall(1_795_384_990_000_000)), "2026-11-22 22:03:10+00:00");
        assert_eq!(epoch(wall), "1795384990.831115");
        assert_eq!(epoch(Wall(0)), "0.0");
        assert_eq!(http_date(wall), "Sun, 22 Nov 2026 22:03:10 GMT");
    }
}
