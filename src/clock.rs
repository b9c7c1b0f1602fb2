//! Time as a parameter: whoever needs the time is given it, and only the outermost code asks the clock.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A point of wall-clock time, in nanoseconds since 1970 (UTC, leap seconds smeared or ignored as the system does).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The system's time now.
    pub fn now() -> Self {
        Self::from(SystemTime::now())
    }

    /// A time from nanoseconds since 1970.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since 1970.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Milliseconds since 1970.
    pub const fn as_millis(self) -> u64 {
        self.0 / 1_000_000
    }

    /// Seconds since 1970, as grants keep them: good until 2106.
    pub fn as_secs(self) -> u32 {
        u32::try_from(self.0 / 1_000_000_000).unwrap_or(u32::MAX)
    }

    /// Writes the time as RFC 3339 in UTC with nine digits: always 30 bytes.
    pub fn write_rfc3339(self, out: &mut Vec<u8>) {
        let (seconds, nanos) = (self.0 / 1_000_000_000, self.0 % 1_000_000_000);
        let (year, month, day) = civil_from_days(seconds / 86_400);
        let of_day = seconds % 86_400;
        digits::<4>(out, year);
        out.push(b'-');
        digits::<2>(out, month);
        out.push(b'-');
        digits::<2>(out, day);
        out.push(b'T');
        digits::<2>(out, of_day / 3600);
        out.push(b':');
        digits::<2>(out, of_day / 60 % 60);
        out.push(b':');
        digits::<2>(out, of_day % 60);
        out.push(b'.');
        digits::<9>(out, nanos);
        out.push(b'Z');
    }

    /// The time as RFC 3339 text.
    pub fn to_rfc3339(self) -> String {
        let mut out = Vec::with_capacity(30);
        self.write_rfc3339(&mut out);
        String::from_utf8_lossy(&out).into_owned()
    }
}

/// A clock that is set once and then goes steadily: what it measures does not change when the system's clock is put back or
/// forward.
#[derive(Debug, Clone, Copy)]
pub struct SteadyClock {
    at: u32,
    since: Instant,
}

impl SteadyClock {
    /// A clock that is set to the system's time.
    pub fn set() -> Self {
        Self {
            at: Timestamp::now().as_secs(),
            since: Instant::now(),
        }
    }

    /// Seconds since 1970 now.
    pub fn as_secs(self) -> u32 {
        self.secs_at(Instant::now())
    }

    /// Seconds since 1970 at a moment.
    pub fn secs_at(self, moment: Instant) -> u32 {
        let passed = moment.saturating_duration_since(self.since).as_secs();
        self.at
            .saturating_add(u32::try_from(passed).unwrap_or(u32::MAX))
    }
}

impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        Self(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
    }
}

/// Proleptic Gregorian date of a day counted from 1970-01-01, by counting in 400-year eras that begin in March.
const fn civil_from_days(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    let year = year_of_era + era * 400;
    (if month <= 2 { year + 1 } else { year }, month, day)
}

/// Appends the last `WIDTH` decimal digits.
fn digits<const WIDTH: usize>(out: &mut Vec<u8>, mut value: u64) {
    let mut text = [b'0'; WIDTH];
    for place in text.iter_mut().rev() {
        *place += u8::try_from(value % 10).unwrap_or(0);
        value /= 10;
    }
    out.extend_from_slice(&text);
}

#[cfg(test)]
mod tests {
    use super::Timestamp;

    #[test]
    fn rfc3339_agrees_with_a_calendar_library() {
        for seconds in [
            0_u64,
            951_782_400,
            1_709_164_799,
            1_763_766_251,
            4_102_444_799,
        ] {
            let time = Timestamp::from_nanos(seconds * 1_000_000_000 + 120_331_207);
            let expected =
                jiff::Timestamp::new(i64::try_from(seconds).unwrap(), 120_331_207).unwrap();
            assert_eq!(time.to_rfc3339(), format!("{expected:.9}"));
        }
    }
}
