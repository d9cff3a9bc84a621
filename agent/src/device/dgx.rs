//! DGX OS by its release files; the serial number that stands there too is never taken.

use serde::Serialize;

use super::{HostRoot, Unlearnt, assignment, assignments};

/// What `/etc/dgx-release` and `/etc/fastos-release` say, by the names the fixture corpus uses.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
pub struct Release {
    /// Product: `DGX Spark`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Machine, in the words of its maker.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub platform: Option<String>,
    /// Version installed at the factory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub swbuild: Option<String>,
    /// Version that runs: the last update.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ota: Option<String>,
    /// All updates in order, if there was more than one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ota_history: Vec<String>,
    /// Version of the factory image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fastos: Option<String>,
}

impl Release {
    /// Reads a release file, `None` if it is none.
    pub fn parse(text: &str) -> Option<Self> {
        let updates = assignments(text, "DGX_OTA_VERSION");
        let is_fastos = assignment(text, "NAME").is_some_and(|name| name.contains("FASTOS"));
        let release = Self {
            name: assignment(text, "DGX_NAME"),
            platform: assignment(text, "DGX_PLATFORM"),
            swbuild: assignment(text, "DGX_SWBUILD_VERSION"),
            ota: updates.last().cloned(),
            ota_history: if updates.len() > 1 {
                updates
            } else {
                Vec::new()
            },
            fastos: is_fastos.then(|| assignment(text, "VERSION")).flatten(),
        };
        (release != Self::default()).then_some(release)
    }
}

/// Name and version of DGX OS.
pub(super) fn release(root: &HostRoot) -> Result<String, Unlearnt> {
    let text = root.read(DGX_RELEASE)?;
    let release = Release::parse(&text).unwrap_or_default();
    let words = [release.name, release.ota.or(release.swbuild)];
    match words.into_iter().flatten().collect::<Vec<_>>() {
        words if words.is_empty() => Err(Unlearnt::Lacks {
            path: DGX_RELEASE.to_owned(),
            what: "DGX_NAME or version",
        }),
        words => Ok(words.join(" ")),
    }
}

/// Whether the release files are those of a DGX Spark or one of its siblings.
pub(super) fn is_spark(root: &HostRoot) -> bool {
    let names_spark = |path: &str, key: &str| {
        let text = root.read(path).unwrap_or_default();
        assignment(&text, key).is_some_and(|name| name.to_uppercase().contains("DGX SPARK"))
    };
    names_spark(DGX_RELEASE, "DGX_NAME") || names_spark("/etc/fastos-release", "NAME")
}

const DGX_RELEASE: &str = "/etc/dgx-release";
