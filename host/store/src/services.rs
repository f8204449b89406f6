//! Services as last known, and their state changes in order.
//!
//! An event that the guest numbered is kept once, however often it is told; with it, in one
//! transaction, the service's record. So whoever follows by cursor misses none and sees none twice,
//! whatever becomes of the node.

use std::sync::PoisonError;

use pyro_core::{ServiceName, WorkspaceId};
use rusqlite::{Connection, OptionalExtension, params};

use crate::{
    ServiceEvent, ServiceRecord, Store, StoreError,
    store::{failed, parse, serialize},
};

/// Events kept per workspace.
const MAX_EVENTS: u64 = 20_000;
/// Of a workspace's events, once in so many the oldest go.
const PRUNE_EVERY: u32 = 256;
/// Of what is read at once, bytes, beyond the first event.
const MOST_READ: usize = 4 << 20;

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

    /// Keeps a service as it stands, unless something newer is kept of it.
    pub fn keep_service(
        &self,
        workspace: WorkspaceId,
        service: &ServiceRecord,
    ) -> Result<(), StoreError> {
        let mut connection = self.connection();
        let failed = || failed("keep a service");
        let transaction = connection.transaction().map_err(failed())?;
        let kept = kept_revision(&transaction, workspace, &service.name).map_err(failed())?;
        if service.revision >= kept {
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
        } else if event.service.revision
            >= kept_revision(&transaction, workspace, &event.service.name).map_err(failed())?
        {
            // What is told again from long ago changes nothing of what was told since.
            save(&transaction, workspace, &event.service).map_err(failed())?;
        }
        if self.is_time_to_prune(workspace) {
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

    /// At a workspace's first event since the database was opened, and then once in so many.
    fn is_time_to_prune(&self, workspace: WorkspaceId) -> bool {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let count = kept.entry(workspace).or_default();
        *count = count.wrapping_add(1);
        *count % PRUNE_EVERY == 1
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

    /// The cursor of a workspace's newest event; 0 where it has none.
    pub fn newest_event(&self, workspace: WorkspaceId) -> Result<u64, StoreError> {
        let newest: Option<i64> = self
            .connection()
            .query_row(
                "SELECT MAX(id) FROM events WHERE workspace = ?1",
                params![workspace.to_string()],
                |row| row.get(0),
            )
            .map_err(failed("read the events"))?;
        Ok(newest.and_then(|newest| u64::try_from(newest).ok()).unwrap_or(0))
    }

    /// Events after a cursor, oldest first, with theirs; at most so many, and fewer where they are
    /// long. None: there are no more.
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
        let mut bytes = 0;
        rows.into_iter()
            .take_while(|(_, text)| {
                let first = bytes == 0;
                bytes += text.len();
                first || bytes <= MOST_READ
            })
            .map(|(id, text)| Ok((id as u64, parse(&format!("event {id}"), &text)?)))
            .collect()
    }
}

/// The revision of a service's kept record; 0 where there is none.
fn kept_revision(
    connection: &Connection,
    workspace: WorkspaceId,
    name: &ServiceName,
) -> rusqlite::Result<u64> {
    let kept: Option<Option<i64>> = connection
        .prepare_cached(
            "SELECT json_extract(record, '$.revision') FROM services
             WHERE workspace = ?1 AND name = ?2",
        )?
        .query_row(params![workspace.to_string(), name.as_str()], |row| row.get(0))
        .optional()?;
    Ok(kept.flatten().unwrap_or(0) as u64)
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use pyro_core::{RestartPolicy, ServiceState};

    use super::*;
    use crate::store::tests::workspace;

    fn event(revision: u64, command: &str) -> ServiceEvent {
        let service = ServiceRecord {
            name: "web".parse().unwrap(),
            state: ServiceState::Running,
            ready: false,
            healthy: None,
            command: command.into(),
            cwd: "/workspace".into(),
            readiness: None,
            restart: RestartPolicy::No,
            restart_count: 0,
            depends_on: BTreeMap::new(),
            waiting_for: Vec::new(),
            stopping: false,
            started_at: None,
            ready_at: None,
            ended_at: None,
            pid: None,
            stop_reason: None,
            detail: None,
            last_exit: None,
            last_probe: None,
            status_text: None,
            memory_bytes: 0,
            cpu_micros: 0,
            stdout_bytes: 0,
            stderr_bytes: 0,
            listening: Vec::new(),
            run: 1,
            revision,
            source: String::new(),
        };
        ServiceEvent { at: revision, service, deleted: false }
    }

    fn store() -> (tempfile::TempDir, Store, WorkspaceId) {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(&directory.path().join("pyro.db")).unwrap();
        let workspace = workspace(1, None);
        store.save_workspace(&workspace).unwrap();
        (directory, store, workspace.id)
    }

    #[test]
    fn an_older_event_is_kept_and_overwrites_no_newer_record() {
        let (_directory, store, id) = store();
        store.save_services(id, &[event(7, "new").service], true).unwrap();
        for (sequence, revision) in [(1, 5), (2, 7), (3, 8)] {
            assert!(store.keep_service_event(id, Some(sequence), &event(revision, "x")).unwrap());
            assert_eq!(store.services(id).unwrap()[0].revision, revision.max(7));
        }
        assert!(!store.keep_service_event(id, Some(2), &event(9, "again")).unwrap());
        assert_eq!(store.events_after(id, 0, 10).unwrap().len(), 3);
        for (revision, kept) in [(6, 8), (9, 9)] {
            store.keep_service(id, &event(revision, "call").service).unwrap();
            assert_eq!(store.services(id).unwrap()[0].revision, kept);
        }
    }

    #[test]
    fn long_events_are_read_a_few_at_a_time_and_none_is_missed() {
        let (_directory, store, id) = store();
        let long = "x".repeat(3 << 20);
        for sequence in 1..=3 {
            store.keep_service_event(id, Some(sequence), &event(sequence, &long)).unwrap();
        }
        let (mut cursor, mut seen) = (0, Vec::new());
        loop {
            let events = store.events_after(id, cursor, 500).unwrap();
            let Some((last, _)) = events.last() else { break };
            assert_eq!(events.len(), 1);
            cursor = *last;
            seen.extend(events.iter().map(|(_, event)| event.at));
        }
        assert_eq!(seen, [1, 2, 3]);
    }
}
