//! The tools that Teslascope names, over the same cars as the API.

use serde_json::{Map, Value, json};

use super::super::api::{Caller, command, history, vehicle};
use super::super::cars::{self, Car};
use super::super::json::Json;
use super::super::serve::Shared;
use crate::domain::scope::{Scope, ScopeSet};

/// A name, what it does, and the names and kinds of its arguments beside `vehicle_id`.
type Tool = (&'static str, &'static str, &'static [(&'static str, &'static str)]);

const TOOLS: &[Tool] = &[
    ("list_vehicles", "List the vehicles of the account.", &[]),
    ("get_vehicle", "Get one vehicle with its battery, climate and position.", &[]),
    ("get_drives", "List the drives of a vehicle, newest first.", &[("page", "integer"), ("limit", "integer")]),
    ("get_drive", "Get one drive.", &[("drive_id", "integer")]),
    ("get_charges", "List the charges of a vehicle, newest first.", &[("page", "integer"), ("limit", "integer")]),
    ("get_charge", "Get one charge with its progress.", &[("charge_id", "integer")]),
    ("send_vehicle_command", "Send a command to a vehicle.", &[("command", "string"), ("limit", "integer")]),
];

/// `tools/list`
pub(super) fn list() -> Vec<Value> {
    TOOLS.iter().map(describe).collect()
}

fn describe((name, description, arguments): &Tool) -> Value {
    let mut properties = Map::new();
    let mut required = Vec::new();
    if *name != "list_vehicles" {
        properties.insert("vehicle_id".to_owned(), json!({ "type": "string", "description": "The public id." }));
        required.push("vehicle_id");
    }
    for (argument, kind) in *arguments {
        let mut schema = json!({ "type": kind });
        if *argument == "command" {
            schema["enum"] = command::names().collect();
        }
        properties.insert((*argument).to_owned(), schema);
        if argument.ends_with("_id") || *argument == "command" {
            required.push(argument);
        }
    }
    let read_only = *name != "send_vehicle_command";
    json!({
        "name": name,
        "description": description,
        "inputSchema": { "type": "object", "properties": properties, "required": required },
        "annotations": { "readOnlyHint": read_only },
    })
}

/// `tools/call`. What the tool itself refuses is a result; an unknown tool is an error of the protocol.
pub(super) fn call(shared: &Shared, caller: &Caller, params: &Value) -> Result<Value, String> {
    let name = params["name"].as_str().unwrap_or_default();
    if !TOOLS.iter().any(|(known, ..)| *known == name) {
        return Err(format!("Tool [{name}] not found."));
    }
    let outcome = run(shared, caller, name, &params["arguments"]);
    Ok(match outcome {
        Ok(json) => json!({ "content": [{ "type": "text", "text": json.to_string() }], "isError": false }),
        Err(reason) => json!({ "content": [{ "type": "text", "text": reason }], "isError": true }),
    })
}

fn run(shared: &Shared, caller: &Caller, name: &str, arguments: &Value) -> Result<Json, String> {
    let needed = match name {
        "send_vehicle_command" => ScopeSet::of(Scope::Vehicles).with(Scope::Controls),
        _ => ScopeSet::of(Scope::Vehicles),
    };
    if !needed.is_subset_of(caller.scopes) {
        return Err("Invalid scope(s) provided.".to_owned());
    }
    if name == "list_vehicles" {
        let cars = cars::of_account(shared, caller.account);
        return Ok(Json::list(cars.iter().map(vehicle::summary)));
    }
    let id = arguments["vehicle_id"].as_str().unwrap_or_default();
    let car = cars::find(shared, id).filter(|car| car.model.owners.contains(&caller.account));
    let car = car.ok_or_else(|| "Vehicle not found.".to_owned())?;
    match name {
        "get_vehicle" => Ok(Json::object_of(vehicle::overview(&car, true))),
        "get_drives" => Ok(page(&car, "drives", arguments)),
        "get_charges" => Ok(page(&car, "charges", arguments)),
        "get_drive" => found(&car, "drive", &arguments["drive_id"]),
        "get_charge" => found(&car, "charge", &arguments["charge_id"]),
        _ => {
            let command = arguments["command"].as_str().unwrap_or_default();
            let sent = command::carry_out(shared, &car, command, |field| text(&arguments[field]));
            sent.map(Json::from).map_err(|refusal| refusal.to_string())
        }
    }
}

fn page(car: &Car, what: &str, arguments: &Value) -> Json {
    let number = |name: &str, default: i64| arguments[name].as_i64().unwrap_or(default);
    let path = format!("/api/vehicle/{}/{what}", car.model.id);
    history::list(car, what, number("page", 1).max(1), number("limit", 20).clamp(1, 100), &path)
}

fn found(car: &Car, what: &str, id: &Value) -> Result<Json, String> {
    let id = text(id).unwrap_or_default();
    history::find(car, what, &id).ok_or_else(|| format!("There is no {what} {id}."))
}

/// A number or a string, as text.
fn text(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned).or_else(|| value.as_i64().map(|number| number.to_string()))
}
