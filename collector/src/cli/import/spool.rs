//! A spool export, admitted as if its device had delivered it; and the receipt for the device.

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context, bail};
use futures::stream;
use tokio::sync::Notify;
use tokwatt_proto::v1::{self, exchange_client::ExchangeClient};

use crate::{
    cli::client::{Address, Answer},
    clock::SystemClock,
    enrol::Identity,
    exchange::{self, Imported, Importer, nameless},
    settings::Settings,
    store::{Store, StoreError, database_in},
    vitals::Vitals,
};

/// Admits it, and keeps the receipt.
pub(super) fn import(
    path: &Path,
    receipt: Option<&Path>,
    address: &Address,
) -> anyhow::Result<(Answer<exchange::Import>, PathBuf)> {
    let named = || format!("cannot import `{}`", path.display());
    let file = File::open(path).with_context(named)?;
    let (answer, bytes) = match at_rest(address)? {
        Some((importer, data)) => {
            // It is read twice, and must not be written by others meanwhile.
            let own = copy_of(file, data).with_context(named)?;
            read(into_the_store(&importer, own).with_context(named)?)?
        }
        None => by_the_collector(address, file).with_context(named)?,
    };
    let kept = receipt.map_or_else(|| beside(path), Path::to_owned);
    keep(&kept, &bytes).with_context(|| {
        format!(
            "everything is committed, but the receipt `{}` cannot be written: import again with --receipt FILE",
            kept.display()
        )
    })?;
    Ok((answer, kept))
}

/// What takes it where no collector is running and none is named.
fn at_rest(address: &Address) -> anyhow::Result<Option<(Importer, &Path)>> {
    let Some(data) = address.data_folder() else {
        return Ok(None);
    };
    if !database_in(data).exists() {
        return Ok(None);
    }
    let vitals = Arc::new(Vitals::new(&database_in(data)));
    let store = match Store::open_counted(data, &vitals) {
        Ok(store) => Arc::new(store),
        Err(StoreError::InUse(_)) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let settings = Settings {
        data: data.to_owned(),
        ..Settings::default()
    };
    let Some(identity) = Identity::open(&settings.identity())? else {
        bail!(
            "the collector in `{}` has no identity, so it knows nobody's signature: `tokwatt-collector init` makes one",
            data.display()
        );
    };
    let importer = Importer {
        store,
        identity: Arc::new(identity),
        clock: Arc::new(SystemClock),
        finished: Arc::<Notify>::default(),
        vitals,
    };
    Ok(Some((importer, data)))
}

fn copy_of(mut file: File, data: &Path) -> io::Result<File> {
    let mut own = nameless(data)?;
    io::copy(&mut file, &mut own)?;
    Ok(own)
}

fn into_the_store(importer: &Importer, file: File) -> anyhow::Result<Imported> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    Ok(runtime.block_on(importer.import(file))?)
}

fn read(imported: Imported) -> anyhow::Result<(Answer<exchange::Import>, Vec<u8>)> {
    let json = serde_json::to_string(&imported.document)?;
    let document = imported.document;
    Ok((Answer { json, document }, imported.receipt))
}

fn by_the_collector(
    address: &Address,
    file: File,
) -> anyhow::Result<(Answer<exchange::Import>, Vec<u8>)> {
    let answer = address.call(async |channel| {
        let mut client = ExchangeClient::new(channel);
        client.import(stream::iter(Parts(file))).await
    })?;
    let answer = answer.into_inner();
    let document = answer
        .document
        .context("the collector's answer has no document: is it of another version?")?;
    Ok((Answer::read(document)?, answer.receipt))
}

/// A file bit by bit. One that cannot be read on ends early, and the collector finds it cut off.
struct Parts(File);

impl Iterator for Parts {
    type Item = v1::ImportPart;

    fn next(&mut self) -> Option<v1::ImportPart> {
        let mut bytes = Vec::new();
        let read = (&mut self.0).take(PART_BYTES).read_to_end(&mut bytes);
        if let Err(error) = read {
            tracing::error!(%error, "the export cannot be read on");
            return None;
        }
        Some(v1::ImportPart { bytes }).filter(|part| !part.bytes.is_empty())
    }
}

fn beside(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".receipt");
    name.into()
}

/// Whole or not at all.
fn keep(path: &Path, receipt: &[u8]) -> io::Result<()> {
    let new = path.with_added_extension("new");
    let mut file = File::create(&new)?;
    file.write_all(receipt)?;
    file.sync_all()?;
    fs::rename(new, path)
}

pub(super) fn text(import: &exchange::Import, receipt: &Path) -> String {
    let mut text = format!(
        "device           {}\nrecords          {} in the export, {} of them new\nruns             {} finished by it\ncommitted        through number {} of epoch {}\n",
        import.device,
        import.records,
        import.stored,
        import.finished_runs,
        import.through,
        import.epoch
    );
    for set_aside in &import.set_aside {
        text.push_str(&format!(
            "set aside        record {}, kept and not used: {}\n",
            set_aside.seq, set_aside.problem
        ));
    }
    text.push_str(&format!(
        "receipt          {}; on the device: tokwatt-agent spool import FILE\n",
        receipt.display()
    ));
    text
}

const PART_BYTES: u64 = 1024 * 1024;
