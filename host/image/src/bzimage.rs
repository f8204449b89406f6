//! The uncompressed kernel inside a bzImage, which every VMM starts sooner than the whole.
//!
//! Follows the kernel's `Documentation/arch/x86/boot.rst` (`setup_sects`, `payload_offset`,
//! `payload_length`) and LZ4's "legacy frame" as the kernel's own `lib/decompress_unlz4.c` reads it.

use std::{
    io::{Read, Write},
    path::Path,
    process::Stdio,
};

use flate2::read::GzDecoder;

use crate::{Error, Job, Result, program::Program};

/// No kernel is this large; a damaged one must not fill the memory.
const LIMIT: u64 = 1 << 30;
/// The largest uncompressed length of a block in a legacy frame.
const LZ4_BLOCK: usize = 8 << 20;
const LZ4_LEGACY: u32 = 0x184c_2102;

const XZ: Program = Program { name: "xz", packages: "xz-utils" };

/// Takes the ELF kernel out of a bzImage; an ELF kernel is given back as it is.
///
/// `scratch` is a directory for the input of a decompressor that has to be run as a program.
pub(crate) fn extract_vmlinux(job: &Job, image: &[u8], scratch: &Path) -> Result<Vec<u8>> {
    if image.starts_with(b"\x7fELF") {
        return Ok(image.to_vec());
    }
    let mut payload = payload(image)?;
    // The build appends the uncompressed length, four bytes, to payloads that do not tell it.
    let length = payload.split_last_chunk::<4>().map(|(rest, length)| {
        payload = rest;
        u32::from_le_bytes(*length)
    });
    let kernel = match payload {
        [0x02, 0x21, 0x4c, 0x18, ..] => lz4_legacy(payload)?,
        [0x1f, 0x8b, ..] => read_all(GzDecoder::new(payload), "gzip")?,
        [0x28, 0xb5, 0x2f, 0xfd, ..] => {
            let decoder = zstd::Decoder::with_buffer(payload)
                .map_err(|error| unusable(format!("zstd: {error}")))?;
            read_all(decoder.single_frame(), "zstd")?
        }
        [0xfd, b'7', b'z', b'X', b'Z', ..] => xz(job, payload, scratch)?,
        _ => return Err(unusable("its compression is not known")),
    };
    if !kernel.starts_with(b"\x7fELF") {
        return Err(unusable("what it holds is no ELF kernel"));
    }
    if length.is_some_and(|length| length as usize != kernel.len()) {
        return Err(unusable("its payload is cut short"));
    }
    Ok(kernel)
}

fn payload(image: &[u8]) -> Result<&[u8]> {
    let word = |offset: usize| {
        image
            .get(offset..offset + 4)
            .and_then(|bytes| bytes.try_into().ok())
            .map(|bytes| u32::from_le_bytes(bytes) as usize)
            .ok_or_else(|| unusable("it is too short"))
    };
    if image.get(0x202..0x206) != Some(b"HdrS") {
        return Err(unusable("it has no boot protocol header"));
    }
    let setup_sectors = match image[0x1f1] {
        0 => 4,
        sectors => usize::from(sectors),
    };
    let start = (setup_sectors + 1) * 512 + word(0x248)?;
    let length = word(0x24c)?;
    image.get(start..start.saturating_add(length)).ok_or_else(|| unusable("it is cut short"))
}

fn lz4_legacy(mut frame: &[u8]) -> Result<Vec<u8>> {
    let mut kernel = Vec::new();
    let mut block = vec![0; LZ4_BLOCK];
    while let Some((word, rest)) = frame.split_first_chunk::<4>() {
        frame = rest;
        let length = u32::from_le_bytes(*word);
        // Frames may follow one another.
        if length == LZ4_LEGACY {
            continue;
        }
        let Some((compressed, rest)) = frame.split_at_checked(length as usize) else {
            return Err(unusable("an LZ4 block is cut short"));
        };
        frame = rest;
        let written = lz4_flex::block::decompress_into(compressed, &mut block)
            .map_err(|error| unusable(format!("LZ4: {error}")))?;
        if kernel.len() as u64 + written as u64 > LIMIT {
            return Err(unusable("it is too large"));
        }
        kernel.extend_from_slice(&block[..written]);
    }
    Ok(kernel)
}

fn xz(job: &Job, payload: &[u8], scratch: &Path) -> Result<Vec<u8>> {
    let path = scratch.join("payload.xz");
    crate::cache::write_synced(&path, payload)?;
    let file =
        std::fs::File::open(&path).map_err(|source| Error::Read { path: path.clone(), source })?;
    let mut running = XZ.start(
        job,
        |command| {
            command.args(["--decompress", "--stdout", "--single-stream"]);
            command.stdin(file.try_clone().map_or_else(|_| Stdio::null(), Stdio::from));
            command.stdout(Stdio::piped());
        },
        |_| (),
    )?;
    let kernel = read_all(running.take_stdout(), "xz")?;
    running.finish()?;
    Ok(kernel)
}

fn read_all(decoder: impl Read, what: &str) -> Result<Vec<u8>> {
    let mut kernel = Vec::new();
    decoder
        .take(LIMIT)
        .read_to_end(&mut kernel)
        .map_err(|error| unusable(format!("{what}: {error}")))?;
    kernel.flush().map_err(|error| unusable(error.to_string()))?;
    Ok(kernel)
}

fn unusable(reason: impl Into<String>) -> Error {
    Error::KernelImage { reason: reason.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A bzImage that holds this payload, with the length of what was compressed behind it.
    fn bzimage(payload: &[u8], uncompressed: usize) -> Vec<u8> {
        let mut image = vec![0; 3 * 512];
        image[0x1f1] = 1;
        image[0x202..0x206].copy_from_slice(b"HdrS");
        image[0x248..0x24c].copy_from_slice(&512_u32.to_le_bytes());
        image[0x24c..0x250].copy_from_slice(&(payload.len() as u32 + 4).to_le_bytes());
        image.extend_from_slice(payload);
        image.extend_from_slice(&(uncompressed as u32).to_le_bytes());
        image.extend_from_slice(b"whatever follows");
        image
    }

    fn kernel() -> Vec<u8> {
        let mut kernel = b"\x7fELF".to_vec();
        kernel.extend((0..20_000_u32).flat_map(|n| (n / 7).to_le_bytes()));
        kernel
    }

    fn legacy_frame(blocks: &[&[u8]]) -> Vec<u8> {
        let mut frame = LZ4_LEGACY.to_le_bytes().to_vec();
        for block in blocks {
            let compressed = lz4_flex::block::compress(block);
            frame.extend_from_slice(&(compressed.len() as u32).to_le_bytes());
            frame.extend_from_slice(&compressed);
        }
        frame
    }

    fn extract(image: &[u8]) -> Result<Vec<u8>> {
        let scratch = tempfile::tempdir().unwrap();
        extract_vmlinux(&Job::silent(), image, scratch.path())
    }

    #[test]
    fn a_kernel_comes_out_of_every_compression_that_distributions_use() {
        let kernel = kernel();
        let (first, second) = kernel.split_at(30_000);
        let mut gzip = flate2::read::GzEncoder::new(&*kernel, flate2::Compression::fast());
        let mut gzipped = Vec::new();
        gzip.read_to_end(&mut gzipped).unwrap();
        let zstd = zstd::encode_all(&*kernel, 1).unwrap();
        for payload in [legacy_frame(&[first, second]), gzipped, zstd] {
            assert_eq!(extract(&bzimage(&payload, kernel.len())).unwrap(), kernel);
        }
        assert_eq!(extract(&kernel).unwrap(), kernel);
    }

    #[test]
    fn damaged_images_are_told_apart_from_good_ones() {
        let good = bzimage(&legacy_frame(&[&kernel()]), kernel().len());
        for cut in [0, 100, 0x210, 600, 1600, good.len() - 40] {
            assert!(extract(&good[..cut]).is_err(), "{cut}");
        }
        let mut unknown = good.clone();
        unknown[3 * 512] = 0xff;
        assert!(extract(&unknown).is_err());
        let wrong_length = bzimage(&legacy_frame(&[&kernel()]), 7);
        assert!(extract(&wrong_length).is_err());
    }
}
