//! `check`: whether the database is what it says, and what to do where it is not; `check published`: the same of five studies.

use std::{path::PathBuf, sync::Arc};

use clap::{Args, Subcommand, ValueEnum};

use super::{FoundWrong, output::Output, runs::Format};
use crate::{
    check::{self, Rebuilt},
    published::Published,
    report,
    settings::{Overrides, Settings},
    store::{Store, database_in},
    vitals::Vitals,
};

#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Check {
    #[command(subcommand)]
    what: Option<What>,
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

/// What is looked at, if it is not the database.
#[derive(Debug, Subcommand)]
enum What {
    /// Which statements of five published studies survive their own figures; needs neither database nor collector
    Published(PublishedArgs),
}

#[derive(Args, Debug)]
struct PublishedArgs {
    #[arg(long, value_enum, default_value_t = TableFormat::Table)]
    format: TableFormat,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum TableFormat {
    Table,
    Json,
    Markdown,
}

pub(super) fn check(arguments: &Check, output: &mut Output<'_>) -> anyhow::Result<()> {
    if let Some(What::Published(arguments)) = &arguments.what {
        return published(arguments.format, output);
    }
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

fn published(format: TableFormat, output: &mut Output<'_>) -> anyhow::Result<()> {
    let check = check::check_published(Published::shipped());
    let text = match format {
        TableFormat::Json => serde_json::to_string_pretty(&check)?,
        TableFormat::Table => report::published(&check),
        TableFormat::Markdown => report::published_markdown(&check),
    };
    Ok(output.print(&text)?)
}

async fn rebuild(settings: &Settings) -> anyhow::Result<Rebuilt> {
    let vitals = Arc::new(Vitals::new(&database_in(&settings.data)));
    let store = Arc::new(Store::open_counted(&settings.data, &vitals)?);
    Ok(check::rebuild(&store, &vitals).await?)
}
