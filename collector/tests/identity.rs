//! Nobody uninvited: who is let in, as whom, for how long, and what everybody else is told.

use std::{fs, future::Future, os::unix::fs::PermissionsExt, time::Duration};

use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, IsCa, KeyPair, SanType};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tokwatt_collector::{
    enrol::{Identity, IdentityError},
    server::{Collector, ServeError},
    settings::Settings,
    vitals::NotLetIn,
};
use tokwatt_domain::{ids::RunId, time::WallTime};
use tokwatt_proto::{
    identity::{
        CertificateFacts, Credentials, PrivateKey, Role, Site, Subject, Token, Trouble, tls,
    },
    v1::{
        self, admin_client::AdminClient, campaigns_client::CampaignsClient,
        ingest_client::IngestClient, query_client::QueryClient, renew_client::RenewClient,
    },
};
use tonic::{
    Code, Status,
    transport::{Channel, Endpoint},
};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::{
    agent::{records, trace},
    lab::{Lab, PATIENCE, endpoint, local},
};

/// Runs a test's tasks on a runtime apart from the collector's.
fn block_on<T>(task: impl Future<Output = T>) -> T {
    tokio::runtime::Runtime::new().unwrap().block_on(task)
}

/// It was refused with that code, in those words.
#[track_caller]
fn refused<T>(outcome: Result<T, Status>, code: Code, words: &[&str]) {
    let status = outcome.err().expect("it was not refused");
    assert_eq!(status.code(), code, "{status}");
    for word in words {
        assert!(
            status.message().contains(word),
            "`{word}` is not in: {status}"
        );
    }
}

/// So many were not let in for these reasons; they may hear of it before it is counted.
async fn counted(lab: &Lab, reasons: &[NotLetIn], n: u64) {
    let count = || -> u64 {
        let counts = reasons
            .iter()
            .map(|reason| lab.vitals.strangers.count(*reason));
        counts.sum()
    };
    let enough = async {
        while count() < n {
            tokio::task::yield_now().await;
        }
    };
    let outcome = timeout(PATIENCE, enough).await;
    assert!(outcome.is_ok() && count() == n, "{reasons:?}: {}", count());
}

async fn ask(channel: Channel) -> Result<(), Status> {
    let mut questions = QueryClient::new(channel);
    let answer = questions.list_devices(v1::ListDevicesRequest {}).await;
    answer.map(drop)
}

#[test]
fn a_device_that_is_enrolled_delivers_and_is_seen() {
    let lab = Lab::start();
    block_on(async {
        let device = lab.member(Role::Device, "orin-1").await;
        let (agent, _) = lab.deliver(&device, "orin-1").await.unwrap();
        let viewer = lab.member(Role::Viewer, "anna").await;
        let answer = QueryClient::new(lab.channel(&viewer).await)
            .list_devices(v1::ListDevicesRequest {})
            .await
            .unwrap();
        let devices: serde_json::Value = serde_json::from_slice(&answer.into_inner().json).unwrap();
        assert_eq!(devices["devices"][0]["device"], "orin-1");
        let not_after = &devices["devices"][0]["certificate"]["not_after"];
        assert_eq!(*not_after, device.facts().not_after.0);
        drop(agent);
    });
    lab.stop();
}

#[test]
fn a_token_is_used_once() {
    let lab = Lab::start();
    block_on(async {
        let token = lab.token(Role::Device, None, false).await;
        let both = tokio::join!(lab.enrol(&token, "orin-1"), lab.enrol(&token, "orin-2"));
        let (first, second) = both;
        let (winner, loser) = if first.is_ok() {
            (first, second)
        } else {
            (second, first)
        };
        let winner = winner.unwrap().facts().subject.to_string();
        refused(loser, Code::PermissionDenied, &[&winner, "only once"]);
        refused(
            lab.enrol(&token, "orin-3").await,
            Code::PermissionDenied,
            &["only once", "token create"],
        );
        counted(&lab, &[NotLetIn::Token], 2).await;
    });
    lab.stop();
}

#[test]
fn a_token_expires_after_a_quarter_of_an_hour() {
    let lab = Lab::start();
    block_on(async {
        let token = lab.token(Role::Device, Some("orin-1"), false).await;
        lab.turn_by(Duration::from_mins(15));
        refused(
            lab.enrol(&token, "orin-1").await,
            Code::PermissionDenied,
            &["expired", "15 minutes"],
        );
    });
    lab.stop();
}

#[test]
fn a_token_for_one_name_is_for_no_other() {
    let lab = Lab::start();
    block_on(async {
        let token = lab.token(Role::Device, Some("orin-1"), false).await;
        refused(
            lab.enrol(&token, "orin-2").await,
            Code::PermissionDenied,
            &["for `orin-1`, not for `orin-2`"],
        );
        // Nothing was used up by that.
        let device = lab.enrol(&token, "").await.unwrap();
        assert_eq!(device.facts().subject.name, "orin-1");
    });
    lab.stop();
}

#[test]
fn a_token_that_was_taken_back_or_never_made_is_good_for_nothing() {
    let lab = Lab::start();
    block_on(async {
        let token = lab.token(Role::Viewer, None, false).await;
        let guessed = Token {
            secret: "0".repeat(32),
            ..token.clone()
        };
        let unknown = ["there is no such token"];
        refused(
            lab.enrol(&guessed, "anna").await,
            Code::PermissionDenied,
            &unknown,
        );
        let other = Token {
            id: "000000000000".to_owned(),
            ..token.clone()
        };
        refused(
            lab.enrol(&other, "anna").await,
            Code::PermissionDenied,
            &unknown,
        );
        let request = v1::RevokeTokenRequest {
            token: token.id.clone(),
        };
        lab.operator().await.revoke_token(request).await.unwrap();
        refused(
            lab.enrol(&token, "anna").await,
            Code::PermissionDenied,
            &["was revoked"],
        );
    });
    lab.stop();
}

#[test]
fn a_name_that_is_taken_is_enrolled_again_only_with_replace() {
    let lab = Lab::start();
    block_on(async {
        let first = lab.member(Role::Device, "orin-1").await;
        let request = v1::CreateTokenRequest {
            role: v1::Role::Device.into(),
            name: "orin-1".to_owned(),
            replace: false,
        };
        let made = lab.operator().await.create_token(request).await;
        refused(made, Code::AlreadyExists, &["device `orin-1`", "--replace"]);
        let open = lab.token(Role::Device, None, false).await;
        refused(
            lab.enrol(&open, "orin-1").await,
            Code::AlreadyExists,
            &["device `orin-1`", "--replace"],
        );
        // A person of the same name is somebody else.
        lab.member(Role::Viewer, "orin-1").await;

        let token = lab.token(Role::Device, Some("orin-1"), true).await;
        let second = lab.enrol(&token, "orin-1").await.unwrap();
        assert!(lab.deliver(&second, "orin-1").await.is_ok());
        refused(
            lab.deliver(&first, "orin-1").await,
            Code::PermissionDenied,
            &["replaced by a new enrolment", "--replace"],
        );
    });
    lab.stop();
}

#[test]
fn a_request_that_asks_for_more_gets_what_the_token_is_for() {
    let lab = Lab::start();
    block_on(async {
        let key = KeyPair::generate().unwrap();
        let mut greedy = CertificateParams::new(vec!["tokwatt-collector".to_owned()]).unwrap();
        let uri = "spiffe://lab/operator/root".try_into().unwrap();
        greedy.subject_alt_names.push(SanType::URI(uri));
        greedy.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        greedy.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::Other(vec![1, 2, 3]),
        ];
        let request = greedy.serialize_request(&key).unwrap();
        let token = lab.token(Role::Device, None, false).await;
        let issued = lab.hand_in(&token, "orin-1", request.der().to_vec()).await;
        let issued = issued.unwrap();
        assert_eq!(
            (issued.role(), issued.name.as_str()),
            (v1::Role::Device, "orin-1")
        );
        let facts = CertificateFacts::read(&issued.chain[0]).unwrap();
        assert_eq!(facts.subject, Subject::new(Role::Device, "orin-1").unwrap());
        let day_us = 24 * 3600 * 1_000_000;
        assert!(facts.not_after <= WallTime(lab.now().0 + 30 * day_us));
        let (_, certificate) = X509Certificate::from_der(&issued.chain[0]).unwrap();
        assert!(!certificate.is_ca());
        let usage = certificate.extended_key_usage().unwrap().unwrap().value;
        assert!(usage.client_auth && !usage.server_auth && usage.other.is_empty());
    });
    lab.stop();
}

#[test]
fn a_request_that_is_none_is_refused_and_uses_nothing_up() {
    let lab = Lab::start();
    block_on(async {
        let token = lab.token(Role::Device, None, false).await;
        let outcome = lab.hand_in(&token, "orin-1", b"none".to_vec()).await;
        refused(outcome, Code::InvalidArgument, &["no PKCS#10"]);
        refused(
            lab.enrol(&token, "Orin/1").await,
            Code::InvalidArgument,
            &["[a-z0-9-]", "`Orin/1`"],
        );
        refused(
            lab.enrol(&token, "").await,
            Code::InvalidArgument,
            &["--name"],
        );
        assert!(lab.enrol(&token, "orin-1").await.is_ok());
    });
    lab.stop();
}

#[test]
fn a_collector_of_another_site_is_not_told_the_secret() {
    let (lab, other) = (Lab::start(), Lab::start());
    block_on(async {
        let token = lab.token(Role::Device, None, false).await;
        let config = tls::enrolment(token.authority_sha256, lab.now());
        let error = tls::channel(&endpoint(other.enrol_addr), config).await;
        let trouble = Trouble::among(&error.unwrap_err());
        assert_eq!(trouble, Some(Trouble::OtherAuthority));

        let device = lab.member(Role::Device, "orin-1").await;
        let error = other.try_channel(&device).await.unwrap_err();
        assert_eq!(Trouble::among(&error), Some(Trouble::OtherAuthority));
    });
    lab.stop();
    other.stop();
}

#[test]
fn a_certificate_of_another_site_is_refused() {
    let (lab, other) = (Lab::start(), Lab::start());
    block_on(async {
        // They trust our authority, and show what theirs issued under a name of ours.
        let ours = lab.member(Role::Device, "orin-1").await;
        let theirs = other.member(Role::Device, "orin-1").await;
        let key = PrivateKey::from_pem(&theirs.key().to_pem()).unwrap();
        let chain = vec![theirs.chain()[0].to_vec(), ours.chain()[1].to_vec()];
        let collector = ours.collector().to_owned();
        let mixed = Credentials::new(key, chain, &collector, lab.now()).unwrap();
        let trouble = Trouble::among(&lab.try_channel(&mixed).await.unwrap_err());
        assert_eq!(trouble, Some(Trouble::NotOurs));
        counted(&lab, &[NotLetIn::HandshakeFailed], 1).await;
    });
    lab.stop();
    other.stop();
}

#[test]
fn a_revoked_device_is_out_at_once_and_hears_why() {
    let lab = Lab::start();
    block_on(async {
        let device = lab.member(Role::Device, "orin-1").await;
        let other = lab.member(Role::Device, "orin-2").await;
        let (mut agent, _) = lab.deliver(&device, "orin-1").await.unwrap();
        let (mut unharmed, _) = lab.deliver(&other, "orin-2").await.unwrap();
        let idle = lab.channel(&device).await;
        let revoked = lab.revoke(Role::Device, "orin-1", "it was stolen").await;
        assert_eq!(revoked.unwrap(), 1);

        let why = [
            "device `orin-1` was revoked: it was stolen (by user",
            "--replace",
        ];
        // The tick that finds it in any case comes every 30 s; this is by far sooner.
        let end = timeout(Duration::from_secs(20), agent.ack()).await.unwrap();
        refused(end, Code::PermissionDenied, &why);
        // An idle one says so when it is used, until it is closed.
        let answer = timeout(PATIENCE, ask(idle)).await.unwrap();
        assert!(answer.is_err());
        refused(
            lab.deliver(&device, "orin-1").await,
            Code::PermissionDenied,
            &why,
        );
        refused(lab.renew(&device).await, Code::PermissionDenied, &why);
        counted(&lab, &[NotLetIn::Certificate], 2).await;

        unharmed.send(1, &[vec![0xff; 300]]).await;
        assert_eq!(unharmed.ack().await.unwrap().through, 1);
        refused(
            lab.revoke(Role::Device, "orin-9", "").await,
            Code::NotFound,
            &["device `orin-9` never had a certificate"],
        );
    });
    lab.stop();
}

#[test]
fn a_revocation_that_nobody_told_of_is_found_within_a_minute() {
    let lab = Lab::start();
    block_on(async {
        let device = lab.member(Role::Device, "orin-1").await;
        let (mut agent, _) = lab.deliver(&device, "orin-1").await.unwrap();
        let database = lab.data.path().join("collector.sqlite");
        let changed = rusqlite::Connection::open(database)
            .unwrap()
            .execute(
                "UPDATE certificate SET revoked_us = 1, revoked_why = 'by another collector'",
                [],
            )
            .unwrap();
        assert_eq!(changed, 1);
        let end = timeout(Duration::from_secs(60), agent.ack()).await.unwrap();
        refused(end, Code::PermissionDenied, &["by another collector"]);
    });
    lab.stop();
}

#[test]
fn a_device_speaks_for_no_other() {
    let lab = Lab::start();
    block_on(async {
        let device = lab.member(Role::Device, "orin-1").await;
        refused(
            lab.deliver(&device, "orin-2").await,
            Code::PermissionDenied,
            &["device `orin-1` may not speak for device `orin-2`"],
        );
        // Nor inside of a record.
        let (mut agent, _) = lab.deliver(&device, "orin-1").await.unwrap();
        let forged = records(&trace("orin-2", RunId([1; 16]), 1, 5));
        agent.send(1, &[forged[0].encode()]).await;
        agent.ack_through(1).await;
        let viewer = lab.member(Role::Viewer, "anna").await;
        let mut questions = QueryClient::new(lab.channel(&viewer).await);
        let runs = questions.list_runs(v1::ListRunsRequest::default()).await;
        let runs: serde_json::Value =
            serde_json::from_slice(&runs.unwrap().into_inner().json).unwrap();
        assert_eq!(runs["runs"], serde_json::json!([]));
        let note = runs["notes"][0].as_str().unwrap();
        assert!(note.contains("it is of device `orin-2`"), "{note}");
    });
    lab.stop();
}

#[test]
fn each_role_does_what_it_may() {
    let lab = Lab::start();
    block_on(async {
        let device = lab.member(Role::Device, "orin-1").await;
        let viewer = lab.member(Role::Viewer, "anna").await;
        let operator = lab.member(Role::Operator, "ben").await;

        refused(
            ask(lab.channel(&device).await).await,
            Code::PermissionDenied,
            &["device `orin-1` may not ask"],
        );
        assert!(
            ask(lab.channel(&viewer).await).await.is_ok()
                && ask(lab.channel(&operator).await).await.is_ok()
        );
        for credentials in [&device, &viewer] {
            let words = [&*credentials.facts().subject.to_string(), "may not do that"];
            for outcome in operations(&lab, credentials).await {
                refused(outcome, Code::PermissionDenied, &words);
            }
        }
        let outcomes = operations(&lab, &operator).await;
        let codes = outcomes.map(|outcome| outcome.err().map(|status| status.code()));
        assert_eq!(
            codes,
            [
                None,
                None,
                None,
                Some(Code::NotFound),
                None,
                Some(Code::NotFound)
            ]
        );
        for credentials in [&viewer, &operator] {
            refused(
                lab.deliver(credentials, "orin-1").await,
                Code::PermissionDenied,
                &["may not speak for device `orin-1`"],
            );
        }
    });
    lab.stop();
}

/// What only an operator may do.
async fn operations(lab: &Lab, credentials: &Credentials) -> [Result<(), Status>; 6] {
    let channel = lab.channel(credentials).await;
    let mut admin = AdminClient::new(channel.clone());
    let token = v1::CreateTokenRequest {
        role: v1::Role::Operator.into(),
        ..v1::CreateTokenRequest::default()
    };
    let label = v1::LabelDeviceRequest {
        device: "orin-1".to_owned(),
        set: [("rack".to_owned(), "b".to_owned())].into(),
        ..v1::LabelDeviceRequest::default()
    };
    let revoke_token = v1::RevokeTokenRequest {
        token: "none".to_owned(),
    };
    let revoke = v1::RevokeRequest {
        role: v1::Role::Device.into(),
        name: "orin-1".to_owned(),
        ..v1::RevokeRequest::default()
    };
    let cancel = v1::CancelCampaignRequest {
        name: "night".to_owned(),
    };
    [
        admin.create_token(token).await.map(drop),
        admin.list_tokens(v1::ListTokensRequest {}).await.map(drop),
        admin.label_device(label).await.map(drop),
        admin.revoke_token(revoke_token).await.map(drop),
        admin.revoke(revoke).await.map(drop),
        CampaignsClient::new(channel).cancel(cancel).await.map(drop),
    ]
}

#[test]
fn an_expired_certificate_renews_itself_for_ninety_days_and_does_nothing_else() {
    let lab = Lab::start();
    block_on(async {
        let device = lab.member(Role::Device, "orin-1").await;
        let late = lab.member(Role::Device, "orin-2").await;
        lab.turn_by(Duration::from_hours(31 * 24));
        refused(
            lab.deliver(&device, "orin-1").await,
            Code::PermissionDenied,
            &["has expired and must be renewed first"],
        );
        let renewed = lab.renew(&device).await.unwrap();
        assert_ne!(renewed.facts().key_sha256, device.facts().key_sha256);
        assert!(lab.deliver(&renewed, "orin-1").await.is_ok());

        lab.turn_by(Duration::from_hours(88 * 24));
        assert!(lab.renew(&late).await.is_ok());
        lab.turn_by(Duration::from_hours(2 * 24));
        refused(
            lab.renew(&late).await,
            Code::PermissionDenied,
            &["more than 90 days ago", "--replace"],
        );
    });
    lab.stop();
}

#[test]
fn a_key_that_was_followed_cannot_be_renewed_any_more() {
    let lab = Lab::start();
    block_on(async {
        let device = lab.member(Role::Device, "orin-1").await;
        lab.turn_by(Duration::from_hours(20 * 24));
        // An answer that was lost is asked for again.
        lab.renew(&device).await.unwrap();
        let renewed = lab.renew(&device).await.unwrap();
        drop(lab.deliver(&renewed, "orin-1").await.unwrap());
        // Its first use is noted beside the connection, not before it.
        let followed = async {
            loop {
                if let Err(status) = lab.renew(&device).await {
                    break status;
                }
            }
        };
        let status = timeout(PATIENCE, followed).await.unwrap();
        refused(
            Err::<(), _>(status),
            Code::PermissionDenied,
            &["later one is in use", "copied its key"],
        );
        // It is still good for what is open with it.
        assert!(lab.deliver(&device, "orin-1").await.is_ok());
    });
    lab.stop();
}

#[test]
fn a_certificate_is_renewed_when_half_of_its_life_is_over() {
    let lab = Lab::start();
    block_on(async {
        let device = lab.member(Role::Device, "orin-1").await;
        lab.turn_by(Duration::from_hours(14 * 24));
        refused(
            lab.renew(&device).await,
            Code::FailedPrecondition,
            &["device `orin-1`", "half of its life", "clock"],
        );
        lab.turn_by(Duration::from_hours(2 * 24));
        assert!(lab.renew(&device).await.is_ok());
    });
    lab.stop();
}

#[test]
fn what_a_revoked_operator_has_made_is_revoked_too() {
    let lab = Lab::start();
    block_on(async {
        let operator = lab.member(Role::Operator, "ben").await;
        let request = v1::CreateTokenRequest {
            role: v1::Role::Operator.into(),
            ..v1::CreateTokenRequest::default()
        };
        let mut admin = AdminClient::new(lab.channel(&operator).await);
        let made = admin.create_token(request).await.unwrap().into_inner();
        let others = lab.token(Role::Viewer, None, false).await;
        lab.revoke(Role::Operator, "ben", "left").await.unwrap();
        refused(
            lab.enrol(&made.token.parse().unwrap(), "mallory").await,
            Code::PermissionDenied,
            &["this token was revoked"],
        );
        assert!(lab.enrol(&others, "anna").await.is_ok());
    });
    lab.stop();
}

#[test]
fn a_token_that_replaces_is_for_one_name() {
    let lab = Lab::start();
    block_on(async {
        let request = v1::CreateTokenRequest {
            role: v1::Role::Device.into(),
            name: String::new(),
            replace: true,
        };
        let made = lab.operator().await.create_token(request).await;
        refused(made, Code::InvalidArgument, &["--device NAME"]);
    });
    lab.stop();
}

#[test]
fn an_identity_that_is_missing_is_not_taken_for_none() {
    let lab = Lab::start();
    block_on(async {
        lab.member(Role::Device, "orin-1").await;
    });
    let data = lab.stop_and_keep();
    let identity = data.path().join("identity");
    fs::rename(&identity, data.path().join("aside")).unwrap();
    let settings = Settings {
        listen: "127.0.0.1:0".parse().unwrap(),
        data: data.path().to_owned(),
        ..Settings::default()
    };
    let bind = || block_on(Collector::bind(&settings)).map(drop);
    let error = bind().unwrap_err().to_string();
    let path = identity.display().to_string();
    assert!(
        error.contains("restore it") && error.contains(&path),
        "{error}"
    );
    // Neither is one that leads nowhere.
    std::os::unix::fs::symlink("nowhere", &identity).unwrap();
    assert!(matches!(bind(), Err(ServeError::Identity(_))));
}

#[test]
fn a_stream_ends_when_its_certificate_does() {
    let lab = Lab::start();
    block_on(async {
        let device = lab.member(Role::Device, "orin-1").await;
        lab.member(Role::Viewer, "anna").await;
        let (mut agent, _) = lab.deliver(&device, "orin-1").await.unwrap();
        lab.turn_by(Duration::from_hours(31 * 24));
        // Makes the collector look at once.
        lab.revoke(Role::Viewer, "anna", "").await.unwrap();
        let end = timeout(PATIENCE, agent.ack()).await.unwrap();
        refused(end, Code::PermissionDenied, &["has expired", "renew it"]);
    });
    lab.stop();
}

#[test]
fn the_collectors_own_certificate_never_ends() {
    let lab = Lab::start();
    block_on(async {
        let mut device = lab.member(Role::Device, "orin-1").await;
        for _ in 0..10 {
            lab.turn_by(Duration::from_hours(19 * 24));
            device = lab.renew(&device).await.unwrap();
            assert!(lab.deliver(&device, "orin-1").await.is_ok());
        }
    });
    lab.stop();
}

#[test]
fn plain_text_is_told_that_tls_is_spoken() {
    let lab = Lab::start();
    block_on(async {
        for addr in [lab.addr, lab.enrol_addr] {
            let endpoint = Endpoint::from_shared(format!("http://{addr}")).unwrap();
            let outcome = ask(endpoint.connect().await.unwrap()).await;
            let words = ["speaks TLS only", "https://"];
            refused(outcome, Code::FailedPrecondition, &words);
        }
        counted(&lab, &[NotLetIn::HandshakeFailed], 2).await;
    });
    lab.stop();
}

#[test]
fn who_shows_no_certificate_is_refused_and_enrolling_is_all_there_is_without() {
    let lab = Lab::start();
    block_on(async {
        let token = lab.token(Role::Device, None, false).await;
        let without = || tls::enrolment(token.authority_sha256, lab.now());
        let error = tls::channel(&endpoint(lab.addr), without())
            .await
            .unwrap_err();
        let trouble = Trouble::among(&error);
        assert_eq!(trouble, Some(Trouble::CertificateRequired));
        let channel = tls::channel(&endpoint(lab.enrol_addr), without())
            .await
            .unwrap();
        refused(
            ask(channel.clone()).await,
            Code::Unimplemented,
            &["no such service here"],
        );
        let mut renewal = RenewClient::new(channel);
        let renewed = renewal.renew(v1::RenewRequest::default()).await;
        refused(renewed, Code::Unimplemented, &[]);
    });
    lab.stop();
}

#[test]
fn strangers_who_do_nothing_do_not_keep_a_device_out() {
    let lab = Lab::start();
    block_on(async {
        let device = lab.member(Role::Device, "orin-1").await;
        // More than are waited for at once: silent ones, and ones that begin TLS and stop.
        let mut strangers = Vec::new();
        for number in 0..400 {
            let mut stranger = TcpStream::connect(lab.addr).await.unwrap();
            if number % 2 == 0 {
                stranger.write_all(&[0x16, 3, 1, 2]).await.unwrap();
            }
            strangers.push(stranger);
        }
        let delivery = timeout(PATIENCE, lab.deliver(&device, "orin-1")).await;
        let (mut agent, _) = delivery.unwrap().unwrap();
        agent.send(1, &[vec![0xff; 300]]).await;
        agent.ack_through(1).await;
        // Each of them is sent away, and none is forgotten.
        for mut stranger in strangers {
            let mut answer = Vec::new();
            let end = timeout(PATIENCE, stranger.read_to_end(&mut answer)).await;
            drop(end.expect("it is still waited for"));
        }
        let reasons = [NotLetIn::TooManyHandshakes, NotLetIn::HandshakeTimeout];
        counted(&lab, &reasons, 400).await;
        for reason in reasons {
            assert!(lab.vitals.strangers.count(reason) > 0, "{reason:?}");
        }
        // The device was there all the time.
        agent.send(2, &[vec![0xff; 300]]).await;
        agent.ack_through(2).await;
    });
    lab.stop();
}

#[test]
fn the_newest_connections_of_a_device_count() {
    let lab = Lab::start();
    block_on(async {
        let device = lab.member(Role::Device, "orin-1").await;
        let other = lab.member(Role::Device, "orin-2").await;
        let (mut unharmed, _) = lab.deliver(&other, "orin-2").await.unwrap();
        let (mut first, _) = lab.deliver(&device, "orin-1").await.unwrap();
        let mut later = Vec::new();
        for _ in 0..16 {
            later.push(lab.deliver(&device, "orin-1").await.unwrap());
        }
        let end = timeout(PATIENCE, first.ack()).await.unwrap();
        assert!(end.is_err());
        unharmed.send(1, &[vec![0xff; 300]]).await;
        unharmed.ack_through(1).await;
    });
    lab.stop();
}

#[test]
fn the_socket_is_for_the_group_and_gone_when_the_collector_is() {
    let lab = Lab::start();
    let socket = lab.socket();
    assert_eq!(mode(&socket), 0o660);
    block_on(async {
        let channel = local(&socket).await;
        assert!(ask(channel.clone()).await.is_ok());
        // The kernel says that it is a person, so it is no device.
        let hello = v1::Hello {
            schema: tokwatt_proto::SCHEMA,
            device: "orin-1".to_owned(),
            epoch: 1,
            agent_version: String::new(),
        };
        let delivery = crate::agent::Agent::over(IngestClient::new(channel), hello).await;
        refused(
            delivery,
            Code::PermissionDenied,
            &["of this machine may not speak for"],
        );
    });
    lab.stop();
    assert!(!socket.exists());
}

#[test]
fn an_identity_is_made_once_and_for_its_owners_eyes() {
    let folder = tempfile::TempDir::new().unwrap();
    let identity = folder.path().join("data").join("identity");
    let create = || {
        let addresses = vec!["lab.example".to_owned(), "192.0.2.7".to_owned()];
        Identity::create(
            &identity,
            Site::parse("lab").unwrap(),
            addresses,
            WallTime(0),
        )
    };
    let made = create().unwrap();
    assert!(matches!(create(), Err(IdentityError::Exists(_))));
    assert_eq!(mode(&identity), 0o700);
    for file in ["site.json", "authority.pem", "authority.key"] {
        assert_eq!(mode(&identity.join(file)), 0o600, "{file}");
    }
    let opened = Identity::open(&identity).unwrap().unwrap();
    assert_eq!(opened.authority(), made.authority());
    fs::set_permissions(
        identity.join("authority.key"),
        PermissionsExt::from_mode(0o640),
    )
    .unwrap();
    let error = Identity::open(&identity).unwrap_err();
    assert!(
        matches!(error, IdentityError::Exposed { mode: 0o640, .. }),
        "{error}"
    );
}

#[test]
fn an_address_that_is_none_is_named() {
    let folder = tempfile::TempDir::new().unwrap();
    let identity = folder.path().join("identity");
    for bad in ["lab:7413", "https://lab", "", "two words"] {
        let addresses = vec![bad.to_owned()];
        let made = Identity::create(
            &identity,
            Site::parse("lab").unwrap(),
            addresses,
            WallTime(0),
        );
        assert!(matches!(made, Err(IdentityError::Address(named)) if named == bad));
    }
    assert!(!identity.exists());
}

fn mode(path: &std::path::Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}
