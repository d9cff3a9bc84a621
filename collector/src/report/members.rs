//! One device, and tokens: what an operator looks at.

use comfy_table::Cell;

use super::{date, table::table};
use crate::{
    enrol::{Token, Tokens},
    query::{Certificate, Device},
};

/// One device: a line for each thing that is known of it.
pub fn device(device: &Device) -> String {
    let Device {
        device: name,
        agent_version,
        n_runs,
        n_cells,
        n_set_aside,
        ..
    } = device;
    let mut lines = vec![
        format!("device {name}"),
        format!("agent         {agent_version}"),
        format!("certificate   {}", certificate(device.certificate.as_ref())),
        format!("labels        {}", labels(device)),
        format!("runs          {n_runs}, of {n_cells} cells"),
        format!("last run      {}", last_run(device)),
        format!("unused        {n_set_aside} records"),
    ];
    lines.extend(device.streams.iter().map(|stream| {
        format!(
            "delivered     epoch {} up to {}",
            stream.epoch, stream.through
        )
    }));
    if let Some(profile) = &device.profile {
        lines.push(format!("kind          {}", profile.kind));
        lines.extend(
            profile
                .facts
                .iter()
                .map(|(name, value)| format!("  {name}: {value}")),
        );
    }
    lines.join("\n") + "\n"
}

/// Tokens.
pub fn tokens(tokens: &Tokens) -> String {
    if tokens.tokens.is_empty() {
        return "no tokens: `tokwatt-collector token create --role device` makes one\n".to_owned();
    }
    let mut rows = table(&[
        "token",
        "role",
        "for",
        "replaces",
        "state",
        "expires (UTC)",
        "made by",
    ]);
    for token in &tokens.tokens {
        rows.add_row(token_cells(token));
    }
    format!("{}\n", rows.trim_fmt())
}

fn token_cells(token: &Token) -> Vec<Cell> {
    let state = match &token.used_by {
        Some(used_by) => format!("used by {used_by}"),
        None => token.state.clone(),
    };
    vec![
        Cell::new(&token.id),
        Cell::new(&token.role),
        Cell::new(token.name.as_deref().unwrap_or("any name")),
        Cell::new(if token.replace { "yes" } else { "no" }),
        Cell::new(state),
        Cell::new(date::minute(token.expires)),
        Cell::new(&token.created_by),
    ]
}

fn certificate(certificate: Option<&Certificate>) -> String {
    match certificate {
        None => "none: it delivered to a collector without an identity".to_owned(),
        Some(Certificate {
            revoked: Some(why), ..
        }) => format!("revoked: {why}"),
        Some(certificate) => format!(
            "{}, until {} UTC",
            certificate.serial,
            date::minute(certificate.not_after)
        ),
    }
}

fn labels(device: &Device) -> String {
    let labels = device.labels.iter();
    let labels: Vec<String> = labels
        .map(|(label, value)| format!("{label}={value}"))
        .collect();
    if labels.is_empty() {
        return "none".to_owned();
    }
    labels.join(" ")
}

fn last_run(device: &Device) -> String {
    match device.last_started {
        Some(started) => format!("{} UTC", date::minute(started)),
        None => "none".to_owned(),
    }
}
