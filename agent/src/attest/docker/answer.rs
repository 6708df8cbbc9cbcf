//! What the agent reads of Docker's answers, and what it makes of it. Pure.
//!
//! The environment of a container often holds its secrets. Their values are passed over while the
//! answer is read and are in nothing that is made here, errors included.

use std::collections::BTreeMap;
use std::fmt;

use countersign_common::selector::{Selector, SelectorKind};
use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer, IgnoredAny, Visitor};

use super::DockerError;
use crate::attest::selector;

/// What the type of driver is called where containerd keeps the images (Docker Engine, "containerd
/// image store").
const CONTAINERD_STORE: [&str; 2] = ["driver-type", "io.containerd.snapshotter.v1"];

/// Of `GET /containers/{id}/json`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Container {
    id: String,
    state: State,
    /// Id of the image that it was made from. `Config.Image` is the name that was typed, which
    /// may mean another image by now.
    image: String,
    /// Told by containerd's image store alone, since version 1.48 of the API.
    image_manifest_descriptor: Option<IgnoredAny>,
    config: Config,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct State {
    running: bool,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Config {
    labels: Option<BTreeMap<String, String>>,
    env: Option<Vec<Variable>>,
}

/// Of `GET /info`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Info {
    driver_status: Option<Vec<Vec<String>>>,
}

/// The name of a variable that is set; none for one that is named and not set.
#[derive(Debug)]
struct Variable(Option<String>);

impl<'de> Deserialize<'de> for Variable {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NameAlone;

        impl Visitor<'_> for NameAlone {
            type Value = Variable;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("NAME=value")
            }

            fn visit_str<E>(self, text: &str) -> Result<Variable, E> {
                Ok(Variable(text.split_once('=').map(|(name, _)| name.to_owned())))
            }
        }

        deserializer.deserialize_str(NameAlone)
    }
}

/// Reads the answer for `what`.
pub(super) fn read<T: DeserializeOwned>(what: &'static str, answer: &[u8]) -> Result<T, DockerError> {
    // The words of the error quote the answer.
    let place = |error: serde_json::Error| (error.line(), error.column());
    serde_json::from_slice(answer).map_err(place).map_err(|(line, column)| DockerError::Malformed {
        what,
        line,
        column,
    })
}

impl Container {
    /// Checks that this is the running container `id`.
    pub(super) fn checked(self, id: &str) -> Result<Self, DockerError> {
        if self.id != id {
            return Err(DockerError::OtherContainer { id: id.to_owned() });
        }
        if !self.state.running {
            return Err(DockerError::NotRunning { id: id.to_owned() });
        }
        if selector(SelectorKind::DockerImageId, &self.image).is_none() {
            return Err(DockerError::Malformed { what: "the id of an image", line: 0, column: 0 });
        }
        Ok(self)
    }

    /// Labels, names of variables, the image.
    pub(super) fn selectors(&self) -> Vec<Selector> {
        let labels = self.config.labels.iter().flatten();
        // With a colon in the key, two labels would be one selector.
        let labels = labels.filter(|(key, _)| !key.contains(':')).map(|(key, value)| format!("{key}:{value}"));
        let labels = labels.filter_map(|label| selector(SelectorKind::DockerLabel, &label));
        let names = self.config.env.iter().flatten().filter_map(|variable| variable.0.as_deref());
        let names = names.filter_map(|name| selector(SelectorKind::DockerEnv, name));
        labels.chain(names).chain(selector(SelectorKind::DockerImageId, &self.image)).collect()
    }

    /// The digest of the image's configuration, which is the id of the image in Docker's own store.
    pub(super) fn image_config(&self, info: &Info) -> Result<Option<Selector>, DockerError> {
        if self.image_manifest_descriptor.is_some() || info.has_containerd_store() {
            return Err(DockerError::ContainerdStore);
        }
        Ok(selector(SelectorKind::DockerImageConfigDigest, &self.image))
    }
}

impl Info {
    fn has_containerd_store(&self) -> bool {
        self.driver_status.iter().flatten().any(|line| *line == CONTAINERD_STORE)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const SECRET: &str = "hunter2";

    fn id() -> String {
        "7b".repeat(32)
    }

    fn image_id() -> String {
        format!("sha256:{}", "50".repeat(32))
    }

    /// As Docker 20.10 and later have it, less what is not read.
    fn told() -> Value {
        json!({
            "Id": id(), "Created": "2026-11-22T02:22:41Z", "Image": image_id(),
            "State": {"Status": "running", "Running": true, "Paused": false, "Pid": 7209},
            "Config": {
                "Image": "localhost/orders:1",
                "Env": [format!("PASSWORD={SECRET}"), "INHERITED", "A=b=c", "=odd"],
                "Labels": {"team": "orders", "empty": "", "a:b": "c", "url": "https://x", "line": "a\nb", "": "x"},
            },
        })
    }

    fn container(told: &Value) -> Result<Container, DockerError> {
        read::<Container>("a container", told.to_string().as_bytes())?.checked(&id())
    }

    fn with(pointer: &str, value: Value) -> Value {
        let mut told = told();
        *told.pointer_mut(pointer).unwrap() = value;
        told
    }

    #[test]
    fn labels_names_and_the_image_are_told_and_no_value_of_a_variable() {
        let selectors = container(&told()).unwrap().selectors();
        let written: Vec<_> = selectors.iter().map(ToString::to_string).collect();
        let image = format!("docker:image_id:{}", image_id());
        let expected = ["docker:label:empty:", "docker:label:team:orders", "docker:label:url:https://x"];
        assert_eq!(written, [&expected[..], &["docker:env:PASSWORD", "docker:env:A", &image]].concat());
    }

    #[test]
    fn what_is_empty_may_be_null() {
        let bare = with("/Config", json!({"Labels": null, "Env": null}));
        assert_eq!(container(&bare).unwrap().selectors().len(), 1);
        assert_eq!(container(&with("/Config", json!({}))).unwrap().selectors().len(), 1);
    }

    #[test]
    fn an_answer_about_another_or_a_stopped_container_is_refused() {
        let other = container(&with("/Id", json!("8b".repeat(32)))).unwrap_err();
        assert!(matches!(other, DockerError::OtherContainer { .. }), "{other}");
        let stopped = container(&with("/State/Running", json!(false))).unwrap_err();
        assert!(matches!(stopped, DockerError::NotRunning { .. }), "{stopped}");
    }

    #[test]
    fn what_is_not_as_documented_is_refused_without_being_quoted() {
        let secret = format!("PASSWORD={SECRET}");
        for (pointer, value) in [
            ("/Id", json!(7)),
            ("/State", Value::Null),
            ("/State/Running", json!(secret)),
            ("/Image", json!("localhost/orders:1")),
            ("/Config/Env", json!(secret)),
            ("/Config/Env/0", json!({"PASSWORD": SECRET})),
            ("/Config/Labels", json!([secret])),
            ("/Config/Labels/team", json!({"PASSWORD": SECRET})),
        ] {
            let error = container(&with(pointer, value)).unwrap_err();
            assert!(matches!(error, DockerError::Malformed { .. }), "{pointer}: {error}");
            assert!(!format!("{error} {error:?}").contains(SECRET), "{error:?}");
        }
    }

    #[test]
    fn the_digest_of_the_configuration_is_the_id_in_dockers_own_store_only() {
        let info = |status: Value| {
            read::<Info>("info", json!({"Driver": "x", "DriverStatus": status}).to_string().as_bytes()).unwrap()
        };
        let container = container(&told()).unwrap();
        for own in [json!(null), json!([]), json!([["Backing Filesystem", "extfs"]])] {
            let digest = container.image_config(&info(own)).unwrap().unwrap();
            assert_eq!(digest.to_string(), format!("docker:image_config_digest:{}", image_id()));
        }
        let containerd = info(json!([["driver-type", "io.containerd.snapshotter.v1"]]));
        assert!(matches!(container.image_config(&containerd), Err(DockerError::ContainerdStore)));
        let mut newer = told();
        newer["ImageManifestDescriptor"] = json!({"digest": image_id()});
        let newer = read::<Container>("a container", newer.to_string().as_bytes()).unwrap();
        assert!(matches!(newer.image_config(&info(json!(null))), Err(DockerError::ContainerdStore)));
    }
}
