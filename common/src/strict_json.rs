//! JSON objects that mean one thing: no member stands twice, at any depth.
//!
//! RFC 8259, section 4 leaves open what a repeated member means, and JSON libraries
//! differ: some keep the first, some the last. A token or a bundle that two readers
//! understand differently is refused instead (RFC 7515, section 4 and RFC 7519,
//! section 4 allow that).

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// Why a text is not a JSON object with unique members.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum StrictJsonError {
    /// Not JSON, or a member stands twice.
    #[error("{0}")]
    Malformed(String),
    /// JSON, but a list or a scalar.
    #[error("not a JSON object")]
    NotAnObject,
}

/// Reads one object, and nothing before or after it but white space. Nesting is
/// bounded by the JSON library (128 levels).
///
/// # Errors
/// The text is something else, or a member stands twice in it.
pub(crate) fn parse_object(text: &[u8]) -> Result<Map<String, Value>, StrictJsonError> {
    let mut reader = serde_json::Deserializer::from_slice(text);
    let malformed = |error: serde_json::Error| StrictJsonError::Malformed(error.to_string());
    let value = StrictValue.deserialize(&mut reader).map_err(malformed)?;
    reader.end().map_err(malformed)?;
    match value {
        Value::Object(members) => Ok(members),
        _ => Err(StrictJsonError::NotAnObject),
    }
}

/// Builds a [`Value`] as the library does, and refuses repeated members.
struct StrictValue;

impl<'de> DeserializeSeed<'de> for StrictValue {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for StrictValue {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("a number is not finite"))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut elements = Vec::new();
        while let Some(element) = list.next_element_seed(StrictValue)? {
            elements.push(element);
        }
        Ok(Value::Array(elements))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Value, A::Error> {
        let mut members = Map::new();
        while let Some(name) = object.next_key::<String>()? {
            let value = object.next_value_seed(StrictValue)?;
            if members.contains_key(&name) {
                return Err(A::Error::custom("a member stands twice in one object"));
            }
            members.insert(name, value);
        }
        Ok(Value::Object(members))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn jt_35_a_repeated_member_is_refused_at_any_depth() {
        let doubled =
            [r#"{"a":1,"a":1}"#, r#"{"a":{"b":1,"b":2}}"#, r#"{"a":[{"b":1,"b":2}]}"#, r#"{"a":1,"\u0061":2}"#];
        for text in doubled {
            let error = parse_object(text.as_bytes()).unwrap_err();
            assert!(error.to_string().contains("stands twice"), "{text}: {error}");
        }
    }

    #[test]
    fn what_is_not_exactly_one_object_is_refused() {
        for text in
            ["", "[]", "1", "null", "{} {}", "{}x", "{'a':1}", "{\"a\":1e999}", "{\"a\":\"\\ud800\"}", "\u{feff}{}"]
        {
            assert!(parse_object(text.as_bytes()).is_err(), "{text}");
        }
        assert!(parse_object(b"{\"a\":\"\xff\"}").is_err());
    }

    #[test]
    fn endless_nesting_is_an_error_and_not_the_end_of_the_stack() {
        let text = format!("{{\"a\":{}", "[".repeat(1_000_000));
        assert!(parse_object(text.as_bytes()).is_err());
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let scalar = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "\\PC{0,8}".prop_map(Value::from),
        ];
        scalar.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("[a-c]{1,2}", inner, 0..4)
                    .prop_map(|m| Value::Object(m.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn without_repetitions_it_reads_what_the_library_reads(value in any_json()) {
            let text = serde_json::json!({ "member": value }).to_string();
            let strict = parse_object(text.as_bytes()).map(Value::Object);
            prop_assert_eq!(strict, Ok(serde_json::from_str::<Value>(&text).unwrap()));
        }
    }
}
