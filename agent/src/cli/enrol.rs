//! `enrol`: makes this device one of a site.

use std::{io::Write, path::Path};

use anyhow::{Context, bail, ensure};
use clap::Args;
use tokwatt_domain::{
    ids::{DeviceId, InvalidId},
    time::WallTime,
};
use tokwatt_proto::identity::{Credentials, CredentialsError, FolderLock, Token, TypedToken};

use super::{Exit, General, date, runtime};
use crate::{
    clock::{Clock, SystemClock},
    device::{self, HostRoot},
    enrol,
    settings::{Given, Settings},
    spool::{BenchLock, Spool},
    uplink::{Url, identity_folder},
};

#[derive(Args)]
pub(super) struct EnrolArgs {
    /// Where the collector enrols, as `tokwatt-collector token create` says: https://HOST:7414
    #[arg(long, value_name = "URL")]
    collector: Url,
    /// What that command printed: tw1.….….…; in the environment it is not seen by other users
    #[arg(
        long,
        value_name = "TOKEN",
        env = "TOKWATT_TOKEN",
        hide_env_values = true
    )]
    token: TypedToken,
    /// Name of the device, 1 to 63 of [a-z0-9-]; the one that `probe` shows, if left out
    #[arg(long, value_name = "NAME", value_parser = read_name)]
    name: Option<DeviceId>,
    /// Enrol a device that is enrolled already; the token must have been made with --replace
    #[arg(long)]
    again: bool,
}

/// What there is before.
struct Before {
    identity: Option<Credentials>,
    /// What this device is called so far.
    name: DeviceId,
}

fn read_name(text: &str) -> Result<DeviceId, InvalidId> {
    DeviceId::parse(text)
}

pub(super) fn enrol(general: General, args: &EnrolArgs) -> anyhow::Result<Exit> {
    let token = args.token.read().context("--token")?;
    let settings = general.settings(Given::default())?;
    let data = &settings.data.value;
    let root = HostRoot::at(&settings.host_root.value);
    let now = SystemClock::start().wall();
    let spool = Spool::open(data, now, settings.spool_bytes_max.value)?;
    let _lock = BenchLock::take(data)?;
    let before = Before {
        identity: before(&identity_folder(data), args.again)?,
        name: super::named(&root, &settings).id,
    };
    let name = args.name.as_ref().unwrap_or(&before.name);
    before.check_spool(&spool, name, &token)?;
    // Before the token is spent.
    let identity = identity_folder(data);
    let Some(lock) = FolderLock::try_take(&identity)? else {
        bail!(
            "an agent renews the identity in `{}` just now: try again",
            identity.display()
        );
    };
    lock.try_room(&identity)?;
    let asked = enrol::enrol(&args.collector, &token, name, now);
    let credentials = runtime()?.block_on(asked)?;
    if before.needs_a_new_life(&spool, name, &token)? {
        spool.begin_anew(now)?;
    }
    device::rename(&root, data, name)
        .with_context(|| format!("cannot keep the name `{name}` in `{}`", data.display()))?;
    credentials.store_anew(&identity)?;
    say(&credentials, &settings)?;
    Ok(Exit::Done)
}

/// The identity that would be replaced; refused unless that is asked for.
fn before(folder: &Path, again: bool) -> anyhow::Result<Option<Credentials>> {
    match Credentials::load(folder) {
        Ok(credentials) if again => Ok(Some(credentials)),
        Ok(credentials) => {
            let facts = credentials.facts();
            bail!(
                "this device is enrolled already, as {} of site `{}`, until {}: nothing is to be done. To enrol it again all the same, say --again, with a token that was made with --replace",
                facts.subject,
                facts.site,
                date(facts.not_after)
            )
        }
        Err(CredentialsError::Absent(_)) => Ok(None),
        Err(_) if again => Ok(None),
        Err(error) => Err(error).context(
            "this device has an identity that cannot be used; --again replaces it, with a token that was made with --replace",
        ),
    }
}

impl Before {
    /// The collector takes records of a device from that device only, and a part of a run is of no use anywhere.
    fn check_spool(&self, spool: &Spool, name: &DeviceId, token: &Token) -> anyhow::Result<()> {
        let what = if *name != self.name {
            format!("under the name `{}`, not `{name}`", self.name)
        } else if self.is_elsewhere(token) {
            "for the site where this device is enrolled now".to_owned()
        } else if self.needs_a_new_life(spool, name, token)? {
            "for another collector".to_owned()
        } else {
            return Ok(());
        };
        let instead = "or keep everything where it is and enrol with another data folder (--data)";
        ensure!(
            spool.unfinished()?.is_none(),
            "a bench was begun {what}, and is not finished: end it with `bench --resume` or `bench --abandon` and deliver it, {instead}"
        );
        let may_move = *name == self.name && !self.is_elsewhere(token);
        let waiting = spool.status()?.waiting_records;
        ensure!(
            may_move || waiting == 0,
            "{waiting} records wait {what}: deliver them first (`tokwatt-agent run --until-empty`, or `spool export`), enrol with --name {}, {instead}",
            self.name
        );
        Ok(())
    }

    /// Whether the collector knows nothing of what was acknowledged before, so that the numbers must begin again.
    fn needs_a_new_life(
        &self,
        spool: &Spool,
        name: &DeviceId,
        token: &Token,
    ) -> anyhow::Result<bool> {
        let status = spool.status()?;
        let has_delivered = status.last.0 > status.waiting_records;
        let goes_on = self
            .identity
            .as_ref()
            .is_some_and(|own| is_of(own, token) && own.facts().subject.name == name.as_str());
        Ok(has_delivered && !goes_on)
    }

    /// Whether it is enrolled at another site than the token's.
    fn is_elsewhere(&self, token: &Token) -> bool {
        self.identity.as_ref().is_some_and(|own| !is_of(own, token))
    }
}

/// Whether it is the same site, by its authority.
fn is_of(credentials: &Credentials, token: &Token) -> bool {
    let authority = credentials.authority();
    authority.is_ok_and(|authority| authority.key_sha256() == token.authority_sha256)
}

/// What was done, and what to type next.
fn say(credentials: &Credentials, settings: &Settings) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    let facts = credentials.facts();
    let data = &settings.data.value;
    writeln!(
        out,
        "enrolled         {} of site `{}`",
        facts.subject, facts.site
    )?;
    writeln!(
        out,
        "certificate      until {}, renewed by itself while `tokwatt-agent run` is running",
        date(facts.not_after)
    )?;
    let folder = identity_folder(data);
    writeln!(
        out,
        "kept in          {}, for its owner only",
        folder.display()
    )?;
    let given = settings.collector.value.as_deref();
    match given.filter(|given| *given != credentials.collector()) {
        None => writeln!(out, "delivers to      {}", credentials.collector())?,
        Some(given) => writeln!(
            out,
            "delivers to      {given}, by `collector.url` of the configuration; empty it to deliver to {}",
            credentials.collector()
        )?,
    }
    writeln!(
        out,
        "next             tokwatt-agent run; or as a service: sudo systemctl enable --now tokwatt-agent"
    )?;
    Ok(())
}

/// The day and minute of a certificate's end, and nothing finer: for people.
pub(super) fn until(not_after: WallTime, now: WallTime) -> String {
    let left = not_after.0.saturating_sub(now.0);
    let days = left.abs() / DAY_US;
    match left {
        0.. => format!("until {}, for {days} more days", date(not_after)),
        _ => format!("until {}: it expired {days} days ago", date(not_after)),
    }
}

const DAY_US: i64 = 86_400_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_certificate_is_said_in_days() {
        let end = WallTime(1_780_000_000_000_000);
        let said = |days: i64| until(end, WallTime(end.0 - days * DAY_US));
        assert_eq!(said(3), "until 2026-05-28 20:26 UTC, for 3 more days");
        assert!(said(-2).ends_with("it expired 2 days ago"), "{}", said(-2));
    }
}
