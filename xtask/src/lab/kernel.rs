//! The uncompressed kernel (vmlinux) out of Debian's bzImage, whose payload is in LZ4's "legacy"
//! format: faster for QEMU to start, and the only form Firecracker takes.
//!
//! Formats: Documentation/arch/x86/boot.rst of the kernel; lz4_Frame_format.md of LZ4.

use anyhow::{Context, Result, bail, ensure};

const LZ4_LEGACY: u32 = 0x184c_2102;
const LZ4_BLOCK_BYTES: usize = 8 << 20;

/// Extracts vmlinux from a bzImage.
pub fn vmlinux(image: &[u8]) -> Result<Vec<u8>> {
    ensure!(image.get(0x202..0x206) == Some(b"HdrS"), "not a Linux boot image");
    let sectors = match image[0x1f1] {
        0 => 4,
        sectors => usize::from(sectors),
    };
    let start = (sectors + 1) * 512 + word(image, 0x248)?;
    let length = word(image, 0x24c)?;
    let payload = image.get(start..start + length).context("the payload ends early")?;
    // The payload's last word is the size of what it unpacks to.
    let size = word(payload, payload.len().saturating_sub(4))?;
    let kernel = unpack_lz4(&payload[..payload.len() - 4], size)?;
    ensure!(kernel.starts_with(b"\x7fELF"), "the payload is not an ELF file");
    Ok(kernel)
}

fn unpack_lz4(mut packed: &[u8], size: usize) -> Result<Vec<u8>> {
    ensure!(word(packed, 0)? == LZ4_LEGACY as usize, "the payload is not packed with LZ4");
    packed = &packed[4..];
    let mut unpacked = vec![0; size];
    let mut filled = 0;
    while !packed.is_empty() {
        let length = word(packed, 0)?;
        let block = packed.get(4..4 + length).context("a block ends early")?;
        let end = size.min(filled + LZ4_BLOCK_BYTES);
        filled += lz4_flex::block::decompress_into(block, &mut unpacked[filled..end])?;
        packed = &packed[4 + length..];
    }
    if filled != size {
        bail!("the payload unpacked to {filled} bytes instead of {size}");
    }
    Ok(unpacked)
}

fn word(bytes: &[u8], offset: usize) -> Result<usize> {
    let word = bytes.get(offset..offset + 4).context("the image ends early")?;
    Ok(u32::from_le_bytes(word.try_into().expect("four bytes")) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(kernel: &[u8]) -> Vec<u8> {
        let block = lz4_flex::block::compress(kernel);
        let payload = [
            LZ4_LEGACY.to_le_bytes().as_slice(),
            &(block.len() as u32).to_le_bytes(),
            &block,
            &(kernel.len() as u32).to_le_bytes(),
        ]
        .concat();
        let mut image = vec![0; 1024];
        image[0x1f1] = 1;
        image[0x202..0x206].copy_from_slice(b"HdrS");
        image[0x24c..0x250].copy_from_slice(&(payload.len() as u32).to_le_bytes());
        image.extend(payload);
        image
    }

    #[test]
    fn a_kernel_comes_out_as_it_went_in() {
        let kernel = [b"\x7fELF".as_slice(), &[7; 5000]].concat();
        assert_eq!(vmlinux(&image(&kernel)).unwrap(), kernel);
    }

    #[test]
    fn a_damaged_image_is_refused() {
        let whole = image(b"\x7fELF and more");
        assert!(vmlinux(&whole[..whole.len() - 6]).is_err());
        assert!(vmlinux(b"MZ").is_err());
        assert!(vmlinux(&image(b"not an ELF file")).is_err());
    }
}
