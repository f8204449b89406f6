//! What a kernel module says of itself: the `.modinfo` section of its ELF file.

/// The modules a module needs to be loaded before it, by name; `None` where it is no module.
pub(crate) fn dependencies(module: &[u8]) -> Option<Vec<String>> {
    let section = section(module, b".modinfo")?;
    let depends = section
        .split(|&b| b == 0)
        .find_map(|field| field.strip_prefix(b"depends="))
        .unwrap_or_default();
    let depends = std::str::from_utf8(depends).ok()?;
    Some(depends.split(',').filter(|name| !name.is_empty()).map(normal).collect())
}

/// A module's name as the kernel compares names: `-` and `_` are the same.
pub(crate) fn normal(name: &str) -> String {
    name.replace('-', "_")
}

/// A section of a 64-bit little-endian ELF file.
fn section<'a>(elf: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    content(elf, section_header_at(elf, name)?)
}

/// Where the header of a section stands in a 64-bit little-endian ELF file (elf(5)); its 64 bytes
/// are there.
pub(crate) fn section_header_at(elf: &[u8], name: &[u8]) -> Option<usize> {
    if !elf.starts_with(b"\x7fELF\x02\x01") {
        return None;
    }
    let table = usize::try_from(u64_at(elf, 0x28)?).ok()?;
    let entry_size = usize::from(u16_at(elf, 0x3a)?);
    let count = usize::from(u16_at(elf, 0x3c)?);
    let names_index = usize::from(u16_at(elf, 0x3e)?);
    let header = |index: usize| table.checked_add(index.checked_mul(entry_size)?);
    let names = content(elf, header(names_index)?)?;
    (0..count).filter_map(header).find(|&at| {
        let name_start = u32_at(elf, at).and_then(|start| usize::try_from(start).ok());
        let rest = name_start.and_then(|start| names.get(start..)).unwrap_or_default();
        let is_named = rest.strip_prefix(name).is_some_and(|rest| rest.first() == Some(&0));
        is_named && at.checked_add(64).is_some_and(|end| end <= elf.len())
    })
}

fn content(elf: &[u8], header: usize) -> Option<&[u8]> {
    let field = |at: usize| usize::try_from(u64_at(elf, header.checked_add(at)?)?).ok();
    let (start, length) = (field(0x18)?, field(0x20)?);
    elf.get(start..start.checked_add(length)?)
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A module with this `.modinfo`.
    pub(crate) fn module(modinfo: &[u8]) -> Vec<u8> {
        let names = b"\0.modinfo\0.shstrtab\0";
        let mut elf = vec![0; 64];
        elf[..6].copy_from_slice(b"\x7fELF\x02\x01");
        let modinfo_start = elf.len() as u64;
        elf.extend_from_slice(modinfo);
        let names_start = elf.len() as u64;
        elf.extend_from_slice(names);
        let table = elf.len() as u64;
        let sections =
            [(1_u32, modinfo_start, modinfo.len() as u64), (10, names_start, names.len() as u64)];
        for (name, start, length) in sections {
            let mut header = [0; 64];
            header[..4].copy_from_slice(&name.to_le_bytes());
            header[0x18..0x20].copy_from_slice(&start.to_le_bytes());
            header[0x20..0x28].copy_from_slice(&length.to_le_bytes());
            elf.extend_from_slice(&header);
        }
        elf[0x28..0x30].copy_from_slice(&table.to_le_bytes());
        elf[0x3a..0x3c].copy_from_slice(&64_u16.to_le_bytes());
        elf[0x3c..0x3e].copy_from_slice(&2_u16.to_le_bytes());
        elf[0x3e..0x40].copy_from_slice(&1_u16.to_le_bytes());
        elf
    }

    #[test]
    fn a_module_tells_what_it_needs() {
        let needing = module(b"license=GPL\0depends=virtio,rng-core\0name=virtio_rng\0");
        assert_eq!(dependencies(&needing).unwrap(), ["virtio", "rng_core"]);
        assert_eq!(dependencies(&module(b"depends=\0name=x\0")).unwrap(), [""; 0]);
        assert_eq!(dependencies(&needing[..200]), None);
        assert_eq!(dependencies(b"text"), None);
    }
}
