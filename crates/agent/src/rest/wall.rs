//! Wall time as Python and HTTP print it.

use jiff::Timestamp;
use jogi_core::Wall;
pub(super) use jogi_core::ha::schedule::print as python;

fn timestamp(wall: Wall) -> Timestamp {
    Timestamp::from_microsecond(wall.0).unwrap_or_default()
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
        assert_eq!(epoch(wall), "1795384990.831115");
        assert_eq!(epoch(Wall(0)), "0.0");
        assert_eq!(http_date(wall), "Sun, 22 Nov 2026 22:03:10 GMT");
    }
}
