//! What a record is about, as far as the store must know; what cannot be read is content too.

use std::error::Error;

use serde::Serialize;
use tokwatt_domain::ids::DeviceId;
use tokwatt_proto::{Outline, Record};

use crate::store::{Content, Opened};

/// Reads a record of a device.
pub(crate) fn content(device: &DeviceId, bytes: &[u8]) -> Content {
    match Record::outline(bytes) {
        Err(error) => Content::Unusable(chain(&error)),
        Ok(Outline::Device(profile)) => {
            of_device(device, &profile.id).unwrap_or_else(|| Content::Device {
                profile: json(&profile),
            })
        }
        Ok(Outline::RunOpened(opening)) => {
            of_device(device, &opening.device).unwrap_or(Content::Opened(Opened {
                run: opening.run,
                started_us: opening.started.0,
                job: opening.job,
            }))
        }
        Ok(Outline::Part(run)) => Content::Part { run },
        Ok(Outline::RunFinished(run)) => Content::Finished { run },
    }
}

/// A device speaks for itself only.
fn of_device(sender: &DeviceId, named: &DeviceId) -> Option<Content> {
    (sender != named).then(|| Content::Unusable(format!("it is of device `{named}`")))
}

fn json(document: &impl Serialize) -> String {
    serde_json::to_string(document).expect("it was read from JSON of the same form")
}

/// An error with what caused it.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
