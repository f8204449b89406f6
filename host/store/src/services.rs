//! Services as last known, and their state changes in order.
//!
//! An event that the guest numbered is kept once, however often it is told; with it, in one
//! transaction, the service's record. So whoever follows by cursor misses none and sees none twice,
//! whatever becomes of the node.

use pyro_core::{ServiceName, WorkspaceId};
use rusqlite::{Connection, OptionalExtension, params};

use crate::{
    ServiceEvent, ServiceRecord, Store, StoreError,
    store::{failed, parse, serialize},
};

/// Events kept per workspace.
const MAX_EVENTS: u64 = 20_000;

impl Store {
    /// A workspace's services as last known, by name.
    pub fn services(&self, workspace: WorkspaceId) -> Result<Vec<ServiceRecord>, StoreError> {
        self.read_all(
            "read the services",
            "SELECT name, record FROM services WHERE workspace = ?1 ORDER BY name",
            [workspace.to_string()],
        )
    }

    /// Keeps services as they stand; with `all`, there are no others.
    pub fn save_services(
        &self,
        workspace: WorkspaceId,
        services: &[ServiceRecord],
        all: bool,
    ) -> Result<(), StoreError> {
        let mut connection = self.connection();
        let failed = || failed("keep the services");
        let transaction = connection.transaction().map_err(failed())?;
        if all {
            transaction
                .execute("DELETE FROM services WHERE workspace = ?1", [workspace.to_string()])
                .map_err(failed())?;
        }
        for service in services {
            save(&transaction, workspace, service).map_err(failed())?;
        }
        transaction.commit().map_err(failed())
    }

    /// Forgets a service.
    pub fn remove_service(
        &self,
        workspace: WorkspaceId,
        name: &ServiceName,
    ) -> Result<(), StoreError> {
        self.connection()
            .execute(
                "DELETE FROM services WHERE workspace = ?1 AND name = ?2",
                params![workspace.to_string(), name.as_str()],
            )
            .map_err(failed("remove a service"))?;
        Ok(())
    }

    /// Keeps an event and what it says of its service. One the guest numbered, and that is there
    /// already, changes nothing; says whether it was new.
    pub fn keep_service_event(
        &self,
        workspace: WorkspaceId,
        guest_sequence: Option<u64>,
        event: &ServiceEvent,
    ) -> Result<bool, StoreError> {
        let mut connection = self.connection();
        let failed = || failed("keep an event");
        let transaction = connection.transaction().map_err(failed())?;
        let added = transaction
            .prepare_cached(
                "INSERT OR IGNORE INTO events (workspace, guest_sequence, record)
                 VALUES (?1, ?2, ?3)",
            )
            .and_then(|mut statement| {
                let sequence = guest_sequence.map(|sequence| sequence as i64);
                statement.execute(params![workspace.to_string(), sequence, serialize(event)])
            })
            .map_err(failed())?;
        if added == 0 {
            return Ok(false);
        }
        if event.deleted {
            transaction
                .execute(
                    "DELETE FROM services WHERE workspace = ?1 AND name = ?2",
                    params![workspace.to_string(), event.service.name.as_str()],
                )
                .map_err(failed())?;
        } else {
            save(&transaction, workspace, &event.service).map_err(failed())?;
        }
        let id = transaction.last_insert_rowid();
        if id % 256 == 0 {
            transaction
                .execute(
                    "DELETE FROM events WHERE workspace = ?1 AND id <= (
                        SELECT id FROM events WHERE workspace = ?1
                        ORDER BY id DESC LIMIT 1 OFFSET ?2)",
                    params![workspace.to_string(), MAX_EVENTS as i64],
                )
                .map_err(failed())?;
        }
        transaction.commit().map_err(failed())?;
        Ok(true)
    }

    /// The number of the newest event that this workspace's guest told and that is kept; 0: none.
    pub fn guest_sequence(&self, workspace: WorkspaceId) -> Result<u64, StoreError> {
        let newest: Option<i64> = self
            .connection()
            .query_row(
                "SELECT MAX(guest_sequence) FROM events WHERE workspace = ?1",
                [workspace.to_string()],
                |row| row.get(0),
            )
            .optional()
            .map_err(failed("read the events"))?
            .flatten();
        Ok(newest.unwrap_or(0) as u64)
    }

    /// Events after a cursor, oldest first, with theirs; at most so many.
    pub fn events_after(
        &self,
        workspace: WorkspaceId,
        cursor: u64,
        limit: u32,
    ) -> Result<Vec<(u64, ServiceEvent)>, StoreError> {
        let connection = self.connection();
        let rows: Vec<(i64, String)> = connection
            .prepare_cached(
                "SELECT id, record FROM events WHERE workspace = ?1 AND id > ?2
                 ORDER BY id LIMIT ?3",
            )
            .and_then(|mut statement| {
                let cursor = i64::try_from(cursor).unwrap_or(i64::MAX);
                statement
                    .query_map(params![workspace.to_string(), cursor, limit], |row| {
                        Ok((row.get(0)?, row.get(1)?))
                    })?
                    .collect::<Result<_, _>>()
            })
            .map_err(failed("read the events"))?;
        rows.into_iter()
            .map(|(id, text)| Ok((id as u64, parse(&format!("event {id}"), &text)?)))
            .collect()
    }
}

fn save(
    connection: &Connection,
    workspace: WorkspaceId,
    service: &ServiceRecord,
) -> rusqlite::Result<usize> {
    connection
        .prepare_cached(
            "INSERT INTO services (workspace, name, record) VALUES (?1, ?2, ?3)
             ON CONFLICT (workspace, name) DO UPDATE SET record = ?3",
        )?
        .execute(params![workspace.to_string(), service.name.as_str(), serialize(service)])
}
