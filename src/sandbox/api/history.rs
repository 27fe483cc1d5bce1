//! Drives, charges, trips and places: the rounds that are over, newest first, by Laravel's simple paginator.

use time::OffsetDateTime;

use super::super::answer::Answer;
use super::super::call::Call;
use super::super::cars::Car;
use super::super::cars::motion::{ANCHOR, Doing, Point, float, places, whole};
use super::super::json::{Json, object};
use super::vehicle::degrees;

const FIRST_DRIVE: i64 = 43_000;
const FIRST_CHARGE: i64 = 411_000;
/// Rounds to a trip.
const TRIP: i64 = 8;

/// How many rounds are over; each is one drive and one charge.
pub(super) fn rounds(car: &Car) -> i64 {
    (car.now - ANCHOR).div_euclid(car.model.timetable.round_millis()).max(0)
}

/// Miles driven and kilowatt-hours charged in them.
pub(super) fn totals(car: &Car) -> (f64, f64) {
    let table = &car.model.timetable;
    let miles: f64 = table.legs.iter().map(|leg| leg.miles).sum();
    (float(rounds(car)) * miles, float(rounds(car)) * energy(car))
}

pub(super) fn seconds_of_drives(car: &Car) -> i64 {
    seconds_of(car, Doing::Driving)
}

pub(super) fn seconds_of_charges(car: &Car) -> i64 {
    seconds_of(car, Doing::Charging)
}

fn seconds_of(car: &Car, doing: Doing) -> i64 {
    let table = &car.model.timetable;
    table.legs[table.leg_of(doing)].minutes * 60 * rounds(car)
}

/// Kilowatt-hours of one charge.
fn energy(car: &Car) -> f64 {
    let table = &car.model.timetable;
    let (from, to) = table.legs[table.leg_of(Doing::Charging)].level;
    (to - from) / 100.0 * car.model.capacity
}

/// What there is of a kind, and one of them by its number from the first.
fn kind(car: &Car, what: &str) -> (i64, fn(&Car, i64) -> Json) {
    match what {
        "drives" | "drive" => (rounds(car), drive),
        "charges" | "charge" => (rounds(car), charge),
        "trips" | "trip" => (rounds(car) / TRIP, trip),
        _ => (2, location),
    }
}

/// `GET /api/vehicle/{id}/{drives|charges|trips|locations}?page=&limit=`
pub(super) fn page(call: &Call, car: &Car, what: &str) -> Result<Answer, Answer> {
    let limit = match call.query("limit") {
        None => 20,
        Some(text) => text.parse().map_err(|_| Answer::invalid("limit", "The limit must be an integer."))?,
    };
    if limit > 100 {
        return Err(Answer::invalid("limit", "The limit may not be greater than 100."));
    }
    if limit < 1 {
        return Err(Answer::invalid("limit", "The limit must be at least 1."));
    }
    let page = call.query("page").and_then(|page| page.parse::<i64>().ok()).filter(|page| *page > 0).unwrap_or(1);
    Ok(Answer::enveloped(list(car, what, page, limit, &format!("{}{}", call.origin, call.path()))))
}

/// A page of a list. `path` is where it was asked for.
pub(in crate::sandbox) fn list(car: &Car, what: &str, page: i64, limit: i64, path: &str) -> Json {
    let (count, make) = kind(car, what);
    let before = (page - 1).saturating_mul(limit);
    let numbers: Vec<i64> = (before..before.saturating_add(limit)).take_while(|index| *index < count).collect();
    let data = numbers.iter().map(|index| make(car, count - 1 - index));
    let address = |page: i64| format!("{path}?page={page}");
    let more = before.saturating_add(limit) < count;
    object! {
        "current_page": page,
        "data": Json::list(data),
        "first_page_url": address(1),
        "from": numbers.first().map(|index| index + 1),
        "next_page_url": more.then(|| address(page + 1)),
        "path": path,
        "per_page": limit,
        "prev_page_url": (page > 1).then(|| address(page - 1)),
        "to": numbers.last().map(|index| index + 1),
    }
}

/// `GET /api/vehicle/{id}/{drive|charge|trip|location}/{n}`
pub(super) fn one(car: &Car, what: &str, id: &str) -> Result<Answer, Answer> {
    find(car, what, id).map(Answer::enveloped).ok_or_else(|| Answer::missing(&capital(what)))
}

/// One of them by its id.
pub(in crate::sandbox) fn find(car: &Car, what: &str, id: &str) -> Option<Json> {
    let first = match what {
        "drive" => FIRST_DRIVE,
        "charge" => FIRST_CHARGE,
        _ => 1,
    };
    let index = id.parse::<i64>().ok()?.checked_sub(first)?;
    let (count, make) = kind(car, what);
    (0..count).contains(&index).then(|| match what {
        "charge" => charge_with_progress(car, index),
        _ => make(car, index),
    })
}

fn capital(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map(|first| first.to_ascii_uppercase().to_string() + letters.as_str()).unwrap_or_default()
}

/// The beginning and the end of a leg of a round.
fn ends(car: &Car, doing: Doing, round: i64) -> (Point, Point) {
    let leg = car.model.timetable.leg_of(doing);
    let span = car.model.timetable.span_of(round, leg);
    let point = |progress| Point { round, leg, progress, span };
    (point(0.0), point(1.0))
}

fn drive(car: &Car, round: i64) -> Json {
    let table = &car.model.timetable;
    let (start, end) = ends(car, Doing::Driving, round);
    let leg = &table.legs[start.leg];
    let (battery_start, battery_end) = (table.level(start), table.level(end));
    let (home_lat, home_lon) = table.home;
    let seconds = leg.minutes * 60;
    object! {
        "id": FIRST_DRIVE + round,
        "vehicle_id": car.model.number,
        "name": Option::<&str>::None,
        "description": Option::<&str>::None,
        "distance": format!("{:.6}", leg.miles),
        "duration": seconds,
        "avg_speed": whole(leg.miles / (float(seconds) / 3600.0)),
        "efficiency": Option::<&str>::None,
        "battery_level_start": whole(battery_start),
        "battery_range_start": range(car, battery_start),
        "battery_level_end": whole(battery_end),
        "battery_range_end": range(car, battery_end),
        "latitude_start": degrees(home_lat),
        "longitude_start": degrees(home_lon),
        "latitude_end": degrees(home_lat),
        "longitude_end": degrees(home_lon),
        "private": 1,
        "type": "personal",
        "valet": 0,
        "hide_speeding": 1,
        "import_id": Option::<i64>::None,
        "created_at": moment(start.span.0),
        "updated_at": moment(start.span.1),
    }
}

fn charge(car: &Car, round: i64) -> Json {
    Json::object_of(charge_members(car, round))
}

fn charge_members(car: &Car, round: i64) -> Vec<(&'static str, Json)> {
    let table = &car.model.timetable;
    let (start, end) = ends(car, Doing::Charging, round);
    let (from, to) = (table.level(start), table.level(end));
    vec![
        ("id", Json::from(FIRST_CHARGE + round)),
        ("vehicle_id", Json::from(car.model.number)),
        ("battery_level_start", Json::from(whole(from))),
        ("battery_range_start", Json::from(range(car, from))),
        ("battery_level_end", Json::from(whole(to))),
        ("battery_range_end", Json::from(range(car, to))),
        ("charge_energy_added", Json::from(format!("{:.2}", energy(car)))),
        ("charge_limit_soc", Json::from(90)),
        ("odometer", Json::from(format!("{:.2}", places(table.odometer(start))))),
        ("cost", Json::from(format!("{:.2}", energy(car) * 0.31))),
        ("currency", Json::from("USD")),
        ("created_at", Json::from(moment(start.span.0))),
        ("updated_at", Json::from(moment(start.span.1))),
    ]
}

fn charge_with_progress(car: &Car, round: i64) -> Json {
    let table = &car.model.timetable;
    let (start, end) = ends(car, Doing::Charging, round);
    let (from, to) = (table.level(start), table.level(end));
    let hours = float(table.legs[start.leg].minutes) / 60.0;
    let steps = [0.0, 0.25, 0.5, 0.75, 1.0].map(|share| {
        object! {
            "battery_level": whole(from + (to - from) * share),
            "charger_power": if share < 1.0 { whole(energy(car) / hours) } else { 0 },
            "charging_state": if share < 1.0 { "Charging" } else { "Complete" },
            "created_at": moment(start.span.0 + whole(share * float(start.span.1 - start.span.0))),
        }
    });
    let mut members = charge_members(car, round);
    members.push(("progress", Json::list(steps)));
    Json::object_of(members)
}

fn trip(car: &Car, number: i64) -> Json {
    let table = &car.model.timetable;
    let (first, last) = (number * TRIP, number * TRIP + TRIP - 1);
    let (start, _) = ends(car, Doing::Driving, first);
    let (end, _) = ends(car, Doing::Driving, last);
    let leg = &table.legs[start.leg];
    let drives: Vec<i64> = (first..=last).map(|round| FIRST_DRIVE + round).collect();
    object! {
        "id": number + 1,
        "vehicle_id": car.model.number,
        "name": format!("Trip {}", number + 1),
        "distance": format!("{:.6}", leg.miles * float(TRIP)),
        "duration": leg.minutes * 60 * TRIP,
        "drives": drives,
        "created_at": moment(start.span.0),
        "updated_at": moment(end.span.1),
    }
}

fn location(car: &Car, index: i64) -> Json {
    let table = &car.model.timetable;
    let (latitude, longitude) = if index == 0 {
        table.home
    } else {
        let (start, _) = ends(car, Doing::Driving, 0);
        table.position(Point { progress: 0.5 / table.laps, ..start })
    };
    object! {
        "id": index + 1,
        "vehicle_id": car.model.number,
        "name": if index == 0 { "Home" } else { "Turning point" },
        "type": if index == 0 { "home" } else { "favorite" },
        "latitude": degrees(latitude),
        "longitude": degrees(longitude),
        "created_at": moment(ANCHOR),
        "updated_at": moment(ANCHOR),
    }
}

fn range(car: &Car, level: f64) -> String {
    format!("{:.2}", level / 100.0 * car.model.full_range)
}

/// A moment as Eloquent writes it: `2026-06-08T19:01:53.000000Z`.
pub(super) fn moment(millis: i64) -> String {
    let at = OffsetDateTime::from_unix_timestamp(millis.div_euclid(1000)).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let (year, month, day) = at.to_calendar_date();
    let (hour, minute, second) = at.to_hms();
    let micros = millis.rem_euclid(1000) * 1000;
    format!("{year:04}-{:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}Z", u8::from(month))
}
