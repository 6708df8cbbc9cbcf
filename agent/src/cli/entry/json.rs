//! An entry as JSON: the fields of the YAML form, so that what is printed can be applied.

use countersign_common::document::duration_text;
use countersign_common::entry::{Entry, JwtTerms, X509Terms};
use serde_json::{Map, Value, json};

/// The fields that the entry has; what is absent is left out.
pub(super) fn value(entry: &Entry) -> Value {
    let mut fields = Map::new();
    fields.insert("id".to_owned(), json!(entry.id.as_str()));
    fields.insert("spiffe_id".to_owned(), json!(entry.spiffe_id.as_str()));
    fields.insert("selectors".to_owned(), entry.selectors.iter().map(|selector| selector.to_string()).collect());
    if !entry.allow.is_empty() {
        fields.insert("allow".to_owned(), entry.allow.iter().map(ToString::to_string).collect());
    }
    fields.insert("jwt".to_owned(), jwt(&entry.jwt));
    if entry.x509 != X509Terms::default() {
        fields.insert("x509".to_owned(), x509(&entry.x509));
    }
    if !entry.federates_with.is_empty() {
        fields.insert("federates_with".to_owned(), entry.federates_with.iter().map(ToString::to_string).collect());
    }
    let texts = [
        ("hint", entry.hint.as_deref().map(str::to_owned)),
        ("owner", entry.owner.as_deref().map(str::to_owned)),
        ("review_by", entry.review_by.map(|day| day.to_string())),
        ("expires", entry.expires.map(|day| day.to_string())),
    ];
    for (name, text) in texts {
        fields.extend(text.map(|text| (name.to_owned(), Value::from(text))));
    }
    Value::Object(fields)
}

fn jwt(terms: &JwtTerms) -> Value {
    let mut fields = Map::new();
    fields.insert("audiences".to_owned(), terms.audiences.iter().collect());
    fields.insert("max_audiences".to_owned(), json!(terms.max_audiences));
    let all = terms.ttl.map(|life| Value::from(duration_text(life)));
    let mut lives: Map<String, Value> = Map::new();
    for (pattern, life) in &terms.audience_ttl {
        lives.insert(pattern.as_str().to_owned(), duration_text(*life).into());
    }
    let ttl = if lives.is_empty() {
        all
    } else {
        lives.extend(all.map(|life| ("default".to_owned(), life)));
        Some(Value::Object(lives))
    };
    fields.extend(ttl.map(|ttl| ("ttl".to_owned(), ttl)));
    Value::Object(fields)
}

fn x509(terms: &X509Terms) -> Value {
    let mut fields = Map::new();
    fields.extend(terms.ttl.map(|life| ("ttl".to_owned(), Value::from(duration_text(life)))));
    if !terms.dns_names.is_empty() {
        fields.insert("dns_names".to_owned(), json!(terms.dns_names));
    }
    Value::Object(fields)
}

#[cfg(test)]
mod tests {
    use countersign_common::entry::parse_entries;

    use super::*;

    #[test]
    fn what_is_printed_can_be_applied() {
        let head = "id: a\nspiffe_id: spiffe://example.org/a\nselectors: [\"unix:uid:1\", \"unix:path:/bin/a\"]\n";
        for terms in [
            "",
            "jwt: {audiences: [b, s/*]}\n",
            "jwt: {audiences: [b], max_audiences: 2, ttl: 90s}\nhint: \"x: y\"\nowner: \"1\"\n",
            "jwt: {audiences: [b, s/*], ttl: {s/*: 30s, default: 5m}}\nreview_by: 2027-03-01\nexpires: 2027-09-01\n",
            "x509: {ttl: 36h}\nfederates_with: [partner.example, \"1.2.3.4\"]\n",
            "x509: {dns_names: [b.internal, \"*.a.internal\", \"no\"]}\n",
            "allow: [traced, deleted]\njwt: {audiences: [b, s/*], ttl: {b: 1h}}\n",
        ] {
            let read = |text: &str| parse_entries("test", text, None).unwrap();
            let entries = read(&format!("{head}{terms}"));
            let printed = serde_json::to_string_pretty(&value(&entries[0])).unwrap();
            assert_eq!(read(&printed), entries, "{printed}");
        }
    }
}
