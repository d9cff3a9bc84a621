//! Strangers at the door: whatever they do, the enrolled hardly notice, and the collector does not grow.
//!
//! All of it stays on this machine, and is bounded in number and time.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    runtime::Runtime,
    time::{interval, timeout},
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tokio_util::task::TaskTracker;
use tokwatt_agent::clock::{Clock, SystemClock};
use tokwatt_domain::ids::DeviceId;
use tokwatt_harness::tell;
use tokwatt_proto::identity::tls;

use crate::{delivering::Delivering, site::Site, turn};

/// What strangers do, again and again.
#[derive(Clone, Copy, Debug)]
enum Attack {
    /// Connect, and say nothing.
    HalfOpen,
    /// Begin a handshake, a byte at a time.
    SlowHandshakes,
    /// Finish it, and have no certificate.
    NoCertificate,
    /// One byte that begins no handshake, then nothing.
    OneByte,
    /// Speak HTTP/2 in plain text, where TLS is spoken.
    PlainText,
    /// Open streams and reset them at once, where one enrols.
    RapidResets,
    /// Announce a message of 1 GB, where one enrols.
    HugeMessage,
}

/// Whom they attack.
#[derive(Clone)]
struct Target {
    main: SocketAddr,
    enrolling: SocketAddr,
    config: Arc<ClientConfig>,
}

const ATTACKS: [Attack; 7] = [
    Attack::HalfOpen,
    Attack::SlowHandshakes,
    Attack::NoCertificate,
    Attack::OneByte,
    Attack::PlainText,
    Attack::RapidResets,
    Attack::HugeMessage,
];

#[test]
fn strangers_neither_slow_the_enrolled_down_nor_fill_the_memory() {
    let _turn = turn();
    let site = Site::begin();
    let runtime = Runtime::new().unwrap();
    let tasks = TaskTracker::new();
    let mut devices = runtime.block_on(async {
        let mut devices = Vec::new();
        for number in 0..N_DEVICES {
            let device = DeviceId::parse(&format!("device-{number}")).unwrap();
            devices.push(Delivering::begin(&site, device, &tasks).await);
        }
        devices
    });
    let target = Target::of(&site);
    // What happens once, happens now.
    runtime.block_on(worst_of(&mut devices, N_DEVICES));
    let calm = runtime.block_on(worst_of(&mut devices, N_DELIVERIES));
    let before = site.memory();
    tell(&format!("calm: {calm:?}, {} KiB", before.resident));
    for attack in ATTACKS {
        let strangers = Runtime::new().unwrap();
        strangers.spawn(attack.go_on(target.clone(), TaskTracker::new()));
        let worst = runtime.block_on(worst_of(&mut devices, N_DELIVERIES));
        let after = site.memory();
        strangers.shutdown_background();
        tell(&format!("{attack:?}: {worst:?}, {} KiB", after.highest));
        let limit = (2 * calm).max(NOISE);
        assert!(worst < limit, "{attack:?}: {worst:?} instead of {calm:?}");
        let grown = after.highest.saturating_sub(before.resident);
        assert!(grown < GROWN_KIB_MAX, "{attack:?}: grown by {grown} KiB");
    }
    site.stop();
}

/// An attack that is not understood would be none.
#[test]
fn a_message_that_is_too_large_and_streams_that_are_only_reset_are_refused() {
    let _turn = turn();
    let site = Site::begin();
    let target = Target::of(&site);
    let runtime = Runtime::new().unwrap();
    let frames = |attack: Attack| {
        let mut heard = Vec::new();
        let talk = attack.once(&target, &mut heard);
        // Who does not close the connection has said what there is to say by then.
        drop(runtime.block_on(async { timeout(LONGEST, talk).await }));
        kinds(&heard)
    };
    let huge = frames(Attack::HugeMessage);
    assert!(huge.contains(&HEADERS), "{huge:?}");
    let resets = frames(Attack::RapidResets);
    assert!(resets.contains(&GO_AWAY), "{resets:?}");
    site.stop();
}

/// The longest but one in a hundred of so many deliveries, taken in turns.
async fn worst_of(devices: &mut [Delivering], n_deliveries: usize) -> Duration {
    let mut times = Vec::new();
    for number in 0..n_deliveries {
        let device = number % devices.len();
        times.push(devices[device].time_of_one().await);
    }
    times.sort();
    times[times.len() * 99 / 100]
}

impl Attack {
    /// At a steady rate, until the runtime ends.
    async fn go_on(self, target: Target, tasks: TaskTracker) {
        let mut ticks = interval(self.pace());
        loop {
            ticks.tick().await;
            let target = target.clone();
            tasks.spawn(async move {
                // That it fails is what is hoped for.
                drop(timeout(LONGEST, self.once(&target, &mut Vec::new())).await);
            });
        }
    }

    /// Thousands in all of what costs nothing, hundreds of what costs this machine as much as the collector.
    fn pace(self) -> Duration {
        match self {
            Self::HalfOpen | Self::SlowHandshakes | Self::OneByte => Duration::from_millis(1),
            Self::PlainText => Duration::from_millis(5),
            Self::NoCertificate | Self::RapidResets | Self::HugeMessage => {
                Duration::from_millis(25)
            }
        }
    }

    /// What is answered goes into `heard`.
    async fn once(self, target: &Target, heard: &mut Vec<u8>) -> io::Result<()> {
        match self {
            Self::HalfOpen => {
                let mut stream = TcpStream::connect(target.main).await?;
                stream.read_u8().await.map(drop)
            }
            Self::SlowHandshakes => {
                let mut stream = TcpStream::connect(target.main).await?;
                for byte in CLIENT_HELLO {
                    stream.write_all(&[*byte]).await?;
                    tokio::time::sleep(Duration::from_millis(500)).await;
                }
                stream.read_u8().await.map(drop)
            }
            Self::NoCertificate => target
                .handshake(target.main)
                .await?
                .read_u8()
                .await
                .map(drop),
            Self::OneByte => {
                let mut stream = TcpStream::connect(target.main).await?;
                stream.write_all(b"x").await?;
                // Until all is said that is said.
                stream.read_to_end(heard).await.map(drop)
            }
            Self::PlainText => {
                let stream = TcpStream::connect(target.main).await?;
                talk(stream, &[PREFACE, &[0; 4096]].concat(), heard).await
            }
            Self::RapidResets => {
                let stream = target.handshake(target.enrolling).await?;
                let mut words = PREFACE.to_vec();
                for number in 0..1_000 {
                    let id = 2 * number + 1;
                    words.extend(headers(id));
                    words.extend(frame(RST_STREAM, 0, id, &CANCEL));
                }
                talk(stream, &words, heard).await
            }
            Self::HugeMessage => {
                let stream = target.handshake(target.enrolling).await?;
                // Not compressed, 1 GB; and as much of it as the window lets through.
                let mut data = vec![0, 0x40, 0, 0, 0];
                data.resize(16 * 1024, 7);
                let mut words = [PREFACE, &headers(1)].concat();
                for _ in 0..3 {
                    words.extend(frame(DATA, 0, 1, &data));
                }
                talk(stream, &words, heard).await
            }
        }
    }
}

/// Says all of it, and hears what is answered until the other side closes.
async fn talk(
    stream: impl AsyncRead + AsyncWrite,
    words: &[u8],
    heard: &mut Vec<u8>,
) -> io::Result<()> {
    let (mut ear, mut mouth) = tokio::io::split(stream);
    let listening = async {
        while ear.read_buf(heard).await? > 0 {}
        Ok::<_, io::Error>(())
    };
    // Whoever is not let finish may still hear why.
    let (_spoken, listened) = tokio::join!(mouth.write_all(words), listening);
    listened
}

impl Target {
    fn of(site: &Site) -> Self {
        Self {
            main: site.address(),
            enrolling: site.enrol_address(),
            config: Arc::new(tls::enrolment(site.pin(), SystemClock::start().wall())),
        }
    }

    async fn handshake(&self, addr: SocketAddr) -> io::Result<TlsStream<TcpStream>> {
        let stream = TcpStream::connect(addr).await?;
        let name = ServerName::try_from(tls::SERVER_NAME).unwrap();
        TlsConnector::from(self.config.clone())
            .connect(name, stream)
            .await
    }
}

/// Of the frames in what was heard.
fn kinds(mut heard: &[u8]) -> Vec<u8> {
    let mut kinds = Vec::new();
    while let [high, middle, low, kind, _, _, _, _, _, rest @ ..] = heard {
        kinds.push(*kind);
        let length = u32::from_be_bytes([0, *high, *middle, *low]);
        heard = rest
            .get(usize::try_from(length).unwrap()..)
            .unwrap_or_default();
    }
    kinds
}

/// A call of `Enrol` begins.
fn headers(id: u32) -> Vec<u8> {
    // From the static table: POST, https; then :path, :authority, content-type and te with values of their own.
    let mut block = vec![0x83, 0x87];
    for (index, value) in [
        (&[0x04][..], "/tokwatt.v1.Enrol/Enrol"),
        (&[0x01], "tokwatt-collector"),
        (&[0x0f, 0x10], "application/grpc"),
    ] {
        block.extend(index);
        block.push(u8::try_from(value.len()).unwrap());
        block.extend(value.as_bytes());
    }
    block.extend([0x00, 2]);
    block.extend(b"te");
    block.push(8);
    block.extend(b"trailers");
    frame(HEADERS, END_HEADERS, id, &block)
}

/// RFC 9113, section 4.1.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const GO_AWAY: u8 = 7;
const END_HEADERS: u8 = 4;
const CANCEL: [u8; 4] = [0, 0, 0, 8];

/// How HTTP/2 begins, with empty settings.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// The first bytes of one.
const CLIENT_HELLO: &[u8] = &[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3];

const N_DEVICES: usize = 4;
const N_DELIVERIES: usize = 200;

/// A stranger that nobody shows out goes by itself.
const LONGEST: Duration = Duration::from_secs(10);

/// Below this, what else goes on here is all that is seen: a commit alone may take so long.
const NOISE: Duration = Duration::from_millis(250);

const GROWN_KIB_MAX: u64 = 64 * 1024;
