//! Cars as the API shows them. Members and their order follow the captured bodies; many numbers are strings there.

use super::super::answer::Answer;
use super::super::call::Call;
use super::super::cars::motion::places;
use super::super::cars::{self, Car};
use super::super::json::{Json, object};
use super::super::serve::Shared;
use super::{Caller, car_of, permit};
use crate::domain::scope::Scope;

/// `GET /api/vehicles`: a bare array.
pub(super) fn list(shared: &Shared, caller: &Caller) -> Answer {
    let cars = cars::of_account(shared, caller.account);
    Answer::json(200, Json::list(cars.iter().map(summary)))
}

/// A car in a list.
pub(in crate::sandbox) fn summary(car: &Car) -> Json {
    let model = car.model;
    object! {
        "public_id": model.id,
        "vin": model.vin,
        "name": model.name,
        "model": model.kind,
        "trim": model.trim,
        "year": model.year,
        "car_version": model.version,
        "state": car.state(),
        "odometer": car.odometer(),
        "battery_level": car.level(),
    }
}

/// `GET /api/vehicle/{id}`: a little of a public car for anybody, all of it for its owner.
pub(super) fn one(shared: &Shared, call: &Call, id: &str) -> Result<Answer, Answer> {
    let shows_something = call.bearer().is_some() || call.query("api_key").is_some();
    let public = cars::find(shared, id).filter(|car| car.model.public);
    if let (false, Some(car)) = (shows_something, public) {
        return Ok(Answer::enveloped(body(&car, call, false)));
    }
    let caller = permit(shared, call, Scope::Vehicles, true)?;
    Ok(Answer::enveloped(body(&car_of(shared, &caller, id)?, call, true)))
}

/// A car's overview.
fn body(car: &Car, call: &Call, full: bool) -> Json {
    let render = format!("{}/render-vehicle/{}/large", call.origin, car.model.id);
    let mut members = overview(car, full);
    members.push(("render_url", Json::from(render)));
    Json::object_of(members)
}

/// A car's overview without the address of its picture.
pub(in crate::sandbox) fn overview(car: &Car, full: bool) -> Vec<(&'static str, Json)> {
    let model = car.model;
    let range = format!("{:.2}", car.range());
    let battery = if full {
        battery(car, range)
    } else {
        object! { "level": car.level(), "range": range }
    };
    let climate = if full {
        climate(car)
    } else {
        object! { "inside": car.inside(), "outside": car.outside() }
    };
    let mut members = vec![
        ("name", Json::from(model.name)),
        ("public_id", Json::from(model.id)),
        ("odometer", Json::from(car.odometer())),
        ("model", Json::from(model.kind)),
        ("trim", Json::from(model.trim)),
        ("year", Json::from(model.year)),
        ("car_version", Json::from(model.version)),
        ("battery", battery),
        ("climate", climate),
    ];
    if full {
        members.push(("vehicle", vehicle(car)));
    }
    members.push(("statistics", statistics(car)));
    members
}

fn battery(car: &Car, range: String) -> Json {
    let minutes = car.minutes_left();
    object! {
        "level": car.level(),
        "range": range,
        "charge_limit_soc": car.limit(),
        "charging_state": car.charging_state(),
        "minutes_remaining": minutes,
        "time_remaining": format!("{}h {}m", minutes / 60, minutes % 60),
        "scheduled_charging_mode": "Off",
        "scheduled_charging_pending": false,
        "scheduled_charging_start_time": Option::<i64>::None,
    }
}

fn climate(car: &Car) -> Json {
    object! {
        "inside": car.inside(),
        "outside": car.outside(),
        "is_climate_on": car.climate_on(),
        "driver_temp_setting": 70.5,
        "passenger_temp_setting": 70.5,
        "fan_status": u8::from(car.climate_on()) * 3,
        "seat_heaters": object! { "left": 0, "right": 0, "rear_left": 0, "rear_center": 0, "rear_right": 0 },
    }
}

fn vehicle(car: &Car) -> Json {
    let (latitude, longitude) = car.position();
    let open = u8::from(car.wishes.windows_open);
    object! {
        "locked": car.is_locked(),
        "sentry_mode": car.sentry(),
        "latitude": degrees(latitude),
        "longitude": degrees(longitude),
        "heading": car.heading(),
        "speed": car.speed(),
        "shift_state": shift_state(car),
        "is_user_present": car.is_driving(),
        "windows": object! { "fd": open, "fp": open, "rd": open, "rp": open },
        "frunk_open": car.wishes.frunk_open,
        "trunk_open": car.wishes.trunk_open,
        "config": object! { "exterior_color": "MidnightSilver", "wheel_type": "Pinwheel18", "rhd": false },
    }
}

fn statistics(car: &Car) -> Json {
    let rounds = super::history::rounds(car);
    let (miles, kwh) = super::history::totals(car);
    object! {
        "drives": rounds,
        "distance": places(miles),
        "drives_duration": super::history::seconds_of_drives(car),
        "charges": rounds,
        "supercharging": 0,
        "charges_duration": super::history::seconds_of_charges(car),
        "charges_kwh": places(kwh),
        "joined": "since the first day of 2026",
        "hw": "3.0",
    }
}

/// `GET /api/vehicle/{id}/detailed`: a bare object, with 0 and 1 for booleans. A sleeping car has no charge state.
pub(super) fn detailed(car: &Car) -> Answer {
    let model = car.model;
    let charge_state = if car.state() == "asleep" { Json::from(()) } else { charge_state(car) };
    let parked = u8::from(!car.is_driving());
    let members = object! {
        "vin": model.vin,
        "name": model.name,
        "public_id": model.id,
        "state": car.state(),
        "odometer": format!("{:.2}", car.odometer()),
        "located_at_home": parked,
        "located_at_work": 0,
        "located_at_favorite": 0,
        "charge_state": charge_state,
        "climate_state": climate_state(car),
        "drive_state": drive_state(car),
        "vehicle_state": vehicle_state(car),
    };
    Answer::json(200, members)
}

fn charge_state(car: &Car) -> Json {
    let range = format!("{:.2}", car.range());
    object! {
        "battery_level": car.level(),
        "usable_battery_level": car.level(),
        "battery_range": range.clone(),
        "est_battery_range": range,
        "charge_energy_added": format!("{:.2}", car.energy_added()),
        "charge_limit_soc": car.limit(),
        "charge_port_door_open": u8::from(car.port_open()),
        "charge_rate": format!("{:.1}", f64::from(u8::from(car.is_charging())) * 30.0),
        "charger_power": car.charger_power(),
        "charger_voltage": i64::from(u8::from(car.is_charging())) * 240,
        "charging_state": car.charging_state(),
        "detailed_charge_state": format!("DetailedChargeState{}", car.charging_state()),
        "time_to_full_charge": format!("{:.2}", cars::motion::float(car.minutes_left()) / 60.0),
        "scheduled_charging_mode": "Off",
        "scheduled_charging_pending": 0,
        "scheduled_charging_start_time": Option::<i64>::None,
        "charge_amps": car.wishes.amps.unwrap_or(32),
        "charge_current_request": car.wishes.amps.unwrap_or(32),
        "charge_current_request_max": 48,
    }
}

fn climate_state(car: &Car) -> Json {
    object! {
        "inside_temp": format!("{:.1}", car.inside()),
        "outside_temp": format!("{:.1}", car.outside()),
        "is_climate_on": u8::from(car.climate_on()),
        "is_auto_conditioning_on": u8::from(car.climate_on()),
        "is_preconditioning": 0,
        "is_front_defroster_on": 0,
        "is_rear_defroster_on": 0,
        "driver_temp_setting": "70.5",
        "passenger_temp_setting": "70.5",
        "fan_status": u8::from(car.climate_on()) * 3,
        "seat_heater_left": 0,
        "seat_heater_right": 0,
    }
}

fn drive_state(car: &Car) -> Json {
    let (latitude, longitude) = car.position();
    object! {
        "gps_as_of": car.now.div_euclid(1000),
        "heading": car.heading(),
        "latitude": degrees(latitude),
        "longitude": degrees(longitude),
        "power": if car.is_driving() { car.speed() / 3 } else { -car.charger_power() },
        "shift_state": shift_state(car),
        "speed": car.is_driving().then(|| car.speed()),
    }
}

fn vehicle_state(car: &Car) -> Json {
    let open = u8::from(car.wishes.windows_open);
    object! {
        "car_version": car.model.version,
        "locked": u8::from(car.is_locked()),
        "sentry_mode": u8::from(car.sentry()),
        "valet_mode": 0,
        "is_user_present": u8::from(car.is_driving()),
        "odometer": format!("{:.2}", car.odometer()),
        "df": 0, "dr": 0, "pf": 0, "pr": 0,
        "ft": u8::from(car.wishes.frunk_open),
        "rt": u8::from(car.wishes.trunk_open),
        "fd_window": open, "fp_window": open, "rd_window": open, "rp_window": open,
        "software_update_status": "",
        "software_update_version": "",
        "tpms_pressure_fl": "2.90",
        "tpms_pressure_fr": "2.90",
        "tpms_pressure_rl": "2.88",
        "tpms_pressure_rr": "2.88",
    }
}

fn shift_state(car: &Car) -> Option<&'static str> {
    match car.state() {
        "asleep" => None,
        _ if car.is_driving() => Some("D"),
        _ => Some("P"),
    }
}

/// Six places, as a string.
pub(super) fn degrees(value: f64) -> String {
    format!("{value:.6}")
}
