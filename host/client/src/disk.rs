//! The routes of disks, and a disk as a file of this host.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use http::{Method, header};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use pyro_api::{DiskContent, DiskList};
use pyro_core::WorkspaceId;

use crate::{
    ClientError, FilePath, Node,
    connection::{Call, with_query},
    files::{flag, route},
};

/// What is looked at for being empty, bytes.
const BLOCK: usize = 4096;

/// The disk of a stopped workspace, as it comes.
#[derive(Debug)]
pub struct DiskImage {
    call: String,
    body: Incoming,
    /// The workspace.
    pub workspace_id: WorkspaceId,
    /// Of the whole.
    pub size_bytes: u64,
    received: u64,
}

impl Node {
    /// `GET /v1/workspaces/{w}/disk/files`.
    pub async fn disk_files(
        &self,
        workspace: &str,
        path: &FilePath,
        recursive: bool,
    ) -> Result<DiskList, ClientError> {
        let [text, bytes] = path.parameters();
        let query = [text, bytes, ("recursive", flag(recursive))];
        self.get(with_query(route(workspace, "disk/files"), &query)).await
    }

    /// `GET /v1/workspaces/{w}/disk/content`.
    pub async fn read_disk(
        &self,
        workspace: &str,
        path: &FilePath,
        max_bytes: Option<u64>,
        offset: Option<u64>,
    ) -> Result<DiskContent, ClientError> {
        let [text, bytes] = path.parameters();
        let number = |number: Option<u64>| number.map(|number| number.to_string());
        let query = [text, bytes, ("max_bytes", number(max_bytes)), ("offset", number(offset))];
        self.get(with_query(route(workspace, "disk/content"), &query)).await
    }

    /// `GET /v1/workspaces/{w}/disk/image`.
    pub async fn disk_image(&self, workspace: &str) -> Result<DiskImage, ClientError> {
        let call = Call::new(Method::GET, route(workspace, "disk/image"));
        let name = call.name();
        // As every question, it may be asked again.
        let response = match self.send(call).await {
            Err(ClientError::Lost { .. }) => {
                self.send(Call::new(Method::GET, route(workspace, "disk/image"))).await?
            }
            answer => answer?,
        };
        let told = |name: &str| response.headers().get(name)?.to_str().ok();
        let size = told(header::CONTENT_LENGTH.as_str()).and_then(|size| size.parse().ok());
        let id = told("pyro-workspace-id").and_then(|id| id.parse().ok());
        let (Some(size_bytes), Some(workspace_id)) = (size, id) else {
            let detail = "it does not say how much it is, or of which workspace".to_owned();
            return Err(ClientError::Reply { call: name, detail });
        };
        let body = response.into_body();
        Ok(DiskImage { call: name, body, workspace_id, size_bytes, received: 0 })
    }
}

impl DiskImage {
    /// What comes next; none at the end.
    pub async fn next(&mut self) -> Result<Option<Bytes>, ClientError> {
        loop {
            match self.body.frame().await {
                Some(Ok(frame)) => {
                    if let Ok(bytes) = frame.into_data() {
                        self.received += bytes.len() as u64;
                        return Ok(Some(bytes));
                    }
                }
                Some(Err(source)) => {
                    return Err(ClientError::Lost { call: self.call.clone(), source });
                }
                None if self.received == self.size_bytes => return Ok(None),
                None => {
                    let detail = "it is not as long as it was to be".to_owned();
                    return Err(ClientError::Reply { call: self.call.clone(), detail });
                }
            }
        }
    }

    /// Writes all of it to a file that was not there: whole or not at all, with holes where there are only
    /// zeros. `progress` is told how much has come.
    pub async fn save(
        mut self,
        output: &Path,
        mut progress: impl FnMut(u64),
    ) -> Result<(), ClientError> {
        let failed = |source| ClientError::Output { path: output.to_owned(), source };
        let building = Building::new(output).map_err(failed)?;
        let mut offset = 0;
        while let Some(bytes) = self.next().await? {
            building.write(&bytes, offset).map_err(failed)?;
            offset += bytes.len() as u64;
            progress(offset);
        }
        building.finish(output, offset).map_err(failed)
    }
}

/// A file on its way, which goes when this is dropped.
struct Building {
    path: PathBuf,
    file: File,
}

impl Building {
    fn new(output: &Path) -> io::Result<Self> {
        if fs::symlink_metadata(output).is_ok() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let name = output.file_name().ok_or(io::ErrorKind::InvalidFilename)?;
        let mut hidden = std::ffi::OsString::from(".");
        hidden.push(name);
        hidden.push(format!(".{}.part", std::process::id()));
        let path = output.with_file_name(hidden);
        let file = File::create_new(&path)?;
        Ok(Self { path, file })
    }

    fn write(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        // The last of the file is made by its length.
        for (at, block) in bytes.chunks(BLOCK).enumerate() {
            if block.iter().any(|byte| *byte != 0) {
                self.file.write_all_at(block, offset + (at * BLOCK) as u64)?;
            }
        }
        Ok(())
    }

    fn finish(self, output: &Path, length: u64) -> io::Result<()> {
        self.file.set_len(length)?;
        self.file.sync_all()?;
        // A link, unlike a rename, takes nobody's place.
        match fs::hard_link(&self.path, output) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                // A file system without links.
                if fs::symlink_metadata(output).is_ok() {
                    return Err(io::ErrorKind::AlreadyExists.into());
                }
                fs::rename(&self.path, output)
            }
            linked => linked,
        }
    }
}

impl Drop for Building {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn a_file_is_there_whole_or_not_at_all_and_has_its_holes() {
        let home = tempfile::tempdir().unwrap();
        let output = home.path().join("disk.ext4");
        let building = Building::new(&output).unwrap();
        building.write(&vec![0; 1 << 20], 0).unwrap();
        building.write(b"here", 1 << 20).unwrap();
        building.write(&vec![0; 1 << 20], (1 << 20) + 4).unwrap();
        assert!(!output.exists());
        building.finish(&output, (2 << 20) + 4).unwrap();
        let read = fs::read(&output).unwrap();
        assert_eq!((read.len(), &read[1 << 20..][..4]), ((2 << 20) + 4, b"here" as &[u8]));
        assert!(fs::metadata(&output).unwrap().blocks() * 512 < 1 << 20);

        let taken = Building::new(&output).err().unwrap();
        assert_eq!(taken.kind(), io::ErrorKind::AlreadyExists);
        let other = home.path().join("other");
        let late = Building::new(&other).unwrap();
        fs::write(&other, "somebody's").unwrap();
        assert_eq!(late.finish(&other, 0).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&other).unwrap(), b"somebody's");
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 2);
    }
}
