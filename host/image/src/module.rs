//! What of a kernel module costs a guest time at boot and gives it nothing.
//!
//! Under emulation the kernel takes as long to check a module's signature and its type information
//! as it takes to load it. The host has verified the package it came from, and nothing in a guest
//! asks for the types. Refuses to know which modules there are (`kernel`) and what they need
//! (`modinfo`).

use std::ops::Range;

use crate::modinfo::section_header_at;

/// The end of a signed module (Linux, `include/linux/module_signature.h`).
const SIGNED: &[u8] = b"~Module signature appended~\n";
/// Before it stands a `struct module_signature`: at its 3rd and 4th byte the lengths of two names,
/// in its last four the length of the signature, big endian.
const SIGNATURE_HEADER: usize = 12;
/// The section's size in its header (elf(5)).
const SIZE_FIELD: Range<usize> = 0x20..0x28;

/// Cuts off the signature and empties the section of types. What is not understood stays as it is.
pub fn lighten(mut module: Vec<u8>) -> Vec<u8> {
    if let Some(length) = unsigned_length(&module) {
        module.truncate(length);
    }
    if let Some(header) = section_header_at(&module, b".BTF") {
        module[header..][SIZE_FIELD].fill(0);
    }
    module
}

fn unsigned_length(module: &[u8]) -> Option<usize> {
    let rest = module.strip_suffix(SIGNED)?;
    let (rest, header) = rest.split_last_chunk::<SIGNATURE_HEADER>()?;
    let signature = u32::from_be_bytes([header[8], header[9], header[10], header[11]]) as usize;
    rest.len().checked_sub(signature + usize::from(header[3]) + usize::from(header[4]))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An ELF file of three sections: none, types, names.
    fn module() -> Vec<u8> {
        let mut file = vec![0; 64];
        file[..6].copy_from_slice(b"\x7fELF\x02\x01");
        file[0x28] = 64;
        file[0x3a] = 64;
        file[0x3c] = 3;
        file[0x3e] = 2;
        let mut section = |name: u8, offset: u64, size: u64| {
            let mut header = vec![0; 64];
            header[0] = name;
            header[0x18..0x20].copy_from_slice(&offset.to_le_bytes());
            header[0x20..0x28].copy_from_slice(&size.to_le_bytes());
            file.extend(header);
        };
        section(0, 0, 0);
        section(1, 256, 4);
        section(6, 260, 13);
        file.extend(b"type\0.BTF\0.names\0");
        file
    }

    fn sign(mut module: Vec<u8>) -> Vec<u8> {
        module.extend(b"namekeysignature");
        module.extend([0, 0, 0, 4, 3, 0, 0, 0, 0, 0, 0, 9]);
        module.extend(SIGNED);
        module
    }

    #[test]
    fn the_signature_goes_and_the_types_are_empty() {
        let mut wanted = module();
        wanted[64 + 64 + 0x20] = 0;
        assert_eq!(lighten(sign(module())), wanted);
        assert_eq!(lighten(module()), wanted);
    }

    #[test]
    fn what_is_not_understood_stays_as_it_is() {
        for odd in [&b""[..], b"\x7fELF\x02\x01", SIGNED, &sign(Vec::new())[3..], b"text"] {
            let lightened = lighten(odd.to_vec());
            assert!(odd.starts_with(&lightened), "{odd:?}");
        }
        for length in 0..module().len() {
            let cut = &module()[..length];
            assert_eq!(lighten(cut.to_vec()).len(), length);
        }
    }
}
