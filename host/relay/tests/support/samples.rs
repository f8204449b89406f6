//! Bytes as clients send them.

/// A ClientHello, as a handshake message, with a server name and other extensions.
pub fn client_hello(name: Option<&str>, extensions: &[(u16, &[u8])]) -> Vec<u8> {
    let mut body = vec![3, 3];
    body.extend([7; 32]);
    body.push(32);
    body.extend([9; 32]);
    body.extend([0, 4, 0x13, 0x01, 0x13, 0x02, 1, 0]);
    let mut all = Vec::new();
    if let Some(name) = name {
        let length = name.len() as u16;
        let mut list = (length + 3).to_be_bytes().to_vec();
        list.push(0);
        list.extend(length.to_be_bytes());
        list.extend(name.as_bytes());
        extension(&mut all, 0, &list);
    }
    extension(&mut all, 43, &[2, 3, 4]);
    for (kind, content) in extensions {
        extension(&mut all, *kind, content);
    }
    body.extend((all.len() as u16).to_be_bytes());
    body.extend(all);
    let mut message = vec![1];
    message.extend(&(body.len() as u32).to_be_bytes()[1..]);
    message.extend(body);
    message
}

fn extension(all: &mut Vec<u8>, kind: u16, content: &[u8]) {
    all.extend(kind.to_be_bytes());
    all.extend((content.len() as u16).to_be_bytes());
    all.extend(content);
}

/// A handshake message in records of so many bytes.
pub fn records(message: &[u8], each: usize) -> Vec<u8> {
    let record = |part: &[u8]| {
        let mut record = vec![0x16, 3, 1];
        record.extend((part.len() as u16).to_be_bytes());
        record.extend(part);
        record
    };
    message.chunks(each).flat_map(record).collect()
}
