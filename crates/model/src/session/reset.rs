//! When a quota that is used up is full again, as agents say it.

use jiff::civil::{Date, Time};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

/// When a quota is full again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reset {
    /// At a moment.
    At(Timestamp),
    /// So long after the agent said it.
    After(SignedDuration),
    /// At a time of the clock.
    Clock(ClockTime),
}

/// A time of the clock, such as `10:30am` or `Oct 9, 5pm (Europe/Berlin)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClockTime {
    /// The time.
    pub time: Time,
    /// Month and day; the next day with this time if there is none.
    pub day: Option<(i8, i8)>,
    /// The year, if the agent says it.
    pub year: Option<i16>,
    /// The name of the time zone; the machine's own if there is none.
    pub zone: Option<String>,
}

impl Reset {
    /// The moment, if the agent said it at `now` on a machine in the zone `local`. `None` if there is no such moment, or
    /// no such zone.
    pub fn moment(&self, now: Timestamp, local: &TimeZone) -> Option<Timestamp> {
        match self {
            Self::At(moment) => Some(*moment),
            Self::After(duration) => now.checked_add(*duration).ok(),
            Self::Clock(clock) => clock.moment(now, local),
        }
    }
}

impl ClockTime {
    fn moment(&self, now: Timestamp, local: &TimeZone) -> Option<Timestamp> {
        let zone = match &self.zone {
            Some(name) => TimeZone::get(name).ok()?,
            None => local.clone(),
        };
        let today = now.to_zoned(zone.clone()).date();
        let at = |date: Date| {
            let zoned = date.to_datetime(self.time).to_zoned(zone.clone());
            zoned.ok().map(|zoned| zoned.timestamp())
        };
        let Some((month, day)) = self.day else {
            return at(today)
                .filter(|moment| *moment > now)
                .or_else(|| at(today.tomorrow().ok()?));
        };
        let year = self.year.unwrap_or_else(|| today.year());
        let moment = at(Date::new(year, month, day).ok()?)?;
        // "Jan 2", said in December.
        if self.year.is_none() && moment < now {
            return at(Date::new(year.checked_add(1)?, month, day).ok()?);
        }
        Some(moment)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clock(hour: i8, minute: i8) -> ClockTime {
        ClockTime {
            time: Time::constant(hour, minute, 0, 0),
            day: None,
            year: None,
            zone: None,
        }
    }

    fn moment(reset: &Reset, now: &str) -> Option<String> {
        let moment = reset.moment(now.parse().unwrap(), &TimeZone::UTC);
        moment.map(|moment| moment.to_string())
    }

    #[test]
    fn a_time_of_the_clock_is_the_next_one() {
        let reset = Reset::Clock(clock(10, 30));
        let at = |now| moment(&reset, now).unwrap();
        assert_eq!(at("2026-11-27T09:00:00Z"), "2026-11-27T10:30:00Z");
        assert_eq!(at("2026-11-27T10:30:00Z"), "2026-11-28T10:30:00Z");
        assert_eq!(at("2026-12-31T23:00:00Z"), "2027-01-01T10:30:00Z");
    }

    #[test]
    fn a_zone_is_known_without_the_files_of_the_machine() {
        let reset = |zone: &str| {
            let zone = Some(zone.to_owned());
            Reset::Clock(ClockTime { zone, ..clock(10, 30) })
        };
        let now = "2026-11-27T09:00:00Z";
        let west = moment(&reset("America/Los_Angeles"), now);
        assert_eq!(west.as_deref(), Some("2026-11-27T18:30:00Z"));
        assert_eq!(moment(&reset("Nowhere/At_All"), now), None);
    }

    #[test]
    fn a_day_without_a_year_is_the_next_one() {
        let day = |month, day| {
            Reset::Clock(ClockTime {
                day: Some((month, day)),
                ..clock(17, 0)
            })
        };
        let now = "2026-12-30T09:00:00Z";
        assert_eq!(moment(&day(12, 31), now).as_deref(), Some("2026-12-31T17:00:00Z"));
        assert_eq!(moment(&day(1, 2), now).as_deref(), Some("2027-01-02T17:00:00Z"));
        assert_eq!(moment(&day(2, 30), now), None);
        let later = Reset::After(SignedDuration::from_mins(90));
        assert_eq!(moment(&later, now).as_deref(), Some("2026-12-30T10:30:00Z"));
    }
}
