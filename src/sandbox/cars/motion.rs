//! How the cars move: a timetable that repeats for ever, so that every figure follows from the time alone.

use std::f64::consts::TAU;

/// 2026-01-01T00:00:00Z, in milliseconds since 1970: the first round of every car.
pub(in crate::sandbox) const ANCHOR: i64 = 1_767_225_600_000;
const MINUTE: i64 = 60_000;
const MILES_PER_DEGREE: f64 = 69.0;

/// What a car does for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::sandbox) enum Doing {
    Driving,
    Charging,
    Parked,
    Asleep,
}

/// A stretch of the timetable.
#[derive(Debug)]
pub(in crate::sandbox) struct Leg {
    pub doing: Doing,
    pub minutes: i64,
    /// Battery in percent at its begin and its end.
    pub level: (f64, f64),
    pub miles: f64,
}

/// A car's timetable and the loop that it drives.
#[derive(Debug)]
pub(in crate::sandbox) struct Timetable {
    pub legs: &'static [Leg],
    pub home: (f64, f64),
    pub laps: f64,
    /// Miles on the clock at the anchor.
    pub odometer: f64,
}

/// Where in its timetable a car is.
#[derive(Clone, Copy, Debug)]
pub(in crate::sandbox) struct Point {
    /// Rounds since the anchor; negative before it.
    pub round: i64,
    pub leg: usize,
    /// How much of the leg is over, 0 to 1.
    pub progress: f64,
    /// When the leg began and ends, in milliseconds since 1970.
    pub span: (i64, i64),
}

impl Timetable {
    pub(in crate::sandbox) fn round_millis(&self) -> i64 {
        self.legs.iter().map(|leg| leg.minutes * MINUTE).sum()
    }

    /// Where the car is at a moment.
    pub(in crate::sandbox) fn at(&self, now: i64) -> Point {
        let whole = self.round_millis();
        let round = (now - ANCHOR).div_euclid(whole);
        let mut begin = ANCHOR + round * whole;
        for (leg, stretch) in self.legs.iter().enumerate() {
            let end = begin + stretch.minutes * MINUTE;
            if now < end {
                let progress = float(now - begin) / float(end - begin);
                return Point { round, leg, progress, span: (begin, end) };
            }
            begin = end;
        }
        Point { round, leg: 0, progress: 0.0, span: (begin, begin) }
    }

    /// When a leg of a round begins and ends.
    pub(in crate::sandbox) fn span_of(&self, round: i64, leg: usize) -> (i64, i64) {
        let before: i64 = self.legs[..leg].iter().map(|leg| leg.minutes * MINUTE).sum();
        let begin = ANCHOR + round * self.round_millis() + before;
        (begin, begin + self.legs[leg].minutes * MINUTE)
    }

    /// The leg of this kind; every timetable has one of each that its car does.
    pub(in crate::sandbox) fn leg_of(&self, doing: Doing) -> usize {
        self.legs.iter().position(|leg| leg.doing == doing).unwrap_or(0)
    }

    pub(in crate::sandbox) fn level(&self, point: Point) -> f64 {
        let (from, to) = self.legs[point.leg].level;
        let share = if self.legs[point.leg].doing == Doing::Driving { ease(point.progress) } else { point.progress };
        from + (to - from) * share
    }

    pub(in crate::sandbox) fn odometer(&self, point: Point) -> f64 {
        let a_round: f64 = self.legs.iter().map(|leg| leg.miles).sum();
        let before: f64 = self.legs[..point.leg].iter().map(|leg| leg.miles).sum();
        let here = self.legs[point.leg].miles * ease(point.progress);
        self.odometer + float(point.round.max(0)) * a_round + before + here
    }

    /// Latitude and longitude: a loop that begins and ends at home.
    pub(in crate::sandbox) fn position(&self, point: Point) -> (f64, f64) {
        let leg = &self.legs[point.leg];
        let share = if leg.doing == Doing::Driving { ease(point.progress) } else { 0.0 };
        let angle = TAU * (self.laps * share).fract();
        let miles: f64 = self.legs.iter().map(|leg| leg.miles).sum();
        let radius = miles / self.laps / TAU / MILES_PER_DEGREE;
        let (latitude, longitude) = self.home;
        (latitude + radius * angle.sin(), longitude + radius * (1.0 - angle.cos()) / latitude.to_radians().cos())
    }

    /// Degrees clockwise from north.
    pub(in crate::sandbox) fn heading(&self, point: Point) -> f64 {
        let share = if self.legs[point.leg].doing == Doing::Driving { ease(point.progress) } else { 0.0 };
        (self.laps * share).fract() * 360.0
    }

    /// Miles per hour.
    pub(in crate::sandbox) fn speed(&self, point: Point) -> f64 {
        let leg = &self.legs[point.leg];
        if leg.doing != Doing::Driving {
            return 0.0;
        }
        let average = leg.miles / (float(leg.minutes) / 60.0);
        average * (1.0 - (TAU * point.progress).cos())
    }
}

/// How much of the way is behind the car: it starts and stops gently.
fn ease(progress: f64) -> f64 {
    progress - (TAU * progress).sin() / TAU
}

/// A whole number as a float.
#[expect(clippy::cast_precision_loss, reason = "milliseconds and miles of the sandbox stay far below 2^52")]
pub(in crate::sandbox) fn float(number: i64) -> f64 {
    number as f64
}

/// A float rounded to a whole number.
#[expect(clippy::cast_possible_truncation, reason = "levels, speeds and degrees are small")]
pub(in crate::sandbox) fn whole(number: f64) -> i64 {
    number.round() as i64
}

/// A float rounded to two places.
pub(in crate::sandbox) fn places(number: f64) -> f64 {
    (number * 100.0).round() / 100.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::cars::MODELS;

    #[test]
    fn level_position_and_odometer_never_jump() {
        for model in MODELS {
            let table = &model.timetable;
            let mut now = ANCHOR;
            while now < ANCHOR + 2 * table.round_millis() {
                let (a, b) = (table.at(now), table.at(now + 1000));
                assert!((table.level(a) - table.level(b)).abs() < 0.1, "{} at {now}", model.id);
                let miles = table.odometer(b) - table.odometer(a);
                assert!((0.0..0.03).contains(&miles), "{} at {now}: {miles}", model.id);
                let ((lat, lon), (lat2, lon2)) = (table.position(a), table.position(b));
                assert!((lat - lat2).abs() < 0.001 && (lon - lon2).abs() < 0.001, "{} at {now}", model.id);
                now += 1000;
            }
        }
    }

    #[test]
    fn a_car_drives_and_charges_within_a_round() {
        let table = &MODELS[0].timetable;
        let drive = table.span_of(5, table.leg_of(Doing::Driving));
        let halfway = table.at(i64::midpoint(drive.0, drive.1));
        assert!(table.speed(halfway) > 50.0 && table.speed(halfway) < 90.0);
        assert!(table.level(table.at(drive.1)) < table.level(table.at(drive.0)));
    }
}
