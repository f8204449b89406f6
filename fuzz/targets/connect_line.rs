//! The line with which a client of the keeper opens a stream, and what stands behind it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
};

// The keeper keeps it to itself; it is one file that needs nothing else.
#[allow(dead_code)]
#[path = "../../host/keeper/src/request.rs"]
mod request;

thread_local! {
    static RUNTIME: tokio::runtime::Runtime =
        tokio::runtime::Builder::new_current_thread().enable_io().build().expect("a runtime");
}

fuzz_target!(|input: &[u8]| {
    // What a socket takes without a reader.
    let input = &input[..input.len().min(4096)];
    RUNTIME.with(|runtime| runtime.block_on(open(input)));
});

async fn open(input: &[u8]) {
    let (mut client, mut keeper) = UnixStream::pair().expect("a pair of sockets");
    client.write_all(input).await.expect("the pair takes it");
    drop(client);
    let Ok((port, mut behind)) = request::read(&mut keeper).await else { return };
    keeper.read_to_end(&mut behind).await.expect("the pair gives it");
    // Nothing of what followed the line is lost.
    let end = input.iter().position(|&byte| byte == b'\n').expect("a line has an end");
    assert_eq!(behind, &input[end + 1..]);
    let digits = std::str::from_utf8(&input["CONNECT ".len()..end]).expect("digits are text");
    assert_eq!(digits.parse(), Ok(port));
}
