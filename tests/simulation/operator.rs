//! An operator, who creates campaigns and cancels some, and asks again until they are answered.

use std::time::Duration;

use tokio::time::{sleep, sleep_until, timeout};
use tokwatt_agent::uplink::patient;
use tokwatt_collector::clock::Clock as _;
use tokwatt_domain::{campaign::Campaign, ids::DeviceId, ids::Name, time::WallTime};
use tokwatt_harness::Random;
use tokwatt_proto::{
    control::{self, CAMPAIGN_FILE},
    v1::{self, campaigns_client::CampaignsClient},
};
use tonic::{Code, Status, transport::Endpoint};

use crate::{
    device::{COLLECTOR, channel},
    history::{Asked, Event, Log},
};

/// What is asked for, and when.
pub(crate) struct Wish {
    at: Duration,
    asked: Asked,
    act: Act,
}

enum Act {
    /// With this long to begin, if not for ever.
    Create(Option<Duration>),
    Cancel,
}

/// A few campaigns within a time, each for some of the devices.
pub(crate) fn wishes(chance: &mut Random, devices: &[DeviceId], within: Duration) -> Vec<Wish> {
    let mut wishes = Vec::new();
    for number in 0..3 + chance.below(4) {
        let mut some = devices.to_vec();
        some.retain(|_| chance.below(3) > 0);
        if some.is_empty() {
            some.push(chance.pick(devices).clone());
        }
        let late = (chance.below(5) == 0).then(|| Duration::from_secs(10 + chance.below(110)));
        let asked = Asked {
            name: Name::parse(&format!("campaign-{number}")).unwrap(),
            devices: some,
            attempts: 1 + u32::try_from(chance.below(3)).unwrap(),
            has_deadline: late.is_some(),
        };
        let at = within.mul_f64(chance.below(1000) as f64 / 1000.0);
        if chance.below(4) == 0 {
            wishes.push(Wish {
                at: at + Duration::from_millis(chance.below(60_000)),
                asked: asked.clone(),
                act: Act::Cancel,
            });
        }
        wishes.push(Wish {
            at,
            asked,
            act: Act::Create(late),
        });
    }
    wishes.sort_by_key(|wish| wish.at);
    wishes
}

/// Until every wish was heard.
pub(crate) async fn live(wishes: Vec<Wish>, log: Log) -> turmoil::Result {
    let start = tokio::time::Instant::now();
    for wish in wishes {
        sleep_until(start + wish.at).await;
        let name = wish.asked.name.clone();
        log.add(match wish.act {
            Act::Create(_) => Event::Creating(wish.asked.clone()),
            Act::Cancel => Event::Cancelling(name.clone()),
        });
        // A device that never attended is not known yet, and a collector that is away does not answer.
        while timeout(PATIENCE, wish.ask(&log)).await != Ok(true) {
            sleep(PAUSE).await;
        }
        log.add(match wish.act {
            Act::Create(_) => Event::Created(name),
            Act::Cancel => Event::Cancelled(name),
        });
    }
    Ok(())
}

impl Wish {
    /// Whether it was heard, now or before.
    async fn ask(&self, log: &Log) -> bool {
        let Ok(channel) = channel(&patient(&Endpoint::from_static(COLLECTOR))).await else {
            return false;
        };
        let mut client = CampaignsClient::new(channel);
        match self.act {
            Act::Create(late) => {
                let deadline = late.map(|late| after(log.wall(), late));
                let campaign = Some(control::write(CAMPAIGN_FILE, &self.campaign(deadline)));
                let created = client.create(v1::CreateCampaignRequest { campaign }).await;
                let code = created.as_ref().map_or_else(Status::code, |_| Code::Ok);
                matches!(code, Code::Ok | Code::AlreadyExists)
            }
            Act::Cancel => {
                let name = self.asked.name.as_str().to_owned();
                let cancelled = client.cancel(v1::CancelCampaignRequest { name }).await;
                cancelled.is_ok()
            }
        }
    }

    fn campaign(&self, deadline: Option<WallTime>) -> Campaign {
        let campaign = serde_json::json!({
            "name": self.asked.name,
            "work": { "suite": "batch" },
            "devices": { "names": self.asked.devices },
            "attempts": self.asked.attempts,
            "deadline": deadline,
        });
        serde_json::from_value(campaign).unwrap()
    }
}

fn after(time: WallTime, wait: Duration) -> WallTime {
    WallTime(time.0 + i64::try_from(wait.as_micros()).unwrap())
}

const PATIENCE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_secs(1);
