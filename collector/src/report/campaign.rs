//! Campaigns and their jobs as text.

use std::time::Duration;

use comfy_table::Cell;
use tokwatt_domain::campaign::{CampaignView, CampaignsView, JobProgress, JobState, JobView};

use super::{
    date,
    table::{right, table},
};

/// A list of campaigns.
pub fn campaigns(list: &CampaignsView) -> String {
    if list.campaigns.is_empty() {
        return "no campaigns: `tokwatt-collector campaign create -f FILE` makes one\n".to_owned();
    }
    let mut table = table(&[
        "campaign",
        "suite",
        "created (UTC)",
        "deadline (UTC)",
        "",
        "jobs",
    ]);
    for line in &list.campaigns {
        let deadline = line.deadline.map(|deadline| date::minute(deadline.0));
        let counts = line.n_jobs.iter().map(|(state, n)| format!("{n} {state}"));
        table.add_row([
            Cell::new(&line.name),
            Cell::new(&line.suite),
            Cell::new(date::minute(line.created.0)),
            Cell::new(deadline.as_deref().unwrap_or("–")),
            Cell::new(if line.is_over { "over" } else { "under way" }),
            Cell::new(counts.collect::<Vec<_>>().join(", ")),
        ]);
    }
    format!("{}\n", table.trim_fmt())
}

/// A campaign and where each device stands.
pub fn campaign(view: &CampaignView) -> String {
    let asked = &view.campaign;
    let deadline = asked.deadline.map_or_else(String::new, |deadline| {
        format!(", deadline {} UTC", date::minute(deadline.0))
    });
    let mut table = table(&["device", "state", "attempt", "runs", "where it stands"]);
    for job in &view.jobs {
        table.add_row([
            Cell::new(&job.device),
            Cell::new(job.state),
            right(attempt(view, job)),
            right(n_runs(job)),
            Cell::new(standing(job)),
        ]);
    }
    format!(
        "campaign {}: suite {}, created {} UTC{deadline}\n{}\n",
        asked.name,
        asked.work.suite,
        date::minute(view.created.0),
        table.trim_fmt()
    )
}

/// Where a device stands, in a line: `leased, attempt 1/3, run 2/6: …`.
pub fn job(view: &CampaignView, job: &JobView) -> String {
    let attempt = match job.attempt {
        0 => String::new(),
        _ => format!(", attempt {}", attempt(view, job)),
    };
    match standing(job) {
        standing if standing.is_empty() => format!("{}{attempt}", job.state),
        standing => format!("{}{attempt}, {standing}", job.state),
    }
}

fn attempt(view: &CampaignView, job: &JobView) -> String {
    // Those that never reached their device are no failures, so there may be more than may fail.
    match job.attempt <= view.campaign.attempts {
        true => format!("{}/{}", job.attempt, view.campaign.attempts),
        false => job.attempt.to_string(),
    }
}

fn n_runs(job: &JobView) -> String {
    match job.state {
        JobState::Done => job.runs.len().to_string(),
        _ => "–".to_owned(),
    }
}

fn standing(job: &JobView) -> String {
    let mut parts: Vec<String> = job.progress.iter().flat_map(progress).collect();
    parts.extend(job.reason.clone());
    if job.state == JobState::Leased && !job.is_attending {
        parts.push("not connected now".to_owned());
    }
    plain(&parts.join(", "))
}

/// What devices say is shown, and never moves anybody's cursor.
fn plain(text: &str) -> String {
    text.replace(char::is_control, " ")
}

fn progress(progress: &JobProgress) -> Vec<String> {
    let mut parts = Vec::new();
    match progress.run {
        0 => parts.push(progress.stage.clone()),
        run => parts.push(format!("run {run}/{}: {}", progress.runs, progress.stage)),
    }
    if progress.total > 0 {
        parts.push(format!("{}/{} requests", progress.done, progress.total));
    }
    parts.extend(progress.left_s.and_then(left));
    parts.extend(
        progress
            .power
            .iter()
            .map(|power| format!("{:.1} W {}", power.power.0, power.scope)),
    );
    parts.extend(progress.output_tps.map(|rate| format!("{rate:.1} tok/s")));
    parts.extend(progress.is_simulated.then(|| "simulated".to_owned()));
    parts
}

fn left(seconds: f64) -> Option<String> {
    let left = Duration::try_from_secs_f64(seconds.ceil()).ok()?;
    Some(format!("about {} left", humantime::format_duration(left)))
}

#[cfg(test)]
mod tests {
    use tokwatt_domain::{
        campaign::{Campaign, LivePower},
        ids::{DeviceId, JobId},
        power::Scope,
        time::WallTime,
        units::Watts,
    };

    use super::*;

    fn view(
        state: JobState,
        attempt: u32,
        progress: Option<JobProgress>,
        reason: Option<&str>,
    ) -> CampaignView {
        let campaign: Campaign =
            serde_json::from_str(r#"{"name":"c","work":{"suite":"edge-vision"}}"#).unwrap();
        let job = JobView {
            job: JobId([1; 16]),
            device: DeviceId::parse("orin-1").unwrap(),
            state,
            attempt,
            is_attending: true,
            progress,
            reason: reason.map(str::to_owned),
            runs: Vec::new(),
        };
        CampaignView {
            schema: "tokwatt.campaign/1".to_owned(),
            campaign,
            created: WallTime(0),
            is_over: state.is_over(),
            jobs: vec![job],
        }
    }

    #[test]
    fn a_device_is_told_of_in_a_line() {
        let loading = JobProgress {
            stage: "loading".to_owned(),
            runs: 6,
            ..JobProgress::default()
        };
        let measuring = JobProgress {
            stage: "caption_brief 640 px".to_owned(),
            run: 2,
            runs: 6,
            done: 120,
            total: 400,
            left_s: Some(124.2),
            output_tps: Some(24.06),
            power: vec![LivePower {
                scope: Scope::Module,
                source: "ina".to_owned(),
                power: Watts(31.24),
            }],
            is_simulated: true,
        };
        check(
            view(
                JobState::Waiting,
                0,
                None,
                Some("the device does not attend"),
            ),
            "waiting, the device does not attend",
        );
        check(
            view(JobState::Leased, 1, Some(loading), None),
            "leased, attempt 1/3, loading",
        );
        check(
            view(JobState::Leased, 1, Some(measuring), None),
            "leased, attempt 1/3, run 2/6: caption_brief 640 px, 120/400 requests, about 2m 5s left, 31.2 W module, 24.1 tok/s, simulated",
        );
        check(view(JobState::Done, 2, None, None), "done, attempt 2/3");
        check(
            view(JobState::Failed, 3, None, Some("\u{1b}[2Jout of\nmemory")),
            "failed, attempt 3/3,  [2Jout of memory",
        );

        #[track_caller]
        fn check(view: CampaignView, want: &str) {
            assert_eq!(job(&view, &view.jobs[0]), want);
        }
    }
}
