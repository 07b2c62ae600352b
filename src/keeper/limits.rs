//! How long a task may wait and run: as configured, or less where the request says so.

use gateway_contract::{Rejection, code};
use gateway_life::Millis;
use serde_json::{Map, Value};
use std::time::Duration;

/// The limit of that name, in milliseconds. A request may set one where none is configured, and lower one that is.
pub(super) fn limit(
    name: &str,
    configured: Option<Duration>,
    said: &Map<String, Value>,
) -> Result<Option<Millis>, Rejection> {
    let milliseconds = |limit: Duration| Millis::try_from(limit.as_millis()).unwrap_or(Millis::MAX);
    let Some(text) = said.get(name).and_then(Value::as_str) else { return Ok(configured.map(milliseconds)) };
    let wrong = |why: String| Rejection::client(code::VALUE, format!("{name}: {why}"));
    let asked = gateway_config::parse_duration(text).map_err(|error| wrong(error.to_string()))?;
    if asked.is_zero() {
        return Err(wrong("expected more than nothing, such as \"10m\"".to_owned()));
    }
    match configured {
        Some(most) if asked > most => {
            Err(wrong(format!("a request may only lower it: at most {} s here", most.as_secs())))
        }
        _ => Ok(Some(milliseconds(asked))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn asked(configured: Option<u64>, text: Value) -> Result<Option<Millis>, String> {
        let said = Map::from_iter([("run_limit".to_owned(), text)]);
        limit("run_limit", configured.map(Duration::from_secs), &said)
            .map_err(|refused| refused.refusal().detail.clone())
    }

    #[test]
    fn a_request_may_lower_a_limit_or_set_one_where_there_is_none() {
        assert_eq!(limit("run_limit", None, &Map::new()).map_err(|_| ()), Ok(None));
        assert_eq!(asked(Some(60), json!("10s")), Ok(Some(10_000)));
        assert_eq!(asked(None, json!("1h")), Ok(Some(3_600_000)));
        assert_eq!(
            asked(Some(60), json!(10)),
            Ok(Some(60_000)),
            "a value of a JSON body that is no text is the worker's"
        );
    }

    #[test]
    fn a_request_may_not_raise_it_and_not_talk_nonsense() {
        assert!(asked(Some(60), json!("2m")).unwrap_err().contains("at most 60 s"));
        assert!(asked(Some(60), json!("soon")).unwrap_err().starts_with("run_limit: "));
        assert!(asked(None, json!("0s")).unwrap_err().contains("more than nothing"));
    }
}
