//! `-o table|json|yaml`.

use clap::ValueEnum;
use serde_json::Value;

use super::outcome::CliError;

/// The option that says how an answer is printed.
#[derive(Debug, clap::Args)]
pub(super) struct Output {
    /// How to print the answer.
    #[arg(long = "output", short = 'o', value_enum, default_value = "table", value_name = "FORMAT")]
    format: Format,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    /// For people.
    Table,
    /// One JSON value.
    Json,
    /// The same as YAML.
    Yaml,
}

impl Output {
    /// The answer as text, made only in the format that was asked for.
    pub(super) fn render(
        &self,
        table: impl FnOnce() -> Result<String, CliError>,
        value: impl FnOnce() -> Result<Value, CliError>,
    ) -> Result<String, CliError> {
        match self.format {
            Format::Table => table(),
            Format::Json => serde_json::to_string_pretty(&value()?).map_err(CliError::output),
            Format::Yaml => Ok(yaml(&value()?, 0)),
        }
    }

    /// Whether YAML was asked for; entries have a YAML form of their own.
    pub(super) fn is_yaml(&self) -> bool {
        matches!(self.format, Format::Yaml)
    }
}

/// Block YAML; scalars are written as JSON, which YAML reads the same.
pub(super) fn yaml(value: &Value, indent: usize) -> String {
    let margin = " ".repeat(indent);
    let inner = |value: &Value| match value {
        Value::Object(fields) if !fields.is_empty() => format!("\n{}", yaml(value, indent + 2)),
        Value::Array(items) if !items.is_empty() => format!("\n{}", yaml(value, indent)),
        _ => format!(" {value}"),
    };
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            let lines = fields.iter().map(|(name, value)| format!("{margin}{name}:{}", inner(value)));
            lines.collect::<Vec<_>>().join("\n")
        }
        Value::Array(items) if !items.is_empty() => {
            let item = |value: &Value| match value {
                Value::Object(_) | Value::Array(_) => {
                    let text = yaml(value, indent + 2);
                    format!("{margin}- {}", text.trim_start())
                }
                _ => format!("{margin}- {value}"),
            };
            items.iter().map(item).collect::<Vec<_>>().join("\n")
        }
        _ => format!("{margin}{value}"),
    }
}

#[cfg(test)]
mod tests {
    use countersign_common::document::parse_yaml;
    use serde_json::json;

    use super::*;

    #[test]
    fn yaml_is_block_style_and_parses() {
        let text = yaml(&json!({"a": 1, "b": [{"c": "x: y", "d": null}, {"c": "z", "d": []}], "e": {"f": true}}), 0);
        assert_eq!(text, "a: 1\nb:\n- c: \"x: y\"\n  d: null\n- c: \"z\"\n  d: []\ne:\n  f: true");
        assert!(parse_yaml("test", &text).is_ok());
    }
}
