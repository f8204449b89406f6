//! Trees of files as tar streams: packed, checked, and unpacked where nothing can leave its place.
