//! The database: one file, a numbered schema, small statements.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use pyro_core::{ExecId, Problem, WorkspaceId};
use rusqlite::{Connection, OptionalExtension, params};
use serde::{Serialize, de::DeserializeOwned};

use crate::{ExecRecord, ExecState, WorkspaceRecord};

/// The migrations, oldest first. Never changed once released, only added to.
const MIGRATIONS: &[&str] = &[
    "
    CREATE TABLE workspaces (
        id TEXT PRIMARY KEY,
        name TEXT UNIQUE,
        record TEXT NOT NULL
    ) STRICT;
    CREATE TABLE execs (
        id TEXT PRIMARY KEY,
        workspace TEXT NOT NULL REFERENCES workspaces(id) ON DELETE CASCADE,
        sequence INTEGER NOT NULL,
        running INTEGER NOT NULL,
        record TEXT NOT NULL
    ) STRICT;
    CREATE INDEX execs_by_workspace ON execs(workspace, sequence);
",
    "
    CREATE TABLE services (
        workspace TEXT NOT NULL REFERENCES workspaces(id) ON DELETE CASCADE,
        name TEXT NOT NULL,
        record TEXT NOT NULL,
        PRIMARY KEY (workspace, name)
    ) STRICT;
    CREATE TABLE events (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        workspace TEXT NOT NULL REFERENCES workspaces(id) ON DELETE CASCADE,
        guest_sequence INTEGER,
        record TEXT NOT NULL
    ) STRICT;
    CREATE UNIQUE INDEX events_by_guest ON events(workspace, guest_sequence);
    CREATE INDEX events_by_workspace ON events(workspace, id);
",
];

/// Keeping metadata failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database cannot be opened.
    #[error("cannot open the database {}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: rusqlite::Error,
    },
    /// The database is from a newer pyro.
    #[error("{} was written by a newer pyro: its schema is {found}, this one knows {known}", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its schema.
        found: usize,
        /// The newest schema this build knows.
        known: usize,
    },
    /// Another workspace has that name.
    #[error("the name {0:?} is taken")]
    NameTaken(String),
    /// A statement failed.
    #[error("cannot {operation}")]
    Statement {
        /// What was to be done.
        operation: &'static str,
        /// Why it failed.
        #[source]
        source: rusqlite::Error,
    },
    /// A record does not read as one.
    #[error("the record of {id} is damaged")]
    Record {
        /// Whose record.
        id: String,
        /// What is wrong.
        #[source]
        source: serde_json::Error,
    },
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match &error {
            StoreError::Newer { .. } => Self::from_error("state_from_newer_version", &error)
                .hint("use the newer pyro, or another state directory: PYRO_HOME=DIR pyro ..."),
            StoreError::NameTaken(name) => {
                Self::conflict("workspace_name_taken", format!("the name {name:?} is taken"))
                    .hint("choose another --name; `pyro ls` shows the names in use")
            }
            StoreError::Open { .. } => Self::from_error("state_unreadable", &error)
                .hint("check the state directory's permissions and the disk's free space"),
            StoreError::Statement { source, .. }
                if source.sqlite_error_code() == Some(rusqlite::ErrorCode::DiskFull) =>
            {
                Self::from_error("host_disk_full", &error)
                    .hint("free space where the state directory is; `pyro df` shows what pyro uses")
            }
            StoreError::Statement { .. } | StoreError::Record { .. } => {
                Self::from_error("state_unreadable", &error)
            }
        }
    }
}

pub(crate) fn failed(operation: &'static str) -> impl FnOnce(rusqlite::Error) -> StoreError {
    move |source| StoreError::Statement { operation, source }
}

/// The node's database.
#[derive(Debug)]
pub struct Store {
    connection: Mutex<Connection>,
    /// Events of each workspace that were kept since it was opened.
    pub(crate) kept: Mutex<HashMap<WorkspaceId, u32>>,
}

impl Store {
    /// Opens the database at `path`, making or migrating it. A newer one is left untouched.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let open = |source| StoreError::Open { path: path.to_owned(), source };
        let mut connection = Connection::open(path).map_err(open)?;
        let found: usize = connection
            .query_row("PRAGMA user_version", [], |row| row.get::<_, i64>(0))
            .map_err(open)?
            .try_into()
            .unwrap_or(usize::MAX);
        if found > MIGRATIONS.len() {
            return Err(StoreError::Newer {
                path: path.to_owned(),
                found,
                known: MIGRATIONS.len(),
            });
        }
        connection.pragma_update(None, "journal_mode", "WAL").map_err(open)?;
        connection.pragma_update(None, "foreign_keys", true).map_err(open)?;
        connection.pragma_update(None, "synchronous", "NORMAL").map_err(open)?;
        for (number, migration) in MIGRATIONS.iter().enumerate().skip(found) {
            let transaction = connection.transaction().map_err(open)?;
            transaction.execute_batch(migration).map_err(open)?;
            transaction.pragma_update(None, "user_version", number as i64 + 1).map_err(open)?;
            transaction.commit().map_err(open)?;
        }
        Ok(Self { connection: Mutex::new(connection), kept: Mutex::default() })
    }

    pub(crate) fn connection(&self) -> MutexGuard<'_, Connection> {
        // A panic while the lock was held left no transaction open: they roll back when dropped.
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Every workspace, in no order.
    pub fn workspaces(&self) -> Result<Vec<WorkspaceRecord>, StoreError> {
        self.read_all("read the workspaces", "SELECT id, record FROM workspaces", [])
    }

    /// Keeps a workspace durably: after this returns, a power cut does not undo it.
    pub fn save_workspace_durably(&self, record: &WorkspaceRecord) -> Result<(), StoreError> {
        let connection = self.connection();
        let level = |level: &str| {
            connection
                .pragma_update(None, "synchronous", level)
                .map_err(failed("set the durability"))
        };
        level("FULL")?;
        let saved = save_workspace(&connection, record);
        level("NORMAL")?;
        saved
    }

    /// Keeps a workspace: after this returns, a killed process does not undo it.
    pub fn save_workspace(&self, record: &WorkspaceRecord) -> Result<(), StoreError> {
        save_workspace(&self.connection(), record)
    }

    /// Removes a workspace and its execs.
    pub fn remove_workspace(&self, id: WorkspaceId) -> Result<(), StoreError> {
        self.connection()
            .execute("DELETE FROM workspaces WHERE id = ?1", [id.to_string()])
            .map_err(failed("remove a workspace"))?;
        Ok(())
    }

    /// A workspace's execs, oldest first.
    pub fn execs(&self, workspace: WorkspaceId) -> Result<Vec<ExecRecord>, StoreError> {
        self.read_all(
            "read the execs",
            "SELECT id, record FROM execs WHERE workspace = ?1 ORDER BY sequence",
            [workspace.to_string()],
        )
    }

    /// A workspace's execs that have not ended, oldest first.
    pub fn running_execs(&self, workspace: WorkspaceId) -> Result<Vec<ExecRecord>, StoreError> {
        self.read_all(
            "read the running execs",
            "SELECT id, record FROM execs WHERE workspace = ?1 AND running ORDER BY sequence",
            [workspace.to_string()],
        )
    }

    /// One exec.
    pub fn exec(&self, id: ExecId) -> Result<Option<ExecRecord>, StoreError> {
        let connection = self.connection();
        let found: Option<String> = connection
            .prepare_cached("SELECT record FROM execs WHERE id = ?1")
            .and_then(|mut statement| {
                statement.query_row([id.to_string()], |row| row.get(0)).optional()
            })
            .map_err(failed("read an exec"))?;
        found.map(|text| parse(&id.to_string(), &text)).transpose()
    }

    /// Keeps an exec.
    pub fn save_exec(&self, record: &ExecRecord) -> Result<(), StoreError> {
        let text = serialize(record);
        self.connection()
            .prepare_cached(
                "INSERT INTO execs (id, workspace, sequence, running, record)
                 VALUES (?1, ?2, ?3, ?4, ?5)
                 ON CONFLICT (id) DO UPDATE SET running = ?4, record = ?5",
            )
            .and_then(|mut statement| {
                statement.execute(params![
                    record.id.to_string(),
                    record.workspace.to_string(),
                    record.sequence as i64,
                    record.state == ExecState::Running,
                    text
                ])
            })
            .map_err(failed("keep an exec"))?;
        Ok(())
    }

    /// Removes every exec of a workspace.
    pub fn remove_execs(&self, workspace: WorkspaceId) -> Result<(), StoreError> {
        self.connection()
            .execute("DELETE FROM execs WHERE workspace = ?1", [workspace.to_string()])
            .map_err(failed("remove the execs"))?;
        Ok(())
    }

    /// Removes an exec.
    pub fn remove_exec(&self, id: ExecId) -> Result<(), StoreError> {
        self.connection()
            .execute("DELETE FROM execs WHERE id = ?1", [id.to_string()])
            .map_err(failed("remove an exec"))?;
        Ok(())
    }

    pub(crate) fn read_all<T: DeserializeOwned>(
        &self,
        operation: &'static str,
        query: &str,
        parameters: impl rusqlite::Params,
    ) -> Result<Vec<T>, StoreError> {
        let connection = self.connection();
        let rows: Vec<(String, String)> = connection
            .prepare_cached(query)
            .and_then(|mut statement| {
                statement
                    .query_map(parameters, |row| Ok((row.get(0)?, row.get(1)?)))?
                    .collect::<Result<_, _>>()
            })
            .map_err(failed(operation))?;
        rows.iter().map(|(id, text)| parse(id, text)).collect()
    }
}

fn save_workspace(connection: &Connection, record: &WorkspaceRecord) -> Result<(), StoreError> {
    let name = record.name.as_ref().map(ToString::to_string);
    connection
        .prepare_cached(
            "INSERT INTO workspaces (id, name, record) VALUES (?1, ?2, ?3)
             ON CONFLICT (id) DO UPDATE SET name = ?2, record = ?3",
        )
        .and_then(|mut statement| {
            statement.execute(params![record.id.to_string(), name, serialize(record)])
        })
        .map_err(|source| match (source.sqlite_error_code(), name) {
            (Some(rusqlite::ErrorCode::ConstraintViolation), Some(name)) => {
                StoreError::NameTaken(name)
            }
            _ => StoreError::Statement { operation: "keep a workspace", source },
        })?;
    Ok(())
}

pub(crate) fn serialize(record: &impl Serialize) -> String {
    serde_json::to_string(record).expect("records are plain data")
}

pub(crate) fn parse<T: DeserializeOwned>(id: &str, text: &str) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|source| StoreError::Record { id: id.to_owned(), source })
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::BTreeMap;

    use pyro_core::{Mebibytes, VcpuCount};

    use super::*;
    use crate::{OnExpiry, Phase, WorkspaceKind};

    pub(crate) fn workspace(bits: u64, name: Option<&str>) -> WorkspaceRecord {
        WorkspaceRecord {
            id: WorkspaceId::from_random(bits),
            kind: WorkspaceKind::Workspace,
            name: name.map(|name| name.parse().unwrap()),
            labels: BTreeMap::new(),
            environment: "debian:12".parse().unwrap(),
            environment_version: None,
            environment_digest: "0".repeat(64),
            vcpus: VcpuCount::ONE,
            memory: Mebibytes::new(1024),
            disk: Mebibytes::new(20480),
            ttl_seconds: None,
            on_expiry: OnExpiry::Stop,
            backend: "qemu".into(),
            accelerated: false,
            created_at: 1,
            last_activity_at: 1,
            phase: Phase::Creating,
            stop_reason: None,
            stop_detail: None,
            was_started: false,
            command_count: 0,
            last_command: None,
            workload_restarts: 0,
            holds_services: false,
            network: crate::NetworkRecord::default(),
            published: Vec::new(),
            is_warm: false,
            seed: None,
            checkpoints: crate::Checkpoints::default(),
        }
    }

    #[test]
    fn records_survive_reopening() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pyro.db");
        let record = workspace(1, Some("one"));
        Store::open(&path).unwrap().save_workspace_durably(&record).unwrap();
        assert_eq!(Store::open(&path).unwrap().workspaces().unwrap(), [record]);
    }

    #[test]
    fn a_record_of_a_pyro_that_published_no_ports_is_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pyro.db");
        let record = workspace(1, Some("one"));
        Store::open(&path).unwrap().save_workspace_durably(&record).unwrap();
        let edit = "UPDATE workspaces SET record = json_remove(record, '$.published')";
        assert_eq!(Connection::open(&path).unwrap().execute(edit, []).unwrap(), 1);
        assert_eq!(Store::open(&path).unwrap().workspaces().unwrap(), [record]);
    }

    #[test]
    fn a_name_belongs_to_one_workspace() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(&directory.path().join("pyro.db")).unwrap();
        store.save_workspace(&workspace(1, Some("one"))).unwrap();
        let error = store.save_workspace(&workspace(2, Some("one"))).unwrap_err();
        assert!(matches!(error, StoreError::NameTaken(_)), "{error}");
        store.save_workspace(&workspace(3, None)).unwrap();
        store.save_workspace(&workspace(4, None)).unwrap();
    }

    #[test]
    fn a_newer_schema_is_refused_and_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pyro.db");
        Store::open(&path).unwrap();
        Connection::open(&path).unwrap().pragma_update(None, "user_version", 999).unwrap();
        let before = std::fs::read(&path).unwrap();
        assert!(matches!(Store::open(&path), Err(StoreError::Newer { found: 999, .. })));
        assert_eq!(std::fs::read(&path).unwrap(), before);
    }
}
