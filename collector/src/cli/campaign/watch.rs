//! `campaign watch`: where each device stands, until all is over.

use std::{
    collections::BTreeMap,
    io::{self, IsTerminal},
    process::ExitCode,
    time::Duration,
};

use anyhow::Context;
use clap::Args;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokwatt_domain::{
    campaign::{CampaignView, JobState, JobView},
    ids::DeviceId,
};
use tokwatt_proto::v1::{self, campaigns_client::CampaignsClient};
use tonic::{Code, Status, transport::Channel};

use crate::{
    cli::{
        client::{ANSWER_BYTES_MAX, Address},
        output::Output,
        runs::Format,
    },
    report,
};

#[derive(Args, Debug)]
pub(in crate::cli) struct Watch {
    /// Name of the campaign
    #[arg(value_name = "NAME")]
    name: String,
    /// `json` prints a document for each change, one a line
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    #[command(flatten)]
    address: Address,
}

/// What a watcher sees.
enum Screen {
    /// A bar for each device.
    Bars {
        all: MultiProgress,
        bars: BTreeMap<DeviceId, ProgressBar>,
    },
    /// A line for each step of a device, by what was said last.
    Lines(BTreeMap<DeviceId, Step>),
    /// The document.
    Json,
}

/// What is worth a line of its own.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Step {
    state: JobState,
    attempt: u32,
    is_attending: bool,
    run: u32,
    reason: Option<String>,
}

/// Why a stream has ended before the campaign.
enum Interruption {
    /// The collector went away and may be back.
    Away,
    /// There is nothing to wait for.
    Over(anyhow::Error),
}

/// Shows a campaign until it is over: 0 if every job is done, 1 if one is not.
pub(super) fn watch(arguments: &Watch, output: &mut Output<'_>) -> anyhow::Result<ExitCode> {
    let mut screen = Screen::new(arguments.format);
    let mut latest: Option<CampaignView> = None;
    loop {
        let address = &arguments.address;
        let outcome = address.call(async |channel| {
            Ok(follow(arguments, channel, &mut screen, &mut latest, output).await)
        });
        match outcome {
            Ok(Ok(())) => break,
            Ok(Err(Interruption::Over(error))) => return Err(error),
            Ok(Err(Interruption::Away)) => {}
            // It never was there.
            Err(error) if latest.is_none() => return Err(error),
            Err(_) => {}
        }
        tracing::warn!("the collector went away, asking again until it is back");
        std::thread::sleep(RETRY);
    }
    screen.clear();
    let view = latest.context("the collector ended the stream before it said anything")?;
    if !matches!(screen, Screen::Json) {
        output.print(&report::campaign(&view))?;
    }
    let is_done = view.jobs.iter().all(|job| job.state == JobState::Done);
    Ok(if is_done {
        ExitCode::SUCCESS
    } else {
        FOUND_SOMETHING.into()
    })
}

async fn follow(
    arguments: &Watch,
    channel: Channel,
    screen: &mut Screen,
    latest: &mut Option<CampaignView>,
    output: &mut Output<'_>,
) -> Result<(), Interruption> {
    let mut client = CampaignsClient::new(channel).max_decoding_message_size(ANSWER_BYTES_MAX);
    let request = v1::ShowCampaignRequest {
        name: arguments.name.clone(),
    };
    let failed = |status: &Status| match status.code() {
        Code::Unavailable | Code::Unknown | Code::Cancelled => Interruption::Away,
        _ => Interruption::Over(arguments.address.explain(status)),
    };
    let over = |error: anyhow::Error| Interruption::Over(error);
    let mut documents = match client.watch(request).await {
        Ok(response) => response.into_inner(),
        Err(status) => return Err(failed(&status)),
    };
    while let Some(document) = documents
        .message()
        .await
        .map_err(|status| failed(&status))?
    {
        let view: CampaignView = serde_json::from_slice(&document.json)
            .context("cannot read the collector's answer: is it of another version?")
            .map_err(over)?;
        screen
            .show(&view, &document.json, output)
            .map_err(|error| over(error.into()))?;
        let is_over = view.is_over;
        *latest = Some(view);
        if is_over {
            return Ok(());
        }
    }
    Err(Interruption::Away)
}

impl Screen {
    fn new(format: Format) -> Self {
        match format {
            Format::Json => Self::Json,
            Format::Table if io::stdout().is_terminal() => Self::Bars {
                all: MultiProgress::with_draw_target(ProgressDrawTarget::stdout_with_hz(4)),
                bars: BTreeMap::new(),
            },
            Format::Table => Self::Lines(BTreeMap::new()),
        }
    }

    fn show(
        &mut self,
        view: &CampaignView,
        json: &[u8],
        output: &mut Output<'_>,
    ) -> io::Result<()> {
        match self {
            Self::Json => output.print(&String::from_utf8_lossy(json)),
            Self::Bars { all, bars } => {
                for job in &view.jobs {
                    let bar = bars
                        .entry(job.device.clone())
                        .or_insert_with(|| all.add(bar(job)));
                    draw(bar, view, job);
                }
                Ok(())
            }
            Self::Lines(told) => {
                for job in &view.jobs {
                    let step = Step::of(job);
                    if told.get(&job.device) != Some(&step) {
                        told.insert(job.device.clone(), step);
                        output.print(&format!("{}: {}", job.device, report::job(view, job)))?;
                    }
                }
                Ok(())
            }
        }
    }

    fn clear(&self) {
        if let Self::Bars { all, .. } = self {
            // A terminal that is gone needs no clearing.
            drop(all.clear());
        }
    }
}

impl Step {
    fn of(job: &JobView) -> Self {
        Self {
            state: job.state,
            attempt: job.attempt,
            is_attending: job.is_attending,
            run: job.progress.as_ref().map_or(0, |progress| progress.run),
            reason: job.reason.clone(),
        }
    }
}

fn bar(job: &JobView) -> ProgressBar {
    let style = ProgressStyle::with_template("{prefix:16} {bar:20} {wide_msg}");
    ProgressBar::new(1)
        .with_style(style.expect("the template is well formed"))
        .with_prefix(job.device.to_string())
}

fn draw(bar: &ProgressBar, view: &CampaignView, job: &JobView) {
    let (done, total) = match &job.progress {
        _ if job.state.is_over() => (1, 1),
        Some(progress) => (progress.done, progress.total.max(1)),
        None => (0, 1),
    };
    bar.set_length(total);
    bar.set_position(done);
    bar.set_message(report::job(view, job));
}

/// A collector that is started anew is back in a few seconds.
const RETRY: Duration = Duration::from_secs(2);

const FOUND_SOMETHING: u8 = 1;
