//! `countersign status`: how the agent is, and who uses what of it.

use std::io::{Write, stdout};
use std::time::Duration;

use countersign_common::document::duration_text;
use countersign_common::proto::admin::usage_client::UsageClient;
use countersign_common::proto::admin::{Caller, Places, ShowUsageRequest, ShowUsageResponse};
use nix::unistd::{Uid, User};
use serde_json::{Value, json};

use super::admin_socket::AdminSocket;
use super::outcome::{CliError, Outcome};
use super::output::Output;
use super::table;

pub(super) const EXAMPLES: &str = "\
Examples:
  countersign status
  countersign status -o json | jq '.callers[] | select(.refused > 0)'

A caller is a user in a cgroup: a unit or container, with all that is below it. Each holds
connections, requests in flight and streams; who asks for more than its share is refused, and
the audit record says so once a minute.

Exit codes: 0 shown, 1 refused, 2 wrong usage, 3 no agent or not now";

/// Options of the command.
#[derive(Debug, clap::Args)]
pub(super) struct Status {
    #[command(flatten)]
    socket: AdminSocket,
    #[command(flatten)]
    output: Output,
}

impl Status {
    /// Asks the agent and prints its answer.
    ///
    /// # Errors
    /// Why it could not be shown, and with which exit code.
    pub(super) async fn run(self) -> Result<Outcome, CliError> {
        let mut client = UsageClient::new(self.socket.connect().await?);
        let shown = client.show(ShowUsageRequest {}).await.map_err(|status| CliError::from_status(&status))?;
        let shown = shown.into_inner();
        let text = self.output.render(|| as_table(&shown), || Ok(as_value(&shown)))?;
        writeln!(stdout(), "{text}").map_err(CliError::output)?;
        Ok(Outcome::Done)
    }
}

fn as_table(shown: &ShowUsageResponse) -> Result<String, CliError> {
    let about = [
        ["agent", &format!("countersign {}, up {}", shown.version, uptime(shown))],
        ["trust domain", &shown.trust_domain],
        ["entries", &format!("{} at revision {}", shown.entries, shown.revision)],
        ["hashed", &format!("{} executables, {}", shown.hashed_files, size(shown.hashed_bytes))],
    ];
    let mut places = vec![["PLACES", "USED", "LIMIT", "REFUSED"].map(str::to_owned)];
    for (kind, Places { used, limit, refused }) in kinds(shown) {
        places.push([kind.to_owned(), used.to_string(), limit.to_string(), refused.to_string()]);
    }
    let heading = ["UID", "USER", "CGROUP", "CONNECTIONS", "REQUESTS", "STREAMS", "HASH LEFT", "REFUSED"];
    let mut callers = vec![heading.map(str::to_owned)];
    callers.extend(shown.callers.iter().map(|caller| {
        let Caller { uid, cgroup, connections, requests, streams, hash_bytes_left, refused } = caller;
        let [connections, requests, streams, refused] =
            [connections, requests, streams, refused].map(ToString::to_string);
        let user = user_name(*uid).unwrap_or_else(|| "-".to_owned());
        let cgroup = if cgroup.is_empty() { "-".to_owned() } else { cgroup.clone() };
        [uid.to_string(), user, cgroup, connections, requests, streams, size(*hash_bytes_left), refused]
    }));
    let about = table::columns(&about.map(|row| row.map(str::to_owned)))?;
    let mut text = format!("{about}\n\n{}\n\n{}", table::columns(&places)?, table::columns(&callers)?);
    if shown.callers_left_out > 0 {
        text.push_str(&format!("\nand {} more callers", shown.callers_left_out));
    }
    Ok(text)
}

fn as_value(shown: &ShowUsageResponse) -> Value {
    let places = kinds(shown).map(|(kind, Places { used, limit, refused })| {
        (kind.to_owned(), json!({"used": used, "limit": limit, "refused": refused}))
    });
    let callers = shown.callers.iter().map(|caller| {
        json!({
            "uid": caller.uid,
            "user": user_name(caller.uid),
            "cgroup": (!caller.cgroup.is_empty()).then_some(&caller.cgroup),
            "connections": caller.connections,
            "requests": caller.requests,
            "streams": caller.streams,
            "hash_bytes_left": caller.hash_bytes_left,
            "refused": caller.refused,
        })
    });
    json!({
        "version": shown.version,
        "uptime": uptime(shown),
        "trust_domain": shown.trust_domain,
        "revision": shown.revision,
        "entries": shown.entries,
        "places": serde_json::Map::from_iter(places),
        "hashed_files": shown.hashed_files,
        "hashed_bytes": shown.hashed_bytes,
        "callers": callers.collect::<Vec<_>>(),
        "callers_left_out": shown.callers_left_out,
    })
}

fn kinds(shown: &ShowUsageResponse) -> [(&'static str, Places); 3] {
    [("connections", shown.connections), ("requests", shown.requests), ("streams", shown.streams)]
        .map(|(kind, places)| (kind, places.unwrap_or_default()))
}

fn uptime(shown: &ShowUsageResponse) -> String {
    duration_text(Duration::from_secs(shown.uptime_seconds))
}

/// By the user database of the operator's machine, which is the agent's; asked here so that the
/// agent does not wait for it.
fn user_name(uid: u32) -> Option<String> {
    User::from_uid(Uid::from_raw(uid)).ok().flatten().map(|user| user.name)
}

/// Bytes for people, in the largest unit of which there are ten.
fn size(bytes: u64) -> String {
    let units = [(30, "GiB"), (20, "MiB"), (10, "KiB")];
    let unit = units.into_iter().find(|(shift, _)| bytes >= 10 << shift);
    unit.map_or_else(|| format!("{bytes} B"), |(shift, name)| format!("{} {name}", bytes >> shift))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown() -> ShowUsageResponse {
        let places = |used| Some(Places { used, limit: 16, refused: 3 });
        let caller = Caller { uid: 0, cgroup: String::new(), hash_bytes_left: 1 << 30, ..Caller::default() };
        let contained = Caller { uid: 4_000_000_000, cgroup: "/docker/a\n".to_owned(), refused: 3, ..caller.clone() };
        ShowUsageResponse {
            version: "1.2.3".to_owned(),
            uptime_seconds: 3700,
            trust_domain: "example.org".to_owned(),
            revision: 7,
            entries: 2,
            connections: places(5),
            requests: places(1),
            streams: places(2),
            hashed_files: 4,
            hashed_bytes: 70 << 20,
            callers: vec![caller, contained],
            callers_left_out: 9,
        }
    }

    #[test]
    fn people_get_three_tables() {
        let text = as_table(&shown()).unwrap();
        assert!(text.starts_with("agent         countersign 1.2.3, up 1h 1m 40s\n"), "{text}");
        assert!(text.contains("\nhashed        4 executables, 70 MiB\n"), "{text}");
        assert!(text.contains("\nconnections  5     16     3\n"), "{text}");
        assert!(
            text.contains("\n0           root  -           0            0         0        1024 MiB   0\n"),
            "{text}"
        );
        assert!(text.contains("\n4000000000  -     /docker/a?  "), "{text}");
        assert!(text.ends_with("\nand 9 more callers"), "{text}");
    }

    #[test]
    fn machines_get_one_object() {
        let value = as_value(&shown());
        assert_eq!(value["places"]["connections"], json!({"used": 5, "limit": 16, "refused": 3}));
        assert_eq!((&value["callers"][0]["cgroup"], &value["callers"][0]["user"]), (&Value::Null, &json!("root")));
        assert_eq!(value["callers"][1]["refused"], 3);
    }
}
