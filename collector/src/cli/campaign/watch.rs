//! `campaign watch`: where each device stands, until all is over.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, IsTerminal},
    time::Duration,
};

use anyhow::{Context, anyhow};
use clap::Args;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokwatt_domain::{
    campaign::{CampaignView, JobState, JobView},
    ids::DeviceId,
};
use tokwatt_proto::{identity::Trouble, v1};
use tonic::{Code, Status, transport::Channel};

use super::client;
use crate::{
    cli::{
        FoundWrong,
        client::{Address, Answer, Refusal},
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

/// What has come of it so far.
#[derive(Default)]
struct Followed {
    latest: Option<CampaignView>,
    /// Why nothing comes; each reason is told once while nothing does.
    reasons: BTreeSet<String>,
}

/// How a stream has ended.
enum Ending {
    /// With the campaign.
    Over,
    /// The collector went away, and may be back.
    Away,
    /// There is nothing to wait for.
    Fatal(anyhow::Error),
}

/// Shows a campaign until it is over: done if every job is, else it has found something wrong.
pub(super) fn watch(arguments: &Watch, output: &mut Output<'_>) -> anyhow::Result<()> {
    let mut screen = Screen::new(arguments.format);
    let mut followed = Followed::default();
    loop {
        let follow = async |channel| {
            follow(&arguments.name, channel, &mut screen, &mut followed, output).await
        };
        let reason = match arguments.address.call(follow) {
            Ok(Ending::Over) => break,
            Ok(Ending::Fatal(error)) => return Err(error),
            Ok(Ending::Away) => "the collector went away".to_owned(),
            Err(error) if followed.latest.is_none() || error.is::<Refusal>() => return Err(error),
            Err(error) => format!("{error:#}"),
        };
        if followed.is_news(&reason) {
            tracing::warn!("{reason}; waiting for it");
        }
        std::thread::sleep(RETRY);
    }
    screen.clear();
    let view = followed
        .latest
        .context("the collector ended the stream before it said anything")?;
    if !matches!(screen, Screen::Json) {
        output.print(&report::campaign(&view))?;
    }
    if view.jobs.iter().all(|job| job.state == JobState::Done) {
        return Ok(());
    }
    Err(FoundWrong.into())
}

async fn follow(
    name: &str,
    channel: Channel,
    screen: &mut Screen,
    followed: &mut Followed,
    output: &mut Output<'_>,
) -> Result<Ending, Status> {
    let request = v1::ShowCampaignRequest {
        name: name.to_owned(),
    };
    let mut documents = match client(channel).watch(request).await {
        Ok(response) => response.into_inner(),
        // It never was there, or does not let us.
        Err(status) if followed.latest.is_none() => return Err(status),
        Err(status) => return interruption(status),
    };
    loop {
        let document = match documents.message().await {
            Ok(Some(document)) => document,
            Ok(None) => return Ok(Ending::Away),
            Err(status) => return interruption(status),
        };
        let told = Answer::<CampaignView>::read(document).and_then(|answer| {
            screen.show(&answer, output)?;
            Ok(answer.document)
        });
        match told {
            Ok(view) => {
                let is_over = view.is_over;
                followed.latest = Some(view);
                followed.reasons.clear();
                if is_over {
                    return Ok(Ending::Over);
                }
            }
            Err(error) => return Ok(Ending::Fatal(error)),
        }
    }
}

fn interruption(status: Status) -> Result<Ending, Status> {
    if Trouble::among(&status).is_some() {
        return Err(status);
    }
    Ok(match status.code() {
        Code::Unavailable | Code::Unknown | Code::Cancelled => Ending::Away,
        _ => Ending::Fatal(anyhow!("{}", status.message())),
    })
}

impl Followed {
    fn is_news(&mut self, reason: &str) -> bool {
        self.reasons.insert(reason.to_owned())
    }
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

    fn show(&mut self, answer: &Answer<CampaignView>, output: &mut Output<'_>) -> io::Result<()> {
        let view = &answer.document;
        match self {
            Self::Json => output.print(&answer.json),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_to_wait_is_told_once() {
        let mut followed = Followed::default();
        let told: Vec<&str> = ["away", "refused", "away", "refused", "refused"]
            .into_iter()
            .filter(|reason| followed.is_news(reason))
            .collect();
        assert_eq!(told, ["away", "refused"]);
    }

    #[test]
    fn a_stream_that_broke_is_waited_for_and_one_that_tls_refused_is_not() {
        let revoked = rustls::AlertDescription::CertificateRevoked;
        let revoked = std::io::Error::other(rustls::Error::AlertReceived(revoked));
        let broke = std::io::Error::from(std::io::ErrorKind::ConnectionReset);
        for (cause, is_waited_for) in [(broke, true), (revoked, false)] {
            let status = Status::from_error(Box::new(cause));
            let ending = interruption(status);
            let is_away = matches!(ending, Ok(Ending::Away));
            assert_eq!((is_away, ending.is_ok()), (is_waited_for, is_waited_for));
        }
        let denied = interruption(Status::permission_denied("no"));
        assert!(matches!(denied, Ok(Ending::Fatal(_))));
    }
}
