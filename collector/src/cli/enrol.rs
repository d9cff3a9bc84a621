//! `enrol`: a certificate for a viewer or an operator on another machine.

use std::path::Path;

use anyhow::{Context, anyhow, bail};
use clap::Args;
use tokwatt_domain::time::WallTime;
use tokwatt_proto::{
    identity::{Credentials, CredentialsError, FolderLock, PrivateKey, Token, TypedToken, tls},
    v1::{self, enrol_client::EnrolClient},
};
use tonic::transport::Uri;

use super::{
    client::{IdentityFolder, endpoint, no_tls},
    output::Output,
};
use crate::{
    clock::{Clock, SystemClock},
    report,
};

#[derive(Args, Debug)]
pub(super) struct Enrol {
    /// Where the collector enrols: https://HOST:7414
    #[arg(long = "collector", value_name = "URL")]
    url: String,
    /// Token that an operator made: tw1.…
    #[arg(
        long,
        value_name = "TOKEN",
        env = "TOKWATT_TOKEN",
        hide_env_values = true
    )]
    token: TypedToken,
    /// Name to be enrolled under, if the token is not for one only
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Replace the identity that is there already
    #[arg(long)]
    again: bool,
    #[command(flatten)]
    identity: IdentityFolder,
}

pub(super) fn enrol(arguments: &Enrol, output: &mut Output<'_>) -> anyhow::Result<()> {
    if !arguments.url.starts_with("https://") {
        bail!(
            "`{}` is not where a collector enrols: write https://HOST:7414, as `token create` printed it",
            arguments.url
        );
    }
    let token = arguments.token.read().context("--token")?;
    let folder = arguments.identity.folder()?;
    // Before the token is spent.
    let Some(lock) = FolderLock::try_take(&folder)? else {
        bail!(
            "somebody renews the identity in `{}` just now: try again",
            folder.display()
        );
    };
    refuse_to_replace(&folder, arguments.again)?;
    lock.try_room(&folder)?;
    let key = PrivateKey::generate()?;
    let request = v1::EnrolRequest {
        token: token.id.clone(),
        secret: token.secret.clone(),
        name: arguments.name.clone().unwrap_or_default(),
        certificate_request: key.certificate_request()?,
        version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let issued = runtime.block_on(ask(&arguments.url, &token, request))?;
    let collector = beside(&arguments.url, issued.port)?;
    let credentials = Credentials::new(key, issued.chain, &collector, WallTime(issued.now_us))?;
    credentials.store_anew(&folder)?;
    let facts = credentials.facts();
    Ok(output.print(&format!(
        "{} of site {} can now ask {collector}\nthe certificate in {} ends on {} UTC and renews itself when it is used before",
        facts.subject,
        facts.site,
        folder.display(),
        report::utc(facts.not_after.0)
    ))?)
}

fn refuse_to_replace(folder: &Path, again: bool) -> anyhow::Result<()> {
    match Credentials::load(folder) {
        _ if again => Ok(()),
        Err(CredentialsError::Absent(_)) => Ok(()),
        Ok(credentials) => {
            let facts = credentials.facts();
            bail!(
                "`{}` has an identity already, {} of site {}, until {} UTC: replace it with --again, or keep another one beside it with --identity DIR",
                folder.display(),
                facts.subject,
                facts.site,
                report::utc(facts.not_after.0)
            )
        }
        Err(error) => Err(error).context("there is an identity that cannot be used: replace it with --again, or keep another one beside it with --identity DIR"),
    }
}

async fn ask(url: &str, token: &Token, request: v1::EnrolRequest) -> anyhow::Result<v1::Issued> {
    let config = tls::enrolment(token.authority_sha256, SystemClock.wall());
    let channel = tls::channel(&endpoint(url)?, config).await;
    let channel = channel.map_err(|error| no_tls(url, &error))?;
    let issued = EnrolClient::new(channel).enrol(request).await;
    let issued = issued.map_err(|status| anyhow!("not enrolled: {}", status.message()))?;
    Ok(issued.into_inner())
}

/// The same host at another port.
fn beside(url: &str, port: u32) -> anyhow::Result<String> {
    let uri: Uri = url.parse()?;
    let host = uri.host().ok_or_else(|| anyhow!("`{url}` names no host"))?;
    Ok(format!("https://{host}:{port}"))
}
