//! The only unsafe code of this crate: the time stamp counter and a throw-away VM.

#![allow(unsafe_code)]

pub mod kvm;
pub mod tsc;
