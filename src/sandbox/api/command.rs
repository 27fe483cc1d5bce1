//! Commands, which GET carries out as well as POST does. Each is counted, so that a test sees one that came twice.

use super::super::answer::Answer;
use super::super::cars::{Car, Wishes};
use super::super::serve::Shared;

/// How long a command keeps a car awake.
const AWAKE: std::time::Duration = std::time::Duration::from_secs(600);

/// The names that are known, with the sentence that Teslascope answers.
const COMMANDS: &[(&str, &str)] = &[
    ("honkHorn", "The horn has been honked"),
    ("flashLights", "The lights have been flashed"),
    ("enableSentryMode", "Sentry mode has been enabled"),
    ("disableSentryMode", "Sentry mode has been disabled"),
    ("startAC", "Climate control has been started"),
    ("stopAC", "Climate control has been stopped"),
    ("ventWindows", "The windows have been vented"),
    ("closeWindows", "The windows have been closed"),
    ("openTrunk", "The trunk has been opened"),
    ("openFrunk", "The frunk has been opened"),
    ("openChargeDoor", "The charge port door has been opened"),
    ("closeChargeDoor", "The charge port door has been closed"),
    ("startCharging", "Charging has been started"),
    ("stopCharging", "Charging has been stopped"),
    ("lock", "The vehicle has been locked"),
    ("unlock", "The vehicle has been unlocked"),
    ("setChargeLimit", "The charge limit has been set"),
    ("setChargingAmps", "The charging current has been set"),
];

/// Why a command was not carried out.
#[derive(Debug)]
pub(in crate::sandbox) enum Refusal {
    Unknown,
    Invalid { field: &'static str, message: &'static str },
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Unknown => "Command not found.",
            Self::Invalid { message, .. } => message,
        })
    }
}

impl Refusal {
    pub(super) fn into_answer(self) -> Answer {
        match self {
            Self::Unknown => Answer::missing("Command"),
            Self::Invalid { field, message } => Answer::invalid(field, message),
        }
    }
}

/// The names of all commands.
pub(in crate::sandbox) fn names() -> impl Iterator<Item = &'static str> {
    COMMANDS.iter().map(|(name, _)| *name)
}

/// Carries a command out; its arguments are asked for by name.
pub(in crate::sandbox) fn carry_out(
    shared: &Shared,
    car: &Car,
    name: &str,
    argument: impl Fn(&str) -> Option<String>,
) -> Result<&'static str, Refusal> {
    let (name, sentence) = COMMANDS.iter().find(|(known, _)| *known == name).ok_or(Refusal::Unknown)?;
    let number = |field, range: std::ops::RangeInclusive<i64>, message| {
        let given = argument(field).and_then(|text| text.parse::<i64>().ok());
        given.filter(|number| range.contains(number)).ok_or(Refusal::Invalid { field, message })
    };
    let mut limit = None;
    let mut amps = None;
    match *name {
        "setChargeLimit" => limit = Some(number("limit", 50..=100, "The limit must be between 50 and 100.")?),
        "setChargingAmps" => amps = Some(number("amps", 1..=48, "The amps must be between 1 and 48.")?),
        _ => {}
    }
    let (now, awake_until) = (shared.now(), shared.after(AWAKE));
    shared.memory.change(|state| {
        let wishes = state.cars.entry(car.model.id.to_owned()).or_default();
        wishes.awake_until = awake_until;
        wishes.limit = limit.or(wishes.limit);
        wishes.amps = amps.or(wishes.amps);
        apply(wishes, name, now);
    });
    count(shared, car, name);
    Ok(sentence)
}

fn apply(wishes: &mut Wishes, name: &str, now: i64) {
    match name {
        "enableSentryMode" => wishes.sentry = Some(true),
        "disableSentryMode" => wishes.sentry = Some(false),
        "startAC" => wishes.climate = Some(true),
        "stopAC" => wishes.climate = Some(false),
        "ventWindows" => wishes.windows_open = true,
        "closeWindows" => wishes.windows_open = false,
        "openTrunk" => wishes.trunk_open = !wishes.trunk_open,
        "openFrunk" => wishes.frunk_open = true,
        "openChargeDoor" => wishes.port_open = Some(true),
        "closeChargeDoor" => wishes.port_open = Some(false),
        "startCharging" => wishes.charging = Some((true, now)),
        "stopCharging" => wishes.charging = Some((false, now)),
        "lock" => wishes.locked = Some(true),
        "unlock" => wishes.locked = Some(false),
        _ => {}
    }
}

/// `wakeup` wakes the car; `update` makes the provider ask it anew.
pub(super) fn nudge(shared: &Shared, car: &Car, what: &str) -> &'static str {
    let awake_until = shared.after(AWAKE);
    if what == "wakeup" {
        shared.memory.change(|state| state.cars.entry(car.model.id.to_owned()).or_default().awake_until = awake_until);
    }
    count(shared, car, what);
    if what == "wakeup" { "The vehicle has been woken up" } else { "The vehicle will be updated" }
}

fn count(shared: &Shared, car: &Car, name: &str) {
    let key = (car.model.id.to_owned(), name.to_owned());
    shared.faults.counts.add(|counted| *counted.commands.entry(key).or_default() += 1);
}
