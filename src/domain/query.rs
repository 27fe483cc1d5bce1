//! Query strings as PHP reads them: which parameter becomes which variable.
//!
//! PHP turns `api.key`, `api key` and `api[key` into `api_key` (`php_register_variable_ex`), so a look at the raw name is
//! not enough to keep a key away from the provider.

use super::route::decode_percent;

/// What a query string needs before it may be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum QueryVerdict {
    /// It goes as it stands.
    Clean,
    /// What is left after taking out every parameter that PHP reads as `api_key`; the rest byte for byte.
    Stripped(String),
    /// PHP would read a parameter as `_method`, which changes the method that was judged.
    MethodOverride,
}

/// Judges a raw query, without its question mark.
#[must_use]
pub fn judge_query(raw: &str) -> QueryVerdict {
    if raw.is_empty() {
        return QueryVerdict::Clean;
    }
    let mut stripped: Option<String> = None;
    let mut clean_until = 0;
    let mut at = 0;
    for pair in raw.split('&') {
        let name = pair.split_once('=').map_or(pair, |(name, _)| name);
        let drop = match reads_as(name.as_bytes()) {
            Reads::Method => return QueryVerdict::MethodOverride,
            Reads::ApiKey => true,
            Reads::Other => false,
        };
        match (&mut stripped, drop) {
            (None, true) => stripped = Some(raw[..clean_until].to_owned()),
            (None, false) => clean_until = at + pair.len(),
            (Some(_), true) => {}
            (Some(kept), false) => {
                if !kept.is_empty() {
                    kept.push('&');
                }
                kept.push_str(pair);
            }
        }
        at += pair.len() + 1;
    }
    stripped.map_or(QueryVerdict::Clean, QueryVerdict::Stripped)
}

/// The values of the parameters whose raw name is just `api_key`: what an app may show as its key.
pub fn presented_keys(raw: &str) -> impl Iterator<Item = &str> {
    raw.split('&').filter_map(|pair| pair.strip_prefix("api_key="))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Reads {
    ApiKey,
    Method,
    Other,
}

fn reads_as(name: &[u8]) -> Reads {
    // Neither word can come of a name without an `m` or a `k`, plain or encoded: most names end here.
    if !name.iter().any(|byte| matches!(byte, b'%' | b'k' | b'm')) {
        return Reads::Other;
    }
    let mut variable = Variable::default();
    let mut at = 0;
    while at < name.len() && variable.open {
        let byte = match name[at] {
            b'+' => b' ',
            b'%' => {
                if let Some(decoded) = decode_percent(&name[at..]) {
                    at += 2;
                    decoded
                } else {
                    b'%'
                }
            }
            other => other,
        };
        at += 1;
        variable.push(byte);
    }
    variable.reads()
}

/// A variable's name while PHP makes it up: leading blanks skipped, ` `, `.` and a lone `[` turned into `_`, an index cut
/// off, ended by NUL.
struct Variable {
    text: [u8; 8],
    len: usize,
    open: bool,
}

impl Default for Variable {
    fn default() -> Self {
        Self { text: [0; 8], len: 0, open: true }
    }
}

impl Variable {
    fn push(&mut self, byte: u8) {
        let byte = match byte {
            b' ' if self.len == 0 => return,
            0 => {
                self.open = false;
                return;
            }
            // After a whole word this begins an index; inside one it counts as `_`, which is what PHP makes of it
            // when no `]` follows. `api[key]`, an index to PHP, is taken for the same: no two readers agree on it.
            b'[' if self.is_whole() => {
                self.open = false;
                return;
            }
            b' ' | b'.' | b'[' => b'_',
            other => other,
        };
        if self.len == self.text.len() {
            self.open = false;
            self.len = 0;
            return;
        }
        self.text[self.len] = byte;
        self.len += 1;
    }

    fn is_whole(&self) -> bool {
        self.reads() != Reads::Other
    }

    fn reads(&self) -> Reads {
        match &self.text[..self.len] {
            b"api_key" => Reads::ApiKey,
            b"_method" => Reads::Method,
            _ => Reads::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_php_reads_as_api_key_is_taken_out_and_the_rest_stays_byte_for_byte() {
        for name in [
            "api_key",
            "api.key",
            "api%20key",
            "api+key",
            "api[key",
            "+api_key",
            "%20%20api_key",
            "api_key[]",
            "api_key[x]",
            "%61pi_key",
            "api%5Fkey",
            "api%2ekey",
            "api%5bkey",
            "api_key%5b%5d",
            "api_key%00x",
            "%61%70%69%5f%6b%65%79",
        ] {
            for value in ["", "=", "=kf_x", "=a=b"] {
                let raw = format!("page=2&{name}{value}&limit=%31+0&&x");
                let left = QueryVerdict::Stripped("page=2&limit=%31+0&&x".to_owned());
                assert_eq!(judge_query(&raw), left, "{raw}");
                assert_eq!(judge_query(&format!("{name}{value}")), QueryVerdict::Stripped(String::new()), "{name}");
            }
        }
    }

    #[test]
    fn names_that_php_reads_otherwise_stay() {
        for raw in [
            "",
            "a",
            "&&",
            "apikey=1",
            "api_keys=1",
            "api_key2",
            "xapi_key",
            "API_KEY=1",
            "api-key",
            "api%255fkey",
            "api_key+=1",
            "limit=api_key",
            "method=x",
            "m&k",
            "+method=x",
            "__method",
            "foo[api_key]=1",
            "_metho%64s",
        ] {
            assert_eq!(judge_query(raw), QueryVerdict::Clean, "{raw}");
        }
    }

    #[test]
    fn what_php_reads_as_method_is_refused() {
        for name in ["_method", ".method", "%5fmethod", "_method[]", "[method", "_metho%64", "++_method", "_method%00"]
        {
            let raw = format!("a=1&{name}=DELETE");
            assert_eq!(judge_query(&raw), QueryVerdict::MethodOverride, "{raw}");
        }
    }

    #[test]
    fn keys_are_presented_under_their_plain_name_only() {
        let keys: Vec<_> = presented_keys("a=1&api_key=kf_1&api.key=kf_2&api_key=kf_3&xapi_key=kf_4").collect();
        assert_eq!(keys, ["kf_1", "kf_3"]);
    }

    proptest! {
        #[test]
        fn nothing_that_is_left_is_taken_out_by_a_second_look(raw in "([apiky_.%205bd0&=+m\\[]|%5f|%6b|key|api|method){0,24}") {
            if let QueryVerdict::Stripped(left) = judge_query(&raw) {
                prop_assert_eq!(judge_query(&left), QueryVerdict::Clean);
                prop_assert!(left.len() < raw.len());
            }
        }
    }
}
