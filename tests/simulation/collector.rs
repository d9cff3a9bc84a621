//! The collector: its real services over its real store, and a store that says itself what it commits.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, OnceLock},
};

use rusqlite::{Connection, params};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tokwatt_collector::{
    dispatch::Dispatch,
    server::dispatch_to,
    store::{Store, database_in},
};
use tokwatt_domain::{
    campaign::JobState,
    ids::{DeviceId, Name, RunId},
};
use turmoil::net::{TcpListener, TcpStream};

use crate::{
    device::PORT,
    history::{JobName, Lease, Log, Row},
};

/// The machine of the collector, during and between its lives.
#[derive(Clone)]
pub(crate) struct Collector {
    folder: PathBuf,
    log: Log,
    stopping: Arc<Mutex<CancellationToken>>,
}

impl Collector {
    pub(crate) fn new(folder: PathBuf, log: Log) -> Self {
        Self {
            folder,
            log,
            stopping: Arc::default(),
        }
    }

    /// A life; what was in memory is gone with it.
    pub(crate) async fn live(self) -> turmoil::Result {
        let stopping = CancellationToken::new();
        *self.stopping.lock().unwrap() = stopping.clone();
        let tasks = TaskTracker::new();
        let dispatch = Dispatch::new(
            Arc::new(Store::open_inline(&self.folder)?),
            Arc::new(self.log),
            Arc::default(),
            tasks.clone(),
            stopping.clone(),
        );
        tasks.spawn(Arc::clone(&dispatch).keep());
        let listener = TcpListener::bind(("0.0.0.0", PORT)).await?;
        let (connections, incoming) = mpsc::channel(1);
        tasks.spawn(accept(listener, connections, stopping));
        dispatch_to(ReceiverStream::new(incoming), dispatch).await?;
        // It is stopping: its calls end, then its process does.
        std::future::pending().await
    }

    /// Asks it to end in good order.
    pub(crate) fn stop(&self) {
        self.stopping.lock().unwrap().cancel();
    }
}

async fn accept(
    listener: TcpListener,
    connections: mpsc::Sender<TcpStream>,
    stopping: CancellationToken,
) {
    loop {
        tokio::select! {
            biased;
            () = stopping.cancelled() => return,
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { return };
                if connections.send(stream).await.is_err() {
                    return;
                }
            }
        }
    }
}

/// Looks into the database, beside the collector.
pub(crate) struct Witness {
    connection: Connection,
    n_seen: i64,
}

impl Witness {
    /// Makes the database, with what it writes down by itself, and with `sabotage`.
    pub(crate) fn new(folder: &Path, sabotage: &str) -> Self {
        static EMPTY: OnceLock<Vec<u8>> = OnceLock::new();
        let empty = EMPTY.get_or_init(|| {
            let folder = tempfile::tempdir().unwrap();
            drop(Store::open(folder.path()).unwrap());
            fs::read(database_in(folder.path())).unwrap()
        });
        fs::create_dir_all(folder).unwrap();
        fs::write(database_in(folder), empty).unwrap();
        let connection = Connection::open(database_in(folder)).unwrap();
        connection.execute_batch(WRITES_DOWN).unwrap();
        connection.execute_batch(sabotage).unwrap();
        Self {
            connection,
            n_seen: 0,
        }
    }

    /// What was committed since the last look, each change, in order.
    pub(crate) fn look(&mut self) -> Vec<Row> {
        let mut statement = self
            .connection
            .prepare_cached(
                "SELECT number, campaign, device, state, attempt, n_failed FROM seen
                 WHERE number > ?1 ORDER BY number",
            )
            .unwrap();
        let rows = statement.query_map(params![self.n_seen], |row| {
            let text = |column| row.get::<_, String>(column);
            let changed = Row {
                job: JobName {
                    campaign: Name::parse(&text(1)?).unwrap(),
                    device: DeviceId::parse(&text(2)?).unwrap(),
                },
                state: JobState::parse(&text(3)?).unwrap(),
                attempt: row.get(4)?,
                n_failed: row.get(5)?,
            };
            Ok((row.get(0)?, changed))
        });
        let mut changed = Vec::new();
        for row in rows.unwrap() {
            let (number, row) = row.unwrap();
            self.n_seen = number;
            changed.push(row);
        }
        changed
    }

    /// What jobs came to, by the store.
    pub(crate) fn accepted(&self) -> Vec<(JobName, RunId)> {
        let mut statement = self
            .connection
            .prepare("SELECT campaign, device, run FROM job_run JOIN job ON job.id = job_run.job ORDER BY campaign, device, place")
            .unwrap();
        let rows = statement.query_map([], |row| {
            let text = |column| row.get::<_, String>(column);
            let job = JobName {
                campaign: Name::parse(&text(0)?).unwrap(),
                device: DeviceId::parse(&text(1)?).unwrap(),
            };
            Ok((job, RunId(row.get(2)?)))
        });
        rows.unwrap().map(Result::unwrap).collect()
    }

    /// Which of these runs count, if all of them are delivered.
    pub(crate) fn counted(&self, runs: &[(Lease, RunId)]) -> Vec<RunId> {
        for (Lease { job, attempt }, run) in runs {
            self.connection
                .execute(
                    "INSERT INTO run (id, device, state, job, attempt)
                     SELECT ?1, device, 'finished', id, ?4 FROM job WHERE campaign = ?2 AND device = ?3",
                    params![run.0, job.campaign.as_str(), job.device.as_str(), attempt],
                )
                .unwrap();
        }
        let mut statement = self
            .connection
            .prepare("SELECT id FROM run WHERE id NOT IN (SELECT run FROM uncounted_run)")
            .unwrap();
        let rows = statement.query_map([], |row| row.get(0).map(RunId));
        rows.unwrap().map(Result::unwrap).collect()
    }
}

/// In the transaction of the change itself: nothing is missed, and nothing is seen that was not committed.
const WRITES_DOWN: &str = "
    CREATE TABLE seen (
        number INTEGER PRIMARY KEY, campaign TEXT, device TEXT, state TEXT, attempt INTEGER, n_failed INTEGER);
    CREATE TRIGGER seen_new AFTER INSERT ON job BEGIN
        INSERT INTO seen (campaign, device, state, attempt, n_failed)
        VALUES (new.campaign, new.device, new.state, new.attempt, new.n_failed);
    END;
    CREATE TRIGGER seen_change AFTER UPDATE ON job BEGIN
        INSERT INTO seen (campaign, device, state, attempt, n_failed)
        VALUES (new.campaign, new.device, new.state, new.attempt, new.n_failed);
    END;";
