//! JSON whose members keep the order in which they were written down, so that bodies look like the captured ones.

use std::fmt;

use serde::Serialize;

/// A finished JSON text.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Json(String);

impl Json {
    pub(super) fn object<const N: usize>(members: [(&str, Json); N]) -> Self {
        Self::object_of(members)
    }

    pub(super) fn object_of<'a>(members: impl IntoIterator<Item = (&'a str, Json)>) -> Self {
        let members: Vec<String> =
            members.into_iter().map(|(name, value)| format!("{}:{value}", Json::from(name))).collect();
        Self(format!("{{{}}}", members.join(",")))
    }

    pub(super) fn list(items: impl IntoIterator<Item = Json>) -> Self {
        let items: Vec<String> = items.into_iter().map(|item| item.0).collect();
        Self(format!("[{}]", items.join(",")))
    }
}

impl<T: Serialize> From<T> for Json {
    fn from(value: T) -> Self {
        Self(serde_json::to_string(&value).unwrap_or_else(|_| "null".to_owned()))
    }
}

impl fmt::Display for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// `object! { "name": value, … }`; a value is anything that serde can write, or another object.
macro_rules! object {
    ($($name:literal : $value:expr),* $(,)?) => {
        $crate::sandbox::json::Json::object([$(($name, $crate::sandbox::json::Json::from($value))),*])
    };
}
pub(super) use object;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_keep_their_order() {
        let inner = object! { "z": 1, "a": "x\"y" };
        let list = Json::list([Json::from(1.5), Json::from(Option::<u8>::None)]);
        let text = object! { "name": inner, "list": list, "b": true }.to_string();
        assert_eq!(text, r#"{"name":{"z":1,"a":"x\"y"},"list":[1.5,null],"b":true}"#);
    }
}
