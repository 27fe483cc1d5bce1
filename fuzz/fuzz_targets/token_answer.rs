#![no_main]
//! Whatever the token endpoint answers: a refresh token that is in it is kept, and no token comes out that was not in it.

use keyfob_fuzz::oauth::TokenAnswer;
use libfuzzer_sys::fuzz_target;
use serde_json::{Map, Value};

fuzz_target!(|body: &[u8]| {
    let answer = TokenAnswer::read(body);
    let plain: Option<Map<String, Value>> = serde_json::from_slice(body).ok();
    if let Some(Value::String(token)) = plain.as_ref().and_then(|plain| plain.get("refresh_token"))
        && !token.is_empty()
    {
        let kept = answer.as_ref().and_then(|answer| answer.refresh_token.as_ref());
        assert_eq!(kept.map(|kept| kept.expose()), Some(token.as_bytes()), "a refresh token was lost");
    }
    let Some(answer) = answer else { return };
    assert!(answer.access_token.is_some() || answer.refresh_token.is_some());
    if let Some(token) = &answer.access_token {
        let token = token.expose();
        assert!(!token.is_empty() && token.iter().all(|byte| byte.is_ascii_graphic()));
        // Written with escapes it stands there in other bytes.
        let stands = body.windows(token.len()).any(|window| window == token);
        assert!(stands || body.contains(&b'\\'), "a token was made up");
    }
});
