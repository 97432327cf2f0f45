//! Reading a recipe's parameters: defaults, overlaid by a JSON object whose keys must all be known.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::Error;

/// `T`'s defaults with `given` laid over them.
///
/// # Errors
/// [`Error::Params`] for an unknown key, with the nearest known one, and for a value of another type.
pub fn parse<T: Default + Serialize + DeserializeOwned>(
    recipe: &str,
    given: &Map<String, Value>,
) -> Result<T, Error> {
    let Value::Object(defaults) = serde_json::to_value(T::default())? else {
        return Err(Error::Params(format!("recipe {recipe} takes no parameters")));
    };
    let mut all = defaults.clone();
    for (key, value) in given {
        if !defaults.contains_key(key) {
            let known: Vec<&str> = defaults.keys().map(String::as_str).collect();
            let hint = nearest(key, known.iter().copied());
            return Err(Error::Params(format!(
                "recipe {recipe} has no parameter {key:?}{hint}; it has {}",
                known.join(", ")
            )));
        }
        let mut alone = defaults.clone();
        alone.insert(key.clone(), value.clone());
        serde_json::from_value::<T>(Value::Object(alone))
            .map_err(|e| Error::Params(format!("parameter {key}: {e}")))?;
        all.insert(key.clone(), value.clone());
    }
    Ok(serde_json::from_value(Value::Object(all))?)
}

/// Puts `key=value` of the command line into `params`: JSON where it is, else text.
///
/// # Errors
/// [`Error::Params`] when there is no `=`.
pub fn set(params: &mut Map<String, Value>, assignment: &str) -> Result<(), Error> {
    let (key, value) = assignment
        .split_once('=')
        .ok_or_else(|| Error::Params(format!("--set {assignment:?}: write key=value")))?;
    let value = serde_json::from_str(value).unwrap_or_else(|_| Value::String(value.to_owned()));
    params.insert(key.trim().to_owned(), value);
    Ok(())
}

/// `, did you mean "…"?` for a name that one of `known` resembles.
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let scored =
        known.into_iter().map(|candidate| (strsim::jaro_winkler(name, candidate), candidate));
    let best = scored.max_by(|a, b| a.0.total_cmp(&b.0)).filter(|(score, _)| *score > 0.75);
    best.map(|(_, candidate)| format!(" (did you mean {candidate:?}?)")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::Recipe;
    use serde_json::{Map, Value, json};

    fn error(name: &str, params: &Value) -> String {
        let params: Map<String, Value> = params.as_object().cloned().unwrap_or_default();
        Recipe::parse(name, &params).unwrap_err().to_string()
    }

    #[test]
    fn mistakes_are_named_with_what_was_meant() {
        assert_eq!(
            error("image-clasifier", &json!({})),
            "no recipe \"image-clasifier\" (did you mean \"image-classifier\"?); there is image-classifier"
        );
        let unknown = error("image-classifier", &json!({"epoch": 3}));
        assert!(unknown.starts_with("recipe image-classifier has no parameter \"epoch\" (did you mean \"epochs\"?); it has batch_size, "), "{unknown}");
        let wrong = error("image-classifier", &json!({"epochs": "three"}));
        assert_eq!(wrong, "parameter epochs: invalid type: string \"three\", expected u64");
        assert_eq!(
            error("image-classifier", &json!({"lr": -1})),
            "parameter lr: is -1, but must be above 0"
        );
        assert_eq!(
            error("image-classifier", &json!({"batch_size": 0})),
            "parameter batch_size: is 0, but must be at least 1"
        );
    }

    #[test]
    fn assignments_are_json_or_text() {
        let mut params = Map::new();
        super::set(&mut params, "epochs=3").unwrap();
        super::set(&mut params, "data=/data/fashion").unwrap();
        assert_eq!(Value::Object(params), json!({"epochs": 3, "data": "/data/fashion"}));
        assert!(super::set(&mut Map::new(), "epochs").is_err());
    }
}
