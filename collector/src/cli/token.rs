//! `token create`, `token list` and `token revoke`.

use clap::{Args, Subcommand};
use tokwatt_proto::{
    identity::Role,
    v1::{self, admin_client::AdminClient},
};

use super::{
    client::{Address, Answer},
    output::Output,
    runs::Format,
};
use crate::{enrol::Tokens, report};

#[derive(Debug, Subcommand)]
pub(super) enum Token {
    /// Makes a token with which one device or person enrols, once, within 15 minutes
    Create(Create),
    /// Tokens and what became of them, the latest first
    List(List),
    /// Takes a token back that was not used yet
    Revoke(Revoke),
}

#[derive(Args, Debug)]
pub(super) struct Create {
    /// What it is for: device (delivers), viewer (asks) or operator (asks and changes)
    #[arg(long, value_name = "ROLE", value_parser = role)]
    role: Role,
    /// The only name that may enrol with it: of a device its id, of a person what they are called
    #[arg(long = "device", alias = "name", value_name = "NAME")]
    name: Option<String>,
    /// With --device: that name, which has a certificate, may get another one; the earlier ones are revoked when it does
    #[arg(long)]
    replace: bool,
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    #[command(flatten)]
    address: Address,
}

#[derive(Args, Debug)]
pub(super) struct List {
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    #[command(flatten)]
    address: Address,
}

#[derive(Args, Debug)]
pub(super) struct Revoke {
    /// Public part of the token: the second word of it, as `token list` shows it
    #[arg(value_name = "ID")]
    id: String,
    #[command(flatten)]
    address: Address,
}

pub(super) fn token(arguments: &Token, output: &mut Output<'_>) -> anyhow::Result<()> {
    match arguments {
        Token::Create(arguments) => create(arguments, output),
        Token::List(arguments) => list(arguments, output),
        Token::Revoke(arguments) => revoke(arguments, output),
    }
}

pub(super) fn role(text: &str) -> Result<Role, String> {
    Role::parse(text).ok_or_else(|| "a role is device, viewer or operator".to_owned())
}

fn create(arguments: &Create, output: &mut Output<'_>) -> anyhow::Result<()> {
    let request = v1::CreateTokenRequest {
        role: v1::Role::from(arguments.role).into(),
        name: arguments.name.clone().unwrap_or_default(),
        replace: arguments.replace,
    };
    let token = arguments.address.call(async |channel| {
        let token = AdminClient::new(channel).create_token(request).await;
        token.map(tonic::Response::into_inner)
    })?;
    let text = match arguments.format {
        Format::Json => serde_json::json!({
            "schema": "tokwatt.token/1",
            "token": token.token,
            "role": arguments.role.name(),
            "name": arguments.name,
            "expires": token.expires_us,
            "enrol_address": token.enrol_address,
        })
        .to_string(),
        Format::Table => for_people(arguments, &token),
    };
    Ok(output.print(&text)?)
}

fn for_people(arguments: &Create, token: &v1::Token) -> String {
    let program = match arguments.role {
        Role::Device => "tokwatt-agent",
        Role::Viewer | Role::Operator => "tokwatt-collector",
    };
    let who = match &arguments.name {
        Some(name) => format!("{} `{name}`", arguments.role),
        None => format!("one {}", arguments.role),
    };
    let named = match &arguments.name {
        // A device calls itself something before it is enrolled.
        Some(name) if arguments.role == Role::Device => format!(" --name {name}"),
        _ => String::new(),
    };
    format!(
        "{}\n\ngood once, for {who}, until {} UTC; there:\n  {program} enrol --collector https://{} --token {}{named}\n",
        token.token,
        report::utc(token.expires_us),
        token.enrol_address,
        token.token
    )
}

fn list(arguments: &List, output: &mut Output<'_>) -> anyhow::Result<()> {
    let document = arguments.address.call(async |channel| {
        let mut admin = AdminClient::new(channel);
        let tokens = admin.list_tokens(v1::ListTokensRequest {}).await;
        tokens.map(tonic::Response::into_inner)
    })?;
    let answer = Answer::<Tokens>::read(document)?;
    let text = match arguments.format {
        Format::Json => answer.json,
        Format::Table => report::tokens(&answer.document),
    };
    Ok(output.print(&text)?)
}

fn revoke(arguments: &Revoke, output: &mut Output<'_>) -> anyhow::Result<()> {
    let request = v1::RevokeTokenRequest {
        token: arguments.id.clone(),
    };
    arguments
        .address
        .call(async |channel| AdminClient::new(channel).revoke_token(request).await)?;
    Ok(output.print(&format!("token {} is good for nothing now", arguments.id))?)
}
