//! Measures what the pipe adds to a token's stamp: from just before the worker writes it to the agent's stamp.
//!
//! `pipe WORKER PICTURE [ANSWERS]`, both sides on the machine's monotonic clock.

#![expect(clippy::print_stdout, reason = "its output is its purpose")]

use std::{error::Error, fs, path::Path, sync::Arc};

use tokwatt_agent::{
    backend::embedded::{
        process::{Arrived, Worker, frame},
        protocol::{Ask, Load, Order, Outcome},
    },
    clock::{Clock, monotonic_ns},
};
use tokwatt_domain::time::{Stamp, WallTime};

/// The machine's clock instead of the agent's own, so that both processes mean the same.
struct MachineClock;

impl Clock for MachineClock {
    fn now(&self) -> Stamp {
        Stamp(monotonic_ns())
    }

    fn wall(&self) -> WallTime {
        WallTime::default()
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [worker, picture, rest @ ..] = arguments.as_slice() else {
        return Err("usage: pipe WORKER PICTURE [ANSWERS]".into());
    };
    let n_answers = rest.first().map_or(Ok(200), |text| text.parse())?;
    let folder = tempfile::tempdir()?;
    let mut worker = Worker::spawn(Path::new(worker), Arc::new(MachineClock))?;
    worker.send(frame(0, Order::Load(load(folder.path())))?)?;
    let picture = fs::read(picture)?;
    let mut delays_ns = Vec::new();
    let mut answered = 0;
    while answered <= n_answers {
        match worker.receive().await {
            Arrived::Ended(death) => return Err(death.to_string().into()),
            Arrived::Reply(at, reply) => match reply.outcome {
                Some(Outcome::Token(token)) => {
                    delays_ns.push(at.0 - token.written_ns.ok_or("a token without a stamp")?);
                }
                Some(Outcome::Failed(failed)) => return Err(failed.message.into()),
                _ => {
                    answered += 1;
                    worker.send(frame(answered, Order::Ask(ask(&picture)))?)?;
                }
            },
        }
    }
    report(&mut delays_ns);
    Ok(())
}

fn load(folder: &Path) -> Load {
    Load {
        shipped_folder: folder.as_os_str().as_encoded_bytes().to_vec(),
        precision: "f32".to_owned(),
        threads: 1,
        context: 2048,
        ..Load::default()
    }
}

fn ask(picture: &[u8]) -> Ask {
    Ask {
        picture: picture.to_vec(),
        prompt: "Describe this image in one sentence.".to_owned(),
        max_tokens: 96,
        has_stamps: true,
        ..Ask::default()
    }
}

fn report(delays_ns: &mut [u64]) {
    delays_ns.sort_unstable();
    let at = |percent: usize| delays_ns[(delays_ns.len() - 1) * percent / 100];
    println!(
        "{} tokens, from the worker's write to the agent's stamp:",
        delays_ns.len()
    );
    for percent in [50, 90, 99] {
        println!("p{percent}: {} µs", at(percent) / 1000);
    }
}
