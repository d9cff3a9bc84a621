//! The Unix socket: for whoever is on the server and in the group of its files. Who that is, the kernel says.

use std::{
    fs::{self, DirBuilder, Permissions},
    io,
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::{Path, PathBuf},
};

use tokio::{
    net::{UnixListener, UnixStream},
    sync::mpsc,
};
use tokio_util::sync::CancellationToken;

use super::connection::Connection;
use crate::peer::Peer;

/// A socket that is gone when this is dropped.
pub(super) struct LocalDoor {
    listener: UnixListener,
    path: PathBuf,
}

impl LocalDoor {
    /// Makes it, in the place of one that a crash left. Whoever calls holds the lock of the folder.
    pub(super) fn bind(path: &Path) -> io::Result<Self> {
        // Made where nobody else can reach it, so that there is no moment with other permissions.
        let aside = path.with_extension("new");
        if aside.exists() {
            fs::remove_dir_all(&aside)?;
        }
        DirBuilder::new().mode(0o700).create(&aside)?;
        let new = aside.join("s");
        let bound = UnixListener::bind(&new).and_then(|listener| {
            fs::set_permissions(&new, Permissions::from_mode(0o660))?;
            fs::rename(&new, path)?;
            Ok(listener)
        });
        fs::remove_dir_all(&aside)?;
        Ok(Self {
            listener: bound?,
            path: path.to_owned(),
        })
    }

    /// Takes connections until the collector stops.
    pub(super) async fn open(
        self,
        connections: mpsc::Sender<Connection>,
        stopping: CancellationToken,
    ) {
        loop {
            let accepted = tokio::select! {
                () = stopping.cancelled() => return,
                accepted = self.listener.accept() => accepted,
            };
            let connection = accepted.and_then(|(stream, _)| known(stream));
            match connection {
                Ok(connection) => drop(connections.send(connection).await),
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection of this machine");
                    tokio::time::sleep(super::door::ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

impl Drop for LocalDoor {
    fn drop(&mut self) {
        // One that stays is replaced at the next start.
        drop(fs::remove_file(&self.path));
    }
}

fn known(stream: UnixStream) -> io::Result<Connection> {
    let uid = stream.peer_cred()?.uid();
    Ok(Connection::new(stream, Peer::Local { uid }, ()))
}
