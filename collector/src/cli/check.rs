//! `check`: whether the database is what it says, and what to do where it is not.

use std::{path::PathBuf, sync::Arc};

use clap::Args;

use super::{FoundWrong, output::Output, runs::Format};
use crate::{
    check::{self, Rebuilt},
    report,
    settings::{Overrides, Settings},
    store::{Store, database_in},
    vitals::Vitals,
};

#[derive(Args, Debug)]
pub(super) struct Check {
    /// Settings file, for its `data`
    #[arg(long, value_name = "FILE", env = "TOKWATT_COLLECTOR_CONFIG")]
    config: Option<PathBuf>,
    /// Folder of the database; a collector may be using it
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// First read again what could not be read, measure all runs again, and make the roll-ups anew; the collector must be stopped
    #[arg(long)]
    rebuild: bool,
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

pub(super) fn check(arguments: &Check, output: &mut Output<'_>) -> anyhow::Result<()> {
    let overrides = Overrides {
        data: arguments.data.clone(),
        ..Overrides::default()
    };
    let settings = Settings::resolve(arguments.config.as_deref(), &overrides)?.settings;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let (rebuilt, found) = runtime.block_on(async {
        let rebuilt = match arguments.rebuild {
            true => Some(rebuild(&settings).await?),
            false => None,
        };
        let store = Store::look_at(&settings.data)?;
        anyhow::Ok((rebuilt, check::check(&store).await?))
    })?;
    let text = match arguments.format {
        Format::Json => serde_json::to_string_pretty(&found)?,
        Format::Table => report::check(&found, rebuilt),
    };
    output.print(&text)?;
    match found.findings.is_empty() {
        true => Ok(()),
        false => Err(FoundWrong.into()),
    }
}

async fn rebuild(settings: &Settings) -> anyhow::Result<Rebuilt> {
    let vitals = Arc::new(Vitals::new(&database_in(&settings.data)));
    let store = Arc::new(Store::open_counted(&settings.data, &vitals)?);
    Ok(check::rebuild(&store, &vitals).await?)
}
