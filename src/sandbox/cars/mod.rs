//! The cars: two of them, one that drives a loop and recharges, and one that mostly charges and rests. Their state follows
//! from the time and from the commands they were given.

pub(super) mod motion;

use serde::{Deserialize, Serialize};

use super::serve::Shared;
use motion::{Doing, Leg, Point, Timetable, float, places, whole};

/// What does not change about a car.
#[derive(Debug)]
pub(super) struct Model {
    /// Its public id.
    pub id: &'static str,
    pub number: i64,
    pub name: &'static str,
    pub vin: &'static str,
    pub kind: &'static str,
    pub trim: &'static str,
    pub year: &'static str,
    pub version: &'static str,
    /// Accounts that see it.
    pub owners: &'static [u32],
    /// Whether anybody may see a little of it.
    pub public: bool,
    /// Miles with a full battery.
    pub full_range: f64,
    /// Kilowatt-hours of a full battery.
    pub capacity: f64,
    pub timetable: Timetable,
}

const fn leg(doing: Doing, minutes: i64, level: (f64, f64), miles: f64) -> Leg {
    Leg { doing, minutes, level, miles }
}

/// All cars.
pub(super) static MODELS: &[Model] = &[
    Model {
        id: "corsair",
        number: 1,
        name: "Corsair",
        vin: "5YJ3E1EC0SANDBOX1",
        kind: "Model 3",
        trim: "Performance",
        year: "2018",
        version: "2026.38.6",
        owners: &[1],
        public: true,
        full_range: 275.0,
        capacity: 75.0,
        timetable: Timetable {
            legs: &[leg(Doing::Driving, 40, (82.0, 74.0), 24.0), leg(Doing::Charging, 20, (74.0, 82.0), 0.0)],
            home: (37.7749, -122.4194),
            laps: 2.0,
            odometer: 85_808.62,
        },
    },
    Model {
        id: "halcyon",
        number: 2,
        name: "Halcyon",
        vin: "7SAYGDEE0SANDBOX2",
        kind: "Model Y",
        trim: "Long Range",
        year: "2023",
        version: "2026.38.5",
        owners: &[1, 2],
        public: false,
        full_range: 310.0,
        capacity: 78.0,
        timetable: Timetable {
            legs: &[
                leg(Doing::Charging, 45, (75.0, 80.0), 0.0),
                leg(Doing::Parked, 15, (80.0, 80.0), 0.0),
                leg(Doing::Asleep, 90, (80.0, 80.0), 0.0),
                leg(Doing::Driving, 30, (80.0, 75.0), 15.0),
            ],
            home: (52.3676, 4.9041),
            laps: 1.0,
            odometer: 21_437.05,
        },
    },
];

/// What commands have made of a car; `None` leaves it to its timetable.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Wishes {
    pub locked: Option<bool>,
    pub sentry: Option<bool>,
    pub climate: Option<bool>,
    pub windows_open: bool,
    pub frunk_open: bool,
    pub trunk_open: bool,
    pub port_open: Option<bool>,
    pub limit: Option<i64>,
    pub amps: Option<i64>,
    /// Charging begun or stopped by hand, and when: it holds until the timetable goes on.
    pub charging: Option<(bool, i64)>,
    /// Until when a command keeps it awake, in milliseconds since 1970.
    pub awake_until: i64,
}

/// A car at a moment.
#[derive(Debug)]
pub(super) struct Car {
    pub model: &'static Model,
    pub now: i64,
    pub wishes: Wishes,
    point: Point,
}

/// All cars as they are now.
pub(super) fn all(shared: &Shared) -> Vec<Car> {
    MODELS.iter().map(|model| now(shared, model)).collect()
}

/// The cars that an account sees.
pub(super) fn of_account(shared: &Shared, account: u32) -> Vec<Car> {
    MODELS.iter().filter(|model| model.owners.contains(&account)).map(|model| now(shared, model)).collect()
}

/// The car with this public id.
pub(super) fn find(shared: &Shared, id: &str) -> Option<Car> {
    MODELS.iter().find(|model| model.id == id).map(|model| now(shared, model))
}

fn now(shared: &Shared, model: &'static Model) -> Car {
    let wishes = shared.memory.lock().cars.get(model.id).cloned().unwrap_or_default();
    Car::at(model, wishes, shared.now())
}

impl Car {
    pub(super) fn at(model: &'static Model, wishes: Wishes, now: i64) -> Self {
        Self { model, now, wishes, point: model.timetable.at(now) }
    }

    fn leg(&self) -> &'static Leg {
        &self.model.timetable.legs[self.point.leg]
    }

    /// Charging begun or stopped by hand during this stretch of the timetable.
    fn by_hand(&self) -> Option<(bool, i64)> {
        self.wishes.charging.filter(|(_, at)| *at >= self.point.span.0 && self.leg().doing != Doing::Driving)
    }

    fn exact_level(&self) -> f64 {
        let table = &self.model.timetable;
        match self.by_hand() {
            None => table.level(self.point),
            Some((false, at)) => table.level(table.at(at)),
            Some((true, at)) => {
                let hours = float(self.now - at) / 3_600_000.0;
                let gained = hours * 11.0 / self.model.capacity * 100.0;
                let from = table.level(table.at(at));
                let scheduled = table.level(self.point);
                (from + gained).min(float(self.limit())).max(from).max(scheduled)
            }
        }
    }

    /// Battery in percent.
    pub(super) fn level(&self) -> i64 {
        whole(self.exact_level())
    }

    /// Miles that the battery lasts.
    pub(super) fn range(&self) -> f64 {
        places(self.exact_level() / 100.0 * self.model.full_range)
    }

    /// Up to where it charges, in percent.
    pub(super) fn limit(&self) -> i64 {
        self.wishes.limit.unwrap_or(90)
    }

    pub(super) fn is_driving(&self) -> bool {
        self.leg().doing == Doing::Driving
    }

    pub(super) fn is_charging(&self) -> bool {
        self.charging_state() == "Charging"
    }

    /// Tesla's word for it.
    pub(super) fn charging_state(&self) -> &'static str {
        match (self.leg().doing, self.by_hand()) {
            (Doing::Driving, _) => "Disconnected",
            (_, Some((false, _))) => "Stopped",
            (Doing::Charging, _) | (_, Some((true, _))) if self.level() < self.limit() => "Charging",
            _ => "Complete",
        }
    }

    /// `online` or `asleep`.
    pub(super) fn state(&self) -> &'static str {
        let asleep = self.leg().doing == Doing::Asleep && self.wishes.awake_until <= self.now && !self.is_charging();
        if asleep { "asleep" } else { "online" }
    }

    /// In a word, for people.
    pub(super) fn doing(&self) -> &'static str {
        match () {
            () if self.is_driving() => "driving",
            () if self.is_charging() => "charging",
            () if self.state() == "asleep" => "asleep",
            () => "parked",
        }
    }

    pub(super) fn is_locked(&self) -> bool {
        self.wishes.locked.unwrap_or(!self.is_driving())
    }

    pub(super) fn sentry(&self) -> bool {
        self.wishes.sentry.unwrap_or(false)
    }

    pub(super) fn climate_on(&self) -> bool {
        self.wishes.climate.unwrap_or_else(|| self.is_driving())
    }

    pub(super) fn port_open(&self) -> bool {
        self.wishes.port_open.unwrap_or_else(|| !self.is_driving())
    }

    pub(super) fn odometer(&self) -> f64 {
        places(self.model.timetable.odometer(self.point))
    }

    /// Latitude and longitude.
    pub(super) fn position(&self) -> (f64, f64) {
        self.model.timetable.position(self.point)
    }

    pub(super) fn heading(&self) -> i64 {
        whole(self.model.timetable.heading(self.point)).rem_euclid(360)
    }

    /// Miles per hour.
    pub(super) fn speed(&self) -> i64 {
        whole(self.model.timetable.speed(self.point))
    }

    /// Kilowatts at the plug.
    pub(super) fn charger_power(&self) -> i64 {
        match (self.is_charging(), self.leg().doing) {
            (false, _) => 0,
            (true, Doing::Charging) => {
                let (from, to) = self.leg().level;
                let hours = float(self.leg().minutes) / 60.0;
                whole((to - from) / 100.0 * self.model.capacity / hours)
            }
            (true, _) => 11,
        }
    }

    /// Kilowatt-hours since charging began.
    pub(super) fn energy_added(&self) -> f64 {
        let began = self.model.timetable.at(self.point.span.0);
        if !self.is_charging() {
            return 0.0;
        }
        places((self.exact_level() - self.model.timetable.level(began)).max(0.0) / 100.0 * self.model.capacity)
    }

    /// Minutes until the timetable goes on.
    pub(super) fn minutes_left(&self) -> i64 {
        if self.is_charging() { (self.point.span.1 - self.now).max(0) / 60_000 } else { 0 }
    }

    /// Degrees Fahrenheit outside: warm in the afternoon.
    pub(super) fn outside(&self) -> f64 {
        let day = float((self.now - 9 * 3_600_000).rem_euclid(86_400_000)) / 86_400_000.0;
        places(61.0 + 9.0 * (std::f64::consts::TAU * day).sin())
    }

    /// Degrees Fahrenheit inside.
    pub(super) fn inside(&self) -> f64 {
        if self.climate_on() { 70.5 } else { places(self.outside() + 4.0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn halcyon(wishes: Wishes, minutes: i64) -> Car {
        Car::at(&MODELS[1], wishes, motion::ANCHOR + minutes * 60_000)
    }

    #[test]
    fn the_second_car_charges_rests_sleeps_and_drives_in_turn() {
        let doing = |minutes| halcyon(Wishes::default(), minutes).doing();
        assert_eq!([doing(10), doing(50), doing(100), doing(160)], ["charging", "parked", "asleep", "driving"]);
    }

    #[test]
    fn commands_change_the_car_until_its_timetable_goes_on() {
        let at = motion::ANCHOR + 10 * 60_000;
        let stopped = Wishes { charging: Some((false, at)), locked: Some(false), ..Wishes::default() };
        assert_eq!(halcyon(stopped.clone(), 20).charging_state(), "Stopped");
        assert_eq!(halcyon(stopped.clone(), 20).level(), halcyon(Wishes::default(), 10).level());
        assert!(!halcyon(stopped.clone(), 20).is_locked());
        assert_eq!(halcyon(stopped, 180 + 20).charging_state(), "Charging");
    }

    #[test]
    fn a_car_charges_up_to_its_limit() {
        let wishes = Wishes { limit: Some(76), ..Wishes::default() };
        assert_eq!(halcyon(wishes.clone(), 1).charging_state(), "Charging");
        assert_eq!(halcyon(wishes, 44).charging_state(), "Complete");
    }
}
